/**
 * Two decorators of a store: one refuses every key outside a prefix, the other bounds the requests under way. Know no
 * adapter.
 */
import { StoreError } from "../errors.ts";
import type { ListEntry, ListOptions, MultipartUpload, ObjectStore, UnfinishedUpload } from "./objectstore.ts";

/**
 * `store` restricted to keys that begin with `prefix`: everything else is `access-denied` without a request, and what a
 * listing shows beyond it is dropped. The upper layers never ask for such keys; this is the second lock.
 */
export function withPrefixGuard(store: ObjectStore, prefix: string): ObjectStore {
  const check = (key: string): void => {
    if (!key.startsWith(prefix))
      throw new StoreError("access-denied", `${JSON.stringify(key)} is outside the prefix ${JSON.stringify(prefix)}`);
  };
  const guardUpload = (upload: MultipartUpload): MultipartUpload => ({
    key: upload.key,
    uploadId: upload.uploadId,
    uploadPart: (position, chunks, signal) => upload.uploadPart(position, chunks, signal),
    ...(upload.readBack && { readBack: upload.readBack.bind(upload) }),
    copyPart: async (position, source, signal) => {
      check(source.key);
      return upload.copyPart(position, source, signal);
    },
    listParts: (signal) => upload.listParts(signal),
    complete: (parts, condition, signal) => upload.complete(parts, condition, signal),
    abort: (signal) => upload.abort(signal),
  });
  const move = store.move?.bind(store);
  const copyFrom = store.copyFrom?.bind(store);
  const space = store.space?.bind(store);
  const tags = store.tags?.bind(store);
  return {
    limits: store.limits,
    ...(tags && {
      tags: async (key, signal) => {
        check(key);
        return tags(key, signal);
      },
    }),
    ...(store.copyOrigin && { copyOrigin: store.copyOrigin.within(prefix) }),
    ...(copyFrom && {
      copyFrom: async (origin, from, to, options) => {
        check(to);
        return copyFrom(origin, from, to, options);
      },
    }),
    head: async (key, signal) => {
      check(key);
      return store.head(key, signal);
    },
    get: async (key, options) => {
      check(key);
      return store.get(key, options);
    },
    put: async (key, chunks, options) => {
      check(key);
      return store.put(key, chunks, options);
    },
    createUpload: async (key, properties, signal) => {
      check(key);
      return guardUpload(await store.createUpload(key, properties, signal));
    },
    openUpload: (key, uploadId) => {
      check(key);
      return guardUpload(store.openUpload(key, uploadId));
    },
    listUploads: (listed, signal) => guardedUploads(store, { prefix, listed, check }, signal),
    copy: async (from, to, options) => {
      check(from);
      check(to);
      return store.copy(from, to, options);
    },
    delete: async (keys, signal) => {
      for (const key of keys) check(key);
      return store.delete(keys, signal);
    },
    list: (listed, options) => guardedPages(store, { prefix, listed, check }, options),
    ...(move && {
      move: async (from, to, options) => {
        check(from);
        check(to);
        return move(from, to, options);
      },
    }),
    ...(space && { space }),
    close: () => store.close(),
  };
}

interface GuardedListing {
  readonly prefix: string;
  readonly listed: string;
  readonly check: (key: string) => void;
}

async function* guardedPages(
  store: ObjectStore,
  { prefix, listed, check }: GuardedListing,
  options: ListOptions | undefined,
): AsyncGenerator<ListEntry[]> {
  check(listed);
  const isInside = (entry: ListEntry): boolean => (entry.kind === "object" ? entry.key : entry.prefix).startsWith(prefix);
  for await (const page of store.list(listed, options)) yield page.every(isInside) ? page : page.filter(isInside);
}

async function* guardedUploads(
  store: ObjectStore,
  { prefix, listed, check }: GuardedListing,
  signal: AbortSignal | undefined,
): AsyncGenerator<UnfinishedUpload> {
  check(listed);
  for await (const upload of store.listUploads(listed, signal)) if (upload.key.startsWith(prefix)) yield upload;
}

