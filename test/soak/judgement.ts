/** Whether a soak was good: nothing failed, nothing grew. */
import type { Sample } from "./samples.ts";

/** A measure that must stay flat: by how much the later part of a life may lie above its earlier part. */
interface Flat {
  readonly what: "rssMiB" | "descriptors" | "unfinished" | "locks";
  readonly factor: number;
  readonly slack: number;
}

const FLAT: readonly Flat[] = [
  { what: "rssMiB", factor: 1.2, slack: 48 },
  { what: "descriptors", factor: 1.2, slack: 24 },
  { what: "unfinished", factor: 1.5, slack: 12 },
  { what: "locks", factor: 1, slack: 4 },
];

/** Fewer samples say nothing about a trend. */
const MIN_SAMPLES = 9;

/** What was wrong, a line each; empty if nothing was. The first third of every life is warm-up. */
export function judge(samples: readonly Sample[], problems: readonly string[]): string[] {
  const verdict = [...problems];
  const lives = new Set(samples.map(({ life }) => life));
  if (samples.length === 0) verdict.push("no samples");
  for (const life of lives) {
    const own = samples.filter((sample) => sample.life === life);
    if (own.length < MIN_SAMPLES) continue;
    const third = Math.floor(own.length / 3);
    const earlier = own.slice(third, 2 * third);
    const later = own.slice(2 * third);
    for (const { what, factor, slack } of FLAT) {
      const before = median(earlier.map((sample) => sample[what]));
      const after = median(later.map((sample) => sample[what]));
      if (after > before * factor + slack) verdict.push(`life ${life}: ${what} grew from ${before.toFixed(0)} to ${after.toFixed(0)}`);
    }
  }
  return verdict;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
