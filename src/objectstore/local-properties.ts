/**
 * An object's properties on a disk. Time and mode are the file's own, so that administrators see and set them with
 * ordinary tools; the content type follows from the name. Whatever else an object has lies in a small file beside the
 * uploads, named after the inode. Knows nothing of directories and publishing.
 */
import { fchmodSync, futimesSync, type Stats } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import mime from "mime";
import { systemCode } from "./local-errors.ts";
import type { ObjectInfo, ObjectProperties } from "./objectstore.ts";

const DEFAULT_FILE_MODE = 0o644;
const DEFAULT_DIRECTORY_MODE = 0o755;
const FILE_TYPE = 0o100000;
const DIRECTORY_TYPE = 0o040000;
const TYPE_MASK = 0o170000;
/** set-user-ID and the like mean nothing here and are never set. */
const PERMISSIONS = 0o777;

/** What an empty listing of the folder is believed for, in milliseconds: another process may write into it. */
const EMPTY_FOR_MS = 1_000;

/** Identifies the content of a file: inode, size, and both times to the nanoseconds a double holds. */
export function localEtag({ ino, size, mtimeMs, ctimeMs }: Stats): string {
  return [ino, size, Math.round(mtimeMs * 1e3), Math.round(ctimeMs * 1e3)].map((part) => part.toString(36)).join("-");
}

/** Identifies a directory; what happens inside does not change it. */
export function directoryEtag({ ino, birthtimeMs }: Stats): string {
  return `d-${ino.toString(36)}-${Math.round(birthtimeMs).toString(36)}`;
}

/** Time and mode in the words of object metadata, as s3fs writes them; a default mode is not said. */
export function statMetadata(stats: Stats): Record<string, string> {
  const directory = stats.isDirectory();
  const mode = stats.mode & PERMISSIONS;
  const usual = mode === (directory ? DEFAULT_DIRECTORY_MODE : DEFAULT_FILE_MODE);
  const metadata: Record<string, string> = { mtime: String(Math.max(0, Math.floor(stats.mtimeMs / 1000))) };
  if (!usual) metadata.mode = String((directory ? DIRECTORY_TYPE : FILE_TYPE) | mode);
  return metadata;
}

/** Content type by the ending of the name. */
export function typeByName(name: string): string {
  return mime.getType(name) ?? "application/octet-stream";
}

/** The properties of a new or changed object, sorted by where they go. */
export interface SortedProperties {
  /** Seconds since the epoch. */
  readonly mtime: number | undefined;
  readonly mode: number | undefined;
  /** What only the extra file can hold; undefined if there is nothing. */
  readonly extra: ObjectProperties | undefined;
}

/** Sorts the properties of an object called `name`. */
export function sortProperties(name: string, { contentType, metadata = {} }: ObjectProperties): SortedProperties {
  const { mtime: mtimeText, mode: modeText, ...others } = metadata;
  const mtime = parseTime(mtimeText);
  const mode = parseMode(modeText);
  const rest = {
    ...others,
    ...(mtimeText !== undefined && mtime === undefined ? { mtime: mtimeText } : {}),
    ...(modeText !== undefined && mode === undefined ? { mode: modeText } : {}),
  };
  const type = contentType === undefined || contentType === typeByName(name) ? {} : { contentType };
  const extra = Object.keys(rest).length > 0 || type.contentType !== undefined ? { ...type, metadata: rest } : undefined;
  return { mtime, mode, extra };
}

/** Gives an open file its time and mode. A `mode` that is not said becomes the default where `resetMode`. */
export function applyTimes(fd: number, { mtime, mode }: SortedProperties, options: { readonly resetMode: boolean }): void {
  if (mode !== undefined) fchmodSync(fd, mode);
  else if (options.resetMode) fchmodSync(fd, DEFAULT_FILE_MODE);
  if (mtime !== undefined) futimesSync(fd, mtime, mtime);
}

function parseTime(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,11}(\.\d{1,9})?$/.test(text) ? Number(text) : undefined;
}

/** s3fs writes a whole st_mode in decimal, others the permissions in octal: only one reading has a sane file type. */
function parseMode(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,7}$/.test(text)) return undefined;
  const decimal = Number(text);
  const type = decimal & TYPE_MASK;
  if (!text.startsWith("0") && decimal <= 0xffff && (type === FILE_TYPE || type === DIRECTORY_TYPE)) return decimal & PERMISSIONS;
  return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) & PERMISSIONS : undefined;
}

/** The extra file of one inode, and the version it belongs to. */
interface ExtraFile extends ObjectProperties {
  readonly size: number;
  readonly mtimeMs: number;
}

/** The folder of properties that the file system has no place for. */
export class ExtraProperties {
  readonly #folder: string;
  #mayHaveSome = false;
  #emptyUntilMs = 0;

  constructor(privateFolder: string) {
    this.#folder = join(privateFolder, "properties");
  }

  /** Remembers `extra` for the file with these stats, before it is published. */
  async write({ ino, size, mtimeMs }: Stats, extra: ObjectProperties): Promise<void> {
    const content: ExtraFile = { ...extra, size, mtimeMs };
    const path = this.#path(ino);
    await mkdir(this.#folder, { recursive: true });
    await writeFile(`${path}.new`, JSON.stringify(content));
    await rename(`${path}.new`, path);
    this.#mayHaveSome = true;
  }

  /** What is remembered of this version of a file. */
  async read({ ino, size, mtimeMs }: Stats): Promise<ObjectProperties | undefined> {
    if (!(await this.#hasSome())) return undefined;
    try {
      const content = JSON.parse(await readFile(this.#path(ino), "utf8")) as ExtraFile;
      return content.size === size && content.mtimeMs === mtimeMs ? content : undefined;
    } catch (error) {
      if (systemCode(error) === "ENOENT" || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  /** Forgets what belongs to a file that is gone. */
  async remove({ ino }: Stats): Promise<void> {
    if (await this.#hasSome()) await rm(this.#path(ino), { force: true });
  }

  /** Most stores never have any, and then nothing is looked up. */
  async #hasSome(): Promise<boolean> {
    if (this.#mayHaveSome || Date.now() < this.#emptyUntilMs) return this.#mayHaveSome;
    try {
      this.#mayHaveSome = (await readdir(this.#folder)).length > 0;
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
    this.#emptyUntilMs = Date.now() + EMPTY_FOR_MS;
    return this.#mayHaveSome;
  }

  #path(ino: number): string {
    return join(this.#folder, `${ino}.json`);
  }
}

/** Everything a HEAD says about a file. */
export function fileInfo(key: string, stats: Stats, extra: ObjectProperties | undefined): ObjectInfo {
  return {
    key,
    size: stats.size,
    etag: localEtag(stats),
    lastModifiedMs: Math.trunc(stats.mtimeMs),
    contentType: extra?.contentType ?? typeByName(key),
    metadata: { ...extra?.metadata, ...statMetadata(stats) },
  };
}

/** Everything a HEAD says about a directory, which is the object `key/`. */
export function directoryInfo(key: string, stats: Stats): ObjectInfo {
  return {
    key,
    size: 0,
    etag: directoryEtag(stats),
    lastModifiedMs: Math.trunc(stats.mtimeMs),
    contentType: "application/x-directory",
    metadata: statMetadata(stats),
  };
}
