/**
 * Names between the wire (bytes, as strings of characters 0–255) and the file system (Unicode), and virtual paths.
 * Pure.
 */

/** Longest name the file system is asked for, in bytes; S3 keys end there. */
const MAX_PATH = 1024;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** Text that is the same in both forms; what else is, too, takes the longer way. */
const ASCII = /^[ -~]*$/;

/** The Unicode text of a wire name; undefined if it is not valid UTF-8 or too long for a path. */
export function toText(name: string): string | undefined {
  if (name.length > MAX_PATH) return undefined;
  if (ASCII.test(name)) return name;
  try {
    return decoder.decode(Buffer.from(name, "latin1"));
  } catch {
    return undefined;
  }
}

/** A wire name as it is shown in a message: one that is no valid UTF-8 byte by byte. */
export function shownName(name: string): string {
  return toText(name) ?? name;
}

/** The wire name of Unicode text. */
export function toWire(text: string): string {
  return ASCII.test(text) ? text : Buffer.from(text, "utf8").toString("latin1");
}

/** The absolute form of a virtual path: relative ones count from the home, `.` and `..` are resolved and never leave it. */
export function absolutePath(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  return `/${segments.join("/")}`;
}

/** A name of a list of files: relative, without a `..` that leads out; `.` stays where it is (rsync util1.c `sanitize_path`). */
export function cleanListedName(name: string): string {
  const segments: string[] = [];
  for (const segment of name.split("/")) {
    if (segment === "..") segments.pop();
    else if (segment !== "") segments.push(segment);
  }
  return segments.join("/") + (name.endsWith("/") && segments.length > 0 ? "/" : "");
}

/** `name` (relative, Unicode, `.` is the directory itself) below the absolute `directory`. */
export function joinPath(directory: string, name: string): string {
  if (name === "." || name === "") return directory;
  return directory === "/" ? `/${name}` : `${directory}/${name}`;
}

/** The directory part of a name; `.` if it has none. */
export function parentName(name: string): string {
  const slash = name.lastIndexOf("/");
  return slash < 0 ? "." : name.slice(0, slash);
}
