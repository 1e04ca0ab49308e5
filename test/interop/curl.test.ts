import { expect, it } from "vitest";
import { run, runOk } from "../support/processes.ts";
import { sha256 } from "../support/test-store.ts";
import { expectFiles, expectStored, onEachStore, plant, REMOTE, STORED, writeTree } from "./on-stores.ts";
import { sample } from "./samples.ts";

onEachStore("curl", ["curl"], {}, (at) => {
  const url = (path: string, scheme = "sftp") => `${scheme}://127.0.0.1:${at().gateway.port}/${path}`;
  const options = () => {
    const { gateway } = at();
    const keys = ["--key", gateway.keyFile, "--pubkey", `${gateway.keyFile}.pub`];
    return ["-q", "-sS", "--insecure", "-u", `${gateway.user}:`, ...keys];
  };
  const curl = (...args: string[]) => runOk("curl", [...options(), ...args], { cwd: at().work });

  it("uploads and downloads", async () => {
    const { work, store } = at();
    for (const size of [0, 70_000, 9_000_000]) {
      writeTree(work, { up: sample(size) });
      await curl("-T", "up", url(`${REMOTE}/curl-${size}`));
      expect(store.sha256(`${STORED}/curl-${size}`)).toBe(sha256(sample(size)));
      await curl("-o", "down", url(`${REMOTE}/curl-${size}`));
      if (size > 0) expectFiles(work, { down: sample(size) });
    }
  });

  it("continues uploads and downloads with -C -", async () => {
    const { work, store } = at();
    const whole = sample(9_000_000);
    writeTree(work, { whole, part: whole.subarray(0, 123_456) });
    await plant(at(), `curl-resumed`, whole.subarray(0, 5_500_000));
    await curl("-C", "-", "-T", "whole", url(`${REMOTE}/curl-resumed`));
    expect(store.sha256(`${STORED}/curl-resumed`)).toBe(sha256(whole));
    await curl("-C", "-", "-o", "part", url(`${REMOTE}/curl-resumed`));
    expectFiles(work, { part: whole });
  });

  it("makes folders on the way, lists, renames and removes", async () => {
    const { work, store } = at();
    writeTree(work, { x: "x" });
    await curl("--ftp-create-dirs", "-T", "x", url(`${REMOTE}/curl/new/deep/x`));
    expectStored(store, `${STORED}/curl`, { "new/deep/x": "x" });
    const { stdout } = await curl(url(`${REMOTE}/curl/new/deep/`));
    expect(stdout).toMatch(/^-rw.* x$/m);
    const quotes = [`rename "/${REMOTE}/curl/new/deep/x" "/${REMOTE}/curl/y"`, `rmdir "/${REMOTE}/curl/new/deep"`];
    await curl(...quotes.flatMap((quote) => ["-Q", quote]), "-o", "list", url(`${REMOTE}/`));
    expectStored(store, `${STORED}/curl`, { y: "x" });
  });

  it("uploads and downloads over scp", async () => {
    const { work, store } = at();
    writeTree(work, { up: sample(1_000_003) });
    await curl("-T", "up", url(`${REMOTE}/curl-scp`, "scp"));
    await expect.poll(() => store.sha256(`${STORED}/curl-scp`), { timeout: 10_000 }).toBe(sha256(sample(1_000_003)));
    await curl("-o", "down", url(`${REMOTE}/curl-scp`, "scp"));
    expectFiles(work, { down: sample(1_000_003) });
  });

  it("reports what is missing", async () => {
    const { code } = await run("curl", [...options(), url(`${REMOTE}/missing`)], { cwd: at().work });
    expect(code).toBe(78); // CURLE_REMOTE_FILE_NOT_FOUND
  });
});
