/** The files clients send, made once per run: random bytes, so that nothing on the way can compress them. */
import { createHash, randomFillSync } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Size of every small file. */
export const SMALL_BYTES = 10 * 1024;
const MIB = 1024 * 1024;

/** A file and what is in it. */
export interface InputFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** A folder of small files: SHA-256 by name. */
export interface InputTree {
  readonly path: string;
  readonly digests: ReadonlyMap<string, string>;
}

/** Makes inputs on demand below a folder and remembers them. */
export class Inputs {
  readonly #dir: string;
  readonly #files = new Map<string, InputFile>();
  readonly #trees = new Map<number, InputTree>();

  constructor(dir: string) {
    this.#dir = join(dir, "inputs");
    mkdirSync(this.#dir);
  }

  /** A file of so many MiB; another one for each index. */
  file(mib: number, index = 0): InputFile {
    const name = `big-${mib}-${index}`;
    const known = this.#files.get(name);
    if (known) return known;
    const hash = createHash("sha256");
    const path = join(this.#dir, name);
    writeFileSync(path, "");
    for (let i = 0; i < mib; i++) {
      const chunk = randomFillSync(Buffer.allocUnsafe(MIB));
      hash.update(chunk);
      writeFileSync(path, chunk, { flag: "a" });
    }
    const file = { path, bytes: mib * MIB, sha256: hash.digest("hex") };
    this.#files.set(name, file);
    return file;
  }

  /** A folder of so many small files. */
  tree(count: number): InputTree {
    const known = this.#trees.get(count);
    if (known) return known;
    const path = join(this.#dir, `tree-${count}`);
    mkdirSync(path);
    const digests = new Map<string, string>();
    for (let i = 0; i < count; i++) {
      const name = `img${String(i).padStart(5, "0")}.jpg`;
      const bytes = randomFillSync(Buffer.allocUnsafe(SMALL_BYTES));
      writeFileSync(join(path, name), bytes);
      digests.set(name, digestOf(bytes));
    }
    const tree = { path, digests };
    this.#trees.set(count, tree);
    return tree;
  }

  /** An empty folder for what comes back. */
  emptyFolder(name: string): string {
    const path = join(this.#dir, name);
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path);
    return path;
  }
}

/** Rejects a file that came back with other bytes, or not at all. */
export function checkFile(path: string, sha256: string): void {
  if (!existsSync(path)) throw new Error(`${path} is missing`);
  if (digestOf(readFileSync(path)) !== sha256) throw new Error(`${path} has other bytes`);
}

/** Rejects a folder that does not hold the tree. */
export function checkTree(path: string, tree: InputTree): void {
  for (const [name, sha256] of tree.digests) checkFile(join(path, name), sha256);
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
