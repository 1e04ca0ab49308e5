/**
 * A customer as a process of its own, who reads a file over and over at the rate of a good line: what an attack takes from
 * this rate it takes from customers, not from the test's own process. Reports on its channel how much it has read.
 */
import type { LoginTarget } from "./ssh-sftp-client.ts";
import { SshSftpClient } from "./ssh-sftp-client.ts";

/** Bytes in a second, about 170 Mbit/s. */
const RATE = 20 * 1024 * 1024;
const BLOCK = 128 * 1024;
const AHEAD = 8;
const REPORT_MS = 50;
/** What timers and the network are late by is made up for, a stall is not. */
const MAX_LATE_MS = 100;

/** What the process is told, as JSON in its first argument. */
export interface WitnessOrder {
  readonly target: LoginTarget;
  readonly path: string;
  readonly size: number;
  /** Every byte of the file. */
  readonly fill: number;
  /** Bytes in a second; absent: those of a good line. */
  readonly rate?: number;
}

/** What it says. */
export type WitnessReport = { readonly bytes: number } | { readonly failure: string };

async function readOn(order: WitnessOrder): Promise<void> {
  const client = await SshSftpClient.connect(order.target);
  const handle = await client.open(order.path, 1);
  const { rate = RATE } = order;
  let due = performance.now();
  let asked = 0;
  let read = 0;
  setInterval(() => process.send?.({ bytes: read }), REPORT_MS);
  const lane = async (): Promise<never> => {
    for (;;) {
      const at = asked;
      asked += BLOCK;
      // Behind its time it does not catch up: a line has no more than its rate.
      due = Math.max(due + (BLOCK / rate) * 1000, performance.now() - MAX_LATE_MS);
      const early = due - performance.now();
      if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
      const block = await client.read(handle, at % order.size, BLOCK);
      if (block.length !== BLOCK || block[0] !== order.fill) throw new Error(`a block of ${block.length} bytes`);
      read += block.length;
    }
  };
  await Promise.all(Array.from({ length: AHEAD }, lane));
}

process.on("disconnect", () => process.exit());
readOn(JSON.parse(process.argv[2] ?? "{}") as WitnessOrder).catch((error: unknown) => {
  process.send?.({ failure: String(error) }, () => process.exit(1));
});
