/**
 * The workers of a gateway: one process per slot, started anew when it ends, ever more slowly if it keeps ending. Knows
 * no connections.
 */
import type { Logger } from "../log.ts";
import type { ToSupervisor, ToWorker, WorkerStart } from "./messages.ts";
import { WorkerProcess } from "./worker-process.ts";

const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 30_000;
/** The same for one that could start: customers wait for it. */
const MAX_READY_DELAY_MS = 1_000;
/** A worker that lived for so long starts anew without delay. */
const STEADY_MS = 60_000;
const PING_INTERVAL_MS = 5_000;
/** A worker whose event loop answers none of so many pings is stuck for good. Counted, not timed: machines may sleep. */
const MAX_UNANSWERED = 24;

/** What a pool is made of. */
export interface WorkerPoolOptions {
  readonly configFile: string;
  readonly onMessage: (worker: WorkerProcess, message: ToSupervisor) => void;
  /** A worker is gone; returns what to tell the operator beside that. */
  readonly onGone: (worker: WorkerProcess) => Readonly<Record<string, unknown>>;
}

interface Slot {
  readonly number: number;
  worker: WorkerProcess | undefined;
  startedMs: number;
  failures: number;
  unanswered: number;
  timer: NodeJS.Timeout | undefined;
  /** Why it could not start. */
  failure: { readonly message: string; readonly isUsage: boolean } | undefined;
}

/** See the head of this file. Whoever makes one owes `end`. */
export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #slots: Slot[] = [];
  readonly #firstProcess = (process.pid % 4) * 64;
  readonly #watchdog: NodeJS.Timeout;
  #workers: number | undefined;
  #isEnding = false;
  #onEmpty: (() => void) | undefined;
  #restarts = 0;
  /** Set once the configuration has said how to log. */
  log: Logger | undefined;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    this.#watchdog = setInterval(() => this.#ping(), PING_INTERVAL_MS).unref();
  }

  /** Starts the first worker, whose configuration says how many there are to be. */
  startFirst(): void {
    this.#start(this.#newSlot());
  }

  /** Starts the others. */
  startOthers(workers: number): void {
    this.#workers = workers;
    while (this.#slots.length < workers && !this.#isEnding) this.#start(this.#newSlot());
  }

  /** Workers that take connections. */
  get ready(): readonly WorkerProcess[] {
    return this.#slots.flatMap(({ worker }) => (worker?.isReady ? [worker] : []));
  }

  /** Workers that were started in place of others. */
  get restarts(): number {
    return this.#restarts;
  }

  /**
   * The worker for a connection from `address`: where its others are, else that with the least to do; undefined while none
   * has room for one more on its way.
   */
  choose(address: string | undefined): WorkerProcess | undefined {
    let least: WorkerProcess | undefined;
    for (const worker of this.ready) {
      if (address !== undefined && worker.attracts(address)) return worker;
    }
    for (const worker of this.ready) {
      if (!worker.isFull && (!least || worker.load < least.load)) least = worker;
    }
    return least;
  }

  /** Sends to every worker but `except`. */
  broadcast(message: ToWorker, except?: WorkerProcess): void {
    for (const { worker } of this.#slots) if (worker && worker !== except) worker.send(message);
  }

  /** Takes down why a worker cannot start. */
  failed(worker: WorkerProcess, failure: { readonly message: string; readonly isUsage: boolean }): void {
    const slot = this.#slots[worker.slot];
    if (slot) slot.failure = failure;
  }

  /** The worker answered. */
  answered(worker: WorkerProcess): void {
    const slot = this.#slots[worker.slot];
    if (slot) slot.unanswered = 0;
  }

  /** Tries those again at once that wait for their next start. */
  hurry(): void {
    for (const slot of this.#slots) {
      if (!slot.timer) continue;
      clearTimeout(slot.timer);
      this.#start(slot);
    }
  }

  /** Lets every worker finish within `timeoutMs`; none is started any more. Those that do not end are killed `graceMs` later. */
  async end(timeoutMs: number, graceMs: number): Promise<void> {
    this.#isEnding = true;
    clearInterval(this.#watchdog);
    for (const slot of this.#slots) clearTimeout(slot.timer);
    const empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    this.broadcast({ type: "drain", timeoutMs });
    const timer = setTimeout(() => this.kill(), timeoutMs + graceMs);
    this.#noticeEmpty();
    await empty;
    clearTimeout(timer);
  }

  /** Ends all workers at once. */
  kill(): void {
    this.#isEnding = true;
    for (const { worker } of this.#slots) worker?.kill();
  }

  /** What the first worker's end says about its start. */
  get firstFailure(): Slot["failure"] {
    return this.#slots[0]?.failure;
  }

  #newSlot(): Slot {
    const slot: Slot = {
      number: this.#slots.length,
      worker: undefined,
      startedMs: 0,
      failures: 0,
      unanswered: 0,
      timer: undefined,
      failure: undefined,
    };
    this.#slots.push(slot);
    return slot;
  }

  #start(slot: Slot): void {
    const start: WorkerStart = {
      configFile: this.#options.configFile,
      slot: slot.number,
      workers: this.#workers,
      firstProcess: this.#firstProcess,
    };
    slot.timer = undefined;
    slot.failure = undefined;
    slot.unanswered = 0;
    slot.startedMs = performance.now();
    const worker: WorkerProcess = new WorkerProcess(start, {
      message: (message) => this.#options.onMessage(worker, message),
      gone: (how, wasReady) => this.#gone(slot, worker, how, wasReady ? MAX_READY_DELAY_MS : MAX_DELAY_MS),
    });
    slot.worker = worker;
  }

  #gone(slot: Slot, worker: WorkerProcess, how: string, maxDelayMs: number): void {
    slot.worker = undefined;
    const details = this.#options.onGone(worker);
    this.#noticeEmpty();
    // Without a log the gateway never was up: whoever starts it says why.
    if (this.#isEnding || !this.log) return;
    const lived = performance.now() - slot.startedMs;
    slot.failures = lived >= STEADY_MS ? 0 : slot.failures + 1;
    const delayMs = slot.failures === 0 ? 0 : Math.min(maxDelayMs, FIRST_DELAY_MS * 2 ** (slot.failures - 1));
    const reason = slot.failure ? { reason: slot.failure.message } : {};
    this.log.error({ worker: slot.number, pid: worker.pid, how, ...reason, ...details, delayMs }, "worker ended, another is started");
    this.#restarts++;
    slot.timer = setTimeout(() => this.#start(slot), delayMs);
  }

  #ping(): void {
    for (const slot of this.#slots) {
      if (!slot.worker?.isReady) continue;
      if (++slot.unanswered > MAX_UNANSWERED) {
        this.log?.error({ worker: slot.number, pid: slot.worker.pid }, "worker does not answer and is ended");
        slot.worker.kill();
      } else slot.worker.send({ type: "ping" });
    }
  }

  #noticeEmpty(): void {
    if (this.#slots.every(({ worker }) => worker === undefined)) this.#onEmpty?.();
  }
}
