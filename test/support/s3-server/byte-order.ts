/** UTF-8 byte order on JavaScript strings, without encoding them. */

/** Compares by UTF-8 bytes (S3's order of keys): negative, 0 or positive. */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** UTF-16 units rank as UTF-8 except that surrogates stand for code points above every other unit. */
function rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit >= 0xe000 ? unit - 0x800 : unit + 0x2000;
}

/** First index in the sorted `keys` whose key is not before `key` (`strictly`: is after it). */
export function lowerBound(keys: readonly string[], key: string, strictly = false, from = 0): number {
  let low = from;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const order = compareUtf8(keys[middle] ?? "", key);
    if (order < 0 || (strictly && order === 0)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** First index from `from` on whose key is after `prefix` and does not start with it. */
export function afterPrefix(keys: readonly string[], prefix: string, from: number): number {
  let low = from;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const key = keys[middle] ?? "";
    if (key.startsWith(prefix) || compareUtf8(key, prefix) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
