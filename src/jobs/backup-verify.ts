/**
 * Reads an archive back against its manifest: the file's checksum, each block's, and of each member its place, size, time
 * and checksum. Changes nothing.
 */
import { createHash } from "node:crypto";
import { DELETED_NAME } from "./archive/archive-source.ts";
import { isArchived, type ManifestEntry } from "./archive/manifest.ts";
import { readTar, type ReadMember } from "./archive/tar-reader.ts";
import { unpack } from "./archive/containers.ts";
import { type ArchiveRecord, openArchiveFile, type VolumeRecord } from "./backup-catalog.ts";
import type { BackupDestination } from "./backup-destination.ts";
import { openManifest } from "./backup-job.ts";
import type { JobProgress } from "./job.ts";

/** Faults that are told one by one. */
const MAX_FAULTS = 100;

/** What came out: no faults means that everything is as the manifest says. */
export interface VerifyResult {
  readonly files: number;
  readonly bytes: number;
  /** The first hundred, one line each. */
  readonly faults: readonly string[];
  readonly faultCount: number;
}

/** How an archive is verified. */
export interface VerifyOptions {
  readonly destination: Pick<BackupDestination, "store" | "prefix">;
  readonly archive: ArchiveRecord;
  readonly signal: AbortSignal;
  readonly onProgress?: ((progress: JobProgress) => void) | undefined;
}

class Verification {
  readonly #options: VerifyOptions;
  readonly #expected: AsyncIterator<ManifestEntry>;
  readonly #faults: string[] = [];
  #faultCount = 0;
  #files = 0;
  #bytes = 0;
  #read = 0;

  constructor(options: VerifyOptions) {
    this.#options = options;
    this.#expected = openManifest(options.destination, options.archive, options.signal);
  }

  async run(): Promise<VerifyResult> {
    try {
      for (const volume of this.#options.archive.volumes) await this.#volume(volume);
      const missing = await this.#next();
      if (missing) this.#fault(`${missing.path} and what follows it in the manifest is not in the archive`);
    } catch (error) {
      if (this.#options.signal.aborted) throw error;
      this.#fault(error instanceof Error ? error.message : String(error));
    } finally {
      await this.#expected.return?.();
    }
    return { files: this.#files, bytes: this.#bytes, faults: this.#faults, faultCount: this.#faultCount };
  }

  async #volume(volume: VolumeRecord): Promise<void> {
    const found = await openArchiveFile(this.#options.destination, volume, this.#options.signal);
    const hash = createHash("sha256");
    try {
      for await (const member of readTar(unpack(volume.name, this.#counted(found.body, hash), this.#options.signal))) {
        if (member.type === "file") await this.#member(member);
      }
    } finally {
      found.destroy();
    }
    if (hash.digest("hex") !== volume.sha256) this.#fault(`${volume.name}: the checksum of the file is not that of the catalog`);
  }

  async *#counted(body: AsyncIterable<Uint8Array>, hash: ReturnType<typeof createHash>): AsyncGenerator<Uint8Array> {
    const total = this.#options.archive.volumes.reduce((sum, { size }) => sum + size, 0);
    for await (const chunk of body) {
      hash.update(chunk);
      this.#read += chunk.length;
      this.#options.onProgress?.({ done: this.#read, total, unit: "bytes", label: this.#options.archive.name });
      yield chunk;
    }
  }

  #waiting: ManifestEntry | undefined;

  async #next(): Promise<ManifestEntry | undefined> {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting) return waiting;
    for (;;) {
      const { done, value } = await this.#expected.next();
      if (done) return undefined;
      if (isArchived(value)) return value;
    }
  }

  async #member(member: ReadMember): Promise<void> {
    const hash = createHash("sha256");
    for await (const chunk of member.content) hash.update(chunk);
    if (this.#options.archive.kind === "incremental" && /^[^/]+\/([^/]+)$/.exec(member.path)?.[1] === DELETED_NAME) return;
    const entry = await this.#next();
    if (!entry || entry.path !== member.path) {
      this.#waiting = entry;
      this.#fault(`${member.path} is in the archive and not in the manifest`);
      return;
    }
    // An entry that was torn: the whole one comes later.
    if (entry.offset !== undefined && member.offset < entry.offset) {
      this.#waiting = entry;
      return;
    }
    this.#files++;
    this.#bytes += member.size;
    if (entry.size !== member.size) this.#fault(`${member.path} has ${member.size} bytes, the manifest says ${entry.size}`);
    if (entry.sha256 !== hash.digest("hex")) this.#fault(`${member.path}: the checksum is not that of the manifest`);
    if (entry.mtime !== member.mtime) this.#fault(`${member.path}: the time is not that of the manifest`);
    if (entry.offset !== member.offset) this.#fault(`${member.path}: the place is not that of the manifest`);
  }

  #fault(line: string): void {
    this.#faultCount++;
    if (this.#faults.length < MAX_FAULTS) this.#faults.push(line);
  }
}

/** Verifies one archive. Rejects only when it is aborted; everything else is a fault. */
export function verifyArchive(options: VerifyOptions): Promise<VerifyResult> {
  return new Verification(options).run();
}
