/**
 * Guesses where the pages of a long listing begin, from how its keys have grown so far: most long folders hold numbered
 * or hexadecimal names. A wrong guess costs a request, never an entry. Pure; makes no requests.
 */
import { compareKeys } from "../key-order.ts";

/** Keys a guessed range should hold, as a share of a page: less than all, so that the page reaches the next range. */
const FILL = 0.95;
/** Longest number that is read out of a name; more digits do not fit into a double. */
const MAX_DIGITS = 12;

const ALPHABETS = ["0123456789", "0123456789abcdef", "0123456789ABCDEF"] as const;

/** How keys grow: a number of fixed width behind a fixed head. */
export interface Growth {
  readonly head: string;
  readonly alphabet: string;
  readonly width: number;
  /** What the number grows by over one range. */
  readonly step: number;
}

/**
 * How keys grow, from the first and the last of `count` keys in order; undefined if no number is seen that grows slowly
 * enough to be cut. `pageSize` keys fit a page.
 */
export function growthOf(first: string, last: string, count: number, pageSize: number): Growth | undefined {
  let start = 0;
  while (start < first.length && first[start] === last[start]) start++;
  let best: Growth | undefined;
  for (const alphabet of ALPHABETS) {
    const growth = growthIn(alphabet, { first, last, start, share: (FILL * pageSize) / count });
    if (growth && endOf(growth) > endOf(best)) best = growth;
  }
  return best;
}

/** Where the number ends in a key: an alphabet that reads further is the right one. */
function endOf(growth: Growth | undefined): number {
  return growth ? growth.head.length + growth.width : 0;
}

/** The number around `start`, where the keys begin to differ, read in one alphabet. */
function growthIn(
  alphabet: string,
  { first, last, start, share }: { readonly first: string; readonly last: string; readonly start: number; readonly share: number },
): Growth | undefined {
  const isDigit = (char: string | undefined): boolean => char !== undefined && alphabet.includes(char);
  let end = start;
  while (isDigit(first[end]) && isDigit(last[end]) && end - start < MAX_DIGITS / 2) end++;
  if (end === start) return undefined;
  let begin = start;
  while (begin > 0 && isDigit(first[begin - 1]) && end - begin < MAX_DIGITS) begin--;
  const grown = numberOf(last.slice(begin, end), alphabet) - numberOf(first.slice(begin, end), alphabet);
  const step = Math.floor(share * grown);
  return step >= 1 ? { head: first.slice(0, begin), alphabet, width: end - begin, step } : undefined;
}

/** Where the range after the one that `key` begins or lies in would begin; undefined where the growth does not say. */
export function nextRange({ head, alphabet, width, step }: Growth, key: string): string | undefined {
  const digits = key.slice(head.length, head.length + width);
  if (!key.startsWith(head) || digits.length < width || [...digits].some((digit) => !alphabet.includes(digit))) return undefined;
  const value = numberOf(digits, alphabet) + step;
  if (value >= alphabet.length ** width) return undefined;
  const next = head + value.toString(alphabet.length).padStart(width, "0");
  const cased = alphabet === ALPHABETS[2] ? head + next.slice(head.length).toUpperCase() : next;
  return compareKeys(cased, key) > 0 ? cased : undefined;
}

function numberOf(digits: string, alphabet: string): number {
  return Number.parseInt(digits, alphabet.length);
}
