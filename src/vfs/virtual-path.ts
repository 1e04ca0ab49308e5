/**
 * Virtual paths: what a client writes, normalised to the names below the home `/`. Purely lexical; knows no mounts and
 * asks no store.
 */
import { FsError } from "../errors.ts";

/** Longest path a client may send before it is normalised, in UTF-8 bytes (Linux' PATH_MAX is 4,096; keys are 1,024). */
const MAX_PATH_BYTES = 8192;

/** A normalised virtual path. */
export interface VirtualPath {
  /** Absolute, without trailing slash; the home is `/`. For texts and `realpath`. */
  readonly text: string;
  /** The names on the way from the home; empty for the home itself. */
  readonly names: readonly string[];
  /** The client wrote it as a directory (`x/`, `x/.`): a file there is `not-a-directory`. */
  readonly asDirectory: boolean;
}

/**
 * Normalises `path` as `user` sees it: relative from the home, `.` and `..` resolved lexically and clamped at the home,
 * empty segments dropped, `/home/<user>` taken for the home. Names stay byte for byte as they are. Rejects by throwing
 * `invalid-argument` for NUL, lone surrogates and over-long paths.
 */
export function parsePath(path: string, user: string): VirtualPath {
  if (path.includes("\0")) throw new FsError("invalid-argument", "a path cannot contain a NUL character");
  if (path.length > MAX_PATH_BYTES || Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new FsError("invalid-argument", `the path is longer than ${MAX_PATH_BYTES} bytes`);
  }
  if (/\p{Surrogate}/u.test(path)) throw new FsError("invalid-argument", "the path is not valid Unicode");
  const names: string[] = [];
  let last = "";
  for (const segment of path.split("/")) {
    last = segment;
    if (segment === "" || segment === ".") continue;
    if (segment === "..") names.pop();
    else names.push(segment);
  }
  if (names[0] === "home" && names[1] === user) names.splice(0, 2);
  return { text: `/${names.join("/")}`, names, asDirectory: last === "" || last === "." || last === ".." };
}

/** The path of the directory that `path` lies in; the home's is the home. */
export function parentText(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf("/"), 1));
}
