/** W1 and W2: one big file up and down, with aes128-gcm and with the client's own choice of cipher. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GCM, sftp } from "../clients.ts";
import { checkFile } from "../inputs.ts";
import { measure } from "../meter.ts";
import type { Cell, Workload } from "./workload.ts";
import { outcome, untilStored } from "./workload.ts";

const CIPHERS = { "aes128-gcm": GCM, "default cipher": undefined } as const;

/** W1. */
export const bigUpload: Workload = (peer, { inputs, bigMiB }) =>
  Object.entries(CIPHERS).map(([label, cipher]): Cell => {
    const run = async () => {
      const file = inputs.file(bigMiB);
      const figures = await measure(peer, async () => {
        await sftp(peer, [`put ${file.path} ${peer.remote("w1")}`], { cipher });
        await untilStored(peer.storage, new Map([["w1", file.bytes]]));
      });
      if ((await peer.storage.sha256("w1")) !== file.sha256) throw new Error("other bytes were stored");
      await peer.storage.remove("w1");
      return outcome(figures, bigMiB / figures.seconds);
    };
    return { workload: "W1", title: `put ${bigMiB} MiB, ${label}`, unit: "MiB/s", run };
  });

/** W2. */
export const bigDownload: Workload = (peer, { inputs, bigMiB }) =>
  Object.entries(CIPHERS).map(([label, cipher]): Cell => {
    const run = async () => {
      const file = inputs.file(bigMiB);
      await peer.storage.put("w2", readFileSync(file.path));
      const target = join(inputs.emptyFolder("down"), "w2");
      const figures = await measure(peer, () => sftp(peer, [`get ${peer.remote("w2")} ${target}`], { cipher }));
      checkFile(target, file.sha256);
      inputs.emptyFolder("down");
      return outcome(figures, bigMiB / figures.seconds);
    };
    return { workload: "W2", title: `get ${bigMiB} MiB, ${label}`, unit: "MiB/s", run };
  });
