/** The line between the door and the workers: it goes on whatever a worker does, and everybody in it is counted once. */
import { Socket } from "node:net";
import { afterEach, expect, it, vi } from "vitest";
import type { Connection } from "../../../src/supervisor/connections.ts";
import { Connections } from "../../../src/supervisor/connections.ts";
import type { ToWorker } from "../../../src/supervisor/messages.ts";
import { NOT_TAKEN, type Taker, WaitingLine } from "../../../src/supervisor/waiting-line.ts";

const GRACE_MS = 60_000;

/** Has room for two on the way. */
class FakeWorker implements Taker {
  readonly handed: number[] = [];
  readonly told: ToWorker[] = [];
  room = 2;
  open = 0;

  hand({ id }: { readonly id: number }): void {
    this.handed.push(id);
    this.room--;
    this.open++;
  }

  settled(): void {
    this.room++;
  }

  closed(): void {
    this.open--;
  }

  send(message: ToWorker): void {
    this.told.push(message);
  }
}

const closing: { close(): void }[] = [];
afterEach(() => {
  for (const one of closing.splice(0)) one.close();
});

function setUp(limits: { readonly total?: number } = {}) {
  const clock = { ms: 1_000 };
  const workers = [new FakeWorker()];
  const givenUp: string[] = [];
  const sockets: Socket[] = [];
  const connections: Connections<FakeWorker> = new Connections<FakeWorker>({
    unauthenticated: { total: 100, perAddress: 100, evictableAfterMs: 1_000_000, ...limits },
    sessionsPerUser: 2,
    sources: undefined,
    end: ({ worker, id }: Connection<FakeWorker>, reason) => {
      if (worker) worker.send({ type: "end", id, reason });
      else line.drop(id);
    },
  });
  const line: WaitingLine<FakeWorker> = new WaitingLine<FakeWorker>({
    connections,
    choose: () => workers.find(({ room }) => room > 0),
    longestWaitMs: GRACE_MS,
    onGivenUp: (address, reason) => void givenUp.push(`${address}: ${reason}`),
    now: () => clock.ms,
  });
  closing.push(line, { close: () => sockets.forEach((socket) => void socket.destroy()) });
  const arrive = (count = 1): void => {
    for (let at = 0; at < count; at++) {
      const connection = connections.open("192.0.2.1", false);
      if (typeof connection === "string") throw new Error(connection);
      const socket = new Socket();
      vi.spyOn(socket, "end").mockReturnValue(socket);
      sockets[connection.id] = socket;
      line.add({ connection, socket, proxied: false });
    }
  };
  const [worker] = workers as [FakeWorker];
  return { clock, workers, worker, givenUp, sockets, connections, line, arrive };
}

it("hands over in order, as many at once as a worker has room for, and closes each copy when it is taken", () => {
  const { line, worker, sockets, arrive } = setUp();
  arrive(5);
  expect(worker.handed).toEqual([1, 2]);
  line.taken(worker, 1);
  expect(worker.handed).toEqual([1, 2, 3]);
  expect([1, 2, 3].map((id) => sockets[id]?.destroyed)).toEqual([true, false, false]);
  for (const id of [2, 3, 4, 5]) line.taken(worker, id);
  expect(worker.handed).toEqual([1, 2, 3, 4, 5]);
  expect([worker.room, line.length]).toEqual([2, 0]);
  expect(worker.told).toEqual([]);
});

it("gives up what a worker cannot take, tells the client, and goes on", () => {
  const { line, worker, sockets, connections, givenUp, arrive } = setUp();
  arrive(4);
  line.lost(1);
  expect(worker.handed).toEqual([1, 2, 3]);
  expect(sockets[1]?.end).toHaveBeenCalledExactlyOnceWith(Buffer.from(`${NOT_TAKEN}\r\n`));
  expect(givenUp).toEqual(["192.0.2.1: a worker has no file descriptor left for it"]);
  expect([connections.size, connections.withoutLogin, worker.open]).toEqual([3, 3, 2]);
  line.lost(1); // once is enough
  line.lost(99);
  expect([connections.size, worker.open, worker.room]).toEqual([3, 2, 0]);
});

