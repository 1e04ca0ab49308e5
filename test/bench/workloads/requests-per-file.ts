/** W10: new small files, one after the other in one session: requests per file by client, and the time at 20 ms. */
import { join } from "node:path";
import { lftp, rclone, rsync, sftp } from "../clients.ts";
import type { InputTree } from "../inputs.ts";
import { measure } from "../meter.ts";
import type { Peer } from "../peers/peer.ts";
import type { Cell, Workload } from "./workload.ts";
import { checkStoredTree, outcome, untilTreeStored, withLatency } from "./workload.ts";

const FILES = 50;
const LATENCY_MS = 20;

/** W10. */
export const requestsPerFile: Workload = (peer, { inputs, rclone: program, hasLftp, hasRsync }) => {
  const jobs = new Map<string, (tree: InputTree, folder: string) => Promise<string>>([
    ["sftp, put each", (tree, folder) => sftp(peer, [`mkdir ${peer.remote(folder)}`, ...putEach(peer, tree, folder)])],
  ]);
  if (hasLftp) jobs.set("lftp mirror -R", (tree, folder) => lftp(peer, `mirror -R ${tree.path} ${peer.remote(folder)}`));
  if (program) jobs.set("rclone copy", (tree, folder) => rclone(peer, program, ["copy", tree.path, "{r}"], folder));
  if (peer.parts.hasRsync && hasRsync) jobs.set("rsync -a", (tree, folder) => rsync(peer, tree.path, folder));
  return [...jobs].map(([label, job]): Cell => {
    const run = async () => {
      const tree = inputs.tree(FILES);
      const folder = `w10-${label.split(/[ ,]/)[0]}`;
      await peer.storage.remove(folder);
      await peer.restart();
      const figures = await withLatency(peer, peer.proxy ? LATENCY_MS : 0, () =>
        measure(peer, async () => {
          await job(tree, folder);
          await untilTreeStored(peer.storage, folder, tree);
        }),
      );
      await checkStoredTree(peer.storage, folder, tree);
      return outcome(figures, figures.seconds, { files: FILES });
    };
    return { workload: "W10", title: `${FILES} new files, ${label}, ${LATENCY_MS} ms`, unit: "s", run };
  });
};

function putEach(peer: Peer, tree: InputTree, folder: string): string[] {
  return [...tree.digests.keys()].map((name) => `put ${join(tree.path, name)} ${peer.remote(`${folder}/${name}`)}`);
}