/**
 * `store` with at most `limit` requests under way; more wait in the order they came. A body being read does not count,
 * nor does a listing between its pages.
 */
export function withConcurrencyLimit(store: ObjectStore, limit: number): ObjectStore {
  const turns = new Turns(limit);
  const limitUpload = (upload: MultipartUpload): MultipartUpload => {
    const readBack = upload.readBack?.bind(upload);
    return {
      key: upload.key,
      uploadId: upload.uploadId,
      uploadPart: (position, chunks, signal) => turns.run(signal, () => upload.uploadPart(position, chunks, signal)),
      copyPart: (position, source, signal) => turns.run(signal, () => upload.copyPart(position, source, signal)),
      ...(readBack && { readBack: (offset, length, signal) => turns.run(signal, () => readBack(offset, length, signal)) }),
      listParts: (signal) => turns.run(signal, () => upload.listParts(signal)),
      complete: (parts, condition, signal) => turns.run(signal, () => upload.complete(parts, condition, signal)),
      abort: (signal) => turns.run(signal, () => upload.abort(signal)),
    };
  };
  const move = store.move?.bind(store);
  const copyFrom = store.copyFrom?.bind(store);
  const space = store.space?.bind(store);
  const tags = store.tags?.bind(store);
  return {
    limits: store.limits,
    ...(tags && { tags: (key, signal) => turns.run(signal, () => tags(key, signal)) }),
    ...(store.copyOrigin && { copyOrigin: store.copyOrigin }),
    ...(copyFrom && { copyFrom: (origin, from, to, options) => turns.run(options.signal, () => copyFrom(origin, from, to, options)) }),
    head: (key, signal) => turns.run(signal, () => store.head(key, signal)),
    get: (key, options) => turns.run(options?.signal, () => store.get(key, options)),
    put: (key, chunks, options) => turns.run(options?.signal, () => store.put(key, chunks, options)),
    createUpload: (key, properties, signal) =>
      turns.run(signal, async () => limitUpload(await store.createUpload(key, properties, signal))),
    openUpload: (key, uploadId) => limitUpload(store.openUpload(key, uploadId)),
    listUploads: (prefix, signal) => store.listUploads(prefix, signal),
    copy: (from, to, options) => turns.run(options?.signal, () => store.copy(from, to, options)),
    delete: (keys, signal) => turns.run(signal, () => store.delete(keys, signal)),
    list: (prefix, options) => limitedPages(store, turns, prefix, options),
    ...(move && { move: (from, to, options) => turns.run(options?.signal, () => move(from, to, options)) }),
    ...(space && { space }),
    close: () => store.close(),
  };
}

async function* limitedPages(
  store: ObjectStore,
  turns: Turns,
  prefix: string,
  options: ListOptions | undefined,
): AsyncGenerator<ListEntry[]> {
  const pages = store.list(prefix, options)[Symbol.asyncIterator]();
  try {
    for (;;) {
      const result = await turns.run(options?.signal, () => pages.next());
      if (result.done === true) return;
      yield result.value;
    }
  } finally {
    await pages.return?.();
  }
}

/** A counter of free places with a waiting line. */
class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.#free = limit;
  }

  /** Runs `action` when its turn has come; rejects `aborted` if `signal` is aborted first. */
  async run<T>(signal: AbortSignal | undefined, action: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await this.#wait(signal);
    try {
      return await action();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(proceed), 1);
        reject(new StoreError("aborted", "the request was given up while it waited for its turn", { cause: signal?.reason }));
      };
      const proceed = (): void => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      if (signal?.aborted) {
        reject(new StoreError("aborted", "the request was given up by its caller", { cause: signal.reason }));
        return;
      }
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.push(proceed);
    });
  }
}
