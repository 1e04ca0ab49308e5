/**
 * Reading of an upload that waits for its rename on this node's disk: rclone compares checksums before it renames. Knows
 * one file of the state directory and its row; no store.
 */
import { FsError } from "../../errors.ts";
import type { TailFile } from "../../state/tail-store.ts";
import type { UploadRow } from "../../state/upload-table.ts";
import type { Attributes, FileHandle } from "../file-system.ts";
import type { UploadVolume } from "./upload-volume.ts";

/** Most bytes of one answer. */
const largestRead = 256 * 1024;

/** Opens a parked upload whose bytes are all on this node's disk; undefined if they are not. Whoever gets it owes `close`. */
export async function openParked(
  volume: UploadVolume,
  row: UploadRow,
  path: string,
  attributes: Attributes,
): Promise<FileHandle | undefined> {
  if (row.state !== "parked") return undefined;
  if (row.length === 0) return new ParkedReader(undefined, path, attributes);
  if (row.tail?.start !== 0 || row.tail.length !== row.length) return undefined;
  const file = await volume.tails.open(row.tail.file);
  if (file && file.length === row.length) return new ParkedReader(file, path, attributes);
  await file?.close();
  return undefined;
}

class ParkedReader implements FileHandle {
  readonly #file: TailFile | undefined;
  readonly #path: string;
  readonly #attributes: Attributes;

  constructor(file: TailFile | undefined, path: string, attributes: Attributes) {
    this.#file = file;
    this.#path = path;
    this.#attributes = attributes;
  }

  get knownSize(): number {
    return this.#attributes.size;
  }

  async read(offset: number, length: number): Promise<readonly Uint8Array[]> {
    const end = Math.min(offset + Math.min(length, largestRead), this.#attributes.size);
    if (!this.#file || end <= offset) return [];
    try {
      return [await this.#file.read(offset, end - offset)];
    } catch (cause) {
      throw new FsError("io", `${this.#path}: the file could not be read`, { cause });
    }
  }

  write(): Promise<void> {
    return this.#refuse();
  }

  copyFrom(): Promise<number> {
    return this.#refuse();
  }

  async stat(): Promise<Attributes> {
    return this.#attributes;
  }

  setstat(): Promise<void> {
    return this.#refuse();
  }

  async sync(): Promise<void> {}

  async close(): Promise<void> {
    await this.#file?.close();
  }

  async abort(): Promise<void> {
    await this.#file?.close();
  }

  #refuse(): Promise<never> {
    return Promise.reject(new FsError("permission-denied", `${this.#path}: not opened for writing`));
  }
}
