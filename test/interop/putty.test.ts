import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { runOk } from "../support/processes.ts";
import { sha256 } from "../support/test-store.ts";
import { expectFiles, expectStored, onEachStore, plant, REMOTE, STORED, writeTree } from "./on-stores.ts";
import { sample, TREE } from "./samples.ts";

onEachStore("PuTTY", ["psftp", "pscp", "puttygen"], {}, (at) => {
  let options: string[];
  beforeAll(async () => {
    const { gateway } = at();
    const ppk = join(gateway.dir, "id.ppk");
    await runOk("puttygen", [gateway.keyFile, "-O", "private", "-o", ppk], { env: { HOME: gateway.dir } });
    const { stdout } = await runOk("ssh-keygen", ["-lf", join(gateway.dir, "keys/ssh_host_ed25519_key.pub")]);
    const fingerprint = stdout.split(" ")[1] ?? "";
    options = ["-batch", "-P", String(gateway.port), "-i", ppk, "-hostkey", fingerprint];
  });
  const psftp = (...lines: string[]) => {
    const { gateway, work } = at();
    writeFileSync(join(work, "script"), `${lines.join("\n")}\n`);
    return runOk("psftp", [...options, "-b", "script", `${gateway.user}@127.0.0.1`], { cwd: work, env: { HOME: work } });
  };
  const pscp = (...args: string[]) => {
    const { gateway, work } = at();
    const places = args.map((arg) => arg.replace(/^gw:/, `${gateway.user}@127.0.0.1:`));
    return runOk("pscp", ["-q", ...options, ...places], { cwd: work, env: { HOME: work } });
  };

  it("psftp puts and gets", async () => {
    const { work, store } = at();
    writeTree(work, { small: sample(70_000), large: sample(9_000_000) });
    await psftp(
      `mkdir ${REMOTE}/p`,
      `put small ${REMOTE}/p/small`,
      `put large ${REMOTE}/p/large`,
      `get ${REMOTE}/p/large back`,
      `ls ${REMOTE}/p`,
      `mv ${REMOTE}/p/small ${REMOTE}/p/moved`,
    );
    expectStored(store, `${STORED}/p`, { moved: sample(70_000), large: sample(9_000_000) });
    expectFiles(work, { back: sample(9_000_000) });
  });

  it("psftp moves trees, and continues with reput and reget", async () => {
    const { work, store } = at();
    writeTree(join(work, "tree"), TREE);
    writeTree(work, { whole: sample(9_000_000), part: sample(9_000_000).subarray(0, 100_000) });
    await plant(at(), `pr/resumed`, sample(9_000_000).subarray(0, 5_500_000));
    await psftp(
      `put -r tree ${REMOTE}/ptree`,
      `get -r ${REMOTE}/ptree back`,
      `reput whole ${REMOTE}/pr/resumed`,
      `reget ${REMOTE}/pr/resumed part`,
    );
    expectStored(store, `${STORED}/ptree`, TREE);
    expectFiles(join(work, "back"), TREE);
    expect(store.sha256(`${STORED}/pr/resumed`)).toBe(sha256(sample(9_000_000)));
    expectFiles(work, { part: sample(9_000_000) });
  });

  for (const protocol of ["-sftp", "-scp"]) {
    it(`pscp ${protocol} copies both ways and keeps times`, async () => {
      const { work, store } = at();
      writeTree(work, { "t.bin": sample(1_000_003) });
      writeTree(join(work, "tree"), { a: "1", "b/c": "2" });
      await pscp(protocol, "-p", "t.bin", `gw:${REMOTE}/pscp${protocol}.bin`);
      expect(store.sha256(`${STORED}/pscp${protocol}.bin`)).toBe(sha256(sample(1_000_003)));
      await pscp(protocol, "-p", `gw:${REMOTE}/pscp${protocol}.bin`, "back.bin");
      expectFiles(work, { "back.bin": sample(1_000_003) });
      expect(statSync(join(work, "back.bin")).mtimeMs).toBe(1_500_000_000_000);
      await plant(at(), `pscp${protocol}-dir/keep`, "k");
      await pscp(protocol, "-r", "tree", `gw:${REMOTE}/pscp${protocol}-dir`);
      expectStored(store, `${STORED}/pscp${protocol}-dir`, { keep: "k", "tree/a": "1", "tree/b/c": "2" });
    });
  }
});
