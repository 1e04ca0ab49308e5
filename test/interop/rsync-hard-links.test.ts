/**
 * `rsync -H` up against our server, and against the real one on a file system where no link can be made: what is told,
 * the exit status and what stays at the source. Ours keeps every name as a file of its own.
 */
import { spawnSync } from "node:child_process";
import { linkSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ByteBudget } from "../../src/byte-budget.ts";
import { createLogger } from "../../src/log.ts";
import { requireTool } from "../support/require-tool.ts";
import { createStoredFiles, MOUNT, type StoredFiles } from "../support/stored-files.ts";
import { type ClientResult, RsyncTestServer, runRsync } from "./rsync-server.ts";
import { describeFileSystem, describeLocal, putTree, TIME, type Tree, writeTree } from "./rsync-trees.ts";

const WITHOUT_LINKS = new URL("./without-links.py", import.meta.url).pathname;
const LINKED = ["b", "c", "d", "sub/a"];
const OTHERS = ["sub/x", "sub/y/z"];
const SOURCE: Tree = { b: { content: "linked" }, "sub/x": { content: "another" }, "sub/y/": {}, alone: { content: "alone" } };
const NAMES = [...LINKED, ...OTHERS, "alone"];
const contentOf = (name: string): string => (LINKED.includes(name) ? "linked" : OTHERS.includes(name) ? "another" : "alone");

/** Files that are at the destination, as they are at the source or otherwise. */
const there = (names: readonly string[], otherwise: readonly string[] = []): Tree =>
  Object.fromEntries([
    ...names.map((name) => [name, { content: contentOf(name) }] as const),
    ...otherwise.map((name) => [name, { content: "of another length", mtime: TIME + 500 }] as const),
  ]);

const DESTINATIONS: Readonly<Record<string, Tree>> = {
  nothing: {},
  everything: there(NAMES),
  "all but the first": there(["c", "d", "sub/a", "sub/x", "sub/y/z"]),
  "all but the last": there(["b", "c", "d", "sub/x"]),
  "one in the middle": there(["c"]),
  "a first one that differs": there(["c", "d", "sub/a"], ["b", "sub/y/z"]),
  "one that differs": there([], ["c"]),
  "all of them different": there([], [...LINKED, ...OTHERS]),
};
const OPTIONS = [
  "-aH",
  "-rH",
  "-aHu",
  "-aHI",
  "-aH --existing",
  "-aH --ignore-existing",
  "-aH --min-size=7",
  "-aH --protocol=29",
  "-aH --exclude=/d --exclude=x",
];

let work = "";
let files: StoredFiles;
let server: RsyncTestServer;
let serial = 0;

function writeSource(directory: string): void {
  writeTree(join(directory, "src"), SOURCE);
  for (const name of LINKED.slice(1)) linkSync(join(directory, "src/b"), join(directory, "src", name));
  for (const name of OTHERS.slice(1)) linkSync(join(directory, "src/sub/x"), join(directory, "src", name));
}

function args(options: string): string[] {
  return [...options.split(" "), "--no-inc-recursive", "-i", "src/", `host:.${MOUNT}/${serial}/dst/`];
}

interface Outcome extends ClientResult {
  readonly source: readonly string[];
}

async function ours(options: string, destination: Tree): Promise<Outcome> {
  const directory = join(work, `ours${serial}`);
  writeSource(directory);
  await putTree(files.fs, `${MOUNT}/${serial}/dst`, destination);
  const result = await runRsync(server.place, args(options), directory);
  expect(server.warnings.splice(0)).toEqual([]);
  return { ...result, source: describeLocal(join(directory, "src"), false) };
}

async function theirs(options: string, destination: Tree): Promise<Outcome> {
  const directory = join(work, `theirs${serial}`);
  const place = join(work, `remote${serial}`);
  writeSource(directory);
  writeTree(join(place, MOUNT, String(serial), "dst"), destination);
  const result = await runRsync(place, [`--rsync-path=${WITHOUT_LINKS} rsync`, ...args(options)], directory);
  return { ...result, source: describeLocal(join(directory, "src"), false) };
}

