import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, it } from "vitest";
import { runOk } from "../support/processes.ts";
import { sha256 } from "../support/test-store.ts";
import { expectFiles, expectStored, onEachStore, plant, REMOTE, STORED, writeTree } from "./on-stores.ts";
import { sample, TREE } from "./samples.ts";

const driver = fileURLToPath(new URL("fzsftp-engine.py", import.meta.url));

/** A step for the driver: see its head. */
type Step = readonly [verb: string, ...words: (string | number)[]];

const names = { ...TREE, 'a "quoted" name': "quotes", "-rf": "a dash", " led by a space": "space", "back\\slash": "back" };

onEachStore("FileZilla's engine", ["fzsftp", "puttygen", "python3"], {}, (at) => {
  let ppk: string;
  beforeAll(async () => {
    const { gateway } = at();
    ppk = join(gateway.dir, "id.ppk");
    await runOk("puttygen", [gateway.keyFile, "-O", "private", "-o", ppk], { env: { HOME: gateway.dir } });
  });

  /** What the engine says to each step: lists of texts, or of entries with long name, time and name. */
  const engine = async (...steps: Step[]): Promise<unknown[]> => {
    const { gateway, work } = at();
    writeFileSync(join(work, "steps.json"), JSON.stringify([["run", `cd "${REMOTE}"`], ...steps]));
    const args = [driver, String(gateway.port), gateway.user, ppk, "steps.json"];
    const { stdout } = await runOk("/usr/bin/python3", args, { cwd: work, env: { HOME: work }, timeoutMs: 60_000 });
    const lines: unknown[] = stdout.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line)]));
    return lines.slice(1);
  };

  it("puts and gets files of all kinds of names, empty and large", async () => {
    const { work, store } = at();
    const large = sample(21 * 1024 * 1024 + 7);
    writeTree(work, { large, empty: "", small: "small" });
    const files = Object.entries(names).map(([name, bytes], index) => ({ name: name.replaceAll("/", "_"), local: `in${index}`, bytes }));
    writeTree(work, Object.fromEntries(files.map(({ local, bytes }) => [local, bytes])));
    await engine(
      ["run", 'mkdir "fz"'],
      ["put", "large", "fz/large"],
      ["get", "fz/large", "large.back"],
      ["put", "empty", "fz/empty"],
      ["get", "fz/empty", "empty.back"],
      ["put", "large", "fz/over"],
      ["put", "small", "fz/over"],
      ["get", "fz/over", "over.back"],
      ...files.flatMap(({ name, local }): Step[] => [
        ["put", local, `fz/${name}`],
        ["get", `fz/${name}`, `${local}.back`],
      ]),
    );
    const odd = Object.fromEntries(files.map(({ name, bytes }) => [name, bytes]));
    expectStored(store, `${STORED}/fz`, { large, empty: "", over: "small", ...odd });
    expectFiles(work, { "large.back": large, "empty.back": "", "over.back": "small" });
    expectFiles(work, Object.fromEntries(files.map(({ local, bytes }) => [`${local}.back`, bytes])));
  });

  it("makes, renames and removes, keeps times and modes", async () => {
    const { work, store } = at();
    writeTree(work, { file: "content" });
    const said = await engine(
      ["run", 'mkdir "fm"'],
      ["refused", 'mkdir "fm"'],
      ["put", "file", "fm/ä b"],
      ["run", 'chmtime 1500000000 "fm/ä b"'],
      ["run", 'mtime "fm/ä b"'],
      ["chmod", '600 "fm/ä b"'],
      ["run", 'mv "fm/ä b" "fm/moved"'],
      ["run", 'cd "fm"'],
      ["run", "ls"],
      ["refused", 'rm "missing"'],
      ["refused", 'get "missing" "x"'],
      ["run", "cd .."],
      ["refused", 'rmdir "fm"'],
      ["run", 'mkdir "fm/in"'],
      ["run", 'mv "fm/in" "fm/out"'],
      ["run", 'rmdir "fm/out"'],
    );
    expect(said[4]).toEqual(["1500000000"]);
    const entries = (said[8] as string[][]).filter(([, , name]) => name === "moved");
    expect(entries).toEqual([[expect.stringMatching(/^-rw-------.* 7 /), "1500000000", "moved"]]);
    expectStored(store, `${STORED}/fm`, { moved: "content" });
    await engine(["run", 'rm "fm/moved"'], ["run", 'rmdir "fm"']);
    expect(store.names().filter((name) => name.startsWith(`${STORED}/fm`))).toEqual([]);
  });

  it("goes on with what was cut off, in both directions", async () => {
    const { work, store } = at();
    const whole = sample(21 * 1024 * 1024 + 7);
    writeTree(work, { whole, part: whole.subarray(0, 1_000_003) });
    await engine(["run", 'mkdir "fr"'], ["cut", "whole", "fr/upload", 14 * 1024 * 1024]);
    expect(store.names()).not.toContain(`${STORED}/fr/upload`);
    await engine(["reput", "whole", "fr/upload"], ["reget", "fr/upload", "part"]);
    expect(store.sha256(`${STORED}/fr/upload`)).toBe(sha256(whole));
    expectFiles(work, { part: whole });
    await plant(at(), "fr/published", whole.subarray(0, 9_000_000));
    await engine(["reput", "whole", "fr/published"]);
    expect(store.sha256(`${STORED}/fr/published`)).toBe(sha256(whole));
  });

  it("lists 3,000 names", async () => {
    const { store } = at();
    const many = Array.from({ length: 3_000 }, (_, index) => `n${String(index).padStart(4, "0")} ü.jpg`);
    for (const name of many) store.put(`${STORED}/many/${name}`, "x");
    await plant(at(), "many/last", "x");
    const [, listed] = await engine(["run", 'cd "many"'], ["run", "ls"]);
    const found = (listed as string[][]).map(([, , name]) => name);
    expect(found).toEqual([".", "..", "last", ...many]);
  });
});
