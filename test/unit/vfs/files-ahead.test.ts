import { describe, expect, it } from "vitest";
import { StoreError } from "../../../src/errors.ts";
import { type Fixture, makeFixture } from "./fixture.ts";

const COUNT = 400;
const nameOf = (index: number): string => `f${String(index).padStart(4, "0")}`;

/** A directory whose listing was just seen, with times known. */
async function listed(options: Parameters<typeof makeFixture>[0] = {}): Promise<Fixture> {
  const fixture = makeFixture(options);
  for (let i = 0; i < COUNT; i++) await fixture.put(`alice/d/${nameOf(i)}`, `content ${i}`);
  await fixture.names("/attachments/d");
  fixture.store.take();
  return fixture;
}

/** Lets everything happen that waits for nothing but the store. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}

describe("fetching the next files ahead", () => {
  it("costs one GET a file when all are read in order, many of them at once", async () => {
    const { read, store, vfs } = await listed();
    for (let i = 0; i < COUNT; i++) {
      await vfs.stat(`/attachments/d/${nameOf(i)}`);
      expect(await read(`/attachments/d/${nameOf(i)}`)).toBe(`content ${i}`);
    }
    expect(store.take()).toEqual({ get: COUNT });
    expect(store.mostActive).toBeGreaterThan(5);
  });

  it("keeps many requests on their way to a store that is far away", async () => {
    const { read, store } = await listed();
    store.before = async () => {
      for (let i = 0; i < 40; i++) await new Promise((resolve) => setImmediate(resolve));
    };
    for (let i = 0; i < COUNT; i++) await read(`/attachments/d/${nameOf(i)}`);
    expect(store.mostActive).toBeGreaterThan(20);
    expect(store.take()).toEqual({ get: COUNT });
  });

  it("serves a client that reads through several connections", async () => {
    const { read, store } = await listed();
    let next = 0;
    const worker = async (): Promise<void> => {
      for (let i = next++; i < COUNT; i = next++) expect(await read(`/attachments/d/${nameOf(i)}`)).toBe(`content ${i}`);
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    expect(store.take().get).toBeLessThanOrEqual(COUNT * 1.02);
  });

  it("fetches little in vain when the client stops or jumps about, and gives everything back", async () => {
    const { read, store, clock, volume } = await listed();
    for (let i = 0; i < 20; i++) await read(`/attachments/d/${nameOf(i)}`);
    await settle();
    expect(store.take().get).toBeLessThanOrEqual(25);
    clock.advance(2_500);
    await settle();
    expect(volume.budget.used).toBe(0);
    for (let i = 0; i < 30; i++) await read(`/attachments/d/${nameOf((i * 37) % COUNT)}`);
    expect(store.take().get).toBeLessThanOrEqual(33);
  });

  it("stops for a client that takes only every other file", async () => {
    const { read, store, clock } = await listed();
    for (let i = 0; i < COUNT; i += 2) {
      await read(`/attachments/d/${nameOf(i)}`);
      await settle();
    }
    clock.advance(2_500);
    expect(store.take().get).toBeLessThan(COUNT / 2 + 30);
  });

  it("never gives an old version that this process has replaced, nor an old one after two seconds", async () => {
    const { read, write, put, clock } = await listed();
    for (let i = 0; i < 20; i++) await read(`/attachments/d/${nameOf(i)}`);
    await settle();
    await write(`/attachments/d/${nameOf(20)}`, "replaced here");
    expect(await read(`/attachments/d/${nameOf(20)}`)).toBe("replaced here");
    await put(`alice/d/${nameOf(21)}`, "replaced elsewhere");
    clock.advance(2_500);
    expect(await read(`/attachments/d/${nameOf(21)}`)).toBe("replaced elsewhere");
  });

  it("goes without where memory is short, files are large, or the store fails", async () => {
    const { read, store, volume } = await listed();
    volume.budget.force(40 * 1024 * 1024);
    for (let i = 0; i < 20; i++) await read(`/attachments/d/${nameOf(i)}`);
    expect(store.take()).toEqual({ get: 20 });
    volume.budget.release(40 * 1024 * 1024);
    let failures = 0;
    for (let i = 20; i < 100; i++) {
      store.before = (kind, key) => {
        if (kind === "get" && key === `alice/d/${nameOf(90)}` && failures++ === 0) throw new StoreError("access-denied", "no");
      };
      expect(await read(`/attachments/d/${nameOf(i)}`)).toBe(`content ${i}`);
    }
    await settle();
    expect(failures).toBe(2);
  });

  it("follows a walk, too, and gives back what is not read after an open", async () => {
    const fixture = makeFixture();
    for (let i = 0; i < 60; i++) await fixture.put(`alice/t/${i % 3}/${nameOf(i)}`, "x");
    const paths: string[] = [];
    for await (const batch of fixture.vfs.walk("/attachments/t")) {
      paths.push(...batch.filter(({ attributes }) => attributes.type === "file").map(({ path }) => path));
    }
    fixture.store.take();
    for (const path of paths) await fixture.read(`/attachments/t/${path}`);
    expect(fixture.store.take()).toEqual({ get: 60 });
    expect(fixture.store.mostActive).toBeGreaterThan(3);
    for (const path of paths) await (await fixture.vfs.open(`/attachments/t/${path}`, { read: true })).close();
    await settle();
    fixture.clock.advance(2_500);
    await settle();
    expect(fixture.volume.budget.used).toBe(0);
  });
});
