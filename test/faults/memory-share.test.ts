/** One user's channels full of what nobody takes or reads: the budget is not theirs alone, and the others do not notice. */
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { shareOf } from "../../src/budget-share.ts";
import { ByteBudget } from "../../src/byte-budget.ts";
import { encodeMessage, Message } from "../../src/ssh/messages.ts";
import { RawClient } from "../unit/ssh/raw-client.ts";
import { type Fixture, startServer } from "../unit/ssh/server-fixture.ts";

const MIB = 1024 * 1024;
const LIMIT = 16 * MIB;
let fixture: Fixture;
afterEach(() => fixture.stop());

async function start(): Promise<string> {
  fixture = await startServer({ budget: new ByteBudget(LIMIT) });
  const alice = fixture.users.get("alice");
  if (!alice) throw new Error("the fixture has no alice");
  fixture.users.set("mallory", { ...alice, name: "mallory" });
  return join(fixture.folder, "ed25519");
}

/** Downloads and uploads as `alice`; resolves to the bytes of both, which the server counted. */
async function work(key: string): Promise<number> {
  const client = await RawClient.login(fixture.port, key);
  const { number } = await client.openSession(0xffff_ffff);
  client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "source 30000000"));
  let bytes = 0;
  while (bytes < 30_000_000) bytes += (await client.next(Message.CHANNEL_DATA)).length - 9;
  client.socket.destroy();
  return bytes;
}

it("drops channels full of half-sent packets, once they stand still and others need the memory", async () => {
  const key = await start();
  const attackers = await Promise.all(Array.from({ length: 4 }, () => RawClient.login(fixture.port, key, "mallory")));
  for (const client of attackers) {
    for (let at = 0; at < 32; at++) {
      const { number, window } = await client.openSession(1 << 20, 32768, at);
      client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", false, "hold"));
      for (let sent = 0; sent + 32_000 <= window; sent += 32_000)
        client.send(encodeMessage(Message.CHANNEL_DATA, number, Buffer.alloc(32_000)));
    }
  }
  const share = shareOf(fixture.budget, "mallory");
  // At once: never more than the overdraft, whatever is sent.
  expect(fixture.budget.used).toBeLessThan(LIMIT + 36 * MIB);
  expect(await work(key)).toBe(30_000_000);
  const line = await fixture.logged(({ reason }) => reason === "it holds memory that others need");
  expect(line).toMatchObject({ audit: true, user: "mallory", remoteAddress: "127.0.0.1" });
  while (share.used > share.allowance) await new Promise((resolve) => setTimeout(resolve, 50));
  expect(share.used).toBeLessThanOrEqual(LIMIT / 2);
  expect(shareOf(fixture.budget, "alice").underPressure).toBe(false);
  expect(await work(key)).toBe(30_000_000);
  for (const client of attackers) client.socket.destroy();
  await Promise.all(attackers.map((client) => client.closed));
});

it("ends connections full of replies that nobody reads", async () => {
  const key = await start();
  const attackers = await Promise.all(Array.from({ length: 24 }, () => RawClient.login(fixture.port, key, "mallory")));
  for (const client of attackers) {
    const { number } = await client.openSession(0xffff_ffff);
    client.socket.pause();
    client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "source 200000000"));
  }
  expect(await work(key)).toBe(30_000_000);
  const share = shareOf(fixture.budget, "mallory");
  while (share.used > share.allowance) await new Promise((resolve) => setTimeout(resolve, 50));
  expect(fixture.budget.used).toBeLessThanOrEqual(LIMIT);
  expect(shareOf(fixture.budget, "alice").underPressure).toBe(false);
  for (const client of attackers) client.socket.destroy();
});

it("goes on sending while memory is short, however fast the kernel takes it", async () => {
  const key = await start();
  fixture.budget.force(LIMIT);
  const client = await RawClient.login(fixture.port, key);
  for (let turn = 0; turn < 20; turn++) {
    const { number } = await client.openSession(0xffff_ffff, 32_768, turn);
    client.send(encodeMessage(Message.CHANNEL_REQUEST, number, "exec", true, "block 131085"));
    let bytes = 0;
    while (bytes < 131_085) bytes += (await client.next(Message.CHANNEL_DATA)).length - 9;
    client.send(encodeMessage(Message.CHANNEL_CLOSE, number));
  }
  client.socket.destroy();
  expect(await work(key)).toBe(30_000_000);
  fixture.budget.release(LIMIT);
});
