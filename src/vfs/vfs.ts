/**
 * The file system of one login session: parses paths, finds the mount they lead to, and hands over to the operation. See
 * the file named after each operation for what it does. Knows nothing of SSH or protocols.
 */
import { FsError } from "../errors.ts";
import { copyFile, storedChecksum } from "./copy.ts";
import { makeDirectory, removeDirectory } from "./directories.ts";
import { openDirectory } from "./dir-handle.ts";
import { openEntries } from "./entry-list.ts";
import type {
  AttributeChange,
  Attributes,
  DirectoryEntry,
  DirectoryHandle,
  FileHandle,
  FileSystem,
  FileSystemStatistics,
  InterruptedUpload,
  OpenFlags,
  WalkEntry,
} from "./file-system.ts";
import { HOME_ATTRIBUTES, type Mount, MountTable, type Place, type VolumeMount } from "./mount-table.ts";
import { openFile } from "./open.ts";
import { removeFile } from "./remove.ts";
import { removeFiles } from "./remove-files.ts";
import { rename } from "./rename.ts";
import { setAttributes } from "./setstat.ts";
import { stat, statDirectory } from "./stat.ts";
import { toFsError } from "./store-fault.ts";
import { type Quota, statistics, type Usage } from "./statvfs.ts";
import type { View, Target } from "./view.ts";
import { notFound } from "./view.ts";
import type { Volume } from "./volume.ts";
import { parsePath, type VirtualPath } from "./virtual-path.ts";
import { walk } from "./walk.ts";
import { walkReadOnly } from "./walk-read-only.ts";

/** One session's file system. */
export interface VfsOptions {
  readonly user: string;
  /** Names the session among all of the process; own uploads are told from others' by it. */
  readonly session: string;
  readonly mounts: readonly Mount[];
  /** Nothing can be changed anywhere. */
  readonly readOnly?: boolean;
  readonly quota?: Quota;
  /** What is stored, for `df`. Undefined: not known. */
  readonly usage?: () => Promise<Usage | undefined>;
}

/** A path with the place it leads to. */
interface Resolved {
  readonly path: VirtualPath;
  readonly place: Place;
}

/** See the head of this file. */
export class Vfs implements FileSystem {
  readonly #options: VfsOptions;
  readonly #mounts: MountTable;
  readonly #views = new Map<VolumeMount, View>();

  constructor(options: VfsOptions) {
    this.#options = options;
    this.#mounts = new MountTable(options.mounts);
  }

