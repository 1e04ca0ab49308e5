import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { formatConfigJsonSchema } from "../../../src/config/json-schema.ts";
import { loadConfig } from "../../../src/config/load.ts";

const read = (name: string): string => readFileSync(new URL(`../../../config/${name}`, import.meta.url), "utf8");
const path = (name: string): string => new URL(`../../../config/${name}`, import.meta.url).pathname;

it("the committed JSON Schema is what the program prints (npm run build, then: node dist/main.js config schema)", () => {
  expect(read("gateway.schema.json")).toBe(formatConfigJsonSchema());
});

it("the example is a good configuration with the five regions", async () => {
  const { config } = await loadConfig(path("gateway.example.yaml"), { environment: {} });
  expect([...config.regions.keys()]).toEqual(["us", "ca", "eu", "il", "br"]);
  expect(read("gateway.example.yaml")).toMatch(/^# yaml-language-server: \$schema=\.\/gateway\.schema\.json\n/);
});

it("the ConfigMap for Kubernetes holds a good configuration", async () => {
  const [map] = parseAllDocuments(read("deploy/kubernetes.yaml"));
  const text = String(map?.getIn(["data", "gateway.yaml"]));
  const { config } = await loadConfig("/nowhere/gateway.yaml", { replacements: new Map([["/nowhere/gateway.yaml", text]]) });
  expect(config.admin.listen).toEqual({ host: "0.0.0.0", port: 9022 });
  expect(parse(read("deploy/compose.yaml")).services.gateway.read_only).toBe(true);
});
