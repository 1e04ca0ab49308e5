/** W6: one client against eight at once, up and down; the sum of their rates. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GCM, sftp } from "../clients.ts";
import { checkFile } from "../inputs.ts";
import { measure } from "../meter.ts";
import type { Cell, Outcome, Workload } from "./workload.ts";
import { outcome, untilStored } from "./workload.ts";

/** W6. */
export const severalClients: Workload = (peer, { inputs, isQuick }) => {
  const mib = isQuick ? 32 : 128;
  const up = async (clients: number): Promise<Outcome> => {
    const files = Array.from({ length: clients }, (_, index) => inputs.file(mib, index));
    const figures = await measure(peer, async () => {
      await Promise.all(files.map((file, index) => sftp(peer, [`put ${file.path} ${peer.remote(`w6-up-${index}`)}`], { cipher: GCM })));
      await untilStored(peer.storage, new Map(files.map((file, index) => [`w6-up-${index}`, file.bytes])));
    });
    for (const [index, file] of files.entries()) {
      if ((await peer.storage.sha256(`w6-up-${index}`)) !== file.sha256) throw new Error(`file ${index} was stored with other bytes`);
      await peer.storage.remove(`w6-up-${index}`);
    }
    return outcome(figures, (clients * mib) / figures.seconds);
  };
  const down = async (clients: number): Promise<Outcome> => {
    const files = Array.from({ length: clients }, (_, index) => inputs.file(mib, index));
    for (const [index, file] of files.entries()) await peer.storage.put(`w6-down-${index}`, readFileSync(file.path));
    const target = inputs.emptyFolder("down");
    const figures = await measure(peer, () =>
      Promise.all(
        files.map((_, index) => sftp(peer, [`get ${peer.remote(`w6-down-${index}`)} ${join(target, String(index))}`], { cipher: GCM })),
      ),
    );
    for (const [index, file] of files.entries()) checkFile(join(target, String(index)), file.sha256);
    inputs.emptyFolder("down");
    return outcome(figures, (clients * mib) / figures.seconds);
  };
  const cell = (way: string, clients: number, run: (clients: number) => Promise<Outcome>): Cell => ({
    workload: "W6",
    title: `${way}, ${clients} client${clients > 1 ? "s" : ""} × ${mib} MiB`,
    unit: "MiB/s",
    run: () => run(clients),
  });
  return [cell("up", 1, up), cell("up", 8, up), cell("down", 1, down), cell("down", 8, down)];
};
