/** The same two trees synced by aws-cli (each major version that is here) and by us: same copies, deletions, lines and exit codes. */
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { Random } from "../../../support/random.ts";
import { findTools, requireTool } from "../../../support/require-tool.ts";
import { type S3Server, startS3Server } from "../../../support/s3-server/s3-server.ts";
import { awsEnvironment, bucketTree, type CommandResult, plantBucket, plantFolder, runCommand, type TreeEntry } from "./sync-fixture.ts";

let server: S3Server;
let folder: string;

beforeAll(async () => {
  server = await startS3Server({ buckets: ["aws-src", "aws-dst", "our-src", "our-dst"] });
  folder = mkdtempSync(join(tmpdir(), "sync-aws-"));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  server.reset();
  for (const [name, value] of Object.entries(awsEnvironment(server))) vi.stubEnv(name, value);
});

/** The programs by their major version, "1" and "2". */
function awsVersions(): { readonly version: string; readonly program: string }[] {
  const found = new Map<string, string>();
  for (const program of findTools("aws")) {
    const said = execFileSync(program, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    const version = /^aws-cli\/(\d+)\./.exec(said)?.[1];
    if (version !== undefined && !found.has(version)) found.set(version, program);
  }
  if (process.env.CI === "true")
    for (const version of ["1", "2"]) if (!found.has(version)) throw new Error(`no aws-cli ${version} (.ci/run installs it)`);
  return [...found].map(([version, program]) => ({ version, program }));
}

/** aws-cli in its own process. */
function runAws(program: string, args: readonly string[]): Promise<CommandResult> {
  const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "");
  const env = { ...awsEnvironment(server), PATH: process.env.PATH, HOME: folder, LC_ALL: "C.UTF-8" };
  return new Promise((resolve) => {
    // Said aloud: versions before 2.13 do not read AWS_ENDPOINT_URL.
    execFile(program, ["--endpoint-url", server.endpoint, ...args], { env, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, out: lines(stdout), err: lines(stderr) });
    });
  });
}

const NAMES = [
  "a.jpg",
  "a/b.jpg",
  "a b.tif",
  "ä.jpg",
  "日本.png",
  "😀.jpg",
  "～.jpg",
  "z%20.jpg",
  "plus+.jpg",
  "deep/x/y/z.txt",
  "q'uote.jpg",
];
const NOW = Math.floor(Date.now() / 1000) * 1000;

/** A source and a destination that agree here and there. */
function generateTrees(seed: number): { source: TreeEntry[]; destination: TreeEntry[] } {
  const random = new Random(seed);
  const source: TreeEntry[] = [];
  const destination: TreeEntry[] = [];
  for (const name of NAMES) {
    const entry = { name, bytes: "x".repeat(random.below(4)), mtimeMs: NOW - 10_000 * (1 + random.below(3)) };
    const kind = random.below(5);
    if (kind !== 0) source.push(entry);
    if (kind === 0 || kind === 1) destination.push(entry);
    if (kind === 2) destination.push({ ...entry, bytes: "x".repeat(random.below(4)) });
    if (kind === 3) destination.push({ ...entry, mtimeMs: NOW - 10_000 * (1 + random.below(3)) });
  }
  if (source.length === 0) source.push({ name: "only.jpg", bytes: "1", mtimeMs: NOW });
  return { source, destination };
}

/** Sorted, with our names in place of aws-cli's and without the line that is only ours. */
function comparable(lines: readonly string[]): string[] {
  return lines
    .filter((line) => !line.startsWith("summary"))
    .map((line) => line.replaceAll(/\b(?:aws|our)-(src|dst)\b/g, "$1").replace(/ \(reached max retries: \d+\)/, ""))
    .sort();
}

const FLAGS: readonly (readonly string[])[] = [
  ["--size-only", "--only-show-errors"],
  [],
  ["--delete"],
  ["--dryrun", "--delete", "--only-show-errors"],
  ["--exclude", "*.jpg", "--include", "a*", "--size-only"],
];

const versions = requireTool("aws") ? awsVersions() : [];

