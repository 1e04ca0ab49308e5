/** The door with real connections: who gives way while waiting is not handed over, and the log says why some are given up. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { pino } from "pino";
import { afterEach, expect, it, vi } from "vitest";
import { type Connection, Connections } from "../../../src/supervisor/connections.ts";
import { FrontDoor } from "../../../src/supervisor/front-door.ts";
import type { WorkerPool } from "../../../src/supervisor/worker-pool.ts";
import type { WorkerProcess } from "../../../src/supervisor/worker-process.ts";

const opened: { close(): void }[] = [];
afterEach(() => {
  for (const one of opened.splice(0)) one.close();
});

async function openDoor() {
  const handed: number[] = [];
  const log: Record<string, unknown>[] = [];
  const worker = {
    hand: ({ id }: { readonly id: number }) => void handed.push(id),
    settled: vi.fn(),
    closed: vi.fn(),
    send: vi.fn(),
  } as unknown as WorkerProcess;
  const room = { isThere: false };
  const connections: Connections<WorkerProcess> = new Connections<WorkerProcess>({
    unauthenticated: { total: 3, perAddress: 3, evictableAfterMs: 1_000_000 },
    sessionsPerUser: 2,
    sources: undefined,
    end: ({ id }: Connection<WorkerProcess>) => void door.line.drop(id),
  });
  const door = new FrontDoor({
    listen: [{ host: "127.0.0.1", port: 0 }],
    proxies: [],
    connections,
    pool: { choose: () => (room.isThere ? worker : undefined) } as unknown as WorkerPool,
    log: pino({ level: "warn" }, { write: (line) => void log.push(JSON.parse(line)) }),
    portFallback: false,
    longestWaitMs: 60_000,
  });
  await door.open();
  opened.push(door);
  const arrive = async (count: number): Promise<Socket> => {
    const socket = connect(door.addresses[0]?.port ?? 0, "127.0.0.1");
    socket.on("error", () => undefined);
    opened.push({ close: () => socket.destroy() });
    await vi.waitFor(() => expect(connections.size).toBe(count));
    return socket;
  };
  return { door, connections, worker, handed, log, room, arrive };
}

it("hands over in order as room comes, and not who gave way while waiting", async () => {
  const { door, room, handed, arrive } = await openDoor();
  const first = await arrive(1);
  await arrive(2);
  await arrive(3);
  // The fourth takes the place of the first, which has said nothing.
  const gone = once(first, "close");
  await arrive(3);
  await gone;
  expect(handed).toEqual([]);
  room.isThere = true;
  door.line.advance();
  expect(handed).toEqual([2, 3, 4]);
});

it("hands over who left while waiting: a worker sees it, and the place is free again", async () => {
  const { door, room, handed, worker, connections, arrive } = await openDoor();
  const first = await arrive(1);
  first.destroy();
  room.isThere = true;
  door.line.advance();
  expect(handed).toEqual([1]);
  door.line.taken(worker, 1);
  connections.closed(1);
  expect([connections.size, connections.withoutLogin]).toEqual([0, 0]);
});

it("tells the client and the operator when a worker cannot take a connection, the operator once for many", async () => {
  const { door, room, log, arrive } = await openDoor();
  room.isThere = true;
  const clients = [await arrive(1), await arrive(2), await arrive(3)];
  for (const id of [1, 2, 3]) door.line.lost(id);
  for (const client of clients) expect(await text(client)).toMatch(/cannot take this connection now/);
  expect(log).toMatchObject([{ audit: true, remoteAddress: "127.0.0.1", msg: "connections given up", connections: 1 }]);
  expect(log[0]?.reason).toMatch(/file descriptor/);
  expect(door.refused).toBe(3);
});

it("says why to those who wait when the server shuts down, and to those who come then", async () => {
  const { door, connections, arrive } = await openDoor();
  const early = await arrive(1);
  door.refuseAll("the server is shutting down");
  expect(await text(early)).toContain("the server is shutting down");
  expect(connections.size).toBe(0);
  const late = await arrive(0);
  expect(await text(late)).toContain("the server is shutting down");
});
