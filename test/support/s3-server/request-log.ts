/** What the server was asked: counted by operation, and awaitable. */
import { S3Error } from "./s3-error.ts";
import type { Operation, S3Request } from "./s3-request.ts";

/** One request, from its arrival on. */
export interface RequestRecord {
  readonly request: S3Request;
  readonly operation: Operation;
  readonly bucket: string;
  readonly key: string;
  readonly startedMs: number;
  /** HTTP status of the answer; 0 while there is none, or if the connection was dropped instead. */
  status: number;
  /** Body bytes received and sent. */
  bytesIn: number;
  bytesOut: number;
  /** The kind of the fault that was injected, if one was. */
  fault?: string;
  /** The client or a fault closed the connection before the answer was out. */
  isDropped: boolean;
  isFinished: boolean;
}

type Predicate = (record: RequestRecord) => boolean;

interface Waiter {
  readonly predicate: Predicate;
  readonly resolve: (record: RequestRecord) => void;
}

/** All requests since the start or the last `clear`, in order of arrival. */
export class RequestLog {
  #records: RequestRecord[] = [];
  #waiters: Waiter[] = [];

  get records(): readonly RequestRecord[] {
    return this.#records;
  }

  /** How many requests of that operation came, whatever the answer; of all without an argument. */
  count(operation?: Operation, predicate: Predicate = () => true): number {
    return this.#records.filter((one) => (operation === undefined || one.operation === operation) && predicate(one)).length;
  }

  /** Requests by operation; operations nobody asked for are absent. */
  counts(): Partial<Record<Operation, number>> {
    const counts: Partial<Record<Operation, number>> = {};
    for (const { operation } of this.#records) counts[operation] = (counts[operation] ?? 0) + 1;
    return counts;
  }

  /** Requests being served now. */
  inFlight(operation?: Operation): number {
    return this.count(operation, (one) => !one.isFinished);
  }

  /** Forgets what came so far. */
  clear(): void {
    this.#records = [];
  }

  /** Resolves with the first request, past or to come, that fulfils the predicate. Looks again when one finishes. */
  waitFor(predicate: Predicate): Promise<RequestRecord> {
    const past = this.#records.find(predicate);
    if (past) return Promise.resolve(past);
    return new Promise((resolve) => this.#waiters.push({ predicate, resolve }));
  }

  /** Adds a request that has just arrived. */
  begin(request: S3Request): RequestRecord {
    const { operation, bucket, key } = request;
    const record: RequestRecord = {
      request,
      operation,
      bucket,
      key,
      startedMs: Date.now(),
      status: 0,
      bytesIn: 0,
      bytesOut: 0,
      isDropped: false,
      isFinished: false,
    };
    this.#records.push(record);
    this.#notify(record);
    return record;
  }

  /** Marks a request as done. */
  finish(record: RequestRecord): void {
    record.isFinished = true;
    this.#notify(record);
  }

  #notify(record: RequestRecord): void {
    const woken = this.#waiters.filter((waiter) => waiter.predicate(record));
    if (woken.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => !woken.includes(waiter));
    for (const waiter of woken) waiter.resolve(record);
  }
}

/** The status an error is answered with. */
export function statusOf(error: unknown): number {
  return error instanceof S3Error ? error.status : 500;
}
