/** What goes wrong during a soak: a store that stumbles for some seconds, and the gateway killed once in the middle. */
import type { TestGateway } from "../support/gateway.ts";
import type { Random } from "../support/random.ts";
import type { FaultAction } from "../support/s3-server/faults.ts";
import type { S3Server } from "../support/s3-server/s3-server.ts";

/** How long after a trouble a client may still fail of it: retries, time-outs and back-offs have to end. */
const AFTERMATH_MS = 60_000;
const QUIET_MS = 45_000;
const TROUBLE_MS = 6_000;

const FAULTS: readonly (readonly [string, FaultAction])[] = [
  ["SlowDown", { kind: "status", status: 503, code: "SlowDown" }],
  ["500", { kind: "status", status: 500, code: "InternalError" }],
  ["cut connections", { kind: "reset", at: "after-body" }],
  ["lost answers", { kind: "late-commit", answer: "reset" }],
  ["no answers", { kind: "hang" }],
];

/** Where trouble is made. Times in milliseconds of `performance.now()`. */
export interface Scene {
  readonly s3: S3Server;
  readonly gateway: TestGateway;
  readonly random: Random;
  readonly started: number;
  readonly until: number;
}

/** From its beginning on; `to` is infinite until the trouble is over. */
interface Span {
  readonly from: number;
  to: number;
}

/** See the head of this file. */
export class Troubles {
  readonly #at: Scene;
  readonly #spans: Span[] = [];
  readonly #counts = new Map<string, number>();
  #life = 1;

  constructor(at: Scene) {
    this.#at = at;
  }

  /** Counts the gateway's starts. */
  get life(): number {
    return this.#life;
  }

  /** What happened how often. */
  get summary(): string {
    return [...this.#counts].map(([what, times]) => `${times} × ${what}`).join(", ");
  }

  /** Whether something was wrong, or had been shortly before, at some time between `from` and `to`. */
  within(from: number, to: number): boolean {
    return this.#spans.some((span) => span.from <= to && span.to + AFTERMATH_MS >= from);
  }

  /** Makes trouble until shortly before the end. */
  async run(): Promise<void> {
    const { s3, random, gateway, started, until } = this.#at;
    const quiet = Math.min(QUIET_MS, (until - started) / 8);
    let isKilled = false;
    for (;;) {
      await sleep(quiet);
      const now = performance.now();
      if (now + quiet >= until) return;
      if (!isKilled && now > (started + until) / 2) {
        isKilled = true;
        const span = this.#begin(now);
        this.#count("kill -9 of the gateway");
        await gateway.kill();
        await gateway.start();
        this.#life++;
        span.to = performance.now();
        continue;
      }
      const [what, action] = random.pick(FAULTS);
      const span = this.#begin(now);
      this.#count(what);
      // One request in three meets it, so that retries have work and some succeed.
      const fault = s3.fault({ action, times: Number.POSITIVE_INFINITY, when: () => random.below(3) === 0 });
      s3.latencyMs = random.below(3) * 20;
      await sleep(TROUBLE_MS);
      fault.remove();
      span.to = performance.now();
    }
  }

  #begin(from: number): Span {
    const span = { from, to: Number.POSITIVE_INFINITY };
    this.#spans.push(span);
    return span;
  }

  #count(what: string): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
