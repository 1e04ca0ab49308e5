/** Samples as Markdown: values with ratios, CPU, memory and requests. Knows nothing of how they were measured. */
import { countingSamples, ratioOf, type Row, type Sample, type Spread, spreadOf } from "./sample.ts";

/** A column of the report. */
export interface Column {
  readonly name: string;
  readonly kind: "gateway" | "peer" | "limit";
  readonly storageKind: "S3" | "disk";
  readonly answersEarly: boolean;
}

/** How many times as good as a rival the gateway was in a row, above 1 is better. */
export interface Ratio extends Row {
  readonly column: string;
  readonly rival: string;
  readonly value: number;
  /** CPU-seconds of the gateway divided by the rival's. */
  readonly cpu: number | undefined;
}

type Pick = (sample: Sample) => number | undefined;

/** All tables. */
export function report(samples: readonly Sample[], columns: readonly Column[]): string {
  const shown = columns.filter((column) => samples.some((sample) => sample.peer === column.name));
  const rows = rowsOf(samples);
  const figures = ratios(samples, shown);
  return [
    "### Values: median (range); in brackets how many times as good the gateway was on the same kind of storage",
    "",
    ...table(rows, shown, (row, column) => valueCell(samples, row, column, figures)),
    "",
    "### The gateway against the best honest peer on S3 (and on disk against sshd)",
    "",
    ...bestTable(rows, shown, figures),
    "",
    "### Server CPU in seconds, of all its processes",
    "",
    ...table(rows, shown, (row, column) => plainCell(samples, row, column, (sample) => sample.cpuSeconds)),
    "",
    "### Peak memory of all its processes in MiB, shared pages counted once",
    "",
    ...table(rows, shown, (row, column) => plainCell(samples, row, column, (sample) => sample.peakPssMiB)),
    "",
    "### Requests to the store",
    "",
    ...table(
      rows,
      shown.filter((column) => column.storageKind === "S3"),
      (row, column) => requestsCell(samples, row, column),
    ),
  ].join("\n");
}

/** The gateway's ratios against every rival on the same kind of storage, row by row. */
export function ratios(samples: readonly Sample[], columns: readonly Column[]): Ratio[] {
  return rowsOf(samples).flatMap((row) =>
    columns
      .filter((column) => column.kind === "gateway")
      .flatMap((ours) =>
        columns
          .filter((rival) => rival.kind !== "gateway" && rival.storageKind === ours.storageKind)
          .flatMap((rival) => {
            const mine = middle(samples, row, ours, (sample) => sample.value);
            const theirs = middle(samples, row, rival, (sample) => sample.value);
            if (!mine || !theirs) return [];
            const cpus = [ours, rival].map((column) => middle(samples, row, column, (sample) => sample.cpuSeconds)?.median ?? 0);
            const [myCpu = 0, theirCpu = 0] = cpus;
            const cpu = theirCpu > 0 ? myCpu / theirCpu : undefined;
            return [{ ...row, column: ours.name, rival: rival.name, value: ratioOf(row.unit, mine.median, theirs.median), cpu }];
          }),
      ),
  );
}

/** Of the rivals that do not say "done" early, the one that comes closest: its ratio is the smallest. */
export function againstBest(figures: readonly Ratio[], row: Row, column: Column, columns: readonly Column[]): Ratio | undefined {
  const isHonest = (ratio: Ratio): boolean => columns.some(({ name, answersEarly }) => name === ratio.rival && !answersEarly);
  const rivals = figures.filter((ratio) => isSameRow(ratio, row) && ratio.column === column.name && isHonest(ratio));
  return rivals.sort((a, b) => a.value - b.value)[0];
}

function rowsOf(samples: readonly Sample[]): Row[] {
  const rows = new Map(samples.map(({ workload, title, unit }) => [`${workload} ${title}`, { workload, title, unit }]));
  return [...rows.values()].sort((a, b) => Number(a.workload.slice(1)) - Number(b.workload.slice(1)));
}

const isSameRow = (a: Row, b: Row): boolean => a.workload === b.workload && a.title === b.title;

