/**
 * What the client wants to be told: `-v` and `--info=WORDS` (rsync options.c `info_verbosity`). Pure; knows only the words a
 * server has something to say about.
 */

/** The words, each with the number of `-v` its levels 1, 2, … come with. */
const FIRST_AT = {
  backup: [2],
  name: [1, 2],
  nonreg: [0],
  remove: [2],
  skip: [2],
} as const;

/** How much is said about each, from 0. */
export type InfoLevels = Readonly<Record<keyof typeof FIRST_AT, number>>;

const WORDS = Object.keys(FIRST_AT) as (keyof typeof FIRST_AT)[];
/** The highest level of any word. */
const MAX_LEVEL = 4;

/** The levels that `verbose` times `-v` and the `--info` values given, later ones counting more, come to. Unknown words are left out. */
export function infoLevels(verbose: number, given: readonly string[]): InfoLevels {
  const levels = Object.fromEntries(WORDS.map((word) => [word, FIRST_AT[word].filter((at) => verbose >= at).length])) as Record<
    keyof typeof FIRST_AT,
    number
  >;
  for (const text of given.flatMap((value) => value.toLowerCase().split(","))) {
    const match = /^([a-z]+)(\d?)$/.exec(text.trim());
    if (!match) continue;
    const [, name = "", digit = ""] = match;
    const level = name === "none" ? 0 : digit === "" ? 1 : Math.min(Number(digit), MAX_LEVEL);
    for (const word of WORDS) if (word === name || name === "all" || name === "none") levels[word] = level;
  }
  return levels;
}
