import { expect, it, vi } from "vitest";
import { Connections } from "../../../src/supervisor/connections.ts";

function make(limits = {}) {
  const end = vi.fn();
  const sources = { refusal: (address: string) => (address === "192.0.2.66" ? "penalty" : undefined), offence: vi.fn(), loggedIn: vi.fn() };
  const unauthenticated = { total: 3, perAddress: 2, evictableAfterMs: 1_000_000, ...limits };
  return { end, connections: new Connections<string>({ unauthenticated, sessionsPerUser: 2, sources, end }) };
}

function opened(connections: Connections<string>, address: string, worker: string, proxied = false): number {
  const connection = connections.open(address, proxied);
  if (typeof connection === "string") throw new Error(connection);
  connection.worker = worker;
  return connection.id;
}

it("counts connections without login of all workers together, and makes the idle give way", () => {
  const { connections, end } = make();
  const first = opened(connections, "192.0.2.1", "a");
  opened(connections, "192.0.2.1", "b");
  opened(connections, "192.0.2.1", "a");
  expect(end).toHaveBeenCalledWith(expect.objectContaining({ id: first, worker: "a" }), "too many connections without login");
  expect(connections.withoutLogin).toBe(2);
  expect(connections.open("192.0.2.66", false)).toBe("penalty");
  connections.closedFor = "the server is shutting down";
  expect(connections.open("192.0.2.9", false)).toBe("the server is shutting down");
});

it("refuses newcomers where all have exchanged keys, until one logs in or leaves", () => {
  const { connections } = make();
  const ids = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map((address) => opened(connections, address, "a"));
  for (const id of ids) connections.progress(id, 2);
  expect(connections.open("192.0.2.4", false)).toBe("too many connections without login");
  connections.loggedIn(ids[0] ?? 0, "alice");
  const next = opened(connections, "192.0.2.4", "a");
  connections.progress(next, 2);
  connections.closed(ids[1] ?? 0);
  expect(typeof connections.open("192.0.2.5", false)).toBe("object");
});

it("counts a balancer's connection by the address that it names", () => {
  const { connections } = make();
  const ids = [1, 2, 3].map(() => opened(connections, "10.0.0.1", "a", true));
  const [one = 0, two = 0, three = 0] = ids;
  expect(connections.named(one, "192.0.2.66")).toBe("penalty");
  expect(connections.named(two, "192.0.2.1")).toBeUndefined();
  expect(connections.named(three, "192.0.2.1")).toBeUndefined();
  connections.progress(two, 2);
  connections.progress(three, 2);
  expect(connections.open("192.0.2.1", false)).toBe("too many connections without login");
  expect(connections.named(999, "192.0.2.1")).toBe("the connection is gone");
});

it("bounds the sessions of a user over all workers, and forgets those of a worker that is gone", () => {
  const { connections, end } = make({ total: 100, perAddress: 100 });
  const login = (worker: string): number => {
    const id = opened(connections, "192.0.2.1", worker);
    connections.loggedIn(id, "alice");
    connections.loggedIn(id, "alice");
    return id;
  };
  login("a");
  login("b");
  expect(end).not.toHaveBeenCalled();
  const third = login("b");
  expect(end).toHaveBeenCalledWith(expect.objectContaining({ id: third }), "too many sessions of this user");
  connections.closed(third);
  expect(connections.workerGone("b")).toBe(1);
  end.mockClear();
  login("a");
  expect(end).not.toHaveBeenCalled();
  expect(connections.size).toBe(2);
});
