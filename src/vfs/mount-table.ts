/**
 * What a user's home `/` consists of: volumes (read and write) and read-only branches made by other parts of the gateway
 * (backups). The home itself is a directory that nobody writes to. Knows names; asks no store.
 */
import { OWNER_ID, UNKNOWN_DIRECTORY_TIME } from "./attributes.ts";
import type { Attributes, DirectoryEntry, FileHandle } from "./file-system.ts";
import type { VirtualPath } from "./virtual-path.ts";
import type { Volume } from "./volume.ts";

/** A volume shown as a directory of the home. */
export interface VolumeMount {
  readonly kind: "volume";
  /** Its name in the home, e.g. `attachments`. */
  readonly name: string;
  readonly volume: Volume;
}

/**
 * Files that the user may only read, shown in the home: one file (`alice-assets.tar.xz`), or a directory of them
 * (`backups`). `names` are those below the mount; empty for the mount itself. All reject with an `FsError`.
 */
export interface ReadOnlyMount {
  readonly kind: "read-only";
  readonly name: string;
  /** What is at `names`; undefined if nothing is (for the mount itself: it is not shown in the home now). */
  stat(names: readonly string[]): Promise<Attributes | undefined>;
  /** The entries of the directory at `names`, in UTF-8 byte order; only asked for directories. */
  list(names: readonly string[]): Promise<readonly DirectoryEntry[]>;
  /** Opens the file at `names` for reading; only asked for files. */
  open(names: readonly string[], path: string): Promise<FileHandle>;
}

/** Something shown in the home. */
export type Mount = VolumeMount | ReadOnlyMount;

/** What a path leads to. */
export type Place =
  | { readonly kind: "home" }
  | { readonly kind: "volume"; readonly mount: VolumeMount; readonly names: readonly string[] }
  | { readonly kind: "read-only"; readonly mount: ReadOnlyMount; readonly names: readonly string[] }
  | { readonly kind: "nothing" };

/** The mounts of one user. Their names must differ. */
export class MountTable {
  readonly mounts: readonly Mount[];

  constructor(mounts: readonly Mount[]) {
    if (new Set(mounts.map(({ name }) => name)).size !== mounts.length) throw new RangeError("two mounts have one name");
    this.mounts = [...mounts].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  }

  resolve({ names: [first, ...names] }: VirtualPath): Place {
    if (first === undefined) return { kind: "home" };
    const mount = this.mounts.find(({ name }) => name === first);
    if (!mount) return { kind: "nothing" };
    return mount.kind === "volume" ? { kind: "volume", mount, names } : { kind: "read-only", mount, names };
  }
}

/** Of the home: readable, nobody's to write. */
export const HOME_ATTRIBUTES: Attributes = {
  type: "directory",
  size: 0,
  mode: 0o555,
  uid: OWNER_ID,
  gid: OWNER_ID,
  mtime: UNKNOWN_DIRECTORY_TIME,
  atime: UNKNOWN_DIRECTORY_TIME,
};