/** Lines without what depends on the place, the version and the times of directories; our reason says more than theirs. */
function lines(text: string): string[] {
  return text
    .replaceAll(/\/\S*\/remote\d+/g, "")
    .replaceAll(": stored as a file of its own", "")
    .replaceAll(/( at \w+\.c\(\d+\))? \[\w+(=[\d.]+)?\]$/gm, "")
    .split("\n")
    .filter((line) => line !== "" && !/^(\.d|cd)/.test(line))
    .sort();
}

/** What a dry run says would be linked to what, or a run says could not be. */
function links({ stdout, stderr }: ClientResult): string[] {
  const would = [...stdout.matchAll(/^hf\S*\s+(.+) => (.+)$/gm)];
  const could = [...stderr.matchAll(/^rsync: \[generator\] link "\S+?\/dst\/(.+)" => (.+) failed: Operation not supported \(95\)/gm)];
  return [...would, ...could].map(([, name, leader]) => `${name} => ${leader}`).sort();
}

// The kernel may not let a container filter system calls.
const hasFilters = requireTool("rsync", "python3") && spawnSync(WITHOUT_LINKS, ["true"]).status === 0;

describe.skipIf(!hasFilters)("rsync -H up", () => {
  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), "rsync-links-"));
    files = await createStoredFiles({ budget: new ByteBudget(64 * 1024 * 1024), log: createLogger({ level: "silent" }) });
    server = new RsyncTestServer(files.fs);
    await server.start();
  });
  afterAll(async () => {
    await server.stop();
    await files.close();
    rmSync(work, { recursive: true });
  });

  it.each(OPTIONS)("%s tells of every link that it did not make, as the real server does", async (options) => {
    serial++;
    const [mine, expected] = await Promise.all([ours(options, {}), theirs(options, {})]);
    expect({ status: mine.status, errors: lines(mine.stderr) }).toEqual({ status: expected.status, errors: lines(expected.stderr) });
    expect(mine.source).toEqual(expected.source);
  });

  it("keeps every name whole, also of the links", async () => {
    serial++;
    const { status, stderr } = await ours("-aH", {});
    expect(status).toBe(23);
    expect(links({ status, stdout: "", stderr })).toEqual(["b => sub/a", "c => sub/a", "d => sub/a", "sub/x => sub/y/z"]);
    const stored = await describeFileSystem(files.fs, `${MOUNT}/${serial}/dst`, true);
    expect(stored).toEqual(describeLocal(join(work, `ours${serial}`, "src"), true));
    const again = await runRsync(server.place, args("-aH"), join(work, `ours${serial}`));
    expect({ status: again.status, stdout: again.stdout }).toEqual({ status: 23, stdout: "" });
    expect(links(again)).toEqual(["c => b", "d => b", "sub/a => b", "sub/y/z => sub/x"]);
    const plain = await runRsync(server.place, args("-a"), join(work, `ours${serial}`));
    expect(plain).toEqual({ status: 0, stdout: "", stderr: "" });
  });

  it("leaves at the source what could not be linked", async () => {
    serial++;
    const [mine, expected] = await Promise.all([ours("-aH --remove-source-files", {}), theirs("-aH --remove-source-files", {})]);
    expect({ status: mine.status, source: mine.source }).toEqual({ status: expected.status, source: expected.source });
  });

  describe.each(Object.entries(DESTINATIONS))("onto %s", (_name, destination) => {
    it.each(OPTIONS)("%s: dry runs say what the real server's say, and runs report just those", async (options) => {
      serial++;
      const [dry, expected] = await Promise.all([ours(`${options} -n`, destination), theirs(`${options} -n`, destination)]);
      expect({ ...dry, stdout: lines(dry.stdout) }).toEqual({ ...expected, stdout: lines(expected.stdout) });
      const run = await runRsync(server.place, args(options), join(work, `ours${serial}`));
      expect({ status: run.status, links: links(run) }).toEqual({ status: links(expected).length > 0 ? 23 : 0, links: links(expected) });
    });
  });

  it("makes the real server fail as a file system without links would", async () => {
    serial++;
    const { status, stderr } = await theirs("-aH", {});
    expect({ status, links: links({ status, stdout: "", stderr }).length }).toEqual({ status: 23, links: 4 });
  });
});
