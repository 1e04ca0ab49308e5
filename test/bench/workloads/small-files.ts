/**
 * W3: small files up and down, one at a time (sftp -r) and eight at a time (rclone --transfers 8), without latency at the
 * store and with 20 ms. Slow rows move fewer files and are scaled, the login counted once; the note says so.
 */
import { join } from "node:path";
import { rclone, sftp } from "../clients.ts";
import { checkTree, type InputTree } from "../inputs.ts";
import { type Figures, measure } from "../meter.ts";
import type { Peer } from "../peers/peer.ts";
import type { Cell, Outcome, Setting, Workload } from "./workload.ts";
import { checkStoredTree, latencies, layTree, outcome, untilTreeStored, withLatency } from "./workload.ts";

type Way = "up" | "down";
type Client = "sftp -r" | "rclone --transfers 8";

const FILES = 2000;
const QUICK_FILES = 500;
/** Files that rivals on S3 move without latency; the time is scaled to all of them. */
const RIVAL_FILES = 1000;
/** Files that are moved at 20 ms, by the gateway and by others, who take up to 20 times as long a file. */
const FILES_AT_LATENCY: Readonly<Record<Client, Readonly<Record<Way, readonly [number, number]>>>> = {
  "sftp -r": { up: [500, 100], down: [1000, 100] },
  "rclone --transfers 8": { up: [1000, 100], down: [1000, 250] },
};

/** W3. */
export const smallFiles: Workload = (peer, setting) => {
  const files = setting.isQuick ? QUICK_FILES : FILES;
  const clients: Client[] = setting.rclone ? ["sftp -r", "rclone --transfers 8"] : ["sftp -r"];
  return latencies(peer).flatMap((ms) =>
    clients.flatMap((client) =>
      (["up", "down"] as const).map((way): Cell => {
        const isRival = peer.parts.kind === "peer";
        const moved = Math.min(files, ms > 0 ? FILES_AT_LATENCY[client][way][isRival ? 1 : 0] : isRival ? RIVAL_FILES : files);
        const job: Job = { peer, setting, client, way, ms, moved, files };
        return { workload: "W3", title: `${files} × 10 KiB ${way}, ${client}, ${ms} ms`, unit: "s", run: () => runJob(job) };
      }),
    ),
  );
};

interface Job {
  readonly peer: Peer;
  readonly setting: Setting;
  readonly client: Client;
  readonly way: Way;
  readonly ms: number;
  readonly moved: number;
  readonly files: number;
}

async function runJob(job: Job): Promise<Outcome> {
  const { peer, setting, way, ms, moved, files } = job;
  const tree = setting.inputs.tree(moved);
  const folder = way === "up" ? "w3-up" : `w3-down-${moved}`;
  if (way === "up") await peer.storage.remove(folder);
  else await layTree(peer.storage, folder, tree);
  await peer.restart();
  const figures = await withLatency(peer, ms, async () => {
    const login = moved === files ? 0 : await loginSeconds(job);
    return { login, ...(await measure(peer, () => move(job, tree, folder))) };
  });
  if (way === "up") await checkStoredTree(peer.storage, folder, tree);
  else checkTree(figures.result ?? "", tree);
  return scaled(figures, figures.login, moved, files);
}

/** Moves the tree; resolves to the local folder it came to. */
async function move({ peer, setting, client, way }: Job, tree: InputTree, folder: string): Promise<string | undefined> {
  const { inputs, rclone: program = "rclone" } = setting;
  if (way === "up") {
    if (client === "sftp -r") await sftp(peer, [`put -r ${tree.path} ${peer.remote(folder)}`]);
    else await rclone(peer, program, ["copy", tree.path, "{r}", "--transfers", "8"], folder);
    await untilTreeStored(peer.storage, folder, tree);
    return undefined;
  }
  const target = join(inputs.emptyFolder("down"), "tree");
  if (client === "sftp -r") await sftp(peer, [`get -r ${peer.remote(folder)} ${target}`]);
  else await rclone(peer, program, ["copy", "{r}", target, "--transfers", "8"], folder);
  return target;
}

/** Seconds that connecting costs, which is paid once and not per file. */
async function loginSeconds({ peer, setting, client }: Job): Promise<number> {
  const empty = setting.inputs.emptyFolder("empty");
  const began = performance.now();
  if (client === "sftp -r") await sftp(peer, ["pwd"]);
  else await rclone(peer, setting.rclone ?? "rclone", ["copy", empty, "{r}"], "w3-nothing");
  return (performance.now() - began) / 1000;
}

function scaled(figures: Figures, login: number, moved: number, files: number): Outcome {
  if (moved === files) return outcome(figures, figures.seconds, { files });
  const factor = files / moved;
  return outcome(figures, login + Math.max(0, figures.seconds - login) * factor, {
    files: moved,
    cpuSeconds: figures.cpuSeconds * factor,
    note: `${moved} files, scaled`,
  });
}
