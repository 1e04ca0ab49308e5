/** Syncs, backups, checks and policies against real S3 servers: Ceph's (Debian's radosgw) and versitygw. */
import { CreateBucketCommand, PutBucketPolicyCommand, S3Client } from "@aws-sdk/client-s3";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { orderedObjects } from "../../src/jobs/ordered-listing.ts";
import { checkPolicy } from "../../src/jobs/policy/check-policy.ts";
import { bucketPolicy, type PolicyDocument } from "../../src/jobs/policy/policy-documents.ts";
import type { ObjectStore } from "../../src/objectstore/objectstore.ts";
import { openStorage } from "../../src/objectstore/open-store.ts";
import { requireTool } from "../support/require-tool.ts";
import { type ForeignS3, RGW_TOOLS, startRgw } from "../support/rgw.ts";
import { findVersitygw, startVersitygw } from "../support/versitygw.ts";
import { withoutAction } from "../unit/jobs/policy/policy-enforcer.ts";
import { runCommand } from "../unit/jobs/sync/sync-fixture.ts";

/** Ceph 16 knows no `s3:prefix` in requests for this, so that a statement with that condition does not grant it. */
const UNKNOWN_PREFIX = "s3:ListBucketMultipartUploads";
/**
 * What Ceph 16 asks policies about, so that it can be told alone. Not tags and parts; reading an object of one's own is
 * always allowed, and reading what could not be written is refused instead of not found.
 */
const ENFORCED = ["s3:ListBucket", "s3:DeleteObject", "s3:AbortMultipartUpload"];

