/** W7: a client 100 ms away. Connecting costs many round trips and is measured apart and taken off. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GCM, type LoginOptions, sftp } from "../clients.ts";
import { checkFile } from "../inputs.ts";
import { measure } from "../meter.ts";
import type { Peer } from "../peers/peer.ts";
import { ProxyProcess } from "../proxies/start-proxy.ts";
import type { Cell, Outcome, Workload } from "./workload.ts";
import { outcome, untilStored } from "./workload.ts";

const RTT_MS = 100;
const MIB = 64;

/** W7. */
export const farClient: Workload = (peer, { inputs }) => {
  const up = async (options: LoginOptions, login: number): Promise<Outcome> => {
    const file = inputs.file(MIB);
    const figures = await measure(peer, async () => {
      await sftp(peer, [`put ${file.path} ${peer.remote("w7-up")}`], options);
      await untilStored(peer.storage, new Map([["w7-up", file.bytes]]));
    });
    if ((await peer.storage.sha256("w7-up")) !== file.sha256) throw new Error("other bytes were stored");
    await peer.storage.remove("w7-up");
    return outcome(figures, MIB / (figures.seconds - login));
  };
  const down = async (options: LoginOptions, login: number): Promise<Outcome> => {
    const file = inputs.file(MIB);
    await peer.storage.put("w7-down", readFileSync(file.path));
    const target = join(inputs.emptyFolder("down"), "w7");
    const figures = await measure(peer, () => sftp(peer, [`get ${peer.remote("w7-down")} ${target}`], options));
    checkFile(target, file.sha256);
    return outcome(figures, MIB / (figures.seconds - login));
  };
  const cell = (way: string, run: typeof up): Cell => ({
    workload: "W7",
    title: `${way} ${MIB} MiB, ${RTT_MS} ms round trip`,
    unit: "MiB/s",
    run: () => fromAfar(peer, run),
  });
  return [cell("put", up), cell("get", down)];
};

async function fromAfar(peer: Peer, work: (options: LoginOptions, login: number) => Promise<Outcome>): Promise<Outcome> {
  const proxy = await ProxyProcess.delaying(peer.parts.login.port, RTT_MS);
  try {
    const options = { cipher: GCM, port: proxy.port };
    const began = performance.now();
    await sftp(peer, ["pwd"], options);
    return await work(options, (performance.now() - began) / 1000);
  } finally {
    await proxy.stop();
  }
}
