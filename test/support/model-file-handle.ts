/**
 * Open files of the model file system. Know their file system only as an owner that is told of their end.
 */
import { FsError } from "../../src/errors.ts";
import type { AttributeChange, Attributes, FileHandle, OpenFlags } from "../../src/vfs/file-system.ts";
import type { Content } from "./model-content.ts";
import { applyChange, attributesOf, type FileNode } from "./model-nodes.ts";

/** What a handle asks of its file system. */
export interface HandleOwner {
  openHandles: number;
  hook(operation: string, path: string): Promise<void>;
  now(): number;
  settle(path: string, draft: FileNode, outcome: "publish" | "drop"): void;
}

/** An open file of the model. Writers change their own draft only; readers keep the version they opened. */
export class ModelHandle implements FileHandle {
  readonly #fs: HandleOwner;
  readonly #path: string;
  readonly #node: FileNode;
  readonly #flags: OpenFlags;
  readonly #announced: number | undefined;
  readonly #content: Content;
  #timeSet: boolean;
  #state: "open" | "closed" | "aborted" = "open";
  #end: Promise<void> | undefined;
  /** The last change; later calls wait for it. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(fs: HandleOwner, path: string, node: FileNode, flags: OpenFlags, announced: number | undefined, timeSet = false) {
    this.#fs = fs;
    this.#path = path;
    this.#node = node;
    this.#flags = flags;
    this.#announced = announced;
    this.#timeSet = timeSet;
    this.#content = flags.write ? node.content : node.content.copy();
  }

  get knownSize(): number | undefined {
    return this.#flags.write ? undefined : this.#content.size;
  }

  async read(offset: number, length: number): Promise<readonly Uint8Array[]> {
    this.#check();
    if (this.#flags.write && !this.#flags.read) throw new FsError("permission-denied", `${this.#path}: not open for reading`);
    await this.#tail;
    await this.#fs.hook("read", this.#path);
    const bytes = this.#content.read(offset, length);
    return bytes.length > 0 ? [bytes] : [];
  }

  write(offset: number, chunks: readonly Uint8Array[]): Promise<void> {
    return this.#change("write", () => {
      let position = this.#flags.append ? this.#content.size : offset;
      for (const chunk of chunks) {
        this.#content.write(position, chunk);
        position += chunk.length;
      }
    });
  }

  async copyFrom(source: FileHandle, sourceOffset: number, length: number, offset: number): Promise<number> {
    const size = (await source.stat()).size;
    const wanted = Math.max(0, length === 0 ? size - sourceOffset : Math.min(length, size - sourceOffset));
    const chunks = await source.read(sourceOffset, wanted);
    await this.write(offset, chunks);
    return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  async stat(): Promise<Attributes> {
    this.#check();
    await this.#tail;
    await this.#fs.hook("fstat", this.#path);
    return { ...attributesOf(this.#node), size: this.#content.size };
  }

  setstat(change: AttributeChange): Promise<void> {
    return this.#change("fsetstat", () => {
      applyChange(this.#node, this.#path, change);
      if (change.mtime !== undefined) this.#timeSet = true;
    });
  }

  async sync(): Promise<void> {
    this.#check();
    await this.#tail;
    await this.#fs.hook("fsync", this.#path);
  }

  close(): Promise<void> {
    this.#end ??= this.#finish("closed");
    return this.#end;
  }

  abort(_cause: Error): Promise<void> {
    this.#end ??= this.#finish("aborted");
    return this.#end;
  }

  async #finish(state: "closed" | "aborted"): Promise<void> {
    this.#state = state;
    this.#fs.openHandles--;
    await this.#tail;
    try {
      await this.#fs.hook(state === "closed" ? "close" : "abort", this.#path);
      const whole = this.#announced === undefined || this.#announced === this.#content.size;
      if (state === "closed" && this.#flags.write && !whole) {
        throw new FsError("io", `${this.#path}: ${this.#content.size} of ${this.#announced} announced bytes arrived`);
      }
      if (!this.#timeSet) this.#node.mtime = this.#flags.write ? this.#fs.now() : this.#node.mtime;
      if (this.#flags.write) this.#fs.settle(this.#path, this.#node, state === "closed" ? "publish" : "drop");
    } catch (error) {
      if (this.#flags.write) this.#fs.settle(this.#path, this.#node, "drop");
      throw error;
    }
  }

  #change(operation: string, apply: () => void): Promise<void> {
    if (this.#state === "open" && !this.#flags.write) {
      return Promise.reject(new FsError("permission-denied", `${this.#path}: not open for writing`));
    }
    const before = this.#tail;
    const done = (async () => {
      this.#check();
      await before;
      await this.#fs.hook(operation, this.#path);
      apply();
    })();
    this.#tail = done.catch(() => undefined);
    return done;
  }

  #check(): void {
    if (this.#state !== "open") throw new FsError("invalid-argument", `${this.#path}: handle is ${this.#state}`);
  }
}
