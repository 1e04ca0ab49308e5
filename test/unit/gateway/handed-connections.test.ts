import { Socket } from "node:net";
import { pino } from "pino";
import { expect, it } from "vitest";
import { HandedConnections } from "../../../src/gateway/handed-connections.ts";
import { type Channel, SupervisorLink } from "../../../src/gateway/supervisor-link.ts";
import type { ToSupervisor, ToWorker } from "../../../src/supervisor/messages.ts";

it("tells the supervisor of each socket whether it came, was gone already, or was lost", () => {
  const said: ToSupervisor[] = [];
  let receive: (message: unknown, socket: unknown) => void = () => undefined;
  const channel: Channel = {
    send: (message) => said.push(message) > 0,
    on: (_event, listener) => {
      receive = listener;
    },
  };
  const accepted: string[] = [];
  const server = { accept: (_socket: Socket, address: string) => void accepted.push(address) };
  const handed = new HandedConnections(new SupervisorLink(channel), server, pino({ level: "silent" }));
  const say = (message: ToWorker, socket?: Socket): void => receive(message, socket);
  const connection = (id: number) => ({ type: "connection", id, address: `192.0.2.${id}`, proxied: false }) as const;
  const socket = new Socket();
  say(connection(1), socket);
  say({ type: "handed", id: 1 });
  say({ type: "handed", id: 2 }); // Node dropped what came before this
  say(connection(3));
  say({ type: "handed", id: 3 });
  expect(said).toEqual([
    { type: "taken", id: 1 },
    { type: "lost", id: 2 },
    { type: "taken", id: 3 },
    { type: "closed", id: 3 },
  ]);
  expect(accepted).toEqual(["192.0.2.1"]);
  expect(handed.size).toBe(1);
  socket.destroy();
});
