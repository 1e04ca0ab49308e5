import { PassThrough } from "node:stream";
import { expect, it } from "vitest";
import { Metrics } from "../../../src/admin/metrics.ts";
import { StoreError } from "../../../src/errors.ts";
import { defineStoreMetrics, withMetrics } from "../../../src/gateway/metered-store.ts";
import { createLogger } from "../../../src/log.ts";
import { overriding } from "../../support/overriding.ts";
import { createMemoryStore } from "../../../src/objectstore/memory-store.ts";

it("counts requests and bytes and passes everything through", async () => {
  const metrics = new Metrics();
  defineStoreMetrics(metrics);
  const store = withMetrics(createMemoryStore(), metrics, createLogger({ level: "fatal" }));
  await store.put("a", [new Uint8Array(5), new Uint8Array(6)]);
  const upload = await store.createUpload("b", {});
  const part = await upload.uploadPart({ partNumber: 1, offset: 0 }, [new Uint8Array(7)]);
  await upload.complete([part]);
  const read = await store.get("a", { range: { start: 4, end: 100 } });
  read.destroy();
  const keys: string[] = [];
  for await (const page of store.list("")) keys.push(...page.map((entry) => (entry.kind === "object" ? entry.key : entry.prefix)));
  expect(keys).toEqual(["a", "b"]);
  await expect(store.head("none")).rejects.toMatchObject({ code: "not-found" });
  const text = metrics.format();
  expect(text).toContain('gateway_store_bytes_total{direction="written"} 18');
  expect(text).toContain('gateway_store_bytes_total{direction="read"} 7');
  expect(text).toContain('gateway_store_requests_total{operation="put"} 1');
  expect(text).not.toContain("gateway_store_failures_total{");
});

it("logs a store that fails, once in a while", async () => {
  const metrics = new Metrics();
  defineStoreMetrics(metrics);
  const destination = new PassThrough();
  const down = overriding(createMemoryStore(), { head: () => Promise.reject(new StoreError("unavailable", "connect ECONNREFUSED")) });
  const store = withMetrics(down, metrics, createLogger({ destination, format: "json" }));
  for (let index = 0; index < 20; index++) await expect(store.head("x")).rejects.toMatchObject({ code: "unavailable" });
  const lines = String(destination.read()).trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { level: 40, msg: "storage failed", code: "unavailable", reason: "connect ECONNREFUSED" },
  ]);
  expect(metrics.format()).toContain('gateway_store_failures_total{operation="head"} 20');
});
