/**
 * Makes staged files visible: durable first, then in one step under their name. Serialises publishing of the same key
 * within this process, so that conditions hold. Knows nothing of how the staged file came to its bytes.
 */
import { constants, fstatSync, lstatSync, mkdirSync, openSync, renameSync, unlinkSync } from "node:fs";
import type { Stats } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { StoreError } from "../errors.ts";
import { localError, systemCode } from "./local-errors.ts";
import { StagedFile, linkPath, renamePath, statPath, syncFile, unlinkPath } from "./local-files.ts";
import { PRIVATE_FOLDER } from "./local-paths.ts";
import type { Directory, KeyPath, RootDirectory } from "./local-paths.ts";
import { applyTimes, ExtraProperties, localEtag, sortProperties } from "./local-properties.ts";
import type { ObjectProperties, PutResult, WriteCondition } from "./objectstore.ts";

/** A staged file this old belongs to no living process. */
const STALE_AFTER_MS = 24 * 3600 * 1000;

const MAX_ATTEMPTS = 3;

/** See the head of this file. */
export class Publisher {
  readonly extra: ExtraProperties;
  readonly privateFolder: string;
  readonly #root: RootDirectory;
  readonly #staging: string;
  readonly #turns = new Map<string, Promise<unknown>>();
  /** No other process has the same, nor this one after a restart. */
  readonly #stagingName = randomBytes(16).toString("hex");
  #staged = 0;

