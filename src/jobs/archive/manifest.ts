/**
 * The list of an archive's members, one JSON object a line (`<archive>.manifest.jsonl`), in UTF-8 byte order of their
 * paths. Streams in both directions, because an archive may have millions of members. Knows no store.
 */
import { compareKeys } from "../../objectstore/key-order.ts";

/**
 * What became of a member. `ok`; `changed`: replaced since it was listed, the newer version is in the archive; `retried`:
 * an earlier entry of the same path is torn, this one is whole; `vanished`: removed since it was listed, not in the
 * archive; `damaged`: could not be read whole, its end is zeros; `skipped`: cannot be archived (`reason`); `deleted`: an
 * incremental archive's note that it is gone.
 */
export type MemberStatus = "ok" | "changed" | "retried" | "vanished" | "damaged" | "skipped" | "deleted";

/** One line of a manifest. Sizes and offsets in bytes, `mtime` in seconds since the epoch. */
export interface ManifestEntry {
  /** As in the archive: `<user>/originals/x.jpg`. */
  readonly path: string;
  readonly status: MemberStatus;
  /** Of the bytes in the archive; absent where there are none. */
  readonly size?: number;
  /** The version that was archived. */
  readonly etag?: string;
  /** The same, where the bucket keeps versions. */
  readonly versionId?: string;
  readonly mtime?: number;
  /** In lower-case hex. */
  readonly sha256?: string;
  /** Where the member's header begins in the uncompressed tar of its volume. */
  readonly offset?: number;
  /** Number of the volume from 1, for archives of several volumes. */
  readonly volume?: number;
  readonly reason?: string;
}

const STATUSES: ReadonlySet<string> = new Set<MemberStatus>(["ok", "changed", "retried", "vanished", "damaged", "skipped", "deleted"]);
/** A path is at most 1,024 bytes; a line that is longer than this is no manifest's. */
const MAX_LINE = 64 * 1024;

/** True if the archive holds the member's bytes, be they damaged. */
export function isArchived({ status }: ManifestEntry): boolean {
  return status !== "vanished" && status !== "skipped" && status !== "deleted";
}

/** One line, with its end. */
export function formatEntry(entry: ManifestEntry): string {
  return `${JSON.stringify(entry)}\n`;
}

function parseEntry(line: string, number: number): ManifestEntry {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new Error(`line ${number} of the manifest is not JSON`, { cause: error });
  }
  const isEntry =
    typeof value === "object" &&
    value !== null &&
    "path" in value &&
    typeof value.path === "string" &&
    "status" in value &&
    typeof value.status === "string" &&
    STATUSES.has(value.status);
  if (!isEntry) throw new Error(`line ${number} of the manifest is no member`);
  return value as ManifestEntry;
}

/** The entries of a manifest as it is stored. Rejects for what is none, and as `source` does. */
export async function* readManifest(source: AsyncIterable<Uint8Array>): AsyncGenerator<ManifestEntry> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let rest = "";
  let number = 0;
  for await (const chunk of source) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > MAX_LINE) throw new Error(`line ${number + lines.length + 1} of the manifest is too long`);
    for (const line of lines) yield parseEntry(line, ++number);
  }
  if (rest !== "") throw new Error(`the manifest ends within line ${number + 1}`);
}

/**
 * What a full archive and the incremental ones after it hold together, in order of paths: of each path the entry of the
 * last manifest that names it, without those that are in no archive.
 */
export async function* mergeManifests(manifests: readonly AsyncIterable<ManifestEntry>[]): AsyncGenerator<ManifestEntry> {
  const heads = await Promise.all(
    manifests.map(async (manifest) => {
      const iterator = manifest[Symbol.asyncIterator]();
      return { iterator, head: await iterator.next() };
    }),
  );
  try {
    for (;;) {
      let smallest: ManifestEntry | undefined;
      // Later manifests come later in the list, so that of equal paths the last one stays.
      for (const { head } of heads) {
        if (!head.done && (!smallest || compareKeys(head.value.path, smallest.path) <= 0)) smallest = head.value;
      }
      if (!smallest) return;
      for (const reader of heads) {
        while (!reader.head.done && reader.head.value.path === smallest.path) reader.head = await reader.iterator.next();
      }
      if (isArchived(smallest)) yield smallest;
    }
  } finally {
    for (const { iterator } of heads) await iterator.return?.(undefined);
  }
}
