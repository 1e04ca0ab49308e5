/**
 * A user's archives as the user sees them: the newest whole one as `/<user>-assets.tar.xz`, with its checksum and manifest
 * beside it, and older, incremental and split ones below `/backups/`. Read-only; a file that is open is read to its end in
 * the version it was opened in, whatever is published meanwhile.
 */
import type { ByteBudget } from "../byte-budget.ts";
import { FsError } from "../errors.ts";
import { compareKeys } from "../objectstore/key-order.ts";
import type { ObjectInfo } from "../objectstore/objectstore.ts";
import { InMemoryMetadataCache } from "../state/metadata-cache.ts";
import { OWNER_ID } from "../vfs/attributes.ts";
import type { Attributes, DirectoryEntry, FileHandle } from "../vfs/file-system.ts";
import type { ReadOnlyMount } from "../vfs/mount-table.ts";
import { ReadHandle } from "../vfs/read-handle.ts";
import { toFsError } from "../vfs/store-fault.ts";
import { systemClock } from "../vfs/uploads/clock.ts";
import { Volume } from "../vfs/volume.ts";
import { CONTAINERS } from "./archive/containers.ts";
import { type Catalog, latestFull, readCatalog } from "./backup-catalog.ts";
import type { BackupDestination } from "./backup-destination.ts";
import type { JobLog } from "./job.ts";

/** Name of the directory of older archives in the home. */
export const BACKUPS_NAME = "backups";
/** How long a catalog that was read answers: as long as one listing of the home takes. */
const CATALOG_TRUST_MS = 250;
const FILE_MODE = 0o444;
const DIRECTORY_MODE = 0o555;

/** A file in the user's view: stored at the destination, or made of what the catalog says. */
type ArchiveFile = {
  readonly size: number;
  readonly mtime: number;
} & ({ readonly kind: "stored"; readonly name: string } | { readonly kind: "made"; readonly content: Uint8Array });

/** What the user sees: names in the home, and names below `backups`. */
interface Files {
  readonly home: ReadonlyMap<string, ArchiveFile>;
  readonly backups: ReadonlyMap<string, ArchiveFile>;
}

/** The files of `catalog`, by name. */
function filesOf(user: string, catalog: Catalog): Files {
  const home = new Map<string, ArchiveFile>();
  const backups = new Map<string, ArchiveFile>();
  const latest = latestFull(catalog);
  for (const archive of catalog.archives) {
    const isPlain = archive === latest && archive.volumes.length === 1;
    const files = isPlain ? home : backups;
    const mtime = Math.floor(archive.publishedMs / 1000);
    const extension = CONTAINERS.find((container) => archive.name.endsWith(container.extension))?.extension ?? "";
    const plain = `${user}-assets${extension}`;
    for (const { name, size, sha256 } of archive.volumes) {
      const shown = isPlain ? plain : name;
      const line = Buffer.from(`${sha256}  ${shown}\n`);
      files.set(shown, { kind: "stored", name, size, mtime });
      files.set(`${shown}.sha256`, { kind: "made", content: line, size: line.length, mtime });
    }
    const { manifest } = archive;
    const shown = isPlain ? `${plain}.manifest.jsonl` : manifest.name;
    files.set(shown, { kind: "stored", name: manifest.name, size: manifest.size, mtime });
  }
  return { home, backups };
}

function attributesOf({ size, mtime }: ArchiveFile): Attributes {
  return { type: "file", size, mode: FILE_MODE, uid: OWNER_ID, gid: OWNER_ID, mtime, atime: mtime };
}

/** How a user's archives are shown. */
export interface BackupFilesOptions {
  readonly user: string;
  readonly destination: BackupDestination;
  readonly budget: ByteBudget;
  readonly log: JobLog;
  /** Milliseconds, for the age of what was read. */
  readonly now?: () => number;
}

/** See the head of this file. */
export class BackupFiles {
  readonly #options: BackupFilesOptions;
  readonly #volume: Volume;
  readonly #open = new Map<string, number>();
  readonly #now: () => number;
  #read: { readonly files: Promise<Files>; readonly atMs: number } | undefined;

