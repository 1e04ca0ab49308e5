/**
 * Room on the disk of the state directory, looked at before the embedded store writes: lmdb 3.5.6 writes behind the end of
 * its own memory when it words the error of a full disk, which ends the process some time later (`mdb_page_flush`; test:
 * faults/scarce-machine).
 */
import { statfsSync } from "node:fs";

/** More than a commit of all that may wait needs. */
const minFreeBytes = 8 * 1024 * 1024;
/** With so much free nobody fills the disk before it is looked at again. */
const plentyBytes = 1024 * 1024 * 1024;
const plentyMs = 50;

/** See the head of this file. */
export class DiskRoom {
  readonly #localPath: string;
  #plentyUntilMs = 0;

  /** `localPath`: a folder on that disk. */
  constructor(localPath: string) {
    this.#localPath = localPath;
  }

  /** True if `require` would not throw. */
  get isThere(): boolean {
    try {
      this.require();
      return true;
    } catch {
      return false;
    }
  }

  /** Throws if less than 8 MiB are free, and the system's error if that cannot be told. Costs microseconds. */
  require(): void {
    const now = performance.now();
    if (now < this.#plentyUntilMs) return;
    const { bavail, bsize } = statfsSync(this.#localPath);
    const free = bavail * bsize;
    if (free < minFreeBytes) {
      throw new Error(
        `state directory ${this.#localPath}: no space left on its disk (${free} bytes); free some, or name another in \`server.state\``,
      );
    }
    if (free >= plentyBytes) this.#plentyUntilMs = now + plentyMs;
  }
}
