/** W9: a tree is sent a second time, nothing has changed: rsync -a, lftp mirror -R, rclone sync. */
import { lftp, rclone, rsync } from "../clients.ts";
import type { InputTree } from "../inputs.ts";
import { measure } from "../meter.ts";
import type { Cell, Workload } from "./workload.ts";
import { checkStoredTree, latencies, outcome, untilTreeStored, withLatency } from "./workload.ts";

const FILES = 300;
const QUICK_FILES = 200;

/** W9. */
export const unchangedTree: Workload = (peer, { inputs, isQuick, rclone: program, hasLftp, hasRsync }) => {
  const files = isQuick ? QUICK_FILES : FILES;
  const jobs = new Map<string, (tree: InputTree, folder: string) => Promise<string>>();
  if (peer.parts.hasRsync && hasRsync) jobs.set("rsync -a", (tree, folder) => rsync(peer, tree.path, folder));
  if (hasLftp) jobs.set("lftp mirror -R", (tree, folder) => lftp(peer, `mirror -R ${tree.path} ${peer.remote(folder)}`));
  if (program) jobs.set("rclone sync", (tree, folder) => rclone(peer, program, ["sync", tree.path, "{r}", "--transfers", "8"], folder));
  return [...jobs].flatMap(([label, job]) =>
    latencies(peer).map((ms): Cell => {
      const run = async () => {
        const tree = inputs.tree(files);
        const folder = `w9-${label.split(" ")[0]}`;
        // The first transfer, by the same client, lays the files with the times this server keeps.
        if ((await peer.storage.sizes(folder)).size === 0) await job(tree, folder);
        await untilTreeStored(peer.storage, folder, tree);
        await peer.restart();
        const figures = await withLatency(peer, ms, () => measure(peer, () => job(tree, folder)));
        await checkStoredTree(peer.storage, folder, tree);
        const again = (figures.requests.PutObject ?? 0) + (figures.requests.CompleteMultipartUpload ?? 0);
        return outcome(figures, figures.seconds, { files, ...(again > 0 && { note: `${again} uploaded again` }) });
      };
      return { workload: "W9", title: `${files} unchanged files, ${label}, ${ms} ms`, unit: "s", run };
    }),
  );
};
