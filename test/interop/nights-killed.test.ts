/** `kill -9` in the middle of syncs and sweeps by the built program: nothing half or wrong stays, the next run completes. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openStorage } from "../../src/objectstore/open-store.ts";
import { ensureBuilt, MAIN } from "../support/built-gateway.ts";
import { type Finished, run } from "../support/processes.ts";
import { Random } from "../support/random.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";

describe("killed in the middle", () => {
  let server: S3Server;
  let folder: string;
  const random = new Random(20_261_123);

  beforeAll(async () => {
    await ensureBuilt();
    server = await startS3Server({ buckets: ["museum", "copies", "archives"] });
    folder = mkdtempSync(join(tmpdir(), "killed-"));
    const reach = `endpoint: "${server.endpoint}", pathStyle: true, awsRegion: us-east-1, accessKeyId: ${server.credentials.accessKeyId}, secretAccessKey: ${server.credentials.secretAccessKey}`;
    writeFileSync(
      join(folder, "gateway.yaml"),
      `server: { state: ${join(folder, "state")} }
uploads: { expiry: 60s }
regions:
  us: { bucket: museum, backup: "s3://copies/us", ${reach} }
backups: { to: "s3://archives/", region: us }
users: { alice: { region: us, keys: [] } }
`,
    );
  });
  beforeEach(() => server.reset());
  afterAll(async () => {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const env = { NODE_NO_WARNINGS: "1", AWS_EC2_METADATA_DISABLED: "true", PATH: process.env.PATH ?? "" };
  const words = (...args: string[]): string[] => [MAIN, ...args, "--config", join(folder, "gateway.yaml")];
  const command = (...args: string[]): Promise<Finished> => run(process.execPath, words(...args), { cwd: folder, env });

  /** Runs a command and kills it when the server has got its `requests`-th request of these kinds. */
  async function killAt(requests: number, kinds: readonly string[], ...args: string[]): Promise<void> {
    let seen = 0;
    server.requests.clear();
    const child = spawn(process.execPath, words(...args), { cwd: folder, env, stdio: "ignore" });
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    await Promise.race([ended, server.requests.waitFor(({ operation }) => kinds.includes(operation) && ++seen >= requests)]);
    child.kill("SIGKILL");
    await ended;
  }

  it("a sync leaves whole objects, old or new, deletes nothing too early, and the next one completes", async () => {
    const names = Array.from({ length: 120 }, (_, at) => `alice/originals/${String(at).padStart(3, "0")}.jpg`);
    for (const name of names) server.contents.put("museum", name, `new ${name}`, { lastModifiedMs: Date.now() - 1_000 });
    for (const name of names.slice(0, 60)) server.contents.put("copies", `us/${name}`, `old ${name}`, { lastModifiedMs: 1 });
    const gone = ["us/alice/originals/gone-1.jpg", "us/alice/originals/gone-2.jpg"];
    for (const key of gone) server.contents.put("copies", key, "kept until the end");
    server.latencyMs = 2;
    const sync = ["sync", "us", "--delete", "--only-show-errors", "--force"];
    for (let round = 0; round < 3; round++) {
      await killAt(1 + random.below(30), ["CopyObject"], ...sync);
      for (const { key, ...object } of server.contents.objects("copies")) {
        const name = key.slice("us/".length);
        expect(["kept until the end", `old ${name}`, `new ${name}`]).toContain(object.bytes().toString());
      }
    }
    expect(server.contents.keys("copies")).toEqual(expect.arrayContaining(gone));
    expect(await command(...sync)).toMatchObject({ code: 0, stderr: "" });
    expect(server.contents.objects("copies").map((object) => [object.key, object.bytes().toString()])).toEqual(
      names.map((name) => [`us/${name}`, `new ${name}`]),
    );
    server.requests.clear();
    expect(await command(...sync)).toMatchObject({ code: 0 });
    expect(Object.keys(server.requests.counts())).toEqual(["ListObjectsV2"]);
  });

  it("a sweep removes only what goes anyway, archives stay good, and the next one completes", async () => {
    server.contents.put("museum", "alice/originals/a.jpg", randomBytes(50_000));
    expect(await command("backup", "run", "alice")).toMatchObject({ code: 0 });
    const old = Date.now() - 10 * 86_400_000;
    for (let at = 0; at < 40; at++) {
      server.contents.put("museum", `alice/originals/${at}.filepart`, "half", { lastModifiedMs: old });
      server.contents.put("archives", `alice/alice-assets-2020010${at % 10}.${String(at).padStart(3, "0")}.tar.xz`, "", {
        lastModifiedMs: old,
      });
    }
    const connection = { endpoint: server.endpoint, pathStyle: true, ...server.credentials };
    const { store } = await openStorage("s3://museum", connection);
    for (let at = 0; at < 20; at++) await store.createUpload(`alice/originals/${at}.tif`, {});
    await store.close();
    const kept = [...server.contents.keys("museum"), ...server.contents.keys("archives")].filter((key) => !/filepart|2020010/.test(key));
    server.latencyMs = 3;
    for (let round = 0; round < 3; round++) {
      await killAt(1 + random.below(8), ["AbortMultipartUpload", "DeleteObjects", "ListObjectsV2"], "sweep", "--yes");
      const left = [...server.contents.keys("museum"), ...server.contents.keys("archives")];
      expect(left).toEqual(expect.arrayContaining(kept));
    }
    expect(await command("sweep", "--yes")).toMatchObject({ code: 0 });
    const left = [...server.contents.keys("museum"), ...server.contents.keys("archives")].filter((key) => !key.includes("locks/"));
    expect(left).toEqual(kept.filter((key) => !key.includes("locks/")));
    expect(await command("backup", "verify", "alice")).toMatchObject({ code: 0 });
  });
});
