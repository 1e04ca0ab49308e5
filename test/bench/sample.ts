/** One measured value of one peer in one row of the report, and the arithmetic over several of them. */

/** Which way is better, and what the number is. */
export type Unit = "MiB/s" | "s" | "MiB" | "requests/file";

/** A row of the report: a workload under one condition. */
export interface Row {
  /** `W1` … `W10`. */
  readonly workload: string;
  readonly title: string;
  readonly unit: Unit;
}

/** What one run of one row brought; `failure` instead of the figures if it did not do its job. */
export interface Sample extends Row {
  readonly peer: string;
  readonly run: number;
  readonly value?: number;
  readonly cpuSeconds?: number;
  readonly peakPssMiB?: number;
  readonly peakRssMiB?: number;
  readonly requests?: Readonly<Record<string, number>>;
  readonly mostInFlight?: number;
  /** Files the requests are divided by. */
  readonly files?: number;
  readonly isDisturbed?: boolean;
  readonly note?: string;
  readonly failure?: string;
}

/** The middle value and the ends. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly count: number;
}

/** Median (of an even number: the lower of the two in the middle) and range; undefined without numbers. */
export function spreadOf(numbers: readonly number[]): Spread | undefined {
  const sorted = [...numbers].sort((a, b) => a - b);
  const [min, median, max] = [sorted[0], sorted[Math.floor((sorted.length - 1) / 2)], sorted.at(-1)];
  if (min === undefined || median === undefined || max === undefined) return undefined;
  return { min, median, max, count: sorted.length };
}

/** How many times as good `ours` is as `theirs`; above 1 is better. */
export function ratioOf(unit: Unit, ours: number, theirs: number): number {
  return unit === "MiB/s" ? ours / theirs : theirs / ours;
}

/** The samples that count: those that succeeded, and of them the undisturbed ones if there are any. */
export function countingSamples(samples: readonly Sample[]): readonly Sample[] {
  const good = samples.filter((sample) => sample.failure === undefined && sample.value !== undefined);
  const calm = good.filter((sample) => !sample.isDisturbed);
  return calm.length > 0 ? calm : good;
}
