/**
 * Counters and gauges in the Prometheus text format 0.0.4. Knows no metric by name and no server.
 */

type Labels = Readonly<Record<string, string>>;

/** A metric's name, its help text and its values. */
interface Metric {
  readonly type: "counter" | "gauge";
  readonly help: string;
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
    this.#metrics.set(name, { type: "counter", help, values: new Map(), read: undefined });
  }

  /** Defines a gauge whose value is asked for at each scrape, or given by `set`. */
  gauge(name: string, help: string, read?: () => number): void {
    this.#metrics.set(name, { type: "gauge", help, values: new Map(), read });
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
    const lines: string[] = [];
    for (const [name, { type, help, values, read }] of this.#metrics) {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
      if (read) lines.push(`${name} ${read()}`);
      for (const [labels, value] of values) lines.push(`${name}${labels} ${value}`);
    }
    return `${lines.join("\n")}\n`;
  }
}
