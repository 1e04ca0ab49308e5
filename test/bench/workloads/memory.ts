/** W8: memory of all of a server's processes together: at the peak of 64 parallel uploads, and with 500 idle sessions. */
import { setTimeout as sleep } from "node:timers/promises";
import { GCM, sftp } from "../clients.ts";
import { measure } from "../meter.ts";
import { memory } from "../process-figures.ts";
import { RawSftp } from "../raw-sftp.ts";
import type { Cell, Workload } from "./workload.ts";
import { outcome, untilStored } from "./workload.ts";

const UPLOAD_MIB = 16;
/** Different files; the uploads take turns. */
const DIFFERENT = 4;
const LOGINS_AT_ONCE = 10;
/** What a server gets to settle before it is looked at. */
const SETTLE_MS = 2000;

/** W8. */
export const memoryUse: Workload = (peer, { inputs, isQuick }) => {
  const [uploads, sessions] = isQuick ? [16, 100] : [64, 500];
  // A server with processes for each session takes minutes and a gigabyte for 500 of them.
  const opened = peer.parts.kind === "gateway" ? sessions : Math.min(sessions, 100);
  const upload = async () => {
    await peer.restart();
    const files = Array.from({ length: uploads }, (_, index) => inputs.file(UPLOAD_MIB, index % DIFFERENT));
    const figures = await measure(peer, async () => {
      await Promise.all(files.map((file, index) => sftp(peer, [`put ${file.path} ${peer.remote(`w8-${index}`)}`], { cipher: GCM })));
      await untilStored(peer.storage, new Map(files.map((file, index) => [`w8-${index}`, file.bytes])));
    });
    for (const [index, file] of files.entries()) {
      if ((await peer.storage.sha256(`w8-${index}`)) !== file.sha256) throw new Error(`file ${index} was stored with other bytes`);
      await peer.storage.remove(`w8-${index}`);
    }
    return outcome(figures, figures.peakPssMiB, { note: `${figures.restMiB.toFixed(0)} at rest` });
  };
  const idle = async () => {
    await peer.restart();
    await sftp(peer, ["pwd"]);
    await sleep(SETTLE_MS);
    const open: RawSftp[] = [];
    try {
      const figures = await measure(peer, async () => {
        while (open.length < opened) {
          open.push(...(await Promise.all(Array.from({ length: LOGINS_AT_ONCE }, () => RawSftp.connect(peer)))));
        }
        await sleep(SETTLE_MS);
      });
      const grown = ((memory(peer.pids()).pssMiB - figures.restMiB) / opened) * sessions;
      const scaled = opened < sessions ? `; ${opened} sessions, scaled` : "";
      return outcome(figures, grown, { note: `${figures.restMiB.toFixed(0)} at rest${scaled}` });
    } finally {
      await Promise.all(open.map((session) => session.close()));
    }
  };
  return [
    { workload: "W8", title: `peak memory, ${uploads} parallel puts of ${UPLOAD_MIB} MiB`, unit: "MiB", run: upload },
    { workload: "W8", title: `memory that ${sessions} idle sessions add`, unit: "MiB", run: idle },
  ] satisfies Cell[];
};
