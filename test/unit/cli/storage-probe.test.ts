import { expect, it } from "vitest";
import { probeStorage } from "../../../src/cli/storage-probe.ts";
import { StoreError } from "../../../src/errors.ts";
import { createMemoryStore } from "../../../src/objectstore/memory-store.ts";
import { overriding } from "../../support/overriding.ts";
import type { ObjectStore } from "../../../src/objectstore/objectstore.ts";

const denied = (): Promise<never> => Promise.reject(new StoreError("access-denied", "AccessDenied: grant it"));

async function keysOf(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of store.list("")) keys.push(...page.flatMap((entry) => (entry.kind === "object" ? [entry.key] : [])));
  return keys;
}

it("a store that can everything passes, and nothing is left behind", async () => {
  const store = createMemoryStore();
  expect(await probeStorage(store, "alice/", { readOnly: false })).toEqual({ failures: [] });
  expect(await keysOf(store)).toEqual([]);
  const uploads: unknown[] = [];
  for await (const upload of store.listUploads("")) uploads.push(upload);
  expect(uploads).toEqual([]);
});

it.each<[string, Partial<ObjectStore>, string[]]>([
  ["put", { put: denied }, ["put"]],
  ["read and delete", { get: denied, delete: denied }, ["read", "delete"]],
  ["multipart", { createUpload: denied }, ["multipart create"]],
])("names each missing right: %s", async (_name, broken, steps) => {
  const { failures } = await probeStorage(overriding(createMemoryStore(), broken), "alice/", { readOnly: false });
  expect(failures.map(({ step }) => step)).toEqual(steps);
});

it("asks for nothing but the listing where nothing may be written", async () => {
  const { failures } = await probeStorage(overriding(createMemoryStore(), { put: denied, get: denied, createUpload: denied }), "", {
    readOnly: true,
  });
  expect(failures).toEqual([]);
});

it("says a missing bucket once", async () => {
  const gone = (): Promise<never> => Promise.reject(new StoreError("no-such-bucket", "NoSuchBucket"));
  const list = async function* (): AsyncGenerator<never> {
    yield await gone();
  };
  const { failures } = await probeStorage(overriding(createMemoryStore(), { list, put: gone, createUpload: gone }), "", {
    readOnly: false,
  });
  expect(failures).toEqual([{ step: "list", reason: "NoSuchBucket" }]);
});
