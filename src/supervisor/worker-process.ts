/**
 * One worker as the supervisor sees it: a forked process, its channel, and how much it has to do. Knows neither what a
 * worker does nor what becomes of it when it is gone.
 */
import { type ChildProcess, fork } from "node:child_process";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import type { ToSupervisor, ToWorker, WorkerStart } from "./messages.ts";

/**
 * Node 20 gives a function to its optimizing compiler after a fourth of this budget. In a fresh worker that compiler takes
 * a fifth of the CPU of the first half GiB, much of it for code that is not needed again. Later versions do not know the flag.
 */
const NODE_20_FLAGS = ["--max-semi-space-size=16", "--interrupt-budget=264000"];
/**
 * The young generation of Node 24 grows to 128 MiB and never shrinks. With 16 MiB semi-spaces, and ciphers that are not
 * compiled, 100,000 OPENs left a worker 128 MiB larger than it was, with these 81. A worker that can ask for a collection
 * gives back what Node 24 keeps while there is anything to do (src/memory-tidy.ts).
 */
const NEWER_FLAGS = ["--max-semi-space-size=8", "--expose-gc"];
/**
 * Each worker has a core; the engine's own collector threads would take it from the others. Measured: up to half of the
 * CPU of a big transfer. Node 20 crashes when the flag is set in a running process.
 */
const ENGINE_FLAGS = ["--single-threaded-gc", ...(process.versions.node.startsWith("20.") ? NODE_20_FLAGS : NEWER_FLAGS)];
/**
 * glibc learns from freed buffers to keep ever larger ones for itself, tens of MiB of them; told the sizes it begins with,
 * it gives all from 128 KiB on back to the system. What the operator has set stays.
 */
const ALLOCATOR = { MALLOC_ARENA_MAX: "2", MALLOC_MMAP_THRESHOLD_: "131072", MALLOC_TRIM_THRESHOLD_: "1048576" };
/** In development the sources themselves run. */
const IS_SOURCE = import.meta.url.endsWith(".ts");
const PROGRAM = fileURLToPath(new URL(IS_SOURCE ? "../worker.ts" : "../worker.js", import.meta.url));
const LOADER = IS_SOURCE ? ["--import", "tsx"] : [];

/** What a fully busy event loop weighs, in fresh connections. */
const BUSY_WEIGHT = 8;
/**
 * So many connections of one address stay together unless their worker is busier than this: a client with several
 * connections then meets its own open files in one process, and its caches.
 */
const TOGETHER = 4;
const TOO_BUSY = 0.8;
/** For so long after its last connection an address finds its worker again: what was cut there may still be settling. */
const REMEMBERED_MS = 30_000;
const MOST_REMEMBERED = 4096;
/** What a connection weighs that was there at the worker's last word: most do nothing. */
const SETTLED_WEIGHT = 1 / 16;
/** What a socket weighs that the worker has not taken yet: it is stuck. */
const UNTAKEN_WEIGHT = 16;
/** Sockets on the way to a worker at once; see `WaitingLine`. */
const MOST_UNTAKEN = 16;

/** Told what a worker says and when it is gone. */
export interface WorkerEvents {
  message(message: ToSupervisor): void;
  /** Called once. `how` is its exit code or signal, `wasReady` says that it took connections. */
  gone(how: string, wasReady: boolean): void;
}

/** See the head of this file. */
export class WorkerProcess {
  readonly slot: number;
  /** Takes connections. */
  isReady = false;
  readonly #child: ChildProcess;
  #open = 0;
  #fresh = 0;
  /** Sockets that were handed over and are not settled yet. */
  #untaken = 0;
  #busyShare = 0;
  readonly #addresses = new Map<string, number>();
  /** Addresses without a connection, and when they had their last one; the oldest first. */
  readonly #left = new Map<string, number>();

  /** Starts the process. */
  constructor(start: WorkerStart, events: WorkerEvents) {
    this.slot = start.slot;
    this.#child = fork(PROGRAM, [], {
      execArgv: [...process.execArgv, ...ENGINE_FLAGS, ...LOADER],
      env: { ...ALLOCATOR, ...process.env },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    let isGone = false;
    const gone = (how: string): void => {
      if (isGone) return;
      isGone = true;
      const wasReady = this.isReady;
      this.isReady = false;
      events.gone(how, wasReady);
    };
    this.#child.on("message", (message) => events.message(message as ToSupervisor));
    this.#child.on("exit", (code, signal) => gone(signal ?? `exit code ${code}`));
    this.#child.on("error", (error) => {
      // No process, or one that cannot be talked to any more.
      this.kill();
      if (this.#child.pid === undefined) gone(error.message);
    });
    this.send({ type: "start", start });
  }

  /** Process id; undefined if it could not be started. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** How busy it is: the lowest is given the next connection. */
  get load(): number {
    const busy = this.#open > 0 ? this.#busyShare * BUSY_WEIGHT : 0;
    return busy + this.#fresh + (this.#open - this.#fresh) * SETTLED_WEIGHT + this.#untaken * UNTAKEN_WEIGHT;
  }

  /** True while so many sockets are on their way to it that further ones should wait. */
  get isFull(): boolean {
    return this.#untaken >= MOST_UNTAKEN;
  }

  /** True if a further connection from `address` should come to those that are here. */
  attracts(address: string): boolean {
    const here = this.#addresses.get(address) ?? 0;
    const isKnown = here > 0 || performance.now() - (this.#left.get(address) ?? Number.NEGATIVE_INFINITY) < REMEMBERED_MS;
    return isKnown && here < TOGETHER && this.#untaken < TOGETHER && this.#busyShare < TOO_BUSY;
  }

  /** Sends a message; one that cannot be sent is lost with its process. */
  send(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  /**
   * Hands a socket over that nobody has read from. The caller closes it when the worker has its own, or this process is gone:
   * Node 20 and 24 never close, nor report, what they had queued for a process that is killed. The word behind it lets the
   * worker tell if a socket did not come, of which Node says nothing either.
   */
  hand(message: Extract<ToWorker, { type: "connection" }>, socket: Socket): void {
    this.#open++;
    this.#fresh++;
    this.#untaken++;
    this.#addresses.set(message.address, (this.#addresses.get(message.address) ?? 0) + 1);
    this.#child.send(message, socket, { keepOpen: true }, (error) => {
      if (error) socket.destroy();
    });
    this.send({ type: "handed", id: message.id });
  }

  /** A socket that was handed over has been taken, or given up. */
  settled(): void {
    this.#untaken--;
  }

  /** A connection that was handed over from `address` is gone. */
  closed(address: string): void {
    const left = (this.#addresses.get(address) ?? 1) - 1;
    if (left === 0) this.#leave(address);
    else this.#addresses.set(address, left);
    this.#open--;
    this.#fresh = Math.min(this.#fresh, this.#open);
  }

  #leave(address: string): void {
    this.#addresses.delete(address);
    this.#left.delete(address);
    this.#left.set(address, performance.now());
    for (const oldest of this.#left.keys()) {
      if (this.#left.size <= MOST_REMEMBERED) break;
      this.#left.delete(oldest);
    }
  }

  /** What the worker said of its event loop. */
  busy(share: number): void {
    this.#busyShare = share;
    this.#fresh = 0;
  }

  /** Ends the process at once. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }
}
