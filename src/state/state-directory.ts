/**
 * The directory `state/` of one node: an embedded store (lmdb) and files, opened by every worker process of the node
 * at once. All of it is a cache or a shortcut: truth is in the object store, and the whole directory may be deleted
 * between runs. Knows no uploads, keys or users; `UploadTable`, `TailStore` and the metadata cache know what they keep.
 */
import { mkdirSync, readFileSync, renameSync } from "node:fs";
import path from "node:path";
import { open as openEnvironment, type RootDatabase } from "lmdb";
import { makeFolder } from "../make-folder.ts";
import { DiskRoom } from "./disk-room.ts";
import { ProcessNotes } from "./process-notes.ts";
import { type StateKey, StateTable } from "./state-table.ts";
import { putBrokenStoreAside } from "./store-file.ts";

/** Named tables one environment can hold. */
const maxTables = 16;
/** Made at the start, when there is room: on a full disk a new table cannot be made, and trying may end the process. */
const knownTables = ["uploads", "upload-parts", "upload-notes", "slow-writes"];

/** Where a broken store is put aside, so that an operator can look at it. */
const brokenSuffix = ".broken";

/** An open state directory. Whoever opened it owes `close`. */
export class StateDirectory {
  /** Local path of the directory. */
  readonly localPath: string;
  /**
   * Names this process among all that ever used the directory: its pid and when the kernel started it, so that a pid
   * that was given away again is not taken for its former owner.
   */
  readonly processId: string;
  readonly #root: RootDatabase;
  readonly #room: DiskRoom;
  readonly #notes: { close(): void }[] = [];

  private constructor(localPath: string, root: RootDatabase, room: DiskRoom) {
    this.localPath = localPath;
    this.processId = `${process.pid}:${processStart(process.pid) ?? "unknown"}`;
    this.#root = root;
    this.#room = room;
  }

  /**
   * Opens the directory, creating it with mode 0700. A store in it that cannot be opened is put aside and a new one
   * begun; `onBroken` is told why. Rejects with the system's error if the directory cannot be created or written, and
   * if less than 8 MiB are free on its disk.
   */
  static async open(localPath: string, options: { readonly onBroken?: (error: Error) => void } = {}): Promise<StateDirectory> {
    await makeFolder(localPath, 0o700);
    const room = new DiskRoom(localPath);
    // On a full disk the first access to the store's mapped files ends the process.
    room.require();
    const storePath = path.join(localPath, "store");
    const aside = putBrokenStoreAside(path.join(storePath, "data.mdb"));
    if (aside) options.onBroken?.(new Error(`the store was damaged and is now ${aside}`));
    try {
      return new StateDirectory(localPath, openStore(storePath), room);
    } catch (error) {
      renameSync(storePath, `${storePath}${brokenSuffix}-${Date.now()}`);
      options.onBroken?.(error instanceof Error ? error : new Error(String(error)));
      return new StateDirectory(localPath, openStore(storePath), room);
    }
  }

  /** False while its disk is full: nothing can be written to tables then. */
  get hasRoom(): boolean {
    return this.#room.isThere;
  }

  /** The table `name`, created when it is not there. */
  table<Value>(name: string): StateTable<Value> {
    return new StateTable(this.#root.openDB<Value, StateKey>({ name }), this.#room);
  }

  /** Lets the next reads see what other processes have written: lmdb reads from one snapshot for a while. */
  refresh(): void {
    this.#root.resetReadTxn();
  }

  /** What this process notes of its work under `name`, and what the others do; closed with the directory. To be asked for once. */
  notes<Value>(name: string): ProcessNotes<Value> {
    const place = { folder: this.folder(name), processId: this.processId, isAlive: (id: string) => this.isAlive(id) };
    const notes = new ProcessNotes<Value>(place);
    this.#notes.push(notes);
    return notes;
  }

  /** A folder for files below the directory, created when it is not there. */
  folder(name: string): string {
    const localPath = path.join(this.localPath, name);
    mkdirSync(localPath, { recursive: true, mode: 0o700 });
    return localPath;
  }

  /** True while the process that `processId` names runs on this node. */
  isAlive(processId: string): boolean {
    if (processId === this.processId) return true;
    const [pidText = "", started] = processId.split(":");
    const pid = Number(pidText);
    if (!Number.isSafeInteger(pid) || pid <= 0) return false;
    try {
      process.kill(pid, 0);
    } catch (error) {
      return error instanceof Error && "code" in error && error.code === "EPERM";
    }
    return (processStart(pid) ?? "unknown") === started;
  }

  /** Resolves once every write so far is on the disk. */
  async flushed(): Promise<void> {
    await this.#root.flushed;
  }

  /** Waits for writes under way and closes the store. */
  async close(): Promise<void> {
    for (const notes of this.#notes) notes.close();
    await this.#root.close();
  }
}

/** Opens the environment and reads from it once, because a damaged file shows only then. */
function openStore(storePath: string): RootDatabase {
  mkdirSync(storePath, { recursive: true, mode: 0o700 });
  const root = openEnvironment({ path: storePath, maxDbs: maxTables, noSubdir: false });
  root.getKeysCount({ limit: 1 });
  for (const name of knownTables) root.openDB({ name });
  return root;
}

/** When the kernel started a process, in its own ticks; undefined where the system has no `/proc`. */
function processStart(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The command's name may hold blanks and parentheses: the fields are counted behind its last parenthesis.
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}