  /** Creates the private folder below the root. Throws `access-denied` if something else is in its place. */
  constructor(root: RootDirectory) {
    this.#root = root;
    this.privateFolder = join(root.realPath, PRIVATE_FOLDER);
    this.#staging = join(this.privateFolder, "staging");
    for (const folder of [this.privateFolder, this.#staging, join(this.privateFolder, "uploads")]) makePrivateFolder(folder);
    this.extra = new ExtraProperties(this.privateFolder);
  }

  /** A new, empty, invisible file, open for writing. Its taker publishes or discards it. */
  stage(): StagedFile {
    return this.#create(0);
  }

  /**
   * As `stage`, for few bytes that get no time of their own: with each write durable when it ends, a trip through the
   * thread pool is spared, which costs more than the write.
   */
  stageSynchronous(name: string, properties: ObjectProperties): StagedFile {
    const staged = this.#create(constants.O_SYNC);
    try {
      applyTimes(staged.fd, sortProperties(name, properties), { resetMode: false });
      return staged;
    } catch (error) {
      staged.close();
      unlinkSync(staged.path);
      throw error;
    }
  }

  #create(moreFlags: number): StagedFile {
    const path = join(this.#staging, `${this.#stagingName}-${this.#staged++}`);
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | moreFlags;
    return new StagedFile(openSync(path, flags, 0o644), path, moreFlags !== 0);
  }

  /** Removes a staged file. */
  async discard(staged: StagedFile): Promise<void> {
    if (staged.isClosed) return;
    const stats = fstatSync(staged.fd);
    staged.close();
    await this.extra.remove(stats);
    await unlinkPath(staged.path).catch((error: unknown) => {
      if (systemCode(error) !== "ENOENT") throw error;
    });
  }

  /**
   * Publishes a staged file under `key`, durably, and closes it. Rejects `precondition-failed` as the condition says,
   * `invalid-key` if a directory is in the way; the staged file is left open then.
   */
  async publish(
    staged: StagedFile,
    target: { readonly key: string; readonly place: KeyPath; readonly properties: ObjectProperties },
    condition: WriteCondition,
  ): Promise<PutResult> {
    const { key, place, properties } = target;
    const sorted = sortProperties(place.name, properties);
    if (!staged.isSynchronous) {
      applyTimes(staged.fd, sorted, { resetMode: false });
      await syncFile(staged.fd);
    }
    if (sorted.extra) await this.extra.write(fstatSync(staged.fd), sorted.extra);
    const made: (readonly string[])[] = [];
    const { stats, directory } = await this.inTurn(key, () => this.#placeInDirectory(staged, { key, place, condition }, made));
    try {
      await this.#root.sync(place.directories, directory);
    } finally {
      directory.close();
    }
    if (made.length > 0) await Promise.all(made.map((segments) => this.#root.sync(segments)));
    return { etag: localEtag(stats), size: stats.size, lastModifiedMs: Math.trunc(stats.mtimeMs) };
  }

  /** Runs `action` after all earlier ones for the same key. */
  async inTurn<T>(key: string, action: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(key);
    const turn = before ? before.then(action, action) : action();
    this.#turns.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(key) === turn) this.#turns.delete(key);
    }
  }

  /** Removes staged files that a killed process has left. */
  async sweep(nowMs: number): Promise<void> {
    for (const name of await readdir(this.#staging)) {
      const path = join(this.#staging, name);
      const stats = await statPath(path).catch(() => undefined);
      if (stats && nowMs - stats.mtimeMs > STALE_AFTER_MS) await rm(path, { force: true });
    }
  }

  /**
   * Returns the directory, which the caller closes. One can be removed as empty just before the file gets there: then it is
   * made again.
   */
  async #placeInDirectory(
    staged: StagedFile,
    { key, place, condition }: { readonly key: string; readonly place: KeyPath; readonly condition: WriteCondition },
    made: (readonly string[])[],
  ): Promise<{ readonly stats: Stats; readonly directory: Directory }> {
    for (let attempt = 1; ; attempt++) {
      const directory = this.#root.open(place.directories, (parent) => made.push(parent));
      try {
        return { stats: await this.#place(staged, directory, { key, name: place.name, condition }), directory };
      } catch (error) {
        directory.close();
        if (!(error instanceof StoreError) || error.code !== "not-found" || attempt >= MAX_ATTEMPTS) throw error;
      }
    }
  }

  async #place(
    staged: StagedFile,
    directory: Directory,
    { key, name, condition }: { readonly key: string; readonly name: string; readonly condition: WriteCondition },
  ): Promise<Stats> {
    const path = directory.path(name);
    // a look-up in the kernel's cache, as opening the directory was
    const existing = lstatSync(path, { throwIfNoEntry: false });
    if (existing?.isDirectory()) throw new StoreError("invalid-key", `a directory is in the way of ${JSON.stringify(key)}`);
    checkCondition(key, existing, condition);
    try {
      if (condition.ifNoneMatch === "*") await linkOnly(staged.path, path);
      // What nobody has under this name is a change in the kernel's memory; what has may be large, and is freed at once.
      else if (existing) await renamePath(staged.path, path);
      else renameSync(staged.path, path);
    } catch (error) {
      if (systemCode(error) === "EEXIST")
        throw new StoreError("precondition-failed", `object ${JSON.stringify(key)} exists`, { cause: error });
      throw localError(error, `publishing ${JSON.stringify(key)}`);
    }
    if (existing && existing.nlink <= 1) await this.extra.remove(existing);
    const stats = fstatSync(staged.fd);
    staged.close();
    return stats;
  }
}

/** Publishes without replacing. Where the file system knows no hard links, an existing file has been looked for. */
async function linkOnly(staged: string, path: string): Promise<void> {
  try {
    await linkPath(staged, path);
  } catch (error) {
    if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "EMLINK"].includes(systemCode(error) ?? "")) throw error;
    await renamePath(staged, path);
    return;
  }
  await unlinkPath(staged);
}

/** Throws `precondition-failed` unless what is there fulfils the condition. */
export function checkCondition(key: string, existing: Stats | undefined, { ifMatch, ifNoneMatch }: WriteCondition): void {
  if (ifNoneMatch === "*" && existing) throw new StoreError("precondition-failed", `object ${JSON.stringify(key)} exists`);
  if (ifMatch !== undefined && (!existing?.isFile() || localEtag(existing) !== ifMatch)) {
    throw new StoreError("precondition-failed", `object ${JSON.stringify(key)} is not version ${ifMatch}`);
  }
}

function makePrivateFolder(path: string): void {
  try {
    mkdirSync(path, 0o700);
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw localError(error, `making ${path}`);
  }
  if (!lstatSync(path).isDirectory())
    throw new StoreError("access-denied", `${path} is not a directory. Remove it: the gateway needs that name.`);
}
