/** A file tree in memory with POSIX's rules, as far as SFTP version 3 shows them: what a gateway is compared with. */
import { FX } from "../support/sftp-packets.ts";

/** An operation did not succeed; `code` is the SFTP status that is expected. */
export class ModelError extends Error {
  override readonly name = "ModelError";
  readonly code: number;
  constructor(code: number) {
    super(`status ${code}`);
    this.code = code;
  }
}

/** Paths are relative, `/`-separated, and the root is the empty path. */
export class TreeModel {
  readonly #files = new Map<string, Buffer>();
  readonly #folders = new Set<string>([""]);

  /** All files with their contents, by path. */
  get files(): ReadonlyMap<string, Buffer> {
    return this.#files;
  }

  /** All folders but the root. */
  get folders(): string[] {
    return [...this.#folders].filter((path) => path !== "").sort();
  }

  write(path: string, data: Buffer): void {
    this.#requireParent(path);
    if (this.#folders.has(path)) throw new ModelError(FX.FAILURE);
    this.#files.set(path, data);
  }

  patch(path: string, offset: number, data: Buffer): void {
    const old = this.#file(path);
    const bytes = Buffer.alloc(Math.max(old.length, offset + data.length));
    old.copy(bytes);
    data.copy(bytes, offset);
    this.#files.set(path, bytes);
  }

  append(path: string, data: Buffer): void {
    this.#files.set(path, Buffer.concat([this.#file(path), data]));
  }

  truncate(path: string, size: number): void {
    const bytes = Buffer.alloc(size);
    this.#file(path).copy(bytes);
    this.#files.set(path, bytes);
  }

  read(path: string): Buffer {
    return this.#file(path);
  }

  remove(path: string): void {
    this.#file(path);
    this.#files.delete(path);
  }

  mkdir(path: string): void {
    this.#requireParent(path);
    if (this.#exists(path)) throw new ModelError(FX.FAILURE);
    this.#folders.add(path);
  }

  rmdir(path: string): void {
    this.#requireParent(path);
    if (this.#files.has(path)) throw new ModelError(FX.NO_SUCH_FILE); // ENOTDIR
    if (!this.#folders.has(path)) throw new ModelError(FX.NO_SUCH_FILE);
    if (this.list(path).length > 0) throw new ModelError(FX.FAILURE);
    this.#folders.delete(path);
  }

  rename(from: string, to: string, replaces: boolean): void {
    this.#requireParent(from);
    if (!this.#exists(from)) throw new ModelError(FX.NO_SUCH_FILE);
    if (this.#folders.has(from) && to.startsWith(`${from}/`)) throw new ModelError(FX.FAILURE);
    this.#requireParent(to);
    if (from === to && replaces) return;
    if (this.#exists(to) && !replaces) throw new ModelError(FX.FAILURE);
    if (this.#exists(to) && this.#folders.has(to) !== this.#folders.has(from)) throw new ModelError(FX.FAILURE);
    if (this.#folders.has(to) && this.list(to).length > 0) throw new ModelError(FX.FAILURE);
    const moved = (path: string) => (path === from || path.startsWith(`${from}/`) ? to + path.slice(from.length) : undefined);
    for (const [path, data] of [...this.#files]) {
      const target = moved(path);
      if (target === undefined) continue;
      this.#files.delete(path);
      this.#files.set(target, data);
    }
    for (const path of [...this.#folders]) {
      const target = moved(path);
      if (target === undefined) continue;
      this.#folders.delete(path);
      this.#folders.add(target);
    }
  }

  /** Names in a folder, sorted. */
  list(path: string): string[] {
    if (!this.#folders.has(path)) throw new ModelError(FX.NO_SUCH_FILE);
    const prefix = path === "" ? "" : `${path}/`;
    return [...this.#files.keys(), ...this.#folders]
      .filter((one) => one !== "" && one.startsWith(prefix) && !one.slice(prefix.length).includes("/"))
      .map((one) => one.slice(prefix.length))
      .sort();
  }

  /** Size of a file, or undefined for a folder. */
  stat(path: string): number | undefined {
    this.#requireParent(path);
    if (this.#folders.has(path)) return undefined;
    return this.#file(path).length;
  }

  #exists(path: string): boolean {
    return this.#files.has(path) || this.#folders.has(path);
  }

  #file(path: string): Buffer {
    this.#requireParent(path);
    const data = this.#files.get(path);
    if (data) return data;
    throw new ModelError(this.#folders.has(path) ? FX.FAILURE : FX.NO_SUCH_FILE);
  }

  #requireParent(path: string): void {
    const slash = path.lastIndexOf("/");
    if (!this.#folders.has(slash < 0 ? "" : path.slice(0, slash))) throw new ModelError(FX.NO_SUCH_FILE);
  }
}
