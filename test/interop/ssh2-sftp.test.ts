import { join } from "node:path";
import type { Client, SFTPWrapper } from "ssh2";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectSsh } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";
import { expectFiles, onEachStore, REMOTE, STORED, writeTree } from "./on-stores.ts";
import { sample } from "./samples.ts";

onEachStore("ssh2's SFTP client", [], {}, (at) => {
  let ssh: Client;
  let sftp: SFTPWrapper;
  beforeAll(async () => {
    ssh = await connectSsh(at().gateway);
    sftp = await new Promise<SFTPWrapper>((resolve, reject) => ssh.sftp((error, opened) => (error ? reject(error) : resolve(opened))));
  });
  afterAll(() => ssh?.end());

  it("puts and gets with many requests at once, out of order", async () => {
    const { work, store } = at();
    for (const size of [0, 70_000, 21 * 1024 * 1024 + 7]) {
      writeTree(work, { up: sample(size) });
      await promisify<string, string>(sftp.fastPut.bind(sftp))(join(work, "up"), `${REMOTE}/fast-${size}`);
      expect(store.sha256(`${STORED}/fast-${size}`)).toBe(sha256(sample(size)));
      await promisify<string, string>(sftp.fastGet.bind(sftp))(`${REMOTE}/fast-${size}`, join(work, "down"));
      expectFiles(work, { down: sample(size) });
    }
  });

  it("streams", async () => {
    const { store } = at();
    await new Promise<void>((resolve, reject) => {
      const stream = sftp.createWriteStream(`${REMOTE}/streamed`);
      stream.on("error", reject).on("close", () => resolve());
      stream.end(sample(1_000_003));
    });
    expect(store.sha256(`${STORED}/streamed`)).toBe(sha256(sample(1_000_003)));
    const chunks: Buffer[] = [];
    for await (const chunk of sftp.createReadStream(`${REMOTE}/streamed`, { start: 10, end: 99_999 })) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).equals(sample(1_000_003).subarray(10, 100_000))).toBe(true);
  });

  it("appends and refuses to replace with wx", async () => {
    const { store } = at();
    const call = (run: (done: (error?: Error | null) => void) => void) =>
      new Promise<void>((resolve, reject) => run((error) => (error ? reject(error) : resolve())));
    await call((done) => sftp.writeFile(`${REMOTE}/log`, "one\n", done));
    await call((done) => sftp.appendFile(`${REMOTE}/log`, "two\n", done));
    expect(store.sha256(`${STORED}/log`)).toBe(sha256("one\ntwo\n"));
    await expect(call((done) => sftp.writeFile(`${REMOTE}/log`, "x", { flag: "wx" }, done))).rejects.toThrow();
    expect(store.sha256(`${STORED}/log`)).toBe(sha256("one\ntwo\n"));
  });
});
