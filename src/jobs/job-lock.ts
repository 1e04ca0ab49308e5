/**
 * A lock that holds across processes and hosts: an object that is written only if nobody else's is there. It expires by
 * itself, so that a holder that died does not block for ever, and is renewed by a holder that lives. A holder that is known
 * to be dead, because it ran on this very system, is not waited for. Clocks of hosts that
 * share a lock may differ by a part of its lifetime.
 */
import { randomUUID } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { buffer } from "node:stream/consumers";
import { StoreError } from "../errors.ts";
import type { ObjectStore } from "../objectstore/objectstore.ts";
import type { Clock } from "../vfs/uploads/clock.ts";
import type { JobLog } from "./job.ts";

/** How long a lock lasts without being renewed. */
export const LOCK_LIFETIME_MS = 120_000;
/** A lock is renewed so many times in its life. */
const RENEWALS = 4;

/** Somebody else holds the lock. */
export class LockedError extends Error {
  override readonly name = "LockedError";
}

/** Who holds a lock. */
export interface LockRecord {
  readonly token: string;
  readonly host: string;
  readonly pid: number;
  /** The running system and its space of process ids, and when the process began: empty where the system does not say. */
  readonly system: string;
  readonly begun: string;
  readonly takenMs: number;
  readonly expiresMs: number;
}

/** Where and how locks are taken. */
export interface LockOptions {
  readonly store: ObjectStore;
  /** Empty, or ends with `/`. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly log: JobLog;
  readonly lifetimeMs?: number;
}

/** A lock that is held. Whoever took it owes `release`. */
export interface HeldLock {
  /** Aborts when the lock is lost: what it guards must stop. */
  readonly signal: AbortSignal;
  release(): Promise<void>;
}

/** Key of the lock `name`. */
export function lockKey(prefix: string, name: string): string {
  return `${prefix}locks/${name}.json`;
}

/** What a lock's object says; undefined if that cannot be read. */
export async function readLock(
  store: ObjectStore,
  key: string,
): Promise<{ readonly record: LockRecord | undefined; readonly etag: string } | undefined> {
  try {
    const found = await store.get(key);
    const value: unknown = JSON.parse((await buffer(found.body)).toString("utf8"));
    const isRecord = typeof value === "object" && value !== null && "expiresMs" in value && typeof value.expiresMs === "number";
    return { record: isRecord ? (value as LockRecord) : undefined, etag: found.info.etag };
  } catch (error) {
    if (error instanceof StoreError && error.code === "not-found") return undefined;
    if (error instanceof SyntaxError) return { record: undefined, etag: (await store.head(key)).etag };
    throw error;
  }
}

function readText(read: () => string): string {
  try {
    return read().trim();
  } catch (error) {
    // Not Linux, or no such process.
    if (error instanceof Error && "code" in error) return "";
    throw error;
  }
}

/** Names this boot of this machine and the space that process ids count in: equal only where a pid means the same process. */
function currentSystem(): string {
  const boot = readText(() => readFileSync("/proc/sys/kernel/random/boot_id", "latin1"));
  const space = readText(() => readlinkSync("/proc/self/ns/pid"));
  return boot === "" || space === "" ? "" : `${boot} ${space}`;
}

/** When the kernel started a process, in its own ticks; empty if there is none of that id. */
function processBegun(pid: number): string {
  const text = readText(() => readFileSync(`/proc/${pid}/stat`, "latin1"));
  // The command's name may hold blanks and parentheses: the fields are counted behind its last parenthesis.
  return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}

/** True for a holder that ran on this very system and runs no more: its lock need not be waited for. */
function isDead({ system, pid, begun }: LockRecord): boolean {
  return typeof system === "string" && system !== "" && system === currentSystem() && processBegun(pid) !== begun;
}

class Lock implements HeldLock {
  readonly #options: LockOptions;
  readonly #key: string;
  readonly #lifetimeMs: number;
  readonly #record: Omit<LockRecord, "expiresMs">;
  readonly #lost = new AbortController();
  #etag = "";
  #expiresMs = 0;
  #cancel: (() => void) | undefined;
  #renewing: Promise<void> = Promise.resolve();
  #released = false;

  constructor(options: LockOptions, key: string) {
    this.#options = options;
    this.#key = key;
    this.#lifetimeMs = options.lifetimeMs ?? LOCK_LIFETIME_MS;
    const { pid } = process;
    const takenMs = options.clock.now();
    this.#record = { token: randomUUID(), host: hostname(), pid, system: currentSystem(), begun: processBegun(pid), takenMs };
  }

  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  async take(name: string): Promise<void> {
    const { store, clock } = this.#options;
    for (let attempt = 0; ; attempt++) {
      const found = await readLock(store, this.#key);
      const { record } = found ?? {};
      if (record && record.expiresMs > clock.now() && !isDead(record)) {
        const since = new Date(record.takenMs).toISOString();
        throw new LockedError(`${name} is already running on ${record.host} (process ${record.pid}) since ${since}`);
      }
      try {
        await this.#write(found ? { ifMatch: found.etag } : { ifNoneMatch: "*" });
        break;
      } catch (error) {
        // Somebody was faster: see who.
        if (!(error instanceof StoreError) || error.code !== "precondition-failed" || attempt >= 3) throw error;
      }
    }
    const check = await readLock(store, this.#key);
    if (check?.record?.token !== this.#record.token) throw new LockedError(`${name} is already running elsewhere`);
    this.#schedule();
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    this.#cancel?.();
    await this.#renewing;
    if (this.#lost.signal.aborted || this.#options.clock.now() >= this.#expiresMs) return;
    try {
      await this.#options.store.delete([this.#key]);
    } catch (error) {
      this.#options.log.warn({ err: error, key: this.#key }, "lock could not be released, it expires by itself");
    }
  }

  async #write(condition: { readonly ifMatch: string } | { readonly ifNoneMatch: "*" }): Promise<void> {
    const expiresMs = this.#options.clock.now() + this.#lifetimeMs;
    const content = Buffer.from(`${JSON.stringify({ ...this.#record, expiresMs } satisfies LockRecord)}\n`);
    const { etag } = await this.#options.store.put(this.#key, [content], { contentType: "application/json", ...condition });
    this.#etag = etag;
    this.#expiresMs = expiresMs;
  }

  #schedule(): void {
    this.#cancel = this.#options.clock.after(this.#lifetimeMs / RENEWALS, () => {
      this.#renewing = this.#renew();
    });
  }

  /** Never rejects. A renewal that fails is tried again until the lock has expired. */
  async #renew(): Promise<void> {
    const { clock, log } = this.#options;
    try {
      await this.#write({ ifMatch: this.#etag });
    } catch (error) {
      const isTaken = error instanceof StoreError && (error.code === "precondition-failed" || error.code === "not-found");
      if (isTaken || clock.now() >= this.#expiresMs) {
        log.error({ err: error, key: this.#key }, "lock lost");
        this.#lost.abort(new Error("the lock of this job was lost to somebody else"));
        return;
      }
      log.warn({ err: error, key: this.#key }, "lock could not be renewed yet");
    }
    if (!this.#released) this.#schedule();
  }
}

/** Takes the lock `name`. Rejects with a LockedError if somebody has it, else as the store does. */
export async function takeLock(name: string, options: LockOptions): Promise<HeldLock> {
  const lock = new Lock(options, lockKey(options.prefix, name));
  await lock.take(name);
  return lock;
}
