import { createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { AdminServer } from "../../../src/admin/admin-server.ts";
import { Metrics } from "../../../src/admin/metrics.ts";

let server: AdminServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

async function start(ready = { ready: true, reason: "ready" }): Promise<string> {
  const metrics = new Metrics();
  metrics.gauge("gateway_sessions", "Logins.", () => 3);
  const source = { readiness: () => ready, metrics: async () => metrics.format(), onError: () => undefined };
  server = await AdminServer.start({ host: "127.0.0.1", port: 0 }, source);
  return `http://${server.address}`;
}

describe("the admin server", () => {
  it("answers health, readiness and metrics", async () => {
    const url = await start();
    expect(await (await fetch(`${url}/healthz`)).text()).toBe("ok\n");
    expect((await fetch(`${url}/readyz?x`)).status).toBe(200);
    const metrics = await fetch(`${url}/metrics`);
    expect(metrics.headers.get("content-type")).toContain("version=0.0.4");
    expect(await metrics.text()).toBe("# HELP gateway_sessions Logins.\n# TYPE gateway_sessions gauge\ngateway_sessions 3\n");
  });

  it("is not ready while draining, and serves nothing else", async () => {
    const url = await start({ ready: false, reason: "draining" });
    const readiness = await fetch(`${url}/readyz`);
    expect([readiness.status, await readiness.text()]).toEqual([503, "draining\n"]);
    expect((await fetch(`${url}/config`)).status).toBe(404);
    expect((await fetch(`${url}/healthz`, { method: "POST", body: "x" })).status).toBe(405);
  });

  it("rejects an address that is taken", async () => {
    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, "127.0.0.1", resolve));
    const address = blocker.address();
    const port = typeof address === "object" && address ? address.port : 0;
    const source = { readiness: () => ({ ready: true, reason: "" }), metrics: async () => "", onError: () => undefined };
    await expect(AdminServer.start({ host: "127.0.0.1", port }, source)).rejects.toMatchObject({ code: "EADDRINUSE" });
    await new Promise((resolve) => blocker.close(resolve));
  });
});

describe("metrics", () => {
  it("counts by label and escapes what labels hold", () => {
    const metrics = new Metrics();
    metrics.counter("requests_total", "Requests.");
    metrics.add("requests_total", 2, { operation: "put" });
    metrics.add("requests_total", 1, { operation: "put" });
    metrics.add("requests_total", 1, { operation: 'a"b\\c\nd' });
    expect(metrics.format().split("\n").slice(2)).toEqual([
      'requests_total{operation="put"} 3',
      'requests_total{operation="a\\"b\\\\c\\nd"} 1',
      "",
    ]);
    expect(() => metrics.add("unknown")).toThrow(/not defined/);
  });
});
