/** W5: a directory with small files is renamed, without latency at the store and with 20 ms. */
import { sftp } from "../clients.ts";
import { measure } from "../meter.ts";
import type { Cell, Workload } from "./workload.ts";
import { checkStoredTree, latencies, layTree, outcome, untilTreeStored, withLatency } from "./workload.ts";

const FILES_AT_LATENCY = 100;

/** W5. */
export const directoryRename: Workload = (peer, { inputs, isQuick }) =>
  latencies(peer).map((ms): Cell => {
    const files = ms > 0 ? FILES_AT_LATENCY : isQuick ? 200 : 1000;
    const run = async () => {
      const tree = inputs.tree(files);
      const [from, to] = [`w5-from-${files}`, `w5-to-${files}`];
      await peer.storage.remove(to);
      await layTree(peer.storage, from, tree);
      await peer.restart();
      const figures = await withLatency(peer, ms, () =>
        measure(peer, async () => {
          await sftp(peer, [`rename ${peer.remote(from)} ${peer.remote(to)}`]);
          await untilTreeStored(peer.storage, to, tree);
        }),
      );
      if ((await peer.storage.sizes(from)).size > 0) throw new Error("files are left under the old name");
      await checkStoredTree(peer.storage, to, tree);
      return outcome(figures, figures.seconds, { files });
    };
    return { workload: "W5", title: `rename a directory of ${files} files, ${ms} ms`, unit: "s", run };
  });
