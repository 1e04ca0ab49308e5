/** Connections wait at the door while as many as may be are on their way to the worker; who gives way meanwhile is not handed over. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
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

it("hands over in order as room comes, and not who gave way while waiting", async () => {
  const handed: number[] = [];
  const worker = {
    isFull: true,
    hand: ({ id }: { readonly id: number }, socket: Socket) => {
      handed.push(id);
      socket.destroy();
    },
  };
  const connections: Connections<WorkerProcess> = new Connections<WorkerProcess>({
    unauthenticated: { total: 3, perAddress: 3, evictableAfterMs: 1_000_000 },
    sessionsPerUser: 2,
    sources: undefined,
    end: ({ id }: Connection<WorkerProcess>) => door.drop(id),
  });
  const door = new FrontDoor({
    listen: [{ host: "127.0.0.1", port: 0 }],
    proxies: [],
    connections,
    pool: { choose: () => worker as unknown as WorkerProcess } as unknown as WorkerPool,
    log: pino({ level: "silent" }),
    portFallback: false,
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
  const first = await arrive(1);
  await arrive(2);
  await arrive(3);
  // The fourth takes the place of the first, which has said nothing.
  const gone = once(first, "close");
  connect(door.addresses[0]?.port ?? 0, "127.0.0.1").on("error", () => undefined);
  await gone;
  expect(handed).toEqual([]);
  worker.isFull = false;
  door.workerReady();
  expect(handed).toEqual([2, 3, 4]);
  door.workerReady();
  expect(handed).toEqual([2, 3, 4]);
});
