/** rsync through OpenSSH against the gateway, on local disk and on S3. */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Finished, run } from "../support/processes.ts";
import { sha256 } from "../support/test-store.ts";
import { expectFiles, expectStored, type Interop, onEachStore, REMOTE, STORED, writeTree } from "./on-stores.ts";
import { sample, TREE } from "./samples.ts";

const MIB = 1024 * 1024;

function remoteShell({ gateway }: Interop): string {
  const words = ["ssh", "-p", String(gateway.port), "-l", gateway.user, ...gateway.sshOptions];
  return words.map((word) => (word.includes(" ") ? `'${word}'` : word)).join(" ");
}

onEachStore("rsync", ["rsync", "ssh"], { logLevel: "debug" }, (at) => {
  const host = `127.0.0.1:${REMOTE}`;
  const tryRsync = (...args: string[]): Promise<Finished> => run("rsync", ["-e", remoteShell(at()), ...args], { cwd: at().work });
  const rsync = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await tryRsync(...args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return stdout;
  };
  const tree = (count: number): Record<string, string> =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`d${index % 3}/file ${index}.txt`, `content ${index}`]));

  it.each([[], ["-z"], ["--protocol=29"], ["--protocol=30", "-z"], ["-s"]])("takes a tree up and down with %s", async (...options) => {
    const { work, store } = at();
    const name = `tree${options.join("")}`;
    writeTree(join(work, "tree"), TREE);
    await rsync("-a", ...options, "tree/", `${host}/${name}/`);
    expectStored(store, `${STORED}/${name}`, TREE);
    expect(await rsync("-ai", ...options, "tree/", `${host}/${name}/`)).toBe("");
    await rsync("-a", ...options, `${host}/${name}/`, "back/");
    expectFiles(join(work, "back"), TREE);
    expect(statSync(join(work, "back/plain.txt")).mtimeMs).toBe(1_500_000_000_000);
    expect((await rsync("-ai", ...options, `${host}/${name}/`, "back/")).split("\n").filter((line) => !line.startsWith(".d"))).toEqual([
      "",
    ]);
  });

  it("moves large files whole and by what differs", async () => {
    const { work, store } = at();
    const data = Buffer.from(sample(40 * MIB));
    writeTree(work, { "large.bin": data });
    await rsync("-a", "large.bin", `${host}/large.bin`);
    expect(store.sha256(`${STORED}/large.bin`)).toBe(sha256(data));
    data.fill(7, 20 * MIB + 123, 20 * MIB + 50_000);
    writeFileSync(join(work, "large.bin"), data);
    const up = await rsync("-a", "--stats", "large.bin", `${host}/large.bin`);
    expect(literalBytes(up)).toBeLessThan(MIB);
    expect(store.sha256(`${STORED}/large.bin`)).toBe(sha256(data));
    writeFileSync(join(work, "large.bin"), Buffer.concat([data.subarray(0, 5 * MIB), Buffer.from("inserted"), data.subarray(5 * MIB)]));
    const down = await rsync("-a", "--stats", `${host}/large.bin`, "large.bin");
    expect(literalBytes(down)).toBeLessThan(MIB);
    expect(sha256(readFileSync(join(work, "large.bin")))).toBe(sha256(data));
  });

  it("deletes what is gone, and nothing that a rule protects", async () => {
    const { work, store } = at();
    writeTree(join(work, "src"), { "a.txt": "a", "sub/b.txt": "b", "sub/keep.log": "k" });
    await rsync("-a", "src/", `${host}/del/`);
    writeTree(join(work, "less"), { "a.txt": "a" });
    const output = await rsync("-ai", "--delete", "--exclude=*.log", "less/", `${host}/del/`);
    expect(output).toContain("*deleting   sub/b.txt");
    expectStored(store, `${STORED}/del`, { "a.txt": "a", "sub/keep.log": "k" });
    await rsync("-a", "--delete", "less/", `${host}/del/`);
    expectStored(store, `${STORED}/del`, { "a.txt": "a" });
  });

  it("continues an interrupted upload with --append, and publishes nothing before", async () => {
    const { work, store } = at();
    const data = sample(30 * MIB + 5);
    writeTree(work, { "partial.bin": data });
    const limited = await run("timeout", ["2", "rsync", "-e", remoteShell(at()), "--bwlimit=6000", "partial.bin", `${host}/partial.bin`], {
      cwd: work,
    });
    expect(limited.code).not.toBe(0);
    expect(store.names().filter((name) => name.endsWith("partial.bin"))).toEqual([]);
    const statistics = await rsync("-a", "--append", "--stats", "partial.bin", `${host}/partial.bin`);
    expect(store.sha256(`${STORED}/partial.bin`)).toBe(sha256(data));
    expect(literalBytes(statistics)).toBeLessThan(data.length);
    expect(literalBytes(statistics)).toBeGreaterThan(0);
  });

  it("sends an interrupted upload again without --append", async () => {
    const { work, store } = at();
    const data = sample(30 * MIB + 5);
    writeTree(work, { "again.bin": data });
    await run("timeout", ["2", "rsync", "-t", "-e", remoteShell(at()), "--bwlimit=6000", "again.bin", `${host}/again.bin`], { cwd: work });
    await rsync("-aP", "again.bin", `${host}/again.bin`);
    expect(store.sha256(`${STORED}/again.bin`)).toBe(sha256(data));
    expect(await rsync("-ai", "again.bin", `${host}/again.bin`)).toBe("");
  });

  it("runs nothing and leaves the home for nothing", async () => {
    const { work } = at();
    writeTree(work, { "x.txt": "x" });
    const marker = join(work, "executed");
    for (const place of [
      `127.0.0.1:${REMOTE}/$(touch ${marker})`,
      `127.0.0.1:${REMOTE}/;touch ${marker}`,
      `127.0.0.1:${REMOTE}/|touch ${marker}`,
    ]) {
      await tryRsync("--old-args", "x.txt", place);
      expect(existsSync(marker)).toBe(false);
    }
    const outside = await tryRsync("x.txt", "127.0.0.1:../../../etc/passwd");
    expect(outside.code).not.toBe(0);
  });

  it("publishes files whose names others use for a while only", async () => {
    const { work, store } = at();
    const names = { "x.tif.filepart": "a", ".x.tif.AbCdEf": "b", "y.12345678.partial": "c" };
    writeTree(join(work, "odd"), names);
    await rsync("-a", "odd/", `${host}/odd/`);
    expectStored(store, `${STORED}/odd`, names);
    expect(await rsync("-ai", "odd/", `${host}/odd/`)).toBe("");
  });

  it("says what it does not keep", async () => {
    const { work } = at();
    writeTree(join(work, "acl"), { "x.txt": "x" });
    const refused = await tryRsync("-aA", "acl/", `${host}/acl/`);
    expect(refused.code).toBe(4);
    expect(refused.stderr).toContain("ACLs are not supported");
  });

  describe("requests to S3", () => {
    it("lists an unchanged tree and does nothing else", async ({ skip }) => {
      const { work, s3 } = at();
      if (!s3) return skip();
      writeTree(join(work, "many"), tree(1200));
      await rsync("-a", "many/", `${host}/many/`);
      s3.requests.clear();
      expect(await rsync("-ai", "many/", `${host}/many/`)).toBe("");
      expect(s3.requests.counts()).toEqual({ ListObjectsV2: 2 });
      writeTree(join(work, "many"), { "d1/one more.txt": "more" });
      utimesSync(join(work, "many/d1"), 1_500_000_000, 1_500_000_000);
      s3.requests.clear();
      await rsync("-a", "many/", `${host}/many/`);
      expect(s3.requests.counts()).toEqual({ ListObjectsV2: 2, PutObject: 1 });
    });

    it("deletes a thousand files in a request", async ({ skip }) => {
      const { work, s3, store } = at();
      if (!s3) return skip();
      writeTree(join(work, "gone"), tree(900));
      writeTree(join(work, "kept"), { "d0/kept.txt": "kept", "d1/x.txt": "x", "d2/y.txt": "y" });
      await rsync("-a", "gone/", `${host}/gone/`);
      await rsync("-a", "kept/", `${host}/gone/`);
      s3.requests.clear();
      await rsync("-a", "--delete", "kept/", `${host}/gone/`);
      const { ListObjectsV2: lists = 0, DeleteObjects: deletions = 0, ...others } = s3.requests.counts();
      expect(others).toEqual({});
      expect(lists).toBeLessThanOrEqual(4);
      expect(deletions).toBe(3);
      expectStored(store, `${STORED}/gone`, { "d0/kept.txt": "kept", "d1/x.txt": "x", "d2/y.txt": "y" });
    });

    it("copies what stays the same of a large file within S3", async ({ skip }) => {
      const { work, s3, store } = at();
      if (!s3) return skip();
      const data = Buffer.concat([sample(64 * MIB), randomBytes(32 * MIB)]);
      writeTree(work, { "delta.bin": data });
      await rsync("-a", "delta.bin", `${host}/delta.bin`);
      data.fill(9, 50 * MIB, 51 * MIB);
      writeFileSync(join(work, "delta.bin"), data);
      s3.requests.clear();
      expect(literalBytes(await rsync("-a", "--stats", "delta.bin", `${host}/delta.bin`))).toBeLessThan(1.1 * MIB);
      const counts = s3.requests.counts();
      const { UploadPartCopy: copies = 0, UploadPart: parts = 0, GetObject: gets = 0, HeadObject: heads = 0, ...others } = counts;
      expect(copies).toBe(2);
      expect(parts).toBe(1);
      // Once for the sums of the blocks and once for the checksum of the whole, each in some ranges.
      expect(gets).toBeLessThanOrEqual(10);
      // Once in the life of a process the store is asked whether its checksums of copied ranges are right.
      expect(heads).toBeLessThanOrEqual(2);
      expect(others).toEqual({ CreateMultipartUpload: 1, CompleteMultipartUpload: 1 });
      expect(store.sha256(`${STORED}/delta.bin`)).toBe(sha256(data));
    });
  });
});

function literalBytes(statistics: string): number {
  return Number((/Literal data: ([\d,]+)/.exec(statistics)?.[1] ?? "").replaceAll(",", ""));
}
