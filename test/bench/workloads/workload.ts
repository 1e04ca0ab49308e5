/** What all workloads share: their interface, the wait for the store, and the checks of what arrived. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Inputs, type InputTree, SMALL_BYTES } from "../inputs.ts";
import type { Figures } from "../meter.ts";
import type { Peer } from "../peers/peer.ts";
import type { Row, Sample } from "../sample.ts";
import { forAll, type Storage } from "../storage.ts";

/** What a run of the bench gives to a workload. */
export interface Setting {
  readonly inputs: Inputs;
  /** Smaller sizes: to see that all works, not for figures. */
  readonly isQuick: boolean;
  /** MiB of the big file. */
  readonly bigMiB: number;
  /** rclone as a client; rows that need it are left out without. */
  readonly rclone: string | undefined;
  readonly hasLftp: boolean;
  readonly hasRsync: boolean;
}

/** Figures of a sample without peer and run. */
export type Outcome = Omit<Sample, keyof Row | "peer" | "run">;

/** One row to measure on one peer. */
export interface Cell extends Row {
  /** Prepares, measures, checks what arrived; rejects if the peer did not do it. */
  run(): Promise<Outcome>;
}

/** A workload: its cells for one peer, run in their order. */
export type Workload = (peer: Peer, setting: Setting) => readonly Cell[];

/** Milliseconds of store latency that rows are measured at; peers on disk have none. */
export function latencies(peer: Peer): readonly number[] {
  return peer.proxy ? [0, 20] : [0];
}

/** Runs `work` with a latency at the store, and sets it back. */
export async function withLatency<T>(peer: Peer, ms: number, work: () => Promise<T>): Promise<T> {
  await peer.proxy?.setLatency(ms);
  try {
    return await work();
  } finally {
    await peer.proxy?.setLatency(0);
  }
}

/** An outcome from figures. */
export function outcome(figures: Figures, value: number, more: Partial<Outcome> = {}): Outcome {
  const { cpuSeconds, peakPssMiB, peakRssMiB, requests, mostInFlight, isDisturbed } = figures;
  return { value, cpuSeconds, peakPssMiB, peakRssMiB, requests, mostInFlight, isDisturbed, ...more };
}

const STORED_LIMIT_MS = 120_000;

/** Waits until the storage holds these files with their sizes: a server may say "done" before. */
export function untilStored(storage: Storage, expected: ReadonlyMap<string, number>): Promise<void> {
  return untilNothingMissing(async () => {
    for (const [name, size] of expected) if ((await storage.size(name)) !== size) return name;
    return undefined;
  });
}

/** Waits until the storage holds a tree of small files. */
export function untilTreeStored(storage: Storage, folder: string, tree: InputTree): Promise<void> {
  return untilNothingMissing(async () => {
    const sizes = await storage.sizes(folder);
    return [...tree.digests.keys()].find((name) => sizes.get(name) !== SMALL_BYTES);
  });
}

async function untilNothingMissing(findMissing: () => Promise<string | undefined>): Promise<void> {
  const end = performance.now() + STORED_LIMIT_MS;
  for (let missing = await findMissing(); missing !== undefined; missing = await findMissing()) {
    if (performance.now() > end) throw new Error(`two minutes after success the store lacks ${missing}`);
    await sleep(20); // another program's uploads give no event to wait for
  }
}

/** Rejects unless the storage holds exactly the bytes of the tree. */
export async function checkStoredTree(storage: Storage, folder: string, tree: InputTree): Promise<void> {
  await forAll(tree.digests, async ([name, sha256]) => {
    if ((await storage.sha256(`${folder}/${name}`)) !== sha256) throw new Error(`${folder}/${name} was stored with other bytes`);
  });
}

/** Lays a tree into the storage as another program would, if it is not there. */
export async function layTree(storage: Storage, folder: string, tree: InputTree): Promise<void> {
  if ((await storage.sizes(folder)).size === tree.digests.size) return;
  await forAll(tree.digests.keys(), (name) => storage.put(`${folder}/${name}`, readFileSync(join(tree.path, name))));
}
