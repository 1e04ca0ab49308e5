/**
 * Every option a customer types, up and down, against our server and against the real one on a local directory: the
 * trees on both sides, the exit status and the output must be the same. Nothing here is typed by hand as expected.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ByteBudget } from "../../src/byte-budget.ts";
import { createLogger } from "../../src/log.ts";
import { openLocalStore } from "../../src/objectstore/local-store.ts";
import { createS3Store } from "../../src/objectstore/s3/s3-store.ts";
import { UploadNotesStore } from "../../src/rsync/upload-notes.ts";
import { startS3Server } from "../support/s3-server/s3-server.ts";
import { createStoredFiles, MOUNT, SMALL_PARTS, type StoredFiles, type StoredFilesOptions } from "../support/stored-files.ts";
import { type ClientResult, RsyncTestServer, runRsync } from "./rsync-server.ts";
import { DIRECTORIES_FOR_FILES, FILES_FOR_DIRECTORIES, OTHER, SOURCE, TARGET } from "./rsync-matrix-trees.ts";
import { describeFileSystem, describeLocal, putTree, type Tree, writeTree } from "./rsync-trees.ts";

/** Options, with the source as `S` and the target as `T`. */
interface Case {
  readonly options: string;
  /** Default: `S/ T/`. */
  readonly paths?: readonly string[];
  readonly only?: "up" | "down";
  /** Output is numbers that differ from run to run. */
  readonly silent?: boolean;
  /** Without `-i`: the output is in words. */
  readonly plain?: boolean;
  /** Lines of the list for `--files-from`, instead of the usual ones. */
  readonly list?: string;
  /** More that is there before. */
  readonly also?: Tree;
}

const CASES: readonly Case[] = [
  ...[
    "-a",
    "-r",
    "-rt",
    "-rtp",
    "-rE",
    "-rtE",
    "-av",
    "-avv",
    "-aii",
    "-az",
    "-azz",
    "-an",
    "-ac",
    "-au",
    "-aI",
    "-aW",
    "-aH",
    "-as",
    "-aS",
    "-am",
  ],
  ...["-a --size-only", "-a --ignore-times", "-a --existing", "-a --ignore-existing", "-a --max-size=10", "-a --min-size=6", "-rc"],
  ...["-a --delete", "-a --delete-before", "-a --delete-during", "-a --delete-after", "-a --delete-delay", "-a --delete --dry-run"],
  ...["-a --delete-excluded --exclude=*.log", "-a --delete --exclude=*.log", "-a --delete --max-delete=2", "-a --delete --existing"],
  ...[
    "-a --exclude=dir",
    "-a --include=*/ --include=*.txt --exclude=*",
    "-a --exclude=/dir/sub",
    "-a --exclude=**/deep.txt",
    "-a --exclude=e*/",
  ],
  ...["-a --filter='-s_*.log' --delete", "-a --filter='P_extradir' --delete", "-a --exclude=.* --delete --delete-excluded"],
  ...["-aF", "-aFF", "-aF --delete", "-aFF --delete", "-aC", "-aC --delete", "-a --filter=:_.rsync-filter --delete --delete-excluded"],
  ...["-a --filter=:n_.rsync-filter --delete", "-a --filter=:-_.cvsignore --delete", "-a --filter=:e_.rsync-filter --delete"],
  ...[
    "-a --partial",
    "-a --partial-dir=.part",
    "-a --inplace",
    "-a --append",
    "-a --append-verify",
    "-a --timeout=20",
    "-a --bwlimit=100000",
  ],
  ...["-a --chmod=F600", "-a --iconv=utf-8", "-a --info=name0", "-a --debug=none", "-a --fsync", "-a --sparse", "-a --modify-window=100"],
  ...["-a --block-size=1000", "-a --checksum-seed=7", "-a --numeric-ids", "-a --no-whole-file", "-a --compress-level=9", "-rlt --no-r"],
  ...["-a --delay-updates", "-a -y", "-a --ignore-errors --delete", "-a --force", "-a --no-implied-dirs", "-d", "-dt --delete"],
].map((options) => ({ options }));

