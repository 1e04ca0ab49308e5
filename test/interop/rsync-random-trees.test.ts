/**
 * Random trees and random edits: `rsync -a --delete` up and down leaves equal trees on both sides, and a second run
 * transfers nothing.
 */
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ByteBudget } from "../../src/byte-budget.ts";
import { createLogger } from "../../src/log.ts";
import { Random } from "../support/random.ts";
import { createStoredFiles, MOUNT, type StoredFiles } from "../support/stored-files.ts";
import { requireTool } from "../support/require-tool.ts";
import { RsyncTestServer, runRsync } from "./rsync-server.ts";
import { describeFileSystem, describeLocal } from "./rsync-trees.ts";

const LETTERS = ["a", "b", "-", " ", ".x", "!", "+", "0", "A", "_", "~", "ü", "標", "#", "'", "%", "=", ","];
const SIZES = [0, 1, 3, 100, 700, 5000, 300_000, 800_000];

let server: RsyncTestServer;
let files: StoredFiles;
let work = "";

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "rsync-random-"));
  const budget = new ByteBudget(64 * 1024 * 1024);
  files = await createStoredFiles({ budget, log: createLogger({ level: "silent" }) });
  server = new RsyncTestServer(files.fs);
  await server.start();
});
afterAll(async () => {
  await server.stop();
  await files.close();
  rmSync(work, { recursive: true });
});

/** A tree in the making: directories, and the content of files. */
class RandomTree {
  readonly #random: Random;
  readonly #files = new Map<string, Buffer>();
  readonly #times = new Map<string, number>();
  readonly #directories = new Set<string>([""]);

  constructor(random: Random) {
    this.#random = random;
  }

  #freeName(): string {
    for (;;) {
      const parent = this.#random.pick([...this.#directories]);
      const name = Array.from({ length: 1 + this.#random.below(3) }, () => this.#random.pick(LETTERS)).join("");
      const path = parent === "" ? name : `${parent}/${name}`;
      if (!this.#files.has(path) && !this.#directories.has(path)) return path;
    }
  }

  #write(path: string, content: Buffer): void {
    this.#files.set(path, content);
    this.#times.set(path, 1_500_000_000 + this.#random.below(100_000_000));
  }

  grow(count: number): void {
    for (let added = 0; added < count; added++) {
      if (this.#random.chance(0.25)) this.#directories.add(this.#freeName());
      else this.#write(this.#freeName(), this.#random.bytes(this.#random.pick(SIZES)));
    }
  }

  /** Changes, removes and adds. */
  edit(): void {
    for (const path of [...this.#files.keys()]) {
      const old = this.#files.get(path) ?? Buffer.alloc(0);
      const chance = this.#random.below(10);
      if (chance === 0) this.#files.delete(path);
      else if (chance === 1)
        this.#write(path, Buffer.concat([old.subarray(0, old.length / 2), this.#random.bytes(50), old.subarray(old.length / 3)]));
      else if (chance === 2) this.#write(path, Buffer.concat([old, this.#random.bytes(10)]));
      else if (chance === 3) this.#write(path, old);
    }
    const victim = this.#random.pick([...this.#directories]);
    this.grow(5);
    if (victim === "") return;
    for (const path of [...this.#files.keys()]) if (path.startsWith(`${victim}/`)) this.#files.delete(path);
    for (const path of [...this.#directories]) if (path === victim || path.startsWith(`${victim}/`)) this.#directories.delete(path);
    // A file where a directory was.
    if (this.#random.chance(0.5)) this.#write(victim, this.#random.bytes(20));
  }

  /** Puts it on disk, in place of what is there. */
  store(root: string): void {
    rmSync(root, { recursive: true, force: true });
    mkdirSync(root, { recursive: true });
    for (const path of this.#directories) mkdirSync(join(root, path), { recursive: true });
    for (const [path, content] of this.#files) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), content);
      const time = this.#times.get(path) ?? 0;
      utimesSync(join(root, path), time, time);
    }
  }
}

describe.skipIf(!requireTool("rsync"))("random trees", () => {
  it.each([
    [1, []],
    [2, ["-z"]],
    [3, ["--protocol=29"]],
    [4, ["--delete-after", "-W"]],
    [5, ["--delete-before", "--protocol=30"]],
    [6, ["-c"]],
  ] as const)("seed %i with %j", async (seed, options) => {
    const tree = new RandomTree(new Random(seed));
    const [local, back] = [join(work, `local${seed}`), join(work, `back${seed}`)];
    const remote = `${MOUNT}/${seed}`;
    const rsync = async (...args: string[]): Promise<string[]> => {
      const { status, stdout, stderr } = await runRsync(server.place, ["-ai", "--delete", ...options, ...args], work);
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      return stdout.split("\n").filter((line) => line !== "" && !/^[.c]d/.test(line));
    };
    tree.grow(40);
    for (let round = 0; round < 3; round++) {
      tree.store(local);
      await rsync(`${local}/`, `host:${remote}/`);
      const expected = describeLocal(local, true);
      expect(await describeFileSystem(files.fs, remote, true)).toEqual(expected);
      expect(await rsync(`${local}/`, `host:${remote}/`)).toEqual([]);
      await rsync(`host:${remote}/`, `${back}/`);
      expect(describeLocal(back, true)).toEqual(expected);
      expect(await rsync(`host:${remote}/`, `${back}/`)).toEqual([]);
      tree.edit();
    }
  });
});