  constructor(options: BackupFilesOptions) {
    const { destination, budget, log } = options;
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#volume = new Volume({
      id: destination.uri,
      store: destination.store,
      prefix: destination.prefix,
      metadata: new InMemoryMetadataCache({ maxEntries: 100 }),
      budget,
      clock: systemClock,
      log,
      // Nothing is ever uploaded here.
      pendingUploads: () => {
        throw new FsError("permission-denied", "archives are read-only");
      },
    });
  }

  /** What the user's home gets. */
  mounts(): readonly ReadOnlyMount[] {
    const plain = CONTAINERS.map(({ extension }) => `${this.#options.user}-assets${extension}`);
    const names = plain.flatMap((name) => [name, `${name}.sha256`, `${name}.manifest.jsonl`]);
    return [...names.map((name) => this.#fileMount(name)), this.#directoryMount()];
  }

  /** True while a session reads this file of the user's folder. */
  isOpen(name: string): boolean {
    return this.#open.has(name);
  }

  #fileMount(name: string): ReadOnlyMount {
    return {
      kind: "read-only",
      name,
      stat: async (names) => {
        const file = names.length === 0 ? (await this.#shown()).home.get(name) : undefined;
        return file && attributesOf(file);
      },
      list: async () => [],
      open: async (_names, path) => this.#openFile((await this.#files()).home.get(name), path),
    };
  }

  #directoryMount(): ReadOnlyMount {
    const directory: Attributes = { type: "directory", size: 0, mode: DIRECTORY_MODE, uid: OWNER_ID, gid: OWNER_ID, mtime: 0, atime: 0 };
    return {
      kind: "read-only",
      name: BACKUPS_NAME,
      stat: async ([name, ...below]) => {
        if (name === undefined) return (await this.#shown()).backups.size > 0 ? directory : undefined;
        const file = below.length === 0 ? (await this.#files()).backups.get(name) : undefined;
        return file && attributesOf(file);
      },
      list: async () => {
        const entries: DirectoryEntry[] = [];
        for (const [name, file] of (await this.#files()).backups) entries.push({ name, attributes: attributesOf(file) });
        return entries.sort((a, b) => compareKeys(a.name, b.name));
      },
      open: async ([name = ""], path) => this.#openFile((await this.#files()).backups.get(name), path),
    };
  }

  /** As `#files`; but a home must be shown though the archives cannot be reached. */
  async #shown(): Promise<Files> {
    try {
      return await this.#files();
    } catch (error) {
      this.#options.log.warn({ err: error, user: this.#options.user }, "archives cannot be shown");
      return { home: new Map(), backups: new Map() };
    }
  }

  async #files(): Promise<Files> {
    const { destination, user } = this.#options;
    if (!this.#read || this.#now() - this.#read.atMs > CATALOG_TRUST_MS) {
      const files = readCatalog(destination.store, destination.prefix).then((catalog) => filesOf(user, catalog));
      this.#read = { files, atMs: this.#now() };
    }
    try {
      return await this.#read.files;
    } catch (error) {
      throw new FsError("unavailable", "/: the archives cannot be reached now", { cause: error });
    }
  }

  async #find(key: string, path: string): Promise<ObjectInfo> {
    try {
      return await this.#options.destination.store.head(key);
    } catch (error) {
      throw toFsError(error, path);
    }
  }

  async #openFile(file: ArchiveFile | undefined, path: string): Promise<FileHandle> {
    if (!file) throw new FsError("not-found", `${path}: no such file or directory`);
    if (file.kind === "made") return new MadeFile(file.content, attributesOf(file), path);
    return this.#openStored(file, path);
  }

  async #openStored(file: ArchiveFile & { readonly kind: "stored" }, path: string): Promise<FileHandle> {
    const { name, size } = file;
    const key = this.#volume.key([name], path);
    const object = await this.#find(key, path);
    if (object.size !== size) throw new FsError("io", `${path}: the archive is damaged; your operator can make it anew`);
    const view = {
      volume: this.#volume,
      sinceTick: 0,
      readOnly: true,
      get pending(): never {
        throw readOnlyError(path);
      },
    };
    const handle = new ReadHandle({
      target: { view, key, names: [name], path, asDirectory: false },
      object,
      isVerified: true,
      setstat: () => Promise.reject(readOnlyError(path)),
    });
    this.#open.set(name, (this.#open.get(name) ?? 0) + 1);
    return new StoredFile(handle, attributesOf(file), () => {
      const left = (this.#open.get(name) ?? 1) - 1;
      if (left > 0) this.#open.set(name, left);
      else this.#open.delete(name);
    });
  }
}

function readOnlyError(path: string): FsError {
  return new FsError("permission-denied", `${path}: this file is read-only`);
}

/** An open archive: a handle on its version that is counted until it is closed. */
class StoredFile implements FileHandle {
  readonly #inner: ReadHandle;
  readonly #attributes: Attributes;
  readonly #onClose: () => void;
  #isClosed = false;

  constructor(inner: ReadHandle, attributes: Attributes, onClose: () => void) {
    this.#inner = inner;
    this.#attributes = attributes;
    this.#onClose = onClose;
  }

  get knownSize(): number {
    return this.#attributes.size;
  }

  read(offset: number, length: number): Promise<readonly Uint8Array[]> {
    return this.#inner.read(offset, length);
  }

  write(): Promise<void> {
    return this.#inner.write();
  }

  copyFrom(): Promise<number> {
    return this.#inner.copyFrom();
  }

  async stat(): Promise<Attributes> {
    return this.#attributes;
  }

  setstat(): Promise<void> {
    return this.#inner.setstat({});
  }

  sync(): Promise<void> {
    return this.#inner.sync();
  }

  async close(): Promise<void> {
    if (!this.#isClosed) this.#onClose();
    this.#isClosed = true;
    await this.#inner.close();
  }

  abort(): Promise<void> {
    return this.close();
  }
}

/** An open file whose few bytes are at hand. */
class MadeFile implements FileHandle {
  readonly #content: Uint8Array;
  readonly #attributes: Attributes;
  readonly #path: string;
  #isClosed = false;

  constructor(content: Uint8Array, attributes: Attributes, path: string) {
    this.#content = content;
    this.#attributes = attributes;
    this.#path = path;
  }

  get knownSize(): number {
    return this.#content.length;
  }

  async read(offset: number, length: number): Promise<readonly Uint8Array[]> {
    this.#requireOpen();
    const piece = this.#content.subarray(offset, offset + length);
    return piece.length > 0 ? [piece] : [];
  }

  async write(): Promise<void> {
    throw readOnlyError(this.#path);
  }

  async copyFrom(): Promise<number> {
    throw readOnlyError(this.#path);
  }

  async stat(): Promise<Attributes> {
    return this.#attributes;
  }

  async setstat(): Promise<void> {
    throw readOnlyError(this.#path);
  }

  async sync(): Promise<void> {
    this.#requireOpen();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  abort(): Promise<void> {
    return this.close();
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new FsError("io", `${this.#path}: the file is closed`);
  }
}
