/**
 * The S3 test server as a child process of `nights.ts`, filled without requests. Messages: `{plant}` makes objects, `{marker}` a
 * folder's empty one, `{reset}` forgets the requests so far, `{counts}` asks for them by operation; each is answered with one message.
 */
import { randomBytes, randomFillSync } from "node:crypto";
import { type S3Server, startS3Server } from "../../support/s3-server/s3-server.ts";

/** Objects to make: `count` of `size` bytes each, named `PREFIX0000000SUFFIX` on. */
export interface Plant {
  readonly bucket: string;
  readonly prefix: string;
  readonly suffix: string;
  readonly first?: number;
  readonly count: number;
  readonly size: number;
  /** Equal bytes in all objects of that size, whenever planted (default: bytes of their own, which cannot be compressed). */
  readonly same?: boolean;
  /** When they were last modified; now, unless given. */
  readonly lastModifiedMs?: number;
}

/** What the parent asks. */
export type Ask = { readonly marker: string } | { readonly plant: Plant } | { readonly reset: true } | { readonly counts: true };

/** What it is told: the server's address first, then requests by operation. */
export type Answer = Readonly<Record<string, string | number>>;

const CHUNK = 64 * 1024 * 1024;
const FOLD_MS = 1000;

const server = await startS3Server({ buckets: ["home", "copy"], md5: false });
let sums: Record<string, number> = {};

/** A million records would take gigabytes: they are summed up and forgotten. */
function fold(): void {
  for (const [operation, count] of Object.entries(server.requests.counts())) sums[operation] = (sums[operation] ?? 0) + count;
  server.requests.clear();
}

function plant(into: S3Server, { bucket, prefix, suffix, first = 0, count, size, same, lastModifiedMs }: Plant): void {
  const big = size > CHUNK ? randomFillSync(Buffer.allocUnsafe(CHUNK)) : undefined;
  const shared = same ? Buffer.alloc(size, "x") : undefined;
  for (let number = first; number < first + count; number++) {
    const key = `${prefix}${String(number).padStart(7, "0")}${suffix}`;
    if (big) {
      const chunks = Array.from({ length: Math.ceil(size / CHUNK) }, (_, index) => big.subarray(0, Math.min(CHUNK, size - index * CHUNK)));
      into.contents.putChunks(bucket, key, chunks);
    } else into.contents.put(bucket, key, shared ?? randomBytes(size), lastModifiedMs === undefined ? {} : { lastModifiedMs });
  }
}

function answer(ask: Ask): Answer {
  if ("plant" in ask) plant(server, ask.plant);
  else if ("marker" in ask) server.contents.put("home", ask.marker, "");
  else fold();
  const told = sums;
  if (!("counts" in ask)) sums = {};
  return told;
}

setInterval(fold, FOLD_MS).unref();
process.on("message", (ask: Ask) => process.send?.(answer(ask)));
process.once("disconnect", () => process.exit(0));
process.send?.({ endpoint: server.endpoint, region: server.region, ...server.credentials } satisfies Answer);