const SPECIAL: readonly Case[] = [
  { options: "-a --progress", silent: true },
  { options: "-a --stats", silent: true },
  { options: "-a --remove-source-files" },
  { options: "-a", paths: ["S", "T"] },
  { options: "-a", paths: ["S/same.txt", "S/dir", "T/"] },
  { options: "-a", paths: ["S/new.txt", "T/renamed.txt"] },
  { options: "-a", paths: ["S/new.txt", "T/extra.txt"] },
  { options: "-a", paths: ["S/new.txt", "T/brand-new/"] },
  { options: "-a", paths: ["S/dir", "T/extra.txt"] },
  { options: "-a", paths: ["S/", "T/extra.txt"] },
  { options: "-aR", paths: ["S/./dir/sub", "T/"] },
  { options: "-aR", paths: ["S/./dir/sub/deep.txt", "S/./new.txt", "T/"] },
  { options: "-aR --delete", paths: ["S/./dir", "T/"] },
  { options: "-r", paths: ["S/emptydir", "T/"] },
  { options: "-r", paths: ["S/emptydir/", "T/brand-new"] },
  { options: "-a", paths: ["S/emptydir", "T/brand-new"] },
  { options: "-a", paths: ["S/missing", "S/new.txt", "T/"] },
  { options: "-a --files-from=LIST", paths: ["S/", "T/"] },
  { options: "-a --files-from=LIST --no-relative", paths: ["S/", "T/"] },
  { options: "-ar --files-from=LIST", paths: ["S/", "T/"] },
  { options: "-a --files-from=LIST", paths: ["S/", "T/"], list: "dir/./sub\n./new.txt\n/../dir/../older.txt\ndir/./\n" },
  { options: "-rlt --files-from=LIST", paths: ["S/", "T/"], list: "dir/sub/./deep.txt\nsp ace\n" },
  { options: "-a --filter=:_.nest" },
  { options: "-a --filter=:_.nest --delete" },
  { options: "-a --files-from=REMOTE", paths: ["S/", "T/"] },
  { options: "-aR --no-implied-dirs", paths: ["S/./dir/sub/deep.txt", "T/"] },
  { options: "-anR --no-implied-dirs -y", paths: ["S/./dir/sub/deep.txt", "T/"] },
  ...["-a", "-av", "-avv", "-avv --delete", "-avv --existing", "-avv --ignore-existing", "-avvu --max-size=10"].map((options) => ({
    options,
    plain: true,
  })),
  { options: "-a --info=skip,backup,name2 --existing", plain: true },
  { options: "-avv --info=none --existing", plain: true },
  { options: "-avv --remove-source-files", plain: true },
  { options: "-avvb --delete", only: "up", plain: true },
  { options: "-ab --info=backup --backup-dir=../bak", only: "up", plain: true },
  { options: "-avv --link-dest=../other", only: "up", plain: true },
  { options: "-avv --copy-dest=../other", only: "up", plain: true },
  { options: "-avv --compare-dest=../other", only: "up", plain: true },
  { options: "-a --mkpath", paths: ["S/dir/", "T/a/b/c/"] },
  { options: "-ab", only: "up" },
  { options: "-ab --suffix=.old", only: "up" },
  { options: "-ab --delete", only: "up" },
  { options: "-ab --backup-dir=../bak", only: "up" },
  { options: "-ab --backup-dir=../bak --delete", only: "up" },
  { options: "-a --link-dest=../other", only: "up" },
  { options: "-a --copy-dest=../other", only: "up" },
  { options: "-a --compare-dest=../other", only: "up" },
  { options: "-ac --compare-dest=../other", only: "up" },
  ...["-ab --link-dest", "-an --link-dest", "-an --compare-dest", "-rE --copy-dest", "-rt --link-dest", "-au --compare-dest"].map(
    (options) => ({ options: `${options}=../other`, only: "up" as const }),
  ),
  { options: "-a --ignore-existing --info=skip2", plain: true },
  { options: "-ac --ignore-existing --info=skip2", plain: true },
  { options: "-a --ignore-existing --info=skip2", plain: true, only: "up", also: { "new.txt/": {}, emptydir: { content: "a file" } } },
  ...[
    "-a",
    "-aii",
    "-rtp",
    "-an",
    "-a --delete",
    "-a --delete-after",
    "-a --delete-before",
    "-a --existing",
    "-a --max-size=2",
    "-a -y",
  ].map((options) => ({ options: `${options} --ignore-existing`, only: "up" as const, also: FILES_FOR_DIRECTORIES })),
  { options: "-avv --ignore-existing", only: "up", plain: true, also: FILES_FOR_DIRECTORIES },
  // How many the limit stopped is counted in another way for directories within directories.
  { options: "-a --force --max-delete=0", only: "up", silent: true, also: DIRECTORIES_FOR_FILES },
  ...["-a", "-ab", "-ab --suffix=.old --delete", "-ab --backup-dir=../bak"].map((options) => ({
    options,
    only: "up" as const,
    also: FILES_FOR_DIRECTORIES,
  })),
  ...[
    "-a",
    "-an",
    "-a --force",
    "-an --force",
    "-ab --force",
    "-a --delete",
    "-a --delete-after",
    "-aF --delete",
    "-a --delete --exclude=*.keep",
    "-a --delete --delete-excluded --exclude=*.keep",
    "-a --delete --filter='P_*.keep'",
  ].map((options) => ({ options, only: "up" as const, also: DIRECTORIES_FOR_FILES })),
  { options: "-a", only: "up", also: { "new.txt/x": { content: "x" }, emptydir: { content: "a file" } } },
  { options: "-a", paths: ["S/*.txt", "T/"], only: "down" },
  { options: "-a", paths: ["S/*/*.txt", "T/"], only: "down" },
  { options: "-aR", paths: ["S/./d*/same2.txt", "T/"], only: "down" },
  { options: "-a", paths: ["S/no*match", "T/"], only: "down" },
  { options: "--list-only -r", paths: ["S/"], only: "down" },
];

