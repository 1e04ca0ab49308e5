/**
 * Brings a user's files back from the archives: a whole one and the incremental ones after it in order, deletions applied.
 * The archives' top directory is left out, so that the target looks like the storage that was backed up.
 */
import { compareKeys } from "../objectstore/key-order.ts";
import type { ObjectStore } from "../objectstore/objectstore.ts";
import { contentTypeOf } from "../vfs/content-type.ts";
import { DELETED_NAME } from "./archive/archive-source.ts";
import { parseDeletedLine } from "./archive/archive-stream.ts";
import { type ManifestEntry, mergeManifests } from "./archive/manifest.ts";
import { readTar, type ReadMember } from "./archive/tar-reader.ts";
import { unpack } from "./archive/containers.ts";
import { type ArchiveRecord, openArchiveFile, type VolumeRecord } from "./backup-catalog.ts";
import type { BackupDestination } from "./backup-destination.ts";
import { openManifest } from "./backup-job.ts";
import type { JobProgress } from "./job.ts";
import { ObjectWriter } from "./object-writer.ts";

const DELETE_BATCH = 1000;
const MAX_DELETED_BYTES = 256 * 1024 * 1024;

/** What is restored, and where to. */
export interface RestoreOptions {
  readonly user: string;
  readonly destination: Pick<BackupDestination, "store" | "prefix">;
  /** The archives in order: see `chainOf`. */
  readonly chain: readonly ArchiveRecord[];
  readonly target: { readonly store: ObjectStore; readonly prefix: string };
  /** Only this file, or everything below this directory: `originals/x.jpg`. Absent: everything. */
  readonly path?: string | undefined;
  /** Replaces files that are there. */
  readonly force: boolean;
  readonly signal: AbortSignal;
  readonly onProgress?: ((progress: JobProgress) => void) | undefined;
}

/** What was restored. */
export interface RestoreResult {
  readonly files: number;
  readonly bytes: number;
  readonly deleted: number;
}

/** True for `path` itself and what lies below it. */
function selects(path: string | undefined, name: string): boolean {
  if (path === undefined || path === "") return true;
  const folder = path.endsWith("/") ? path : `${path}/`;
  return name === path || name.startsWith(folder);
}

class Restore {
  readonly #options: RestoreOptions;
  readonly #top: string;
  #files = 0;
  #bytes = 0;
  #deleted = 0;
  #read = 0;

  constructor(options: RestoreOptions) {
    this.#options = options;
    this.#top = `${options.user}/`;
  }

  async run(): Promise<RestoreResult> {
    const { chain, force, user, path } = this.#options;
    if (chain.length === 0) throw new Error(`there is no archive of ${user}`);
    if (!force) await this.#refuseOverwriting();
    for (const archive of chain) for (const volume of archive.volumes) await this.#volume(volume);
    if (this.#files === 0 && path !== undefined) throw new Error(`no archive holds ${path}`);
    return { files: this.#files, bytes: this.#bytes, deleted: this.#deleted };
  }

  /** Compares what the archives hold with what is there, before anything is written. */
  async #refuseOverwriting(): Promise<void> {
    const { store, prefix } = this.#options.target;
    const members = mergeManifests(this.#options.chain.map((archive) => this.#manifest(archive)));
    let member = await members.next();
    try {
      for await (const page of store.list(prefix, { signal: this.#options.signal })) {
        for (const entry of page) {
          if (entry.kind !== "object" || entry.key.endsWith("/")) continue;
          const name = entry.key.slice(prefix.length);
          while (!member.done && compareKeys(this.#nameOf(member.value.path), name) < 0) member = await members.next();
          if (member.done || this.#nameOf(member.value.path) !== name || !selects(this.#options.path, name)) continue;
          throw new Error(`${name} is there already and would be replaced: write --force if it may be, or choose an empty place`);
        }
      }
    } finally {
      await members.return(undefined);
    }
  }

  #manifest(archive: ArchiveRecord): AsyncIterable<ManifestEntry> {
    return openManifest(this.#options.destination, archive, this.#options.signal);
  }

  #nameOf(path: string): string {
    return path.startsWith(this.#top) ? path.slice(this.#top.length) : path;
  }

  async #volume(volume: VolumeRecord): Promise<void> {
    const { destination, signal } = this.#options;
    const found = await openArchiveFile(destination, volume, signal);
    try {
      for await (const member of readTar(unpack(volume.name, this.#counted(found.body, volume), signal))) await this.#member(member);
    } finally {
      found.destroy();
    }
  }

  async *#counted(body: AsyncIterable<Uint8Array>, volume: VolumeRecord): AsyncGenerator<Uint8Array> {
    const total = this.#options.chain.flatMap(({ volumes }) => volumes).reduce((sum, { size }) => sum + size, 0);
    for await (const chunk of body) {
      this.#read += chunk.length;
      this.#options.onProgress?.({ done: this.#read, total, unit: "bytes", label: volume.name });
      yield chunk;
    }
  }

  async #member(member: ReadMember): Promise<void> {
    const { target, path, signal } = this.#options;
    if (!member.path.startsWith(this.#top)) throw new Error(`the archive holds ${member.path}, which is not below ${this.#top}`);
    const name = member.path.slice(this.#top.length);
    if (name === DELETED_NAME) return this.#delete(member);
    if (name === "" || !selects(path, name)) return;
    const metadata = { mtime: String(Math.floor(member.mtime)) };
    if (member.type === "directory") {
      // Directories carry no time of their own.
      await target.store.put(target.prefix + name, [], { contentType: "application/x-directory", signal });
      return;
    }
    const writer = new ObjectWriter(target.store, {
      key: target.prefix + name,
      properties: { contentType: contentTypeOf(name), metadata },
      signal,
    });
    try {
      for await (const chunk of member.content) await writer.write(chunk);
      await writer.commit();
    } catch (error) {
      // The first error is the one that says why.
      await writer.abort().catch(() => undefined);
      throw error;
    }
    this.#files++;
    this.#bytes += member.size;
  }

  async #delete({ size, content }: ReadMember): Promise<void> {
    if (size > MAX_DELETED_BYTES) throw new Error("the archive's list of deleted files is too long");
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) chunks.push(chunk);
    const { target, path, signal } = this.#options;
    const names = Buffer.concat(chunks)
      .toString("utf8")
      .split("\n")
      .filter((line) => line.startsWith(this.#top))
      .map((line) => parseDeletedLine(line).slice(this.#top.length))
      .filter((name) => name !== "" && selects(path, name));
    for (let at = 0; at < names.length; at += DELETE_BATCH) {
      const keys = names.slice(at, at + DELETE_BATCH).map((name) => target.prefix + name);
      await target.store.delete(keys, signal);
      this.#deleted += keys.length;
    }
  }
}

/** Restores. Rejects when something cannot be read or written, or would be replaced without `force`; then what was written stays. */
export function restoreArchives(options: RestoreOptions): Promise<RestoreResult> {
  return new Restore(options).run();
}