function nights(name: string, canRun: boolean, start: () => Promise<ForeignS3>, more?: (server: () => ForeignS3) => void): void {
  describe.skipIf(!canRun)(`the nights on ${name}`, () => {
    let server: ForeignS3;
    let folder: string;
    let museum: ObjectStore;
    let copies: ObjectStore;
    const originals = new Map<string, Buffer>();
    const command = (...args: string[]) => runCommand(...args, "--config", join(folder, "gateway.yaml"));

    beforeAll(async () => {
      server = await start();
      folder = mkdtempSync(join(tmpdir(), "nights-real-"));
      const client = clientOf(server);
      for (const Bucket of ["museum", "copies", "archives"]) await client.send(new CreateBucketCommand({ Bucket }));
      client.destroy();
      const { endpoint, credentials, region } = server;
      const connection = { endpoint, pathStyle: true, awsRegion: region, ...credentials };
      writeFileSync(
        join(folder, "gateway.yaml"),
        JSON.stringify({
          server: { state: join(folder, "state") },
          regions: { us: { bucket: "museum", backup: "s3://copies/us", ...connection } },
          backups: { to: "s3://archives/", region: "us", fullEvery: 2 },
          users: { alice: { region: "us", keys: [] } },
        }),
      );
      museum = (await openStorage("s3://museum", connection)).store;
      copies = (await openStorage("s3://copies", connection)).store;
      for (const file of ["a.jpg", "b (1).tif", "Käfer.jpg", "日本.png", "z%20+&.gif"])
        originals.set(`alice/originals/${file}`, randomBytes(5_000));
      originals.set("alice/originals/large.tif", randomBytes(6 * 1024 ** 2));
      for (const [key, bytes] of originals)
        await museum.put(key, [bytes], { contentType: "image/jpeg", metadata: { mtime: "1500000000" } });
      await museum.put("alice/thumbnails/a_123.jpg", [Buffer.from("thumbnail")]);
    }, 180_000);
    afterAll(async () => {
      await museum?.close();
      await copies?.close();
      await server?.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    it("a region is copied with metadata, once; --delete follows what is gone", async () => {
      expect(await command("sync", "us", "--only-show-errors")).toEqual({ code: 0, out: [], err: [] });
      const sums = new Map<string, string>();
      for await (const { key } of orderedObjects(copies, "us/")) {
        const { body, info } = await copies.get(key);
        const hash = createHash("sha256");
        for await (const chunk of body) hash.update(chunk);
        sums.set(key.slice(3), hash.digest("hex"));
        if (key.endsWith("a.jpg")) expect(info).toMatchObject({ contentType: "image/jpeg", metadata: { mtime: "1500000000" } });
      }
      for (const [key, bytes] of originals) expect(sums.get(key), key).toBe(createHash("sha256").update(bytes).digest("hex"));
      const { out } = await command("sync", "us", "--json");
      expect(JSON.parse(out.at(-1) ?? "")).toMatchObject({ copied: 0, overwritten: 0, unchanged: 7 });
      await museum.delete(["alice/originals/a.jpg"]);
      expect((await command("sync", "us", "--delete", "--max-delete", "1")).code).toBe(0);
      await expect(copies.head("us/alice/originals/a.jpg")).rejects.toMatchObject({ code: "not-found" });
      expect((await command("sync", "us", "--etag", "--journal", join(folder, "journal"), "--no-progress")).code).toBe(0);
    });

    it("an archive and the incremental one after it are made, verified and restored", async () => {
      expect(await command("backup", "run", "alice", "--quiet")).toMatchObject({ code: 0 });
      await museum.put("alice/originals/new.jpg", [Buffer.from("new")]);
      expect(await command("backup", "run", "alice", "--quiet")).toMatchObject({ code: 0 });
      expect(await command("backup", "verify", "alice")).toMatchObject({ code: 0 });
      const target = join(folder, "restored");
      expect(await command("backup", "restore", "alice", "--to", target)).toMatchObject({ code: 0 });
      for (const [key, bytes] of originals) {
        if (key.endsWith("/a.jpg")) continue;
        expect(readFileSync(join(target, key.slice("alice/".length))).equals(bytes), key).toBe(true);
      }
    }, 60_000);

    it("check finds the orphan, and sweep what was left over", async () => {
      const { code, out } = await command("check", "alice");
      expect(code).toBe(2);
      expect(out.join("\n")).toMatch(/H02/);
      expect((await command("check", "alice", "--fix", "--yes")).out.join("\n")).toMatch(/done: .*thumbnail/);
      expect((await command("check", "alice")).out.join("\n")).not.toMatch(/H02/);
      expect((await command("sweep", "--yes")).code).toBe(0);
    });

    more?.(() => server);
  });
}

function clientOf({ endpoint, credentials, region }: ForeignS3): S3Client {
  // The SDK writes into the credentials it is given.
  return new S3Client({ endpoint, credentials: { ...credentials }, region, forcePathStyle: true });
}

nights(
  "Ceph RGW",
  requireTool(...RGW_TOOLS),
  () => startRgw({ guest: true }),
  (server) => {
    describe("a customer's bucket policy", () => {
      const target = { bucket: "museum", prefix: "specify/assets/", partition: "aws", versions: false };
      const check = async (policy: PolicyDocument | undefined): Promise<Awaited<ReturnType<typeof checkPolicy>>> => {
        const { endpoint, guest } = server();
        const client = clientOf(server());
        if (policy) await client.send(new PutBucketPolicyCommand({ Bucket: "museum", Policy: JSON.stringify(policy) }));
        client.destroy();
        return checkPolicy({ bucket: "museum", endpoint, pathStyle: true, ...(guest?.credentials ?? {}) }, target.prefix);
      };
      const missing = ({ probes }: Awaited<ReturnType<typeof checkPolicy>>): string[] =>
        probes.flatMap(({ status, action }) => (status === "missing" ? [action] : []));

      it("as it is printed gives another account all that is needed, and nothing outside the path", async () => {
        expect(missing(await check(undefined))).toContain("s3:ListBucket");
        const report = await check(bucketPolicy(target, server().guest?.arn ?? ""));
        const others = report.probes.filter(({ status, action }) => status !== "ok" && action !== UNKNOWN_PREFIX);
        expect(others).toEqual([]);
      });

      it.each(ENFORCED)("without %s names that and no other", async (action) => {
        const report = await check(withoutAction(bucketPolicy(target, server().guest?.arn ?? ""), action));
        expect([report.exitCode, new Set(missing(report))]).toEqual([1, new Set([action, UNKNOWN_PREFIX])]);
      });

      it("without s3:PutObject names that", async () => {
        const report = await check(withoutAction(bucketPolicy(target, server().guest?.arn ?? ""), "s3:PutObject"));
        expect(missing(report)).toContain("s3:PutObject");
      });
    });
  },
);

const versitygw = findVersitygw();
nights("versitygw", versitygw !== undefined, () => startVersitygw(versitygw ?? ""));
