/**
 * Unfinished uploads below the volume's prefix that this node knows nothing of: begun on another node, or before this
 * node's state directory was lost. They count as the owner's, to be resumed from the parts the store has.
 *
 * Asking costs a request, and most sessions never need the answer. So the store is asked for the whole prefix only when
 * somebody looks for a name where nothing is published and this node knows of nothing, as a client does before it
 * resumes, and then at most once per `intervalMs`; and for one key when a write wants to go on at an offset that
 * nothing else explains. Listings show what is remembered. What was listed is asked for its parts when somebody looks. A foreign upload is never aborted but by its owner's wish: its own node may be at work on it.
 */
import { StoreError } from "../../errors.ts";
import type { StoredPart, UnfinishedUpload } from "../../objectstore/objectstore.ts";
import { partsLookWhole, type Received } from "./end-signs.ts";
import { usableParts } from "./resting-uploads.ts";
import type { UploadVolume } from "./upload-volume.ts";

/** What the store has of a foreign upload stays true for so long. */
const trustMs = 10_000;

/** Most foreign uploads remembered. */
const maxRemembered = 10_000;

/** A foreign upload with what the store has of it. */
export interface ForeignUpload extends UnfinishedUpload, Received {
  readonly parts: readonly StoredPart[];
}

interface Remembered {
  readonly upload: UnfinishedUpload;
  looked?: { readonly atMs: number; readonly found: ForeignUpload };
}

/** See the head of this file. */
export class ForeignUploads {
  readonly #volume: UploadVolume;
  readonly #prefix: string;
  readonly #intervalMs: number;
  readonly #ownUploads: () => ReadonlySet<string | undefined>;
  #remembered = new Map<string, Remembered>();
  #asked: Promise<void> | undefined;
  #askedMs = Number.NEGATIVE_INFINITY;

  /** `ownUploads` gives the store's ids of all uploads that this node knows. */
  constructor(
    volume: UploadVolume,
    options: { readonly prefix: string; readonly intervalMs: number; readonly ownUploads: () => ReadonlySet<string | undefined> },
  ) {
    this.#volume = volume;
    this.#prefix = options.prefix;
    this.#intervalMs = options.intervalMs;
    this.#ownUploads = options.ownUploads;
  }

  /** The foreign upload of `key`, if there is one with anything in it. Never rejects. */
  async find(key: string): Promise<ForeignUpload | undefined> {
    await this.#ask();
    const remembered = this.#remembered.get(key);
    return remembered && this.#look(remembered);
  }

  /** As `find`, of those that are remembered. */
  async findKnown(key: string): Promise<ForeignUpload | undefined> {
    const remembered = this.#remembered.get(key);
    return remembered && this.#look(remembered);
  }

  /** All that are remembered and whose key begins with `prefix`. Never rejects. */
  async listKnown(prefix: string): Promise<ForeignUpload[]> {
    const found: ForeignUpload[] = [];
    for (const [key, remembered] of this.#remembered) {
      const upload = key.startsWith(prefix) ? await this.#look(remembered) : undefined;
      if (upload) found.push(upload);
    }
    return found;
  }

  /** As `find`, but asks the store for this very key now. */
  async findNow(key: string): Promise<ForeignUpload | undefined> {
    await this.#collect(key, (upload) => upload.key === key);
    const remembered = this.#remembered.get(key);
    return remembered && this.#look(remembered);
  }

  /** It is not foreign any more: resumed here, or discarded. */
  forget(key: string): void {
    this.#remembered.delete(key);
  }

  #ask(): Promise<void> {
    if (!this.#asked || this.#volume.clock.now() - this.#askedMs >= this.#intervalMs) {
      this.#askedMs = this.#volume.clock.now();
      this.#remembered = new Map();
      this.#asked = this.#collect(this.#prefix, () => true);
    }
    return this.#asked;
  }

  async #collect(prefix: string, isWanted: (upload: UnfinishedUpload) => boolean): Promise<void> {
    try {
      const listed: UnfinishedUpload[] = [];
      for await (const upload of this.#volume.store.listUploads(prefix)) {
        if (isWanted(upload) && listed.length < maxRemembered) listed.push(upload);
      }
      const own = this.#ownUploads();
      for (const upload of listed) {
        if (own.has(upload.uploadId)) continue;
        const known = this.#remembered.get(upload.key);
        if (!known || known.upload.initiatedMs <= upload.initiatedMs) this.#remembered.set(upload.key, { upload });
      }
    } catch (error) {
      // Without the right to list uploads everything works but going on where another node stopped.
      this.#volume.log.warn({ err: error }, "unfinished uploads cannot be listed");
    }
  }

  async #look(remembered: Remembered): Promise<ForeignUpload | undefined> {
    const now = this.#volume.clock.now();
    if (remembered.looked && now - remembered.looked.atMs < trustMs) return nonEmpty(remembered.looked.found);
    const { upload } = remembered;
    try {
      const { store } = this.#volume;
      const parts = usableParts(await store.openUpload(upload.key, upload.uploadId).listParts(), store.limits.minPartSize, undefined);
      const length = parts.reduce((sum, part) => sum + part.size, 0);
      const found = { ...upload, parts, length, looksWhole: partsLookWhole(parts) };
      remembered.looked = { atMs: now, found };
      return nonEmpty(found);
    } catch (error) {
      if (!(error instanceof StoreError && error.code === "no-such-upload")) {
        this.#volume.log.warn({ err: error }, "an unfinished upload cannot be looked up");
      }
      this.#remembered.delete(upload.key);
      return undefined;
    }
  }
}

function nonEmpty(upload: ForeignUpload): ForeignUpload | undefined {
  return upload.length > 0 ? upload : undefined;
}
