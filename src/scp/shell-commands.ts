/**
 * The commands of a Unix machine that WinSCP's SCP mode uses to look after files, done on the file system port: each
 * gets words, nothing is expanded or run. Options that WinSCP never sends are refused. Knows no dialogue.
 */
import { FsError } from "../errors.ts";
import type { Attributes, DirectoryEntry } from "../vfs/file-system.ts";
import type { WorkingDirectory } from "./working-directory.ts";

/** What a command works with. */
export interface ShellContext {
  readonly files: WorkingDirectory;
  readonly user: string;
  /** Writes a line to standard output. */
  print(line: string): void;
  /** Writes a line to standard error. */
  complain(line: string): void;
}

/** Runs one command with the words after its name; resolves to its exit status. May reject with `FsError`: status 1. */
export type ShellCommand = (words: readonly string[], context: ShellContext) => Promise<number>;

const SUCCESS = 0;
const FAILURE = 1;
/** Files removed by one call. */
const REMOVED_AT_ONCE = 1000;
const TYPE_LETTERS: Readonly<Record<Attributes["type"], string>> = { file: "-", directory: "d", symlink: "l" };

/** Splits words into options (before `--`) and operands; undefined if an option is not among `known`. */
function operandsOf(words: readonly string[], known: RegExp): { readonly options: string[]; readonly operands: string[] } | undefined {
  const end = words.indexOf("--");
  const head = end < 0 ? words : words.slice(0, end);
  const options = head.filter((word) => /^-./.test(word));
  if (!options.every((option) => known.test(option))) return undefined;
  return { options, operands: [...head.filter((word) => !/^-./.test(word)), ...(end < 0 ? [] : words.slice(end + 1))] };
}

function nameOf(path: string): string {
  return path.replace(/\/+$/, "").split("/").at(-1) ?? "";
}

async function typeOf({ files }: ShellContext, path: string): Promise<Attributes["type"] | undefined> {
  try {
    return (await files.stat(path)).type;
  } catch (error) {
    if (error instanceof FsError && error.code === "not-found") return undefined;
    throw error;
  }
}

/** The line of `ls -la --full-time`; times are in UTC. */
export function fullListingLine(name: string, { type, mode, size, mtime }: Attributes, user: string): string {
  const letters = [..."rwxrwxrwx"].map((letter, index) => (mode & (0o400 >> index) ? letter : "-")).join("");
  const time = new Date(Math.min(mtime, 253_402_300_799) * 1000).toISOString().replace("T", " ").replace(".000Z", ".000000000 +0000");
  return `${TYPE_LETTERS[type]}${letters} 1 ${user} ${user} ${size} ${time} ${name}`;
}

async function list(words: readonly string[], context: ShellContext): Promise<number> {
  const parsed = operandsOf(words, /^(-[gla1Ad]+|--full-time)$/);
  if (!parsed || parsed.operands.length > 1) return refuse("ls", context);
  const { files, user, print } = context;
  const [path = "."] = parsed.operands;
  const attributes = await files.stat(path);
  if (attributes.type !== "directory" || parsed.options.some((option) => /^-\w*d/.test(option))) {
    print(fullListingLine(path, attributes, user));
    return SUCCESS;
  }
  const directory = await files.opendir(path);
  try {
    print("total 0");
    for (const name of [".", ".."]) print(fullListingLine(name, await directory.stat(), user));
    for (let entries = await directory.next(); entries.length > 0; entries = await directory.next()) {
      for (const entry of entries) printEntry(entry, context);
    }
  } finally {
    await directory.close();
  }
  return SUCCESS;
}

/** A name with a line break cannot be told in a line. */
function printEntry({ name, attributes }: DirectoryEntry, { print, user }: ShellContext): void {
  if (!/[\r\n]/.test(name)) print(fullListingLine(name, attributes, user));
}

async function changeDirectory([path = "/", ...more]: readonly string[], context: ShellContext): Promise<number> {
  if (more.length > 0) return refuse("cd", context);
  if ((await context.files.stat(path)).type !== "directory") throw new FsError("not-a-directory", `${path}: not a directory`);
  context.files.path = await context.files.realpath(path);
  return SUCCESS;
}

async function makeDirectory(words: readonly string[], context: ShellContext): Promise<number> {
  const parsed = operandsOf(words, /^$/);
  if (!parsed || parsed.operands.length === 0) return refuse("mkdir", context);
  for (const path of parsed.operands) await context.files.mkdir(path);
  return SUCCESS;
}

