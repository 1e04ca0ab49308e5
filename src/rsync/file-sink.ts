/**
 * Takes the bytes of one file in order: counts them into its checksum, notes them down where the run asked for that,
 * and hands them on. Knows no tokens and no wire.
 */
import { type Digest, sameBytes } from "./checksums.ts";
import type { IncomingFile } from "./incoming-file.ts";
import { NotesRecorder } from "./notes-recorder.ts";
import type { UploadNotesStore } from "./upload-notes.ts";

/** See the head of this file. Owes `settle` or `discard`. */
export class FileSink {
  readonly incoming: IncomingFile;
  readonly #digest: Digest;

  /** A `NotesRecorder` as digest also takes notes. */
  constructor(incoming: IncomingFile, digest: Digest) {
    this.incoming = incoming;
    this.#digest = digest;
  }

  /** What is copied should begin and end at multiples of this, so that it can be gone on with behind it. Bytes. */
  get blockLength(): number {
    return this.#digest instanceof NotesRecorder ? this.#digest.blockLength : 1;
  }

  /** Adds bytes; resolves when they are accepted. Never rejects: see `IncomingFile.failure`. */
  async write(chunks: readonly Uint8Array[]): Promise<void> {
    await this.count(chunks);
    await this.incoming.write(chunks);
  }

  /** Counts bytes into the checksum that get into the file in another way. Never rejects. */
  async count(chunks: readonly Uint8Array[]): Promise<void> {
    for (const chunk of chunks) this.#digest.update(chunk);
    if (this.#digest instanceof NotesRecorder && this.#digest.isDue) await this.#digest.flush(this.incoming.uploadId);
  }

  /** True if `sum` is the checksum of everything so far; to be asked once. */
  matches(sum: Uint8Array): boolean {
    return sameBytes(sum, this.#digest.digest());
  }

  /** The file was published: there is nothing to go on with, and nothing to note. */
  async settle(notes: UploadNotesStore | undefined): Promise<void> {
    const { uploadId, isSmall } = this.incoming;
    if (this.#digest instanceof NotesRecorder) await this.#digest.discard();
    else if (uploadId !== undefined && !isSmall) await notes?.remove(uploadId);
  }

  /** Ends it without making anything visible. `isWrong`: what came is not to be gone on with. */
  async discard(cause: Error, isWrong = false): Promise<void> {
    if (this.#digest instanceof NotesRecorder) {
      if (isWrong) await this.#digest.discard();
      else await this.#digest.flush(this.incoming.uploadId);
      await this.#digest.close();
    }
    await this.incoming.discard(cause);
  }
}
