/**
 * `npm run bench -- [--quick] [--workloads W1,W2,…] [--peers gateway,sshd,…] [--runs N] [--size MiB] [--json FILE]
 * [--markdown FILE] [--dir FOLDER] [--only TEXT] [--minutes N] [--once-above SECONDS] [--limit SECONDS]`: real clients move files to and from the gateway and the other servers this machine
 * has, all on one S3 server, each behind a proxy that counts requests and adds latency. They take turns. Contents are
 * compared. Prints Markdown. `--only` runs the rows that have the text in their title. It measures; it does not judge.
 *
 * What takes long is not repeated: a row that took a server more than `--once-above` seconds, preparation included, is
 * measured once; one that takes more than `--limit` is given up and reported so; after `--minutes` nothing is repeated.
 *
 * Peers: sshd, s3fs, rclone and lftp from the PATH; `RCLONE_BIN`, `SFTPGO_BIN`, `VERSITYGW_BIN` name other programs.
 */
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { findTool } from "../support/require-tool.ts";
import { Inputs } from "./inputs.ts";
import { DEFAULT_PEERS, findPrograms, makePeer } from "./peers/find-peers.ts";
import type { Peer } from "./peers/peer.ts";
import { type Column, ratios, report } from "./report.ts";
import { type S3Backend, startS3Backend } from "./s3-backend.ts";
import type { Sample } from "./sample.ts";
import { WORKLOADS } from "./workloads/all-workloads.ts";
import { storeListing } from "./workloads/listing.ts";
import type { Cell, Outcome, Setting } from "./workloads/workload.ts";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    workloads: { type: "string", default: Object.keys(WORKLOADS).join(",") },
    peers: { type: "string", default: DEFAULT_PEERS.join(",") },
    runs: { type: "string", default: "3" },
    minutes: { type: "string", default: "35" },
    "once-above": { type: "string", default: "15" },
    limit: { type: "string", default: "120" },
    size: { type: "string" },
    json: { type: "string" },
    markdown: { type: "string" },
    dir: { type: "string" },
    only: { type: "string", default: "" },
  },
});

/** Room that a run with 1 GiB files needs in the folder it works in. */
const ROOM_BYTES = 8 * 1024 ** 3;

/** A folder in memory if there is one with room, so that no disk is measured. */
function workFolder(): string {
  const stat = statfsSync("/dev/shm");
  const hasRoom = stat.bavail * stat.bsize > ROOM_BYTES;
  return mkdtempSync(join(values.dir ?? (hasRoom ? "/dev/shm" : tmpdir()), "bench-"));
}

function columnOf({ parts }: Peer): Column {
  return { name: parts.name, kind: parts.kind, storageKind: parts.storageKind, answersEarly: parts.answersEarly ?? false };
}

/** Rows that are not repeated, by server: they take too long. */
const onlyOnce = new Set<string>();

/** Runs a cell; ends the server under it when it takes too long, so that its client ends too. */
async function withinLimit(peer: Peer, cell: Cell): Promise<Outcome> {
  const seconds = Number(values.limit);
  const running = cell.run();
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), seconds * 1000);
  });
  const first = await Promise.race([running, tooLate]).finally(() => clearTimeout(timer));
  if (first !== "late") return first;
  await peer.halt();
  await Promise.allSettled([running]);
  await peer.restart();
  throw new Error(`given up after ${seconds} s`);
}

async function runCell(peer: Peer, cell: Cell, run: number): Promise<Sample> {
  const { workload, title, unit } = cell;
  const row = { workload, title, unit, peer: peer.name, run };
  const started = performance.now();
  try {
    return { ...row, ...(await withinLimit(peer, cell)) };
  } catch (error) {
    return { ...row, failure: error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error) };
  } finally {
    if (performance.now() - started > Number(values["once-above"]) * 1000) onlyOnce.add(nameOf(peer, cell));
  }
}

function nameOf(peer: Peer, { workload, title }: Cell): string {
  return `${peer.name} ${workload} ${title}`;
}

const began = performance.now();

function tell({ workload, title, unit, peer, value, cpuSeconds, failure, isDisturbed }: Sample): void {
  const at = ((performance.now() - began) / 1000).toFixed(0).padStart(5);
  const what = failure ?? `${value?.toFixed(2)} ${unit}, CPU ${cpuSeconds?.toFixed(2)} s${isDisturbed ? " (disturbed)" : ""}`;
  process.stderr.write(`${at} s  ${peer.padEnd(14)} ${workload} ${title}: ${what}\n`);
}

