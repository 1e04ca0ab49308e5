/**
 * W4: a folder of 100,000 objects that somebody else put there: `ls -l` with OpenSSH's sftp, and when the first and the last
 * name come. `storeListing` measures what the store itself needs for the same pages, without a server between.
 */
import { sftp } from "../clients.ts";
import { measure } from "../meter.ts";
import type { Peer } from "../peers/peer.ts";
import { RawSftp } from "../raw-sftp.ts";
import type { Cell, Outcome, Setting, Workload } from "./workload.ts";
import { outcome, withLatency } from "./workload.ts";

const FOLDER = "w4";
const SIZES = 100;
const LATENCY_MS = 100;

const entriesOf = (setting: Setting): number => (setting.isQuick ? 20_000 : 100_000);

/** W4. */
export const listing: Workload = (peer, setting) => {
  const count = entriesOf(setting);
  const all = count.toLocaleString("en");
  const cell = (title: string, run: () => Promise<Outcome>): Cell => ({ workload: "W4", title, unit: "s", run });
  const near = [
    cell(`ls -l of ${all} objects, 0 ms`, () => listWithSftp(peer, count)),
    cell(`first name of ${all}, 0 ms`, () => listRaw(peer, count, 0, "firstSeconds")),
  ];
  if (!peer.proxy) return near;
  return [
    ...near,
    cell(`first name of ${all}, ${LATENCY_MS} ms`, () => listRaw(peer, count, LATENCY_MS, "firstSeconds")),
    cell(`last name of ${all}, ${LATENCY_MS} ms`, () => listRaw(peer, count, LATENCY_MS, "lastSeconds")),
  ];
};

/** Lays the folder once: as many originals as there are sizes, the others with the same content. */
async function lay(peer: Peer, count: number): Promise<void> {
  const nameOf = (index: number): string => `${FOLDER}/specimen-${String(index).padStart(6, "0")}.jpg`;
  if ((await peer.storage.size(nameOf(count - 1))) !== undefined) return;
  for (let size = 0; size < SIZES; size++) await peer.storage.put(nameOf(size), Buffer.alloc(size, "x"));
  const copies = new Map<string, string>();
  for (let index = SIZES; index < count; index++) copies.set(nameOf(index), nameOf(index % SIZES));
  await peer.storage.multiply(copies);
}

/** Seconds that `ls -l` took a server without latency: who asks for every object would take hours with it. */
const listSeconds = new Map<string, number>();
const TOO_SLOW_SECONDS = 20;

async function listWithSftp(peer: Peer, count: number): Promise<Outcome> {
  await lay(peer, count);
  await peer.restart();
  const figures = await measure(peer, () => sftp(peer, [`ls -l ${peer.remote(FOLDER)}`]));
  let found = 0;
  for (const line of figures.result.split("\n")) {
    const [, size, index] = /^-\S+\s+\S+\s+\S+\s+\S+\s+(\d+) .*specimen-(\d{6})\.jpg$/.exec(line) ?? [];
    if (index !== undefined && Number(size) === Number(index) % SIZES) found++;
  }
  if (found !== count) throw new Error(`${found} of ${count} entries are right`);
  listSeconds.set(peer.name, figures.seconds);
  return outcome(figures, figures.seconds);
}

async function listRaw(peer: Peer, count: number, ms: number, which: "firstSeconds" | "lastSeconds"): Promise<Outcome> {
  const near = listSeconds.get(peer.name) ?? 0;
  if (near > TOO_SLOW_SECONDS) throw new Error(`not tried: ls -l takes ${near.toFixed(0)} s without latency`);
  await lay(peer, count);
  await peer.restart();
  const session = await RawSftp.connect(peer);
  try {
    const figures = await withLatency(peer, ms, () => measure(peer, () => session.list(peer.remote(FOLDER))));
    const { names } = figures.result;
    // Some servers list "." and "..".
    if (names < count || names > count + 2) throw new Error(`${names} of ${count} names came`);
    return outcome(figures, figures.result[which]);
  } finally {
    await session.close();
  }
}

/** Seconds the store needs to list the folder page after page, without the proxy; the bound of the rows at 0 ms. */
export async function storeListing(peer: Peer, setting: Setting): Promise<number> {
  await lay(peer, entriesOf(setting));
  const began = performance.now();
  await peer.storage.sizes(FOLDER);
  return (performance.now() - began) / 1000;
}
