/**
 * A far client: a TCP proxy that hands bytes on after half a round trip in each direction, without a limit of bandwidth.
 * What is left to limit a transfer is the protocol's windows and requests. The handshake costs one round trip.
 */
import { createServer, connect as connectTcp, type Socket } from "node:net";

/** Bytes in flight in one direction; more waits at the sender. */
const MAX_IN_FLIGHT = 64 * 1024 * 1024;

/** Listens on a free port of 127.0.0.1 for connections to `port`, and resolves to its own. */
export function startDelayProxy(port: number, rttMs: number): Promise<number> {
  const server = createServer({ noDelay: true, pauseOnConnect: true, highWaterMark: 256 * 1024 }, (near) => {
    near.on("error", () => near.destroy());
    setTimeout(() => {
      const far = connectTcp({ port, host: "127.0.0.1", noDelay: true });
      far.on("error", () => far.destroy());
      pump(near, far, rttMs / 2);
      pump(far, near, rttMs / 2);
      near.resume();
    }, rttMs);
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (address !== null && typeof address === "object") resolve(address.port);
    });
  });
}

interface Due {
  readonly atMs: number;
  readonly bytes: Buffer | undefined;
}

/** One direction: first in, first out, each after the delay. */
function pump(from: Socket, to: Socket, delayMs: number): void {
  const queue: Due[] = [];
  let inFlight = 0;
  let isWaiting = false;
  const wait = (ms: number): void => {
    isWaiting = true;
    setTimeout(deliver, ms);
  };
  const deliver = (): void => {
    isWaiting = false;
    const now = performance.now();
    for (let due = queue[0]; due !== undefined; due = queue[0]) {
      if (due.atMs > now + 0.5) {
        wait(due.atMs - now);
        return;
      }
      queue.shift();
      inFlight -= due.bytes?.length ?? 0;
      if (due.bytes === undefined) to.end();
      else if (!to.destroyed) to.write(due.bytes);
    }
    if (from.isPaused() && inFlight < MAX_IN_FLIGHT) from.resume();
  };
  const add = (bytes: Buffer | undefined): void => {
    queue.push({ atMs: performance.now() + delayMs, bytes });
    inFlight += bytes?.length ?? 0;
    if (inFlight > MAX_IN_FLIGHT) from.pause();
    if (!isWaiting) wait(delayMs);
  };
  from.on("data", add);
  from.on("end", () => add(undefined));
  from.on("close", () => {
    if (!from.readableEnded) to.destroy();
  });
}
