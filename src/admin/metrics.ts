/**
 * Counters and gauges in the Prometheus text format 0.0.4, of one process or of several added up. Knows no metric by name
 * and no server.
 */

type Labels = Readonly<Record<string, string>>;

/** What does not change about a metric. */
interface MetricKind {
  readonly type: "counter" | "gauge";
  readonly help: string;
  /** The values of several processes stand side by side instead of being added up. */
  readonly perProcess: boolean;
}

/** One metric with its values at one moment; plain data. */
export interface MetricFamily extends MetricKind {
  readonly name: string;
  /** Labels in text form, such as `{job="nightly"}` or nothing, and the value. */
  readonly values: readonly (readonly [labels: string, value: number])[];
}

/** A metric's help text and its values. */
interface Metric extends MetricKind {
  /** Labels in text form → value. */
  readonly values: Map<string, number>;
  readonly read: (() => number) | undefined;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

/** All metrics of the process. Names follow the Prometheus convention: a unit at the end, `_total` for counters. */
export class Metrics {
  readonly #metrics = new Map<string, Metric>();

  /** Defines a counter; it shows up with its first `add`. */
  counter(name: string, help: string): void {
    this.#metrics.set(name, { type: "counter", help, perProcess: false, values: new Map(), read: undefined });
  }

  /** Defines a gauge whose value is asked for at each scrape, or given by `set`. */
  gauge(name: string, help: string, read?: () => number, options: { readonly perProcess?: boolean } = {}): void {
    this.#metrics.set(name, { type: "gauge", help, perProcess: options.perProcess ?? false, values: new Map(), read });
  }

  /** Adds to a counter. `labels` must have few different values: never paths or addresses. */
  add(name: string, amount = 1, labels: Labels = {}): void {
    const metric = this.#metrics.get(name);
    if (!metric) throw new Error(`metric ${name} is not defined`);
    const key = labelText(labels);
    metric.values.set(key, (metric.values.get(key) ?? 0) + amount);
  }

  /** Sets a value that is known from time to time, as a gauge with labels. */
  set(name: string, value: number, labels: Labels = {}): void {
    const metric = this.#metrics.get(name);
    if (!metric) throw new Error(`metric ${name} is not defined`);
    metric.values.set(labelText(labels), value);
  }

  /** Everything as text, one line per value. */
  format(): string {
    return formatFamilies(this.families());
  }

  /** Everything at this moment. */
  families(): MetricFamily[] {
    return [...this.#metrics].map(([name, { type, help, perProcess, values, read }]) => ({
      name,
      type,
      help,
      perProcess,
      values: read ? [["", read()], ...values] : [...values],
    }));
  }
}

/** Families as text, one line per value. */
export function formatFamilies(families: readonly MetricFamily[]): string {
  const lines: string[] = [];
  for (const { name, type, help, values } of families) {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const [labels, value] of values) lines.push(`${name}${labels} ${value}`);
  }
  return `${lines.join("\n")}\n`;
}

/** Families of several processes as one: values are added up, or get a label `process` where they are per process. */
export function mergeFamilies(parts: readonly { readonly process: string; readonly families: readonly MetricFamily[] }[]): MetricFamily[] {
  const merged = new Map<string, MetricKind & { readonly values: Map<string, number> }>();
  for (const { process, families } of parts) {
    for (const { name, values, ...kind } of families) {
      const metric = merged.get(name) ?? { ...kind, values: new Map() };
      merged.set(name, metric);
      for (const [labels, value] of values) {
        const key = kind.perProcess ? withProcess(labels, process) : labels;
        metric.values.set(key, (metric.values.get(key) ?? 0) + value);
      }
    }
  }
  return [...merged].map(([name, { values, ...kind }]) => ({ name, ...kind, values: [...values] }));
}

function withProcess(labels: string, process: string): string {
  const label = labelText({ process });
  return labels === "" ? label : `${labels.slice(0, -1)},${label.slice(1)}`;
}
