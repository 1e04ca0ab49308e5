/**
 * rsync's wildcard patterns (rsync lib/wildmatch.c): `?`, `*` and `[…]` never match `/`, `**` does. Every match has a
 * budget of steps, since patterns come from the peer. Pure.
 */
import { ProtocolError } from "../errors.ts";

/** Steps one match, or several that share a count, may take. */
const STEP_BUDGET = 1_000_000;

/** Steps taken so far, for matches that share the budget. */
export interface StepCount {
  steps: number;
}

/** Counts a step. Throws `ProtocolError` when there were too many. */
export function countStep(count: StepCount): void {
  if (++count.steps > STEP_BUDGET) throw new ProtocolError("the filter patterns take too long to match");
}

const CLASSES: ReadonlyMap<string, RegExp> = new Map([
  ["alnum", /[A-Za-z0-9]/],
  ["alpha", /[A-Za-z]/],
  ["blank", /[ \t]/],
  ["cntrl", /[^ -~\x80-\xff]/],
  ["digit", /[0-9]/],
  ["graph", /[\x21-\x7e]/],
  ["lower", /[a-z]/],
  ["print", /[\x20-\x7e]/],
  ["punct", /[!-/:-@[-`{-~]/],
  ["space", /[ \t\n\v\f\r]/],
  ["upper", /[A-Z]/],
  ["xdigit", /[0-9A-Fa-f]/],
]);

/** How a partial match ended. */
type Outcome = "match" | "no" | "give-up" | "give-up-to-slash";

/** One match in progress. */
class Matcher {
  readonly #pattern: string;
  readonly #text: string;
  readonly #count: StepCount;

  constructor(pattern: string, text: string, count: StepCount) {
    this.#pattern = pattern;
    this.#text = text;
    this.#count = count;
  }

  #step(): void {
    countStep(this.#count);
  }

  /** Matches the pattern from `p` against the text from `t`. */
  match(p: number, t: number): Outcome {
    const pattern = this.#pattern;
    const text = this.#text;
    while (p < pattern.length) {
      this.#step();
      const c = pattern.charAt(p);
      if (c === "*") return this.#star(p, t);
      if (t >= text.length) return "give-up";
      const next = this.#one(p, text.charAt(t));
      if (next < 0) return "no";
      p = next;
      t++;
    }
    return t === text.length ? "match" : "no";
  }

  /** Matches one pattern element against one character; where the pattern goes on, or -1. */
  #one(p: number, character: string): number {
    const c = this.#pattern.charAt(p);
    if (c === "?") return character === "/" ? -1 : p + 1;
    if (c === "[") return this.#set(p, character);
    if (c === "\\" && p + 1 < this.#pattern.length) return this.#pattern.charAt(p + 1) === character ? p + 2 : -1;
    return c === character ? p + 1 : -1;
  }

  #star(p: number, t: number): Outcome {
    const text = this.#text;
    const crossesSlash = this.#pattern.charAt(p + 1) === "*";
    while (this.#pattern.charAt(p) === "*") p++;
    if (p >= this.#pattern.length) return crossesSlash || !text.includes("/", t) ? "match" : "give-up-to-slash";
    for (; t < text.length; t++) {
      const outcome = this.match(p, t);
      if (outcome === "match" || outcome === "give-up") return outcome;
      if (outcome === "give-up-to-slash" && !crossesSlash) return outcome;
      if (!crossesSlash && text.charAt(t) === "/") return "give-up-to-slash";
    }
    return "give-up";
  }

  /** Matches `[…]` at `p`; where the pattern goes on, or -1. An unclosed set matches nothing. */
  #set(p: number, character: string): number {
    const pattern = this.#pattern;
    let at = p + 1;
    const negated = pattern.charAt(at) === "!" || pattern.charAt(at) === "^";
    if (negated) at++;
    let found = false;
    for (let first = true; first || pattern.charAt(at) !== "]"; first = false) {
      if (at >= pattern.length) return -1;
      this.#step();
      const named = /^\[:([a-z]+):\]/.exec(pattern.slice(at, at + 12));
      if (named) {
        found ||= CLASSES.get(named[1] ?? "")?.test(character) ?? false;
        at += named[0].length;
        continue;
      }
      if (pattern.charAt(at) === "\\") at++;
      const low = pattern.charAt(at++);
      let high = low;
      if (pattern.charAt(at) === "-" && at + 1 < pattern.length && pattern.charAt(at + 1) !== "]") {
        at += pattern.charAt(at + 1) === "\\" ? 2 : 1;
        high = pattern.charAt(at++);
      }
      found ||= character >= low && character <= high;
    }
    return found !== negated && character !== "/" ? at + 1 : -1;
  }
}

/** True if the whole of `text` matches `pattern`. Throws `ProtocolError` when that, with what `count` says, takes too long. */
export function wildmatch(pattern: string, text: string, count: StepCount = { steps: 0 }): boolean {
  count.steps++;
  return new Matcher(pattern, text, count).match(0, 0) === "match";
}