function samplesOf(samples: readonly Sample[], row: Row, column: Column): readonly Sample[] {
  return samples.filter((sample) => isSameRow(sample, row) && sample.peer === column.name);
}

function middle(samples: readonly Sample[], row: Row, column: Column, pick: Pick): Spread | undefined {
  const counting = countingSamples(samplesOf(samples, row, column));
  return spreadOf(counting.map(pick).filter((value) => value !== undefined));
}

function table(rows: readonly Row[], columns: readonly Column[], cell: (row: Row, column: Column) => string): string[] {
  const filled = rows.filter((row) => columns.some((column) => cell(row, column) !== ""));
  return [
    `| workload | ${columns.map((column) => column.name).join(" | ")} |`,
    `| --- |${" --- |".repeat(columns.length)}`,
    ...filled.map((row) => `| ${titleOf(row)} | ${columns.map((column) => cell(row, column) || "–").join(" | ")} |`),
  ];
}

const titleOf = ({ workload, title, unit }: Row): string => `${workload} ${title}${unit === "s" ? ", s" : `, ${unit}`}`;

function valueCell(samples: readonly Sample[], row: Row, column: Column, figures: readonly Ratio[]): string {
  const all = samplesOf(samples, row, column);
  if (all.length === 0) return "";
  const failed = all.find((sample) => sample.failure !== undefined);
  const spread = middle(samples, row, column, (sample) => sample.value);
  if (!spread) return `failed: ${failed?.failure?.replaceAll("|", "/").replaceAll("\n", " ") ?? "?"}`;
  const counting = countingSamples(all);
  const ratio = figures.find((each) => isSameRow(each, row) && each.rival === column.name);
  const notes = new Set(counting.flatMap((sample) => (sample.note ? [sample.note] : [])));
  if (failed) notes.add(`${all.filter((sample) => sample.failure).length} of ${all.length} failed`);
  const mark = counting.some((sample) => sample.isDisturbed) ? "~" : "";
  return [
    `${mark}${rangeOf(spread)}`,
    ...(ratio ? [`(×${ratio.value.toFixed(2)})`] : []),
    ...(notes.size > 0 ? [`[${[...notes].join("; ")}]`] : []),
  ].join(" ");
}

function plainCell(samples: readonly Sample[], row: Row, column: Column, pick: Pick): string {
  const spread = middle(samples, row, column, pick);
  return spread ? rangeOf(spread) : "";
}

function bestTable(rows: readonly Row[], columns: readonly Column[], figures: readonly Ratio[]): string[] {
  const lines = ["| workload | gateway on | best | times as good | CPU ÷ its CPU |", "| --- | --- | --- | --- | --- |"];
  for (const row of rows) {
    for (const column of columns.filter(({ kind }) => kind === "gateway")) {
      const best = againstBest(figures, row, column, columns);
      if (!best) continue;
      const cpu = best.cpu === undefined ? "–" : best.cpu.toFixed(2);
      lines.push(`| ${titleOf(row)} | ${column.storageKind} | ${best.rival} | ${best.value.toFixed(2)} | ${cpu} |`);
    }
  }
  return lines;
}

function requestsCell(samples: readonly Sample[], row: Row, column: Column): string {
  const [sample] = countingSamples(samplesOf(samples, row, column));
  const operations = Object.entries(sample?.requests ?? {}).sort(([, a], [, b]) => b - a);
  if (!sample || operations.length === 0) return "";
  const files = sample.files ?? 1;
  const show = (count: number): string => (files > 1 ? (count / files).toFixed(2) : String(count));
  const total = operations.reduce((sum, [, count]) => sum + count, 0);
  const named = operations.slice(0, 5).map(([name, count]) => `${name} ${show(count)}`);
  const inFlight = sample.mostInFlight ? `; at most ${sample.mostInFlight} at once` : "";
  return `${show(total)}${files > 1 ? " a file" : ""}: ${named.join(", ")}${inFlight}`;
}

function rangeOf({ median, min, max, count }: Spread): string {
  return count === 1 ? numberOf(median) : `${numberOf(median)} (${numberOf(min)}–${numberOf(max)})`;
}

function numberOf(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
