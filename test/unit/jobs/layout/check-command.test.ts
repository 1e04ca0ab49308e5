import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { type S3Server, startS3Server } from "../../../support/s3-server/s3-server.ts";
import { awsEnvironment, runCommand } from "../sync/sync-fixture.ts";

const KEYS = 20_000;
let server: S3Server;
let folder: string;

beforeAll(async () => {
  server = await startS3Server({ buckets: ["museum", "large"] });
});
afterAll(() => server.close());
beforeEach(() => {
  server.reset();
  folder = mkdtempSync(join(tmpdir(), "check-"));
  for (const [name, value] of Object.entries(awsEnvironment(server))) vi.stubEnv(name, value);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

describe("check", () => {
  it("a folder: errors, a dry run that changes nothing, a fix, and clean", async () => {
    mkdirSync(join(folder, "originals"));
    writeFileSync(join(folder, "originals/a.jpg"), "x");
    const first = await runCommand("check", `file://${folder}`);
    expect(first.code).toBe(1);
    expect(first.out.join("\n")).toContain("ERROR L04");
    expect((await runCommand("check", folder, "--fix")).out.join("\n")).toContain("would: create thumbnails/");
    expect(existsSync(join(folder, "thumbnails"))).toBe(false);
    await runCommand("check", folder, "--fix", "--yes");
    expect(existsSync(join(folder, "thumbnails"))).toBe(true);
    expect(await runCommand("check", folder)).toMatchObject({ code: 0, err: [] });
  });

  it("a user of the configuration, and a bucket by URI, as JSON", async () => {
    const { accessKeyId, secretAccessKey } = server.credentials;
    const file = join(folder, "gateway.yaml");
    const reach = `{ endpoint: "${server.endpoint}", pathStyle: true, accessKeyId: ${accessKeyId}, secretAccessKey: ${secretAccessKey} }`;
    writeFileSync(file, `users:\n  alice: { storage: "s3://museum/alice", s3: ${reach}, keys: [] }\n`);
    for (const key of ["alice/originals/a.jpg", "alice/thumbnails/gone_5.jpg"]) server.contents.put("museum", key, "x");
    const byName = await runCommand("check", "alice", "--config", file, "--json");
    const byUri = await runCommand("check", "s3://museum/alice/", "--json");
    for (const { code, out } of [byName, byUri]) {
      expect(code).toBe(2);
      const report = JSON.parse(out[0] ?? "") as { rules: unknown; requests: unknown };
      expect(report.rules).toMatchObject([{ rule: "H02", count: 1, examples: [{ key: "alice/thumbnails/gone_5.jpg" }] }]);
      expect(report.requests).toEqual({ ListObjectsV2: 1 });
    }
  });

  it.each([["s3://museum/a?b"], ["s3://museum//x"], ["s3://museum/../x"], ["s3://Museum/x"], ["s3://museum/it's"]])(
    "L01: %s",
    async (uri) => {
      const { code, out } = await runCommand("check", uri);
      expect(code).toBe(1);
      expect(out[0]).toMatch(/^ERROR L01 /);
    },
  );

  it("L02: no such bucket, no such folder", async () => {
    const bucket = await runCommand("check", "s3://not-there");
    expect([bucket.code, bucket.out.some((line) => line.startsWith("ERROR L02"))]).toEqual([1, true]);
    const missing = await runCommand("check", join(folder, "nowhere"));
    expect([missing.code, existsSync(join(folder, "nowhere"))]).toEqual([1, false]);
  });

  it("twenty thousand keys: twenty listings and nothing else, in little memory", async () => {
    for (let index = 0; index < KEYS / 2; index++) {
      server.contents.put("large", `originals/${index}-0000-0000.jpg`, "");
      server.contents.put("large", `thumbnails/${index}-0000-0000_123.jpg`, "");
    }
    server.requests.clear();
    const before = process.memoryUsage().heapUsed;
    const { code } = await runCommand("check", "s3://large");
    expect(code).toBe(2);
    expect(server.requests.counts()).toEqual({ ListObjectsV2: KEYS / 1000 });
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100 * 1024 ** 2);
  });
});
