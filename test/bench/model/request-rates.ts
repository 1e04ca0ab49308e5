/**
 * A model, not a measurement: many sessions of several gateways send small-file requests to S3 prefixes that take so many a
 * second and answer 503 SlowDown beyond it. Retries follow the gateway's own rule. Answers how much gets through, how long
 * a request takes, and whether any is given up.
 *
 * What it leaves out: S3 splitting busy prefixes (it takes minutes and only helps), bandwidth, CPU, lost packets.
 */
import { retryWaitMs } from "../../../src/objectstore/s3/retry-policy.ts";
import type { RetryPolicy } from "../../../src/objectstore/s3/s3-options.ts";
import { ThrottlePace } from "../../../src/objectstore/s3/throttle-pace.ts";
import { EventQueue } from "./event-queue.ts";
import { seededRandom } from "./random.ts";

/** What is modelled. */
export interface Scene {
  /** Sessions over all gateways, each with one request at a time. */
  readonly sessions: number;
  /** Prefixes the sessions are spread over evenly; each has its own limit. */
  readonly prefixes: number;
  /** Requests a prefix takes each second. */
  readonly ratePerPrefix: number;
  /** Processes, and how many requests one of them has under way at most; others of it wait in line. */
  readonly processes: number;
  readonly socketsPerProcess: number;
  /** Mean milliseconds the store takes for a request it accepts, and for one it refuses. */
  readonly storeMs: number;
  readonly refusalMs: number;
  /** Mean milliseconds between the end of a session's request and its next one: the client's part. */
  readonly clientMs: number;
  readonly policy: RetryPolicy;
  /** Whether processes slow down together when they are refused, or each request waits for itself alone. */
  readonly isPaced: boolean;
  /** Model time. Sessions begin spread over the first second. */
  readonly seconds: number;
  readonly seed: number;
}

/** What came out. */
export interface Outcome {
  readonly completed: number;
  /** Requests given up after their last attempt: a client saw a failure. */
  readonly failed: number;
  /** Answers that were 503. */
  readonly refused: number;
  readonly perSecond: number;
  /** From the first attempt to success. */
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly mostAttempts: number;
}

interface Session {
  readonly prefix: Prefix;
  readonly process: Process;
  readonly pace: ThrottlePace;
  attempts: number;
  beganMs: number;
}

/** A bucket of tokens that fills at the rate and holds one second's worth. */
interface Prefix {
  tokens: number;
  filledMs: number;
}

interface Process {
  busy: number;
  readonly waiting: Session[];
  /** As in the gateway, each process has one for each prefix. */
  readonly paces: Map<Prefix, ThrottlePace>;
}

type Event = { readonly kind: "send" | "leave" | "accepted" | "refused"; readonly session: Session };

/** Runs the model. The same scene gives the same outcome. */
export function simulate(scene: Scene): Outcome {
  return new Model(scene).run();
}

class Model {
  readonly #scene: Scene;
  readonly #random: () => number;
  readonly #events = new EventQueue<Event>();
  readonly #durations: number[] = [];
  #nowMs = 0;
  #failed = 0;
  #refused = 0;
  #mostAttempts = 0;

  constructor(scene: Scene) {
    this.#scene = scene;
    this.#random = seededRandom(scene.seed);
    const prefixes = Array.from({ length: scene.prefixes }, (): Prefix => ({ tokens: scene.ratePerPrefix, filledMs: 0 }));
    const processes = Array.from({ length: scene.processes }, (): Process => ({ busy: 0, waiting: [], paces: new Map() }));
    for (let index = 0; index < scene.sessions; index++) {
      const [prefix, process] = [prefixes[index % scene.prefixes], processes[index % scene.processes]];
      if (!prefix || !process) throw new RangeError("a scene needs a prefix and a process");
      const pace = process.paces.get(prefix) ?? new ThrottlePace();
      process.paces.set(prefix, pace);
      this.#events.add(this.#random() * 1000, { kind: "send", session: { prefix, process, pace, attempts: 0, beganMs: 0 } });
    }
  }

  run(): Outcome {
    const endMs = this.#scene.seconds * 1000;
    for (let event = this.#events.next(); event && event.atMs < endMs; event = this.#events.next()) {
      this.#nowMs = event.atMs;
      const { kind, session } = event.what;
      if (kind === "send") this.#send(session);
      else if (kind === "leave") this.#leave(session);
      else this.#answered(session, kind);
    }
    return this.#outcome();
  }

  #send(session: Session): void {
    if (session.attempts === 0) session.beganMs = this.#nowMs;
    const waitMs = this.#scene.isPaced ? session.pace.reserve(this.#nowMs) : 0;
    if (waitMs > 0) this.#events.add(this.#nowMs + waitMs, { kind: "leave", session });
    else this.#leave(session);
  }

  /** A request leaves: at once if its process has a socket free. */
  #leave(session: Session): void {
    const { process } = session;
    if (process.busy >= this.#scene.socketsPerProcess) process.waiting.push(session);
    else this.#reach(session);
  }

  #reach(session: Session): void {
    const { storeMs, refusalMs } = this.#scene;
    session.process.busy++;
    session.attempts++;
    const isTaken = this.#takeToken(session.prefix);
    this.#events.add(this.#nowMs + this.#around(isTaken ? storeMs : refusalMs), { kind: isTaken ? "accepted" : "refused", session });
  }

  /** Half to one and a half of a mean: without it, sessions would fall into step with the tokens. */
  #around(meanMs: number): number {
    return meanMs * (0.5 + this.#random());
  }

  #takeToken(prefix: Prefix): boolean {
    const { ratePerPrefix } = this.#scene;
    prefix.tokens = Math.min(ratePerPrefix, prefix.tokens + ((this.#nowMs - prefix.filledMs) / 1000) * ratePerPrefix);
    prefix.filledMs = this.#nowMs;
    if (prefix.tokens < 1) return false;
    prefix.tokens--;
    return true;
  }

  #answered(session: Session, kind: "accepted" | "refused"): void {
    const { process } = session;
    process.busy--;
    const next = process.waiting.shift();
    if (next) this.#reach(next);
    if (kind === "accepted") {
      session.pace.taken(this.#nowMs);
      this.#done(session, true);
    } else {
      session.pace.refused(this.#nowMs);
      this.#tryAgain(session);
    }
  }

  #tryAgain(session: Session): void {
    this.#refused++;
    const attempted = { attempts: session.attempts, elapsedMs: this.#nowMs - session.beganMs, isThrottled: true };
    const waitMs = retryWaitMs(this.#scene.policy, attempted, this.#random());
    if (waitMs === undefined) this.#done(session, false);
    else this.#events.add(this.#nowMs + waitMs, { kind: "send", session });
  }

  #done(session: Session, succeeded: boolean): void {
    this.#mostAttempts = Math.max(this.#mostAttempts, session.attempts);
    if (succeeded) this.#durations.push(this.#nowMs - session.beganMs);
    else this.#failed++;
    session.attempts = 0;
    this.#events.add(this.#nowMs + this.#around(this.#scene.clientMs), { kind: "send", session });
  }

  #outcome(): Outcome {
    const sorted = Float64Array.from(this.#durations).sort();
    const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
    return {
      completed: sorted.length,
      failed: this.#failed,
      refused: this.#refused,
      perSecond: sorted.length / this.#scene.seconds,
      medianMs: at(0.5),
      p99Ms: at(0.99),
      mostAttempts: this.#mostAttempts,
    };
  }
}