async function remove(words: readonly string[], context: ShellContext): Promise<number> {
  const parsed = operandsOf(words, /^-[fr]+$/);
  if (!parsed) return refuse("rm", context);
  const recursive = parsed.options.some((option) => option.includes("r"));
  for (const path of parsed.operands) {
    const type = await typeOf(context, path);
    if (type === "directory" && recursive) await removeTree(path, context.files);
    else if (type !== undefined) await context.files.remove(path);
  }
  return SUCCESS;
}

async function removeTree(path: string, files: WorkingDirectory): Promise<void> {
  const directories = [path];
  let names: string[] = [];
  const removeNames = async (): Promise<void> => {
    const failed = (await files.removeFiles(names)).find((failure) => failure !== undefined);
    names = [];
    if (failed) throw failed;
  };
  for await (const batch of files.walk(path)) {
    for (const entry of batch) {
      if (entry.attributes.type === "directory") directories.push(`${path}/${entry.path}`);
      else names.push(`${path}/${entry.path}`);
      if (names.length >= REMOVED_AT_ONCE) await removeNames();
    }
  }
  await removeNames();
  for (const directory of directories.reverse()) await files.rmdir(directory);
}

/** Where `mv` and `cp` put `from`: into `to` if that is a directory. */
async function placeFor(from: string, to: string, context: ShellContext): Promise<string> {
  return (await typeOf(context, to)) === "directory" ? `${to.replace(/\/+$/, "")}/${nameOf(from)}` : to;
}

async function move(words: readonly string[], context: ShellContext): Promise<number> {
  const parsed = operandsOf(words, /^-f$/);
  const [from, to, ...more] = parsed?.operands ?? [];
  if (from === undefined || to === undefined || more.length > 0) return refuse("mv", context);
  await context.files.rename(from, await placeFor(from, to, context), { replace: true });
  return SUCCESS;
}

/** What the absolute paths of everything in a directory begin with, its own included. */
function below(directory: string): string {
  return directory.replace(/\/*$/, "/");
}

async function copy(words: readonly string[], context: ShellContext): Promise<number> {
  const parsed = operandsOf(words, /^-[prfT]+$/);
  const [from, to, ...more] = parsed?.operands ?? [];
  if (!parsed || from === undefined || to === undefined || more.length > 0) return refuse("cp", context);
  const place = parsed.options.includes("-T") ? to : await placeFor(from, to, context);
  const { files } = context;
  if ((await files.stat(from)).type !== "directory") {
    await files.copy(from, place);
    return SUCCESS;
  }
  if (below(await files.realpath(place)).startsWith(below(await files.realpath(from)))) {
    throw new FsError("invalid-argument", `${from}: cannot be copied into itself`);
  }
  if ((await typeOf(context, place)) === undefined) await files.mkdir(place);
  for await (const batch of files.walk(from)) {
    for (const { path, attributes } of batch) {
      if (attributes.type !== "directory") await files.copy(`${from}/${path}`, `${place}/${path}`);
      else if ((await typeOf(context, `${place}/${path}`)) === undefined) await files.mkdir(`${place}/${path}`);
    }
  }
  return SUCCESS;
}

async function changeMode(words: readonly string[], context: ShellContext): Promise<number> {
  const [mode = "", path, ...more] = words;
  if (!/^[0-7]{3,4}$/.test(mode) || path === undefined || more.length > 0) return refuse("chmod", context);
  await context.files.setstat(path, { mode: Number.parseInt(mode, 8) });
  return SUCCESS;
}

async function refuse(name: string, { complain }: ShellContext): Promise<number> {
  complain(`${name}: this cannot be done here`);
  return FAILURE;
}

const nothing: ShellCommand = async () => SUCCESS;

/** Commands by name. */
export const SHELL_COMMANDS: ReadonlyMap<string, ShellCommand> = new Map<string, ShellCommand>([
  ["ls", list],
  ["cd", changeDirectory],
  ["mkdir", makeDirectory],
  ["rm", remove],
  ["mv", move],
  ["cp", copy],
  ["chmod", changeMode],
  ["unset", nothing],
  ["unalias", nothing],
  ["chown", (_, context) => refuse("chown", context)],
  ["chgrp", (_, context) => refuse("chgrp", context)],
  ["ln", (_, context) => refuse("ln", context)],
  [
    "pwd",
    async (_, { files, print }) => {
      print(files.path);
      return SUCCESS;
    },
  ],
  [
    "groups",
    async (_, { user, print }) => {
      print(user);
      return SUCCESS;
    },
  ],
  [
    "printenv",
    async ([name], { print }) => {
      if (name !== "LANG") return FAILURE;
      print("C.UTF-8");
      return SUCCESS;
    },
  ],
  [
    "uname",
    async (_, { print }) => {
      print("sftp-s3-gateway");
      return SUCCESS;
    },
  ],
]);
