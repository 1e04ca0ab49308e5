/** A user's files as seen from a directory of theirs: relative paths are counted from there. Knows no protocol. */
import type { FsError } from "../errors.ts";
import type {
  AttributeChange,
  Attributes,
  DirectoryHandle,
  FileHandle,
  FileSystem,
  FileSystemStatistics,
  OpenFlags,
  WalkEntry,
} from "../vfs/file-system.ts";

/** See the head of this file. */
export class WorkingDirectory implements FileSystem {
  readonly #files: FileSystem;
  /** Absolute path of the directory. */
  path = "/";

  constructor(files: FileSystem) {
    this.#files = files;
  }

  #at(path: string): string {
    return path.startsWith("/") ? path : `${this.path === "/" ? "" : this.path}/${path}`;
  }

  stat(path: string): Promise<Attributes> {
    return this.#files.stat(this.#at(path));
  }

  lstat(path: string): Promise<Attributes> {
    return this.#files.lstat(this.#at(path));
  }

  setstat(path: string, change: AttributeChange): Promise<void> {
    return this.#files.setstat(this.#at(path), change);
  }

  open(path: string, flags: OpenFlags, attributes?: AttributeChange): Promise<FileHandle> {
    return this.#files.open(this.#at(path), flags, attributes);
  }

  opendir(path: string): Promise<DirectoryHandle> {
    return this.#files.opendir(this.#at(path));
  }

  mkdir(path: string, attributes?: AttributeChange): Promise<void> {
    return this.#files.mkdir(this.#at(path), attributes);
  }

  rmdir(path: string): Promise<void> {
    return this.#files.rmdir(this.#at(path));
  }

  remove(path: string): Promise<void> {
    return this.#files.remove(this.#at(path));
  }

  async removeFiles(paths: readonly string[]): Promise<readonly (FsError | undefined)[]> {
    if (this.#files.removeFiles) return this.#files.removeFiles(paths.map((path) => this.#at(path)));
    for (const path of paths) await this.remove(path);
    return paths.map(() => undefined);
  }

  rename(from: string, to: string, options: { readonly replace: boolean }): Promise<void> {
    return this.#files.rename(this.#at(from), this.#at(to), options);
  }

  realpath(path: string): Promise<string> {
    return this.#files.realpath(this.#at(path));
  }

  readlink(path: string): Promise<string> {
    return this.#files.readlink(this.#at(path));
  }

  symlink(target: string, path: string): Promise<void> {
    return this.#files.symlink(target, this.#at(path));
  }

  statvfs(path: string): Promise<FileSystemStatistics> {
    return this.#files.statvfs(this.#at(path));
  }

  copy(from: string, to: string): Promise<void> {
    return this.#files.copy(this.#at(from), this.#at(to));
  }

  walk(path: string): AsyncIterable<readonly WalkEntry[]> {
    return this.#files.walk(this.#at(path));
  }

  storedChecksum(path: string, algorithm: string): Promise<string | undefined> {
    return this.#files.storedChecksum(this.#at(path), algorithm);
  }
}
