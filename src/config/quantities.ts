/**
 * Sizes and durations as people write them in the configuration (`256MiB`, `7d`). Knows no file and no schema.
 */

/** Bytes per unit; decimal units are powers of 1000 (SI), binary ones of 1024 (IEC 80000-13). */
const BYTES_PER_UNIT: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["b", 1],
  ["k", 1024],
  ["kb", 1000],
  ["kib", 1024],
  ["m", 1024 ** 2],
  ["mb", 1000 ** 2],
  ["mib", 1024 ** 2],
  ["g", 1024 ** 3],
  ["gb", 1000 ** 3],
  ["gib", 1024 ** 3],
  ["t", 1024 ** 4],
  ["tb", 1000 ** 4],
  ["tib", 1024 ** 4],
]);

const MILLISECONDS_PER_UNIT: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["", 1000],
  ["s", 1000],
  ["m", 60_000],
  ["min", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
  ["w", 604_800_000],
]);

function parseQuantity(text: string, units: ReadonlyMap<string, number>): number | undefined {
  const match = /^([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([a-z]*)$/i.exec(text.trim());
  const factor = units.get((match?.[2] ?? "").toLowerCase());
  if (!match || factor === undefined) return undefined;
  const value = Math.round(Number(match[1]) * factor);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** Bytes of `256MiB`, `1.5GB`, `10 G` (binary) or a plain number; undefined if it is none or over 2^53. */
export function parseSize(text: string): number | undefined {
  return parseQuantity(text, BYTES_PER_UNIT);
}

/** Milliseconds of `90s`, `15m`, `12h`, `7d`, `500ms` or a plain number of seconds; undefined if it is none. */
export function parseDuration(text: string): number | undefined {
  return parseQuantity(text, MILLISECONDS_PER_UNIT);
}

/** A byte count for people: `1.5 GiB`, `512 B`. */
export function formatSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}
