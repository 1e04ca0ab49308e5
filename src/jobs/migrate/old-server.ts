/**
 * Reads what an old upload server has, below the root of its file system or of a copy of it: accounts, keys, s3fs mounts,
 * nightly commands, host keys. Changes nothing, opens no secret beyond the names of access keys. What cannot be read or
 * judged is noted with file and line.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type CronCommand, readCronCommands } from "./cron-commands.ts";
import { parseS3fsCommand, parseFstabLine, type S3fsMount } from "./s3fs-mounts.ts";

/** Where something stands on the old server; `line` counts from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

/** Something that a person must look at. */
export interface Note extends Place {
  readonly text: string;
}

/** An account with a home. */
export interface OldAccount extends Place {
  readonly name: string;
  readonly home: string;
  /** Lines of authorized_keys that are good, with their options. */
  readonly keys: readonly string[];
}

/** Everything that was found. */
export interface OldServer {
  readonly accounts: readonly OldAccount[];
  readonly mounts: readonly (S3fsMount & Place)[];
  readonly commands: readonly CronCommand[];
  /** Private host key files, as paths on the old server. */
  readonly hostKeys: readonly string[];
  /** In which crontabs count; undefined for UTC, or if it is not said. */
  readonly timezone: string | undefined;
  readonly notes: readonly Note[];
}

const FIRST_UID = 1000;
const NOBODY = 65534;
const MAX_FILE = 4 * 1024 * 1024;

/** Throws if a line of authorized_keys cannot be used. */
export type CheckKey = (line: string) => void;

/** Reads the server below `root`. Missing files are no error. */
export async function readOldServer(root: string, checkKey: CheckKey): Promise<OldServer> {
  const notes: Note[] = [];
  const read = new Reader(root, notes);
  const accounts = await readAccounts(read, checkKey);
  const mounts = await readMounts(read);
  const { commands, mounts: mountedByCron } = await readCronCommands(read);
  const hostKeys = (await read.names("/etc/ssh")).filter((name) => /^ssh_host_.*_key$/.test(name)).map((name) => `/etc/ssh/${name}`);
  if (hostKeys.length === 0) notes.push({ file: "/etc/ssh", line: 0, text: "no host keys: customers will see a changed fingerprint" });
  const timezone = (await read.lines("/etc/timezone"))[0]?.text.trim();
  const isUtc = timezone === undefined || /^(?:Etc\/)?(?:UTC|UCT|Universal|Zulu|GMT)?$/.test(timezone);
  const mountsFound = unique([...mounts, ...mountedByCron]);
  return { accounts, mounts: mountsFound, commands, hostKeys, timezone: isUtc ? undefined : timezone, notes };
}

/** Files below a root. What is there and cannot be read becomes a note. */
export class Reader {
  readonly #root: string;
  readonly notes: Note[];

  constructor(root: string, notes: Note[]) {
    this.#root = root;
    this.notes = notes;
  }

  /** Lines of a file with their places; none if it is missing. */
  async lines(file: string): Promise<(Place & { readonly text: string })[]> {
    const text = await this.#try(file, async (path) => (await readFile(path, "latin1")).slice(0, MAX_FILE));
    if (text === undefined) return [];
    return Buffer.from(text, "latin1")
      .toString("utf8")
      .split(/\r?\n/)
      .map((line, index) => ({ file, line: index + 1, text: line }));
  }

  /** Names in a folder, sorted; none if it is missing. */
  async names(folder: string): Promise<string[]> {
    return (await this.#try(folder, (path) => readdir(path)))?.sort() ?? [];
  }

  note(place: Place, text: string): void {
    this.notes.push({ file: place.file, line: place.line, text });
  }

  async #try<T>(file: string, action: (path: string) => Promise<T>): Promise<T | undefined> {
    try {
      return await action(join(this.#root, file));
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code) : "";
      if (code === "") throw error;
      if (code !== "ENOENT" && code !== "ENOTDIR") this.notes.push({ file, line: 0, text: `cannot be read (${code})` });
      return undefined;
    }
  }
}

async function readAccounts(read: Reader, checkKey: CheckKey): Promise<OldAccount[]> {
  const accounts: OldAccount[] = [];
  for (const place of await read.lines("/etc/passwd")) {
    if (place.text === "" || place.text.startsWith("#")) continue;
    const [name = "", , uidText = "", , , home = "", shell = ""] = place.text.split(":");
    const uid = Number(uidText);
    if (home === "" || !Number.isInteger(uid)) read.note(place, "is no line of passwd");
    else if (uid >= FIRST_UID && uid !== NOBODY) {
      const keys = await readKeys(read, home, checkKey);
      if (keys.length === 0) read.note(place, `account ${name} has no usable key in ${home}/.ssh/authorized_keys: not taken over`);
      else accounts.push({ file: place.file, line: place.line, name, home, keys });
      if (/\b(?:nologin|false)$/.test(shell)) read.note(place, `account ${name} cannot log in on the old server (${shell}): take it over?`);
    }
  }
  return accounts;
}

async function readKeys(read: Reader, home: string, checkKey: CheckKey): Promise<string[]> {
  const keys: string[] = [];
  for (const place of await read.lines(`${home}/.ssh/authorized_keys`)) {
    const line = place.text.trim();
    if (line === "" || line.startsWith("#")) continue;
    const bare = withoutSftpCommand(line);
    try {
      checkKey(bare);
      keys.push(bare);
      if (bare !== line) read.note(place, "its command= was left out: sftp, scp and rsync are all that the gateway serves");
    } catch (error) {
      read.note(place, error instanceof Error ? error.message : String(error));
    }
  }
  return keys;
}

/** A key that was held to sftp by a forced command needs none here. */
function withoutSftpCommand(line: string): string {
  const command = /(^|,)command="(?:internal-sftp|\/usr\/\S*\/sftp-server)[^"]*"(,|(?=\s))/;
  return line.replace(command, (_all, before: string, after: string) => (before === "" ? "" : after)).trimStart();
}

/** Mounts of fstab, and those that run: s3fs hides bucket and options from /proc/mounts, its command line has them. */
async function readMounts(read: Reader): Promise<(S3fsMount & Place)[]> {
  const mounts: (S3fsMount & Place)[] = [];
  for (const place of await read.lines("/etc/fstab")) {
    if (!/s3fs/.test(place.text) || place.text.trimStart().startsWith("#")) continue;
    const mount = parseFstabLine(place.text);
    if (mount) mounts.push({ ...mount, file: place.file, line: place.line });
    else read.note(place, "is an s3fs line that was not understood");
  }
  for (const name of await read.names("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const file = `/proc/${name}/cmdline`;
    const words = (await read.lines(file))
      .map(({ text }) => text)
      .join("\n")
      .split("\0");
    if (!/(?:^|\/)s3fs$/.test(words[0] ?? "")) continue;
    const mount = parseS3fsCommand(words.slice(1));
    if (mount) mounts.push({ ...mount, file, line: 1 });
    else read.note({ file, line: 1 }, "is an s3fs process whose words were not understood");
  }
  return mounts;
}

/** A mount in fstab usually runs, too: the first mention counts. */
function unique(mounts: readonly (S3fsMount & Place)[]): (S3fsMount & Place)[] {
  return [...new Map([...mounts].reverse().map((mount): [string, S3fsMount & Place] => [mount.mountPoint, mount])).values()].reverse();
}
