/**
 * Where an upload goes (rsync main.c `get_local_name`): below a directory, or a single entry to a path of its own.
 * Creates the directory where rsync would. Knows no wire.
 */
import type { FileSystem } from "../vfs/file-system.ts";
import { isMissing, reasonText } from "./error-text.ts";
import { ExitStatus, RsyncExit } from "./exit-codes.ts";
import { destinationMode } from "./file-mode.ts";
import type { FileList } from "./file-list.ts";
import { absolutePath, joinPath, toText } from "./names.ts";
import type { Run } from "./run.ts";

/** See the head of this file. */
export interface Destination {
  /** The directory names are relative to. */
  readonly root: string;
  /** Set if the one entry of the list goes to this path itself. */
  readonly single: string | undefined;
  /** The directory did not exist before: nothing lies below it. */
  readonly isNew: boolean;
  /** It was made with its parents (`--mkpath`): rsync does not count it as new then. */
  readonly madeParents: boolean;
}

/** The virtual path of a name from the list; undefined if it cannot be one (no UTF-8, too long). */
export function destinationPath(destination: Destination, name: string): string | undefined {
  if (destination.single !== undefined) return destination.single;
  const text = toText(name);
  return text === undefined ? undefined : joinPath(destination.root, text);
}

async function typeOf(fileSystem: FileSystem, path: string): Promise<"directory" | "other" | "missing"> {
  try {
    return (await fileSystem.stat(path)).type === "directory" ? "directory" : "other";
  } catch (error) {
    if (isMissing(error)) return "missing";
    throw new RsyncExit(ExitStatus.fileSelection, `rsync: [Receiver] ERROR: cannot stat destination "${path}": ${reasonText(error)}`);
  }
}

/** Makes a directory, and its parents with `withParents`. Returns how many were made. */
async function makeDirectory(
  fileSystem: FileSystem,
  path: string,
  withParents: boolean,
  attributes?: { readonly mtime?: number; readonly mode: number },
): Promise<number> {
  try {
    await fileSystem.mkdir(path, attributes);
    return 1;
  } catch (error) {
    if (!withParents || !isMissing(error)) throw error;
  }
  const parent = absolutePath(`${path}/..`);
  const made = await makeDirectory(fileSystem, parent, true);
  await fileSystem.mkdir(path, attributes);
  return made + 1;
}

/**
 * Settles where the entries of `list` go. `argument`: the destination as the client wrote it; `isDirectory`: it is known
 * to be one. Throws `RsyncExit`.
 */
export async function resolveDestination(run: Run, list: FileList, argument: string, isDirectory: boolean): Promise<Destination> {
  const path = absolutePath(argument);
  const wantsDirectory = /(^|\/)\.?$/.test(argument);
  const type = isDirectory ? "directory" : await typeOf(run.fileSystem, path);
  if (type === "directory") return { root: path, single: undefined, isNew: false, madeParents: false };
  if (type === "other") {
    if (list.length > 1) fail("ERROR: destination must be a directory when copying more than 1 file");
    if (list.length === 1 && list.isDirectory(0)) fail("ERROR: cannot overwrite non-directory with a directory");
    if (wantsDirectory) throw new RsyncExit(ExitStatus.usage, "ERROR: destination path is not a directory");
    return { root: absolutePath(`${path}/..`), single: path, isNew: false, madeParents: false };
  }
  if (list.length > 1 || wantsDirectory) {
    await createDestination(run, path, argument, rootAttributes(run, list));
    return { root: path, single: undefined, isNew: true, madeParents: run.options.mkpath };
  }
  if (run.options.mkpath && !run.options.dryRun) await createParents(run, path);
  return { root: absolutePath(`${path}/..`), single: path, isNew: true, madeParents: false };
}

function fail(message: string): never {
  throw new RsyncExit(ExitStatus.fileSelection, message);
}

/** Time and permissions for the root of the transfer, if the list says what they are. */
function rootAttributes({ options }: Run, list: FileList): { readonly mtime?: number; readonly mode: number } | undefined {
  if (list.length === 0 || list.name(0) !== ".") return undefined;
  return { mode: destinationMode(options, list.mode(0)), ...(options.times && { mtime: list.mtime(0) }) };
}

async function createDestination(
  run: Run,
  path: string,
  argument: string,
  attributes?: { readonly mtime?: number; readonly mode: number },
): Promise<void> {
  const { options } = run;
  if (!options.dryRun) {
    try {
      const made = await makeDirectory(run.fileSystem, path, options.mkpath, attributes);
      if (made > 1 && (run.levels.name > 0 || options.itemize)) {
        run.info(`created ${made} directories for ${argument.replace(/\/$/, "")}`);
        return;
      }
    } catch (error) {
      throw new RsyncExit(ExitStatus.fileIo, `rsync: [Receiver] mkdir "${path}" failed: ${reasonText(error)}`);
    }
  }
  if (run.levels.name > 0 || options.itemize) run.info(`created directory ${argument.replace(/\/$/, "")}`);
}

async function createParents(run: Run, path: string): Promise<void> {
  const parent = absolutePath(`${path}/..`);
  if ((await typeOf(run.fileSystem, parent)) !== "missing") return;
  await createDestination(run, parent, parent);
}