describe.each(versions)("aws-cli $version: s3 sync, side by side", ({ program }) => {
  const aws = (...args: string[]): Promise<CommandResult> => runAws(program, args);

  it.each(FLAGS.map((flags, index) => ({ flags, seed: index + 1 })))("bucket to bucket $flags", async ({ flags, seed }) => {
    const { source, destination } = generateTrees(seed);
    for (const who of ["aws", "our"]) {
      plantBucket(server, `${who}-src`, "p/", source);
      plantBucket(server, `${who}-dst`, "to/", destination);
      server.contents.put(`${who}-src`, "p/originals/", "");
      server.contents.put(`${who}-src`, "p2/not-ours.jpg", "1");
      server.contents.put(`${who}-dst`, "to2/not-ours.jpg", "1");
    }
    const theirs = await aws("s3", "sync", "s3://aws-src/p", "s3://aws-dst/to/", "--no-progress", ...flags);
    const ours = await runCommand("sync", "s3://our-src/p", "s3://our-dst/to/", "--no-progress", "--force", ...flags);
    expect(comparable(ours.out)).toEqual(comparable(theirs.out));
    expect(comparable(ours.err)).toEqual(comparable(theirs.err));
    expect(ours.code).toBe(theirs.code);
    expect(bucketTree(server, "our-dst")).toEqual(bucketTree(server, "aws-dst"));
  });

  it("bucket to folder and back", async () => {
    const { source, destination } = generateTrees(77);
    for (const who of ["aws", "our"]) {
      plantBucket(server, `${who}-src`, "", source);
      plantFolder(join(folder, `${who}-dst`), destination);
    }
    const theirs = await aws("s3", "sync", "s3://aws-src", join(folder, "aws-dst"), "--no-progress", "--delete");
    const ours = await runCommand("sync", "s3://our-src", join(folder, "our-dst"), "--no-progress", "--delete", "--force");
    expect(comparable(ours.out)).toEqual(comparable(theirs.out));
    expect({ code: ours.code, err: ours.err }).toEqual({ code: theirs.code, err: theirs.err });
    expect(folderTree(join(folder, "our-dst"))).toEqual(folderTree(join(folder, "aws-dst")));

    const theirUpload = await aws("s3", "sync", join(folder, "aws-dst"), "s3://aws-dst/up", "--no-progress");
    const ourUpload = await runCommand("sync", join(folder, "our-dst"), "s3://our-dst/up", "--no-progress");
    expect(comparable(ourUpload.out)).toEqual(comparable(theirUpload.out));
    expect(bucketTree(server, "our-dst")).toEqual(bucketTree(server, "aws-dst"));
    const again = await runCommand("sync", join(folder, "our-dst"), "s3://our-dst/up", "--no-progress");
    expect(comparable(again.out)).toEqual([]);
  });

  it("a bucket that does not exist, a copy that is denied, a folder that does not exist", async () => {
    const missing = await aws("s3", "sync", "s3://aws-src", "s3://no-such-bucket", "--only-show-errors");
    const ourMissing = await runCommand("sync", "s3://our-src", "s3://no-such-bucket", "--only-show-errors");
    expect(comparable(ourMissing.err)).toEqual(comparable(missing.err));
    expect(ourMissing.code).toBe(missing.code);

    for (const who of ["aws", "our"]) {
      for (const name of ["a", "b", "c"]) server.contents.put(`${who}-src`, name, name);
    }
    const action = { kind: "status", status: 403, code: "AccessDenied", message: "Access Denied" } as const;
    server.fault({ operation: "CopyObject", when: ({ key }) => key === "b", times: 100, action });
    const denied = await aws("s3", "sync", "s3://aws-src", "s3://aws-dst", "--only-show-errors");
    const ourDenied = await runCommand("sync", "s3://our-src", "s3://our-dst", "--only-show-errors");
    expect(comparable(ourDenied.err)).toEqual(comparable(denied.err));
    expect([ourDenied.code, ourDenied.out]).toEqual([denied.code, denied.out]);
    expect(Object.keys(bucketTree(server, "our-dst"))).toEqual(["a", "c"]);

    const nowhere = await aws("s3", "sync", join(folder, "nowhere"), "s3://aws-dst");
    const ourNowhere = await runCommand("sync", join(folder, "nowhere"), "s3://our-dst");
    expect(ourNowhere.code).toBe(nowhere.code);
    expect(nowhere.err.join("\n")).toContain(ourNowhere.err.join("\n").replace(/\/? does not exist\.$/, ""));
  });
});

function folderTree(root: string): Record<string, string> {
  const names = readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((name) => !name.startsWith(".sftp-gateway") && statSync(join(root, name)).isFile())
    .sort();
  return Object.fromEntries(names.map((name) => [name, `${readFileSync(join(root, name), "utf8")} ${statSync(join(root, name)).mtimeMs}`]));
}
