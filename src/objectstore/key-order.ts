/**
 * The order of keys in every listing: by UTF-8 bytes, as S3 sorts. JavaScript's own `<` compares UTF-16 units and puts
 * U+E000 to U+FFFF after the supplementary planes, which is wrong here. Knows nothing of stores.
 */

/** A UTF-16 unit's rank in UTF-8 order: surrogates (characters above U+FFFF) go after everything else. */
function rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}

/** Negative, zero or positive as `a` comes before, is, or comes after `b` in UTF-8 byte order. Both must be well-formed. */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) {
    const unitA = a.charCodeAt(i);
    const unitB = b.charCodeAt(i);
    if (unitA !== unitB) return unitA < 0xd800 && unitB < 0xd800 ? unitA - unitB : rank(unitA) - rank(unitB);
  }
  return a.length - b.length;
}

/** Index of the first of `keys` (ascending) for which `isBeyond` holds, or their number. `isBeyond` must be monotone. */
export function lowerBound(keys: readonly string[], isBeyond: (key: string) => boolean): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const key = keys[middle];
    if (key !== undefined && isBeyond(key)) high = middle;
    else low = middle + 1;
  }
  return low;
}