/** One workload on one peer: fresh processes, then its rows in their order. */
async function visit(peer: Peer, name: string, setting: Setting, run: number): Promise<Sample[]> {
  const workload = WORKLOADS[name];
  if (!workload) throw new Error(`no such workload: ${name}; there are ${Object.keys(WORKLOADS).join(", ")}`);
  const samples: Sample[] = [];
  const isWanted = (cell: Cell): boolean => cell.title.includes(values.only) && !onlyOnce.has(nameOf(peer, cell));
  const cells = workload(peer, setting).filter(isWanted);
  if (cells.length === 0) return samples;
  try {
    await peer.start();
    for (const cell of cells) {
      const sample = await runCell(peer, cell, run);
      tell(sample);
      samples.push(sample);
    }
  } catch (error) {
    process.stderr.write(`${peer.name} does not start: ${String(error)}\n`);
  } finally {
    await peer.halt();
  }
  return samples;
}

async function runAll(peers: readonly Peer[], names: readonly string[], setting: Setting): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (let run = 0; run < Number(values.runs); run++) {
    for (const name of names) {
      if (run > 0 && performance.now() - began > Number(values.minutes) * 60_000) return samples;
      for (let turn = 0; turn < peers.length; turn++) {
        const peer = peers[(turn + run) % peers.length];
        if (!peer) continue;
        samples.push(...(await visit(peer, name, setting, run)));
        if (values.json) writeFileSync(values.json, JSON.stringify({ samples }));
      }
    }
  }
  return samples;
}

/** The bound of W4's rows at 0 ms, said once. */
async function listingBound(peers: readonly Peer[], names: readonly string[], setting: Setting): Promise<string[]> {
  const peer = peers.find(({ parts }) => parts.storageKind === "S3");
  if (!peer || !names.includes("W4")) return [];
  return [`- W4: the store alone lists the folder in ${(await storeListing(peer, setting)).toFixed(2)} s`];
}

function environment(peers: readonly Peer[], backend: S3Backend, dir: string): string[] {
  return [
    `- ${cpus().length} × ${cpus()[0]?.model.trim() ?? "?"}, ${Math.round(totalmem() / 1024 ** 3)} GiB; clients, servers, proxies and store share them`,
    `- store: ${backend.name}; data in ${dir.startsWith("/dev/shm") ? "memory (tmpfs)" : "a folder on disk"}`,
    `- up to ${values.runs} run${values.runs === "1" ? "" : "s"}; rows of more than ${values["once-above"]} s once${values.quick ? ", --quick: sizes too small for figures" : ""}; ~ marks values disturbed by other programs`,
    ...peers.map(({ parts }) => `- ${parts.name}: ${parts.version}, ${parts.storageKind}`),
  ];
}

const dir = workFolder();
const backend = await startS3Backend(dir);
const programs = findPrograms();
const peers: Peer[] = [];

async function cleanUp(): Promise<void> {
  for (const peer of peers) await peer.stop();
  await backend.stop();
  rmSync(dir, { recursive: true, force: true });
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void cleanUp().finally(() => process.exit(1)));
try {
  for (const name of values.peers.split(",")) {
    const peer = await makePeer(name, dir, backend, programs);
    if (peer) peers.push(peer);
  }
  const setting: Setting = {
    inputs: new Inputs(dir),
    isQuick: values.quick,
    bigMiB: Number(values.size ?? (values.quick ? 256 : 512)),
    rclone: programs.rclone,
    hasLftp: findTool("lftp") !== undefined,
    hasRsync: findTool("rsync") !== undefined,
  };
  const names = values.workloads.split(",");
  const samples = await runAll(peers, names, setting);
  const columns = peers.map(columnOf);
  const head = [...environment(peers, backend, dir), ...(await listingBound(peers, names, setting))];
  const text = `${head.join("\n")}\n\n${report(samples, columns)}\n`;
  process.stdout.write(text);
  if (values.markdown) writeFileSync(values.markdown, text);
  if (values.json)
    writeFileSync(values.json, `${JSON.stringify({ head, columns, samples, ratios: ratios(samples, columns) }, undefined, 1)}\n`);
} finally {
  await cleanUp();
}
