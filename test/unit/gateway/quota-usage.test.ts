import { beforeEach, describe, expect, it } from "vitest";
import { QuotaUsage } from "../../../src/gateway/quota-usage.ts";
import { createMemoryStore } from "../../../src/objectstore/memory-store.ts";
import { overriding } from "../../support/overriding.ts";
import type { ObjectStore } from "../../../src/objectstore/objectstore.ts";

let store: ObjectStore;
let now: number;
beforeEach(async () => {
  now = 0;
  store = createMemoryStore();
  await store.put("a/1", [new Uint8Array(600)]);
  await store.put("a/dir/", []);
  await store.put("ab/other", [new Uint8Array(5000)]);
});

const quotaOf = (quota: { bytes?: number; files?: number }): QuotaUsage => new QuotaUsage({ store, prefix: "a/", quota, now: () => now });

describe("a user's quota", () => {
  it("counts the own files, without markers and neighbours", async () => {
    expect(await quotaOf({ bytes: 1000 }).current()).toEqual({ bytes: 600, files: 1 });
  });

  it("gives room until it is used up, and says how much there was", async () => {
    const quota = quotaOf({ bytes: 1000 });
    await quota.reserve(300);
    await expect(quota.reserve(101)).rejects.toMatchObject({ code: "quota", message: expect.stringContaining("1000 B is used up") });
    await quota.reserve(100);
    await quota.reserve(-500);
    expect(await quota.current()).toEqual({ bytes: 500, files: 1 });
  });

  it("counts again before it refuses, but not at every try", async () => {
    const quota = quotaOf({ bytes: 1000 });
    await quota.current();
    await store.delete(["a/1"]);
    await expect(quota.reserve(500)).rejects.toMatchObject({ code: "quota" });
    now += 30_000;
    await quota.reserve(500);
    expect(await quota.current()).toEqual({ bytes: 500, files: 0 });
  });

  it("lets shrinking through when it is exceeded", async () => {
    await expect(quotaOf({ bytes: 10 }).reserve(-5)).resolves.toBeUndefined();
    await expect(quotaOf({ bytes: 10 }).reserve(0)).resolves.toBeUndefined();
    await expect(quotaOf({ files: 1 }).reserve(1, 1)).rejects.toMatchObject({ code: "quota" });
  });

  it("counts what an object replaces, and files only once", async () => {
    const quota = quotaOf({ bytes: 1000, files: 2 });
    await quota.reserveFor({ key: "a/1", size: 900 });
    await store.put("a/1", [new Uint8Array(900)]);
    await quota.reserveFor({ key: "a/2", size: 50 });
    await store.put("a/2", [new Uint8Array(50)]);
    expect(await quota.current()).toEqual({ bytes: 950, files: 2 });
    await expect(quota.reserveFor({ key: "a/3", size: 1 })).rejects.toMatchObject({
      code: "quota",
      message: "your quota of 2 files is used up",
    });
    await expect(quota.reserveFor({ key: "a/2", size: 101 })).rejects.toMatchObject({ code: "quota" });
    await store.delete(["a/1"]);
    quota.somethingRemoved();
    await quota.reserveFor({ key: "a/3", size: 800 });
  });

  it("many that ask at once cause one listing", async () => {
    let listings = 0;
    const counted = overriding(store, {
      list: (prefix, options) => {
        listings++;
        return store.list(prefix, options);
      },
    });
    const quota = new QuotaUsage({ store: counted, prefix: "a/", quota: { bytes: 1e6 }, now: () => now });
    await Promise.all(Array.from({ length: 10 }, () => quota.reserve(1)));
    expect(listings).toBe(1);
    expect((await quota.current()).bytes).toBe(610);
  });

  it("a store that fails is no permission", async () => {
    const broken = overriding(store, {
      list: () => {
        throw new Error("down");
      },
    });
    const quota = new QuotaUsage({ store: broken, prefix: "a/", quota: { bytes: 1e6 }, now: () => now });
    await expect(quota.reserve(1)).rejects.toMatchObject({ code: "unavailable" });
  });
});