  async stat(path: string): Promise<Attributes> {
    const resolved = this.#resolve(path);
    const { place } = resolved;
    if (place.kind === "home") return HOME_ATTRIBUTES;
    if (place.kind === "volume") return stat(await settled(this.#target(place, resolved.path)));
    const attributes = place.kind === "read-only" ? await place.mount.stat(place.names) : undefined;
    if (!attributes) throw notFound({ path: resolved.path.text });
    return attributes;
  }

  lstat(path: string): Promise<Attributes> {
    return this.stat(path);
  }

  async setstat(path: string, change: AttributeChange): Promise<void> {
    return setAttributes(await settled(this.#writable(path)), change);
  }

  async open(path: string, flags: OpenFlags, attributes: AttributeChange = {}): Promise<FileHandle> {
    const resolved = this.#resolve(path);
    const { place } = resolved;
    if (place.kind === "volume") return openFile(await settled(this.#target(place, resolved.path)), flags, attributes);
    if (flags.write || flags.append || flags.create) throw this.#notWritable(resolved);
    if ((await this.stat(path)).type === "directory") {
      throw new FsError("is-a-directory", `${resolved.path.text}: is a directory`);
    }
    if (place.kind === "read-only") return place.mount.open(place.names, resolved.path.text);
    throw notFound({ path: resolved.path.text });
  }

  async opendir(path: string): Promise<DirectoryHandle> {
    const resolved = this.#resolve(path);
    const { place } = resolved;
    const { text } = resolved.path;
    if (place.kind === "volume") return openDirectory(await settled(this.#target(place, resolved.path)));
    if (place.kind === "home") return openEntries(text, HOME_ATTRIBUTES, await this.#homeEntries());
    const attributes = await this.stat(path);
    if (attributes.type !== "directory") throw new FsError("not-a-directory", `${text}: not a directory`);
    if (place.kind === "nothing") throw notFound({ path: text });
    return openEntries(text, attributes, await place.mount.list(place.names));
  }

  async mkdir(path: string, attributes: AttributeChange = {}): Promise<void> {
    const resolved = this.#resolve(path);
    if (resolved.place.kind === "home") throw new FsError("exists", `${resolved.path.text}: it already exists`);
    return makeDirectory(this.#writable(path), attributes);
  }

  async rmdir(path: string): Promise<void> {
    return removeDirectory(await settled(this.#writable(path)));
  }

  async remove(path: string): Promise<void> {
    return removeFile(await settled(this.#writable(path)));
  }

  async removeFiles(paths: readonly string[]): Promise<(FsError | undefined)[]> {
    const byVolume = new Map<Volume, { readonly at: number; readonly target: Target }[]>();
    for (const [at, path] of paths.entries()) {
      const target = this.#writable(path);
      const same = byVolume.get(target.view.volume);
      if (same) same.push({ at, target });
      else byVolume.set(target.view.volume, [{ at, target }]);
    }
    const results: (FsError | undefined)[] = new Array(paths.length);
    for (const group of byVolume.values()) {
      const outcomes = await removeFiles(group.map(({ target }) => target));
      for (const [index, outcome] of outcomes.entries()) results[group[index]?.at ?? 0] = outcome;
    }
    return results;
  }

  async rename(from: string, to: string, options: { readonly replace: boolean }): Promise<void> {
    const source = this.#writable(from);
    const target = this.#writable(to);
    requireSameVolume(source, target);
    return rename(await settled(source), await settled(target), options);
  }

  async realpath(path: string): Promise<string> {
    return parsePath(path, this.#options.user).text;
  }

  async readlink(path: string): Promise<string> {
    await this.stat(path);
    throw new FsError("invalid-argument", `${parsePath(path, this.#options.user).text}: not a symbolic link`);
  }

  async symlink(_target: string, path: string): Promise<void> {
    throw new FsError("unsupported", `${parsePath(path, this.#options.user).text}: symbolic links cannot be stored here`);
  }

  async statvfs(path: string): Promise<FileSystemStatistics> {
    const {
      place,
      path: { text },
    } = this.#resolve(path);
    const { quota = {}, readOnly = false, usage } = this.#options;
    const volume = place.kind === "volume" ? place.mount.volume : this.#firstVolume();
    const maxNameBytes = volume?.maxNameBytes ?? 255;
    try {
      const [used, space] = await Promise.all([usage?.(), volume?.store.space?.()]);
      return statistics({ quota, usage: used, space, readOnly: readOnly || place.kind !== "volume", maxNameBytes });
    } catch (error) {
      throw toFsError(error, text);
    }
  }

  async copy(from: string, to: string): Promise<void> {
    const target = this.#writable(to);
    const { path, place } = this.#resolve(from);
    if (place.kind !== "volume") {
      await this.stat(from);
      throw new FsError("unsupported", `${path.text}: cannot be copied within the storage`);
    }
    const source = this.#target(place, path);
    requireSameVolume(source, target);
    return copyFile(source, target);
  }

  async *walk(path: string): AsyncGenerator<readonly WalkEntry[]> {
    const resolved = this.#resolve(path);
    const { place } = resolved;
    if (place.kind === "volume") {
      yield* walk(this.#target(place, resolved.path));
      return;
    }
    if (place.kind === "nothing") throw notFound({ path: resolved.path.text });
    if (place.kind === "read-only") {
      yield* walkReadOnly(place.mount, place.names, resolved.path.text);
      return;
    }
    for (const entry of await this.#homeEntries()) {
      yield [{ path: entry.name, attributes: entry.attributes }];
      if (entry.attributes.type !== "directory") continue;
      for await (const batch of this.walk(`/${entry.name}`)) {
        yield batch.map((below) => ({ ...below, path: `${entry.name}/${below.path}` }));
      }
    }
  }

  async storedChecksum(path: string, algorithm: string): Promise<string | undefined> {
    const resolved = this.#resolve(path);
    if (resolved.place.kind === "volume") return storedChecksum(this.#target(resolved.place, resolved.path), algorithm);
    await this.stat(path);
    return undefined;
  }

  async interrupted(path: string): Promise<InterruptedUpload | undefined> {
    const { place, path: parsed } = this.#resolve(path);
    if (place.kind !== "volume" || parsed.asDirectory) return undefined;
    const { view, key } = this.#target(place, parsed);
    return view.pending.interrupted(key);
  }

  #resolve(path: string): Resolved {
    const parsed = parsePath(path, this.#options.user);
    return { path: parsed, place: this.#mounts.resolve(parsed) };
  }

  #target({ mount, names }: { readonly mount: VolumeMount; readonly names: readonly string[] }, path: VirtualPath): Target {
    const view = this.#view(mount);
    return { view, key: view.volume.key(names, path.text), names, path: path.text, asDirectory: path.asDirectory };
  }

  #view(mount: VolumeMount): View {
    let view = this.#views.get(mount);
    if (!view) {
      const { volume } = mount;
      const { session, readOnly = false } = this.#options;
      view = { volume, pending: volume.pendingUploads(session), readOnly, sinceTick: volume.tree.tick() };
      this.#views.set(mount, view);
    }
    return view;
  }

  /** The target of a path in a volume; everything else is not writable. */
  #writable(path: string): Target {
    const resolved = this.#resolve(path);
    if (resolved.place.kind !== "volume") throw this.#notWritable(resolved);
    return this.#target(resolved.place, resolved.path);
  }

  #notWritable({ path, place }: Resolved): FsError {
    const mount = this.#mounts.mounts.find(({ kind }) => kind === "volume");
    const advice = mount && place.kind !== "read-only" ? `; put files below /${mount.name}/` : "";
    return new FsError("permission-denied", `${path.text}: this place is read-only${advice}`);
  }

  /** The volume that `df` of the home is about. */
  #firstVolume(): Volume | undefined {
    return this.#mounts.mounts.find((mount) => mount.kind === "volume")?.volume;
  }

  async #homeEntries(): Promise<DirectoryEntry[]> {
    const entries = await Promise.all(
      this.#mounts.mounts.map(async (mount) => {
        const attributes = mount.kind === "volume" ? this.#rootAttributes(mount) : await mount.stat([]);
        return attributes ? [{ name: mount.name, attributes }] : [];
      }),
    );
    return entries.flat();
  }

  #rootAttributes(mount: VolumeMount): Attributes {
    const view = this.#view(mount);
    return statDirectory({ view, key: view.volume.key([], "/"), names: [], path: `/${mount.name}`, asDirectory: true });
  }
}

/** The same target, when nothing in the user's other sessions is about to change there: see `PendingUploads.settling`. */
async function settled(target: Target): Promise<Target> {
  await target.view.pending.settling(target.key);
  return target;
}

function requireSameVolume(from: Target, to: Target): void {
  if (from.view.volume !== to.view.volume) throw new FsError("unsupported", `${to.path}: lies in another storage than ${from.path}`);
}
