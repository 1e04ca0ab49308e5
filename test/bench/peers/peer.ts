/** A server under test, as the workloads see it: where to log in, what lies behind it, which processes it is. */
import type { ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { stopProcess } from "../../support/processes.ts";
import { cpuSeconds } from "../process-figures.ts";
import type { ProxyProcess } from "../proxies/start-proxy.ts";
import type { Storage } from "../storage.ts";

/** A server has started when it uses less than so much CPU for so long: several start parts of themselves after they listen. */
const SETTLED_CPU_SECONDS = 0.05;
const SETTLED_MS = 1500;
const SETTLE_LIMIT_MS = 15_000;

/** How a client logs in. */
export interface Login {
  readonly port: number;
  readonly user: string;
  readonly keyFile: string;
}

/**
 * `gateway`: what this repository builds; `peer`: another program on the same S3 server; `limit`: on a local disk, shown to
 * know what the transport can do, never "the best peer" of an S3 row.
 */
export type PeerKind = "gateway" | "peer" | "limit";

/** What a peer is made of. */
export interface PeerParts {
  readonly name: string;
  readonly kind: PeerKind;
  readonly storageKind: "S3" | "disk";
  readonly version: string;
  readonly login: Login;
  /** The writable folder as the client sees it. */
  readonly folder: string;
  readonly storage: Storage;
  readonly proxy?: ProxyProcess | undefined;
  /** It says "done" before the store holds the data: no honest rival where time is compared. */
  readonly answersEarly?: boolean;
  readonly hasRsync: boolean;
  /** Starts its processes; resolves when it accepts connections. */
  launch(): Promise<readonly ChildProcess[]>;
  /** Removes what `launch` left beside processes. */
  cleanUp?(): Promise<void>;
}

/** A peer that can be started, started afresh and stopped. */
export class Peer {
  readonly parts: PeerParts;
  #children: readonly ChildProcess[] = [];

  constructor(parts: PeerParts) {
    this.parts = parts;
  }

  get name(): string {
    return this.parts.name;
  }

  get storage(): Storage {
    return this.parts.storage;
  }

  get proxy(): ProxyProcess | undefined {
    return this.parts.proxy;
  }

  /** A path in the writable folder as the client names it. */
  remote(path: string): string {
    return `${this.parts.folder}/${path}`;
  }

  /** The processes that were started; their descendants belong to the server too. */
  pids(): number[] {
    return this.#children.map((child) => child.pid ?? 0);
  }

  /** Starts its processes; resolves when they have become quiet. */
  async start(): Promise<void> {
    this.#children = await this.parts.launch();
    const end = performance.now() + SETTLE_LIMIT_MS;
    for (let before = Number.NEGATIVE_INFINITY; performance.now() < end; ) {
      const now = cpuSeconds(this.pids());
      if (now - before < SETTLED_CPU_SECONDS) return;
      before = now;
      await sleep(SETTLED_MS); // nothing tells when a program has nothing left to do
    }
  }

  /** The same data and port, cold caches. */
  async restart(): Promise<void> {
    await this.halt();
    await this.start();
  }

  /** Ends the processes; `start` can follow. */
  async halt(): Promise<void> {
    for (const child of [...this.#children].reverse()) await stopProcess(child, "SIGTERM", 15_000);
    this.#children = [];
    await this.parts.cleanUp?.();
  }

  async stop(): Promise<void> {
    await this.halt();
    await this.proxy?.stop();
  }
}
