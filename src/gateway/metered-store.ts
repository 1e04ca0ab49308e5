/** Counts the requests and bytes of a store and logs when it fails. Knows no adapter and no user. */
import type { Metrics } from "../admin/metrics.ts";
import { StoreError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { MultipartUpload, ObjectStore } from "../objectstore/objectstore.ts";

const REQUESTS = "gateway_store_requests_total";
const FAILURES = "gateway_store_failures_total";
const BYTES = "gateway_store_bytes_total";

/** Defines the metrics that `withMetrics` counts in. */
export function defineStoreMetrics(metrics: Metrics): void {
  metrics.counter(REQUESTS, "Operations asked of the stores, by operation.");
  metrics.counter(FAILURES, "Operations of the stores that failed, by operation; missing objects are no failure.");
  metrics.counter(BYTES, "Bytes written to and asked of the stores, by direction.");
}

function bytesOf(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}

/** What happens in daily work, or is told to the client only. */
const EXPECTED: ReadonlySet<string> = new Set([
  "not-found",
  "precondition-failed",
  "no-such-upload",
  "aborted",
  "invalid-key",
  "invalid-argument",
]);
/** A store that is down fails every request: it is mentioned this often. */
const LOG_INTERVAL_MS = 10_000;

/** Logs failures of a store, each kind once in a while. */
class FailureLog {
  readonly #log: Logger;
  readonly #kinds = new Map<string, { loggedMs: number; suppressed: number }>();

  constructor(log: Logger) {
    this.#log = log;
  }

  failed(operation: string, error: StoreError): void {
    const now = performance.now();
    const kind = this.#kinds.get(error.code);
    if (kind && now - kind.loggedMs < LOG_INTERVAL_MS) {
      kind.suppressed++;
      return;
    }
    this.#kinds.set(error.code, { loggedMs: now, suppressed: 0 });
    const suppressed = kind?.suppressed ?? 0;
    this.#log.warn({ operation, code: error.code, reason: error.message, ...(suppressed > 0 ? { suppressed } : {}) }, "storage failed");
  }
}

/** `store`, counted; what fails is logged. */
export function withMetrics(store: ObjectStore, metrics: Metrics, log: Logger): ObjectStore {
  const failures = new FailureLog(log);
  const watch = async <T>(operation: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (error instanceof StoreError && !EXPECTED.has(error.code)) {
        metrics.add(FAILURES, 1, { operation });
        failures.failed(operation, error);
      }
      throw error;
    }
  };
  const count = <T>(operation: string, work: () => Promise<T>): Promise<T> => {
    metrics.add(REQUESTS, 1, { operation });
    return watch(operation, work);
  };
  const written = (chunks: readonly Uint8Array[]): void => metrics.add(BYTES, bytesOf(chunks), { direction: "written" });
  const countUpload = (upload: MultipartUpload): MultipartUpload => ({
    key: upload.key,
    uploadId: upload.uploadId,
    uploadPart: (position, body, signal) => {
      metrics.add(BYTES, "read" in body ? body.size : bytesOf(body), { direction: "written" });
      return count("upload-part", () => upload.uploadPart(position, body, signal));
    },
    ...(upload.readBack && { readBack: upload.readBack.bind(upload) }),
    copyPart: (position, source, signal) => count("copy-part", () => upload.copyPart(position, source, signal)),
    listParts: (signal) => count("list-parts", () => upload.listParts(signal)),
    complete: (parts, condition, signal) => count("complete-upload", () => upload.complete(parts, condition, signal)),
    abort: (signal) => count("abort-upload", () => upload.abort(signal)),
  });
  const move = store.move?.bind(store);
  const space = store.space?.bind(store);
  return {
    limits: store.limits,
    head: (key, signal) => count("head", () => store.head(key, signal)),
    get: (key, options) =>
      count("get", async () => {
        const read = await store.get(key, options);
        const { start, end = read.info.size - 1 } = options?.range ?? { start: 0 };
        metrics.add(BYTES, Math.max(0, Math.min(end, read.info.size - 1) - start + 1), { direction: "read" });
        return read;
      }),
    put: (key, chunks, options) => {
      written(chunks);
      return count("put", () => store.put(key, chunks, options));
    },
    createUpload: (key, properties, signal) =>
      count("create-upload", async () => countUpload(await store.createUpload(key, properties, signal))),
    openUpload: (key, uploadId) => countUpload(store.openUpload(key, uploadId)),
    listUploads: (prefix, signal) => store.listUploads(prefix, signal),
    copy: (from, to, options) => count("copy", () => store.copy(from, to, options)),
    delete: (keys, signal) => count("delete", () => store.delete(keys, signal)),
    async *list(prefix, options) {
      const pages = store.list(prefix, options)[Symbol.asyncIterator]();
      try {
        for (;;) {
          const page = await watch("list", () => pages.next());
          if (page.done === true) return;
          metrics.add(REQUESTS, 1, { operation: "list" });
          yield page.value;
        }
      } finally {
        await pages.return?.();
      }
    },
    ...(move && { move: (from, to, options) => count("move", () => move(from, to, options)) }),
    ...(space && { space }),
    close: () => store.close(),
  };
}
