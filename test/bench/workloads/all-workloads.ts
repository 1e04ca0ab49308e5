/** The workloads by the names `--workloads` takes. */
import { bigDownload, bigUpload } from "./big-files.ts";
import { directoryRename } from "./directory-rename.ts";
import { farClient } from "./far-client.ts";
import { listing } from "./listing.ts";
import { memoryUse } from "./memory.ts";
import { pipelinedFiles } from "./pipelined-files.ts";
import { requestsPerFile } from "./requests-per-file.ts";
import { severalClients } from "./several-clients.ts";
import { smallFiles } from "./small-files.ts";
import { unchangedTree } from "./unchanged-tree.ts";
import type { Workload } from "./workload.ts";

/** In the order of the report. */
export const WORKLOADS: Readonly<Record<string, Workload>> = {
  W1: bigUpload,
  W2: bigDownload,
  W3: (peer, setting) => [...smallFiles(peer, setting), ...pipelinedFiles(peer, setting)],
  W4: listing,
  W5: directoryRename,
  W6: severalClients,
  W7: farClient,
  W8: memoryUse,
  W9: unchangedTree,
  W10: requestsPerFile,
};
