/**
 * How times and modes stand in an object's user metadata, and how other tools' spellings are read: s3fs and rclone
 * (`mtime` in seconds, `mode` as a decimal st_mode or octal), AWS DataSync and File Gateway (`file-mtime` in
 * milliseconds or with the suffix `ns`, `file-permissions` in octal), gsutil (`goog-reserved-file-mtime`).
 * Knows no store and no cache.
 */

/** Permission bits of files that say nothing else; not written to metadata. */
export const DEFAULT_FILE_MODE = 0o644;
/** Permission bits of directories that say nothing else; not written to metadata. */
export const DEFAULT_DIRECTORY_MODE = 0o755;

const TYPE_MASK = 0o170000;
const FILE_TYPE = 0o100000;
const DIRECTORY_TYPE = 0o040000;
const PERMISSION_MASK = 0o7777;
/** The latest second that SFTP v3's 32-bit times can say. */
const MAX_SECONDS = 0xffff_ffff;

/** Time and mode as stored; absent where the object says nothing. `mtime` in whole seconds, `mode` permission bits. */
export interface StoredTimes {
  readonly mtime: number | undefined;
  readonly mode: number | undefined;
}

/** Keys under which times and modes are stored by us or by others: replaced as a whole when one of them changes. */
const TIME_KEYS = ["mtime", "file-mtime", "goog-reserved-file-mtime"] as const;
const MODE_KEYS = ["mode", "file-permissions"] as const;

/** Reads what any known tool wrote. Nonsense counts as absent. */
export function readTimes(metadata: Readonly<Record<string, string>>): StoredTimes {
  const mtime =
    parseSeconds(metadata.mtime) ?? parseFileMtime(metadata["file-mtime"]) ?? parseSeconds(metadata["goog-reserved-file-mtime"]);
  return { mtime, mode: parseMode(metadata.mode) ?? parseOctal(metadata["file-permissions"]) };
}

/**
 * `metadata` with time and mode set, everything else kept. `undefined` leaves a value as it is; a mode equal to the
 * default of `type` is removed rather than written.
 */
export function writeTimes(
  metadata: Readonly<Record<string, string>>,
  times: StoredTimes,
  type: "file" | "directory" = "file",
): Record<string, string> {
  const result: Record<string, string> = { ...metadata };
  if (times.mtime !== undefined) {
    for (const key of TIME_KEYS) delete result[key];
    result.mtime = String(Math.trunc(times.mtime));
  }
  if (times.mode !== undefined) {
    for (const key of MODE_KEYS) delete result[key];
    const mode = times.mode & PERMISSION_MASK;
    const isDefault = mode === (type === "file" ? DEFAULT_FILE_MODE : DEFAULT_DIRECTORY_MODE);
    if (!isDefault) result.mode = String((type === "file" ? FILE_TYPE : DIRECTORY_TYPE) | mode);
  }
  return result;
}

function parseSeconds(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,12}(\.\d*)?$/.test(text)) return undefined;
  return inRange(Math.floor(Number(text)));
}

function parseFileMtime(text: string | undefined): number | undefined {
  const match = text === undefined ? null : /^(\d{1,20})(ns)?$/.exec(text);
  if (!match) return undefined;
  return inRange(Math.floor(Number(match[1]) / (match[2] === undefined ? 1e3 : 1e9)));
}

function inRange(seconds: number): number | undefined {
  return seconds <= MAX_SECONDS ? seconds : undefined;
}

/** s3fs writes a decimal st_mode (33188), rclone an octal one (100644): only one reading has a sane file type. */
function parseMode(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,7}$/.test(text)) return undefined;
  const decimal = Number(text);
  const type = decimal & TYPE_MASK;
  if (!text.startsWith("0") && decimal <= 0xffff && (type === FILE_TYPE || type === DIRECTORY_TYPE)) return decimal & PERMISSION_MASK;
  return parseOctal(text);
}

function parseOctal(text: string | undefined): number | undefined {
  return text !== undefined && /^[0-7]{1,7}$/.test(text) ? Number.parseInt(text, 8) & PERMISSION_MASK : undefined;
}