let server: RsyncTestServer;
let files: StoredFiles;
const MIB = 1024 * 1024;
const budget = new ByteBudget(64 * MIB);
let work = "";
let serial = 0;

/** What is under the file system, and what else ends with it. */
interface Below {
  readonly options: Pick<StoredFilesOptions, "store" | "isLocal">;
  close(): Promise<void>;
}

const STORES: Readonly<Record<string, () => Promise<Below>>> = {
  memory: async () => ({ options: {}, close: async () => undefined }),
  disk: async () => {
    const folder = join(work, "store");
    mkdirSync(folder);
    return { options: { store: await openLocalStore({ root: folder }), isLocal: true }, close: async () => undefined };
  },
  S3: async () => {
    const s3 = await startS3Server({ buckets: ["museum"], minPartSize: SMALL_PARTS.minPartSize });
    const connection = { bucket: "museum", endpoint: s3.endpoint, pathStyle: true, ...s3.credentials };
    const store = createS3Store({ ...connection, limits: SMALL_PARTS });
    return {
      options: { store },
      close: async () => {
        await store.close();
        await s3.close();
      },
    };
  },
};

/** What a run left behind. */
interface Outcome {
  readonly result: ClientResult;
  readonly remote: readonly string[];
  readonly local: readonly string[];
}

