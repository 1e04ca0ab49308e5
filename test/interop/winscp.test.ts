import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SshSftpClient, SftpStatusError } from "../support/ssh-sftp-client.ts";
import { FX, FXF } from "../support/sftp-packets.ts";
import { sha256 } from "../support/test-store.ts";
import { expectStored, onEachStore, REMOTE, STORED } from "./on-stores.ts";
import { sample } from "./samples.ts";

const MTIME = 1_400_000_000;
const codeOf = (request: Promise<unknown>) =>
  request.then(
    () => FX.OK,
    (error: unknown) => (error instanceof SftpStatusError ? error.code : String(error)),
  );

/** The packets WinSCP sends for an upload, as its logs show them. */
onEachStore("WinSCP's dialogue", [], {}, (at) => {
  let client: SshSftpClient;
  beforeAll(async () => {
    client = await SshSftpClient.connect(at().gateway);
  });
  afterAll(() => client?.end());

  /** Uploads over a temporary name, as WinSCP does above 100 KB; `properties` before or after the rename. */
  async function upload(name: string, data: Buffer, properties: "before" | "after"): Promise<void> {
    const path = `${REMOTE}/${name}`;
    const exists = (await codeOf(client.lstat(path))) === FX.OK;
    expect(await codeOf(client.lstat(`${path}.filepart`))).toBe(FX.NO_SUCH_FILE);
    const handle = await client.open(`${path}.filepart`, FXF.WRITE | FXF.CREAT | FXF.TRUNC, { size: data.length });
    await client.writeAll(handle, 0, data);
    await client.close(handle);
    const setProperties = (of: string) => client.setstat(of, { permissions: 0o100644, mtime: MTIME });
    if (properties === "before") await setProperties(`${path}.filepart`);
    if (exists) await client.remove(path);
    await client.rename(`${path}.filepart`, path);
    if (properties === "after") await setProperties(path);
  }

  for (const properties of ["before", "after"] as const) {
    it(`uploads over .filepart, properties ${properties} the rename, new and over an old version`, async () => {
      const { store } = at();
      for (const size of [120_000, 9_000_000, 1_000_003]) {
        await upload(`w-${properties}.tif`, sample(size), properties);
        expect(store.sha256(`${STORED}/w-${properties}.tif`)).toBe(sha256(sample(size)));
        expect(await client.stat(`${REMOTE}/w-${properties}.tif`)).toMatchObject({ size, mtime: MTIME });
        expect(store.names().filter((name) => name.includes("filepart"))).toEqual([]);
      }
    });
  }

  it("shows the temporary file to its owner, and to nobody as published", async () => {
    const { store } = at();
    await client.putFile(`${REMOTE}/t.pdf.filepart`, sample(120_000));
    expect(await client.stat(`${REMOTE}/t.pdf.filepart`)).toMatchObject({ size: 120_000 });
    const names = (await client.list(REMOTE)).map(({ filename }) => filename);
    expect(names).toContain("t.pdf.filepart");
    expect(names).not.toContain("t.pdf");
    expect(store.names().filter((name) => name.includes("t.pdf"))).toEqual([]);
    await client.remove(`${REMOTE}/t.pdf.filepart`);
    expect(await codeOf(client.stat(`${REMOTE}/t.pdf.filepart`))).toBe(FX.NO_SUCH_FILE);
  });

  it("renames a temporary file to some other name", async () => {
    const { store } = at();
    await client.putFile(`${REMOTE}/o.pdf.filepart`, sample(120_000));
    await client.rename(`${REMOTE}/o.pdf.filepart`, `${REMOTE}/other.pdf`);
    expect(store.sha256(`${STORED}/other.pdf`)).toBe(sha256(sample(120_000)));
    expect(store.names().filter((name) => name.includes("o.pdf"))).toEqual([]);
  });

  it("continues a transfer that was cut", async () => {
    const { gateway, store } = at();
    const data = sample(9_000_000);
    const path = `${REMOTE}/cut.tif`;
    const first = await SshSftpClient.connect(gateway);
    const handle = await first.open(`${path}.filepart`, FXF.WRITE | FXF.CREAT | FXF.TRUNC, { size: data.length });
    await first.writeAll(handle, 0, data.subarray(0, 6_500_000));
    first.destroy();
    const second = await SshSftpClient.connect(gateway);
    await expect.poll(async () => (await second.stat(`${path}.filepart`)).size, { timeout: 10_000 }).toBe(6_500_000);
    const resumed = await second.open(`${path}.filepart`, FXF.WRITE, {});
    await second.writeAll(resumed, 6_500_000, data.subarray(6_500_000));
    await second.close(resumed);
    await second.rename(`${path}.filepart`, path);
    await second.setstat(path, { permissions: 0o100644, mtime: MTIME });
    await second.end();
    expect(store.sha256(`${STORED}/cut.tif`)).toBe(sha256(data));
  });

  it("notices a short upload by the size announced in OPEN", async () => {
    const { store } = at();
    const handle = await client.open(`${REMOTE}/short.tif`, FXF.WRITE | FXF.CREAT | FXF.TRUNC, { size: 1000 });
    await client.writeAll(handle, 0, sample(70_000).subarray(0, 999));
    expect(await codeOf(client.close(handle))).toBe(FX.FAILURE);
    expect(store.sha256(`${STORED}/short.tif`)).toBeUndefined();
  });

  describe("deleting and renaming", () => {
    it("moves and deletes folders as its panels do", async () => {
      const { store } = at();
      await client.mkdir(`${REMOTE}/panel`, { permissions: 0o40755 });
      await client.setstat(`${REMOTE}/panel`, { permissions: 0o40755 });
      await client.putFile(`${REMOTE}/panel/a`, sample(3));
      await client.rename(`${REMOTE}/panel`, `${REMOTE}/renamed`);
      expectStored(store, `${STORED}/renamed`, { a: sample(3) });
      expect(await codeOf(client.rmdir(`${REMOTE}/renamed`))).toBe(FX.FAILURE);
      await client.remove(`${REMOTE}/renamed/a`);
      await client.rmdir(`${REMOTE}/renamed`);
      expect(await codeOf(client.stat(`${REMOTE}/renamed`))).toBe(FX.NO_SUCH_FILE);
    });
  });
});
