/**
 * The line of the asset server's settings.py that tells it where a collection lies (facts: seed-system §1.1), and its
 * insertion into that file. Works on text only.
 */
import type { StorageLocation } from "../../storage-location.ts";

/** The line cannot be written so that it would be read back as it was meant. */
export class SettingsError extends Error {
  override readonly name = "SettingsError";
}

/** What the asset server reads entries with (manage_collection_dirs.py). */
const UPSTREAM_ENTRY = /\s*['"]([^'"]+)['"]\s*:\s*['"]([^'"]+)['"],?/;
const MAP_START = /^COLLECTION_S3_PATHS\s*=\s*\{/m;

/** `    'coll': 's3://bucket/path',`. Throws `SettingsError` for what the asset server would cut or misread. */
export function settingsLine(collection: string, location: StorageLocation): string {
  if (location.kind === "file") throw new SettingsError(`"${collection}" lies in a folder: the asset server's map holds buckets only`);
  const uri = `s3://${location.bucket}${location.prefix === "" ? "/" : `/${location.prefix.replace(/\/$/, "")}`}`;
  for (const [what, text] of [["collection", collection] as const, ["location", uri] as const]) {
    if (text === "") throw new SettingsError(`the ${what} is empty`);
    if (/['"\\]|\p{Cc}/u.test(text))
      throw new SettingsError(`the ${what} ${JSON.stringify(text)} holds a quote, backslash or control character`);
  }
  // urlparse takes what follows for query and fragment and drops it.
  if (/[?#]/.test(uri)) throw new SettingsError(`the location ${uri} holds ? or #, where the asset server would cut it off`);
  if (/\/\//.test(uri.slice("s3://".length))) throw new SettingsError(`the location ${uri} has an empty path segment`);
  return `    '${collection}': '${uri}',`;
}

/** The entries of a settings file, as the asset server reads them. */
export function readSettings(text: string): Map<string, string> {
  const entries = new Map<string, string>();
  const { body } = mapOf(text);
  for (const line of body.split("\n")) {
    if (line.trimStart().startsWith("#")) continue;
    const [, name, uri] = UPSTREAM_ENTRY.exec(line) ?? [];
    if (name !== undefined && uri !== undefined) entries.set(name, uri);
  }
  return entries;
}

/** What `addSettings` did to one collection. */
export type SettingsChange = "added" | "changed" | "same";

/** The text with the lines added or replaced. Throws `SettingsError` if it has no `COLLECTION_S3_PATHS = {…}`. */
export function addSettings(
  text: string,
  lines: ReadonlyMap<string, string>,
): { readonly text: string; readonly changes: ReadonlyMap<string, SettingsChange> } {
  const { start, body, end } = mapOf(text);
  const existing = body.split("\n");
  const changes = new Map<string, SettingsChange>();
  for (const [collection, line] of lines) {
    const index = existing.findIndex((one) => !one.trimStart().startsWith("#") && UPSTREAM_ENTRY.exec(one)?.[1] === collection);
    if (index >= 0) {
      changes.set(collection, existing[index] === line ? "same" : "changed");
      existing[index] = line;
      continue;
    }
    changes.set(collection, "added");
    const last = existing.findLastIndex((one) => one.trim() !== "" && !one.trimStart().startsWith("#"));
    const before = existing[last];
    // Python forgives a comma at the end, not one that is missing.
    if (before !== undefined && UPSTREAM_ENTRY.test(before) && !/,\s*(#.*)?$/.test(before))
      existing[last] = before.replace(/(['"])(\s*)$/, "$1,$2");
    if (existing.length === 1 && existing[0]?.trim() === "") existing.splice(0, 1, "", line, "");
    else existing.splice(Math.max(last + 1, 1), 0, line);
  }
  return { text: text.slice(0, start) + existing.join("\n") + text.slice(end), changes };
}

/** Where the map's inside lies in the text. */
function mapOf(text: string): { readonly start: number; readonly body: string; readonly end: number } {
  const match = MAP_START.exec(text);
  if (!match) throw new SettingsError("the file has no line COLLECTION_S3_PATHS = {");
  const start = match.index + match[0].length;
  const close = /^[^#'"\n]*(?:(?:'[^'\n]*'|"[^"\n]*")[^#'"\n]*)*\}/m;
  const rest = text.slice(start);
  let offset = 0;
  for (const line of rest.split("\n")) {
    const brace = close.test(line) ? line.lastIndexOf("}") : -1;
    if (brace >= 0) return { start, body: rest.slice(0, offset + brace), end: start + offset + brace };
    offset += line.length + 1;
  }
  throw new SettingsError("the map COLLECTION_S3_PATHS is not closed");
}