function words(options: string): string[] {
  return options.split(" ").map((word) => word.replace(/'/g, "").replace("_", " "));
}

/** The arguments of a run: the side that is remote gets the host. */
function argumentsOf({ options, plain, paths = ["S/", "T/"] }: Case, up: boolean, directory: string): string[] {
  const place = (path: string): string => path.replace(/^S/, "src").replace(/^T/, "dst");
  const spelled = paths.map((path, index) => {
    const isTarget = index === paths.length - 1 && paths.length > 1;
    return isTarget === up ? `host:.${MOUNT}/${serial}/${place(path)}` : place(path);
  });
  const named = words(options).map((word) =>
    word.replace("LIST", join(directory, "list")).replace("REMOTE", `host:.${MOUNT}/${serial}/other/names.lst`),
  );
  return [...named, ...(plain ? [] : ["-i"]), ...spelled];
}

async function ours(test: Case, up: boolean, times: boolean, extra: readonly string[]): Promise<Outcome> {
  const directory = join(work, `ours${serial}`);
  const root = `${MOUNT}/${serial}`;
  await putTree(files.fs, `${root}/${up ? "dst" : "src"}`, up ? { ...TARGET, ...test.also } : SOURCE);
  await putTree(files.fs, `${root}/other`, OTHER);
  writeTree(join(directory, up ? "src" : "dst"), up ? SOURCE : TARGET);
  writeFileSync(join(directory, "list"), test.list ?? "new.txt\ndir/sub\ndir/inner.txt\nno-such-file\n");
  const result = await runRsync(server.place, [...extra, ...argumentsOf(test, up, directory)], directory);
  expect(server.warnings.splice(0)).toEqual([]);
  expect(budget.used).toBe(0);
  rmSync(join(directory, "list"));
  return { result, remote: await describeFileSystem(files.fs, root, times), local: describeLocal(directory, times) };
}

/** Takes away what a case left behind: what is kept in memory makes everything slower. */
async function forget(): Promise<void> {
  for await (const batch of files.store.list(`alice/${serial}/`)) {
    await files.store.delete(batch.flatMap((entry) => (entry.kind === "object" ? [entry.key] : [])));
  }
}

async function theirs(test: Case, up: boolean, times: boolean, extra: readonly string[]): Promise<Outcome> {
  const directory = join(work, `theirs${serial}`);
  const place = join(work, `remote${serial}`);
  const remote = join(place, MOUNT, String(serial));
  writeTree(join(remote, up ? "dst" : "src"), up ? { ...TARGET, ...test.also } : SOURCE);
  writeTree(join(remote, "other"), OTHER);
  writeTree(join(directory, up ? "src" : "dst"), up ? SOURCE : TARGET);
  writeFileSync(join(directory, "list"), test.list ?? "new.txt\ndir/sub\ndir/inner.txt\nno-such-file\n");
  const result = await runRsync(place, [...extra, ...argumentsOf(test, up, directory)], directory);
  rmSync(join(directory, "list"));
  return { result, remote: describeLocal(remote, times), local: describeLocal(directory, times) };
}

/** What the real server made of the cases so far: it is the same whatever ours has below it. */
const references = new Map<string, Outcome>();

async function reference(test: Case, up: boolean, times: boolean, extra: readonly string[]): Promise<Outcome> {
  const key = JSON.stringify([test, up, extra]);
  const known = references.get(key) ?? (await theirs(test, up, times, extra));
  references.set(key, known);
  return known;
}

/** Lines of output, each once, without what depends on the place, the version and the times of directories. */
function comparable(text: string, plain = false): string[] {
  const lines = text
    .replaceAll(/\/\S*\/(ours|theirs|remote)\d+/g, "")
    .replaceAll(new RegExp(`(${MOUNT})/\\d+`, "g"), "$1")
    .replaceAll("update retained", "update discarded")
    .replaceAll(/( at \w+\.c\(\d+\))? \[\w+(=[\d.]+)?\]$/gm, "")
    .split("\n")
    .filter((line) => line !== "" && !/^(\.d|cd\.|total: matches|drwx)/.test(line))
    .filter(
      (line) =>
        !/^(sent |total size|sending incremental|receiving |building |delta-transmission|\[\w+\]|opening|server_|client_)/.test(line),
    )
    .filter((line) => !/write error: Broken pipe|backup_dir is /.test(line) && !(plain && /^[^ ]*\/$/.test(line)));
  return [...new Set(lines)].sort();
}

async function compare(test: Case, up: boolean, extra: readonly string[]): Promise<void> {
  serial++;
  const times = /(^| )-\w*[at]/.test(test.options) && !/-d/.test(test.options);
  const [mine, expected] = await Promise.all([ours(test, up, times, extra), reference(test, up, times, extra)]);
  expect({ status: mine.result.status, remote: mine.remote, local: mine.local }).toEqual({
    status: expected.result.status,
    remote: expected.remote,
    local: expected.local,
  });
  if (test.silent) return;
  const output = ({ stdout, stderr }: ClientResult): unknown =>
    // Warnings have no tag of their own at protocol 29: the real server uses one that this protocol does not have.
    extra.includes("--protocol=29") ? comparable(stdout + stderr) : [comparable(stdout, test.plain), comparable(stderr)];
  expect(output(mine.result)).toEqual(output(expected.result));
}

const present = existsSync("/usr/bin/rsync");

describe.skipIf(!present).each(Object.entries(STORES))("rsync with files in %s", (kind, open) => {
  let below: Below;

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), "rsync-matrix-"));
    below = await open();
    files = await createStoredFiles({ budget: new ByteBudget(64 * MIB), log: createLogger({ level: "silent" }), ...below.options });
    server = new RsyncTestServer(files.fs, { budget, notes: new UploadNotesStore(join(work, "notes")) });
    await server.start();
  });
  afterAll(async () => {
    await server.stop();
    await files.close();
    await below.close();
    rmSync(work, { recursive: true });
  });

  describe.each([
    ["up", true],
    ["down", false],
  ] as const)("%s", (direction, up) => {
    // All of them with the fastest store; the others share the rest of the time, unless RSYNC_MATRIX=full.
    const isFull = kind === "memory" || process.env.RSYNC_MATRIX === "full";
    const isMeant = (index: number): boolean => isFull || index % 4 === (kind === "S3" ? 0 : 2);
    const cases = [...CASES, ...SPECIAL].filter(({ only }, index) => (only === undefined || only === direction) && isMeant(index));
    it.each(cases.map((test) => [`${test.options} ${test.paths?.join(" ") ?? ""}`, test] as const))("%s", async (_name, test) => {
      await compare(test, up, []);
      if (kind === "memory") await forget();
    });
    it.each(kind === "memory" ? ["29", "30"] : [])("protocol %s", async (protocol) => {
      for (const options of ["-a", "-az --delete", "-ac", "-a --append", "-aH --files-from=LIST", "-a --files-from=REMOTE"]) {
        await compare({ options }, up, [`--protocol=${protocol}`]);
      }
    });
  });
});