it("gives up what is never taken after ten seconds, and counts it once if it is taken after all", () => {
  const { line, worker, sockets, connections, givenUp, clock, arrive } = setUp();
  arrive(2);
  clock.ms += 5_000;
  arrive(1);
  clock.ms += 4_999;
  line.expire();
  expect(givenUp).toEqual([]);
  clock.ms += 1;
  line.expire();
  expect(givenUp).toHaveLength(2);
  expect(givenUp[0]).toMatch(/did not take it in time/);
  expect([sockets[1]?.destroyed, sockets[2]?.destroyed]).toEqual([true, true]);
  expect(worker.handed).toEqual([1, 2, 3]);
  expect([connections.size, worker.open, worker.room]).toEqual([1, 1, 1]);
  line.taken(worker, 1);
  expect(worker.told).toEqual([{ type: "end", id: 1, reason: expect.any(String) }]);
  connections.loggedIn(1, "alice"); // what it says before it hears that is not counted
  expect(connections.closed(1)).toBeUndefined();
  expect([connections.size, worker.open, worker.room]).toEqual([1, 1, 1]);
});

it("hands the rest to another worker when one dies, and closes what was on its way to it", () => {
  const { line, workers, worker, sockets, connections, arrive } = setUp();
  arrive(5);
  const other = new FakeWorker();
  workers.splice(0, 1, other);
  expect(connections.workerGone(worker)).toBe(2);
  line.workerGone(worker);
  expect([sockets[1]?.destroyed, sockets[2]?.destroyed, sockets[3]?.destroyed]).toEqual([true, true, false]);
  expect(other.handed).toEqual([3, 4]);
  line.taken(other, 3);
  expect(other.handed).toEqual([3, 4, 5]);
  expect(connections.size).toBe(3);
});

it("keeps who comes while there is no worker until one is ready, but not beyond the login grace", () => {
  const { line, workers, worker, sockets, connections, givenUp, clock, arrive } = setUp();
  workers.pop();
  arrive(1);
  clock.ms += GRACE_MS - 1;
  arrive(1);
  line.expire();
  expect(line.length).toBe(2);
  clock.ms += 1;
  line.expire();
  expect([line.length, connections.size, connections.withoutLogin]).toEqual([1, 1, 1]);
  expect(sockets[1]?.end).toHaveBeenCalledExactlyOnceWith(Buffer.from(`${NOT_TAKEN}\r\n`));
  expect(givenUp).toEqual(["192.0.2.1: no worker had room for it in time"]);
  workers.push(worker);
  line.advance();
  expect(worker.handed).toEqual([2]);
});

it("holds no more than may be without login: the oldest in it gives way, and is not handed over", () => {
  const { line, workers, worker, sockets, connections, arrive } = setUp({ total: 3 });
  workers.pop();
  arrive(1_000);
  expect([line.length, connections.size]).toEqual([3, 3]);
  expect(sockets.filter((socket) => !socket.destroyed)).toHaveLength(3);
  workers.push(worker);
  line.advance();
  expect(worker.handed).toEqual([998, 999]);
});

it("lets the worker end who gives way while being on the way", () => {
  const { line, worker, connections, arrive } = setUp({ total: 3 });
  arrive(4);
  expect(worker.told).toEqual([{ type: "end", id: 1, reason: "too many connections without login" }]);
  line.taken(worker, 1);
  expect(connections.closed(1)).toMatchObject({ id: 1 });
  expect(worker.handed).toEqual([1, 2, 3]);
});

it("says why to those who wait when nobody is served any more", () => {
  const { line, sockets, connections, arrive } = setUp();
  arrive(4);
  const told: Socket[] = [];
  line.sendAway((socket) => void told.push(socket));
  expect(told).toEqual([sockets[3], sockets[4]]);
  expect([line.length, connections.size]).toEqual([0, 2]);
});
