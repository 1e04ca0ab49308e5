import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "../../../support/fast-check.ts";
import { beforeEach, describe, expect, it } from "vitest";
import { addSettings, readSettings, settingsLine } from "../../../../src/jobs/layout/asset-settings.ts";
import type { S3Server } from "../../../support/s3-server/s3-server.ts";
import { configuredBucket } from "../configured-bucket.ts";
import { runCommand } from "../sync/sync-fixture.ts";

/** The asset server's own expression (manage_collection_dirs.py), as Python's re.match applies it. */
const UPSTREAM = /^\s*['"]([^'"]+)['"]\s*:\s*['"]([^'"]+)['"],?/;

let server: S3Server;
let folder: string;
let config: string;

const bucket = configuredBucket("sp-assets-us");
beforeEach(() => {
  let reach: string;
  ({ server, folder, config, reach } = bucket());
  writeFileSync(
    config,
    `regions:
  us: { bucket: sp-assets-us, ${reach} }
users:
  alice: { region: us, keys: [] }
  bob: { storage: "s3://sp-assets-us/deep/path/bob/", s3: { ${reach} }, keys: [] }
  carol: { storage: "file://${folder}/carol", keys: [] }
`,
  );
});

describe("settings", () => {
  it("prints the lines exactly, and refuses folders asked for by name", async () => {
    const all = await runCommand("settings", "print", "--all", "--config", config);
    expect(all.out).toEqual(["    'alice': 's3://sp-assets-us/alice',", "    'bob': 's3://sp-assets-us/deep/path/bob',"]);
    expect(all.code).toBe(0);
    expect((await runCommand("settings", "print", "alice", "--config", config)).out).toEqual(["    'alice': 's3://sp-assets-us/alice',"]);
    expect((await runCommand("settings", "print", "carol", "--config", config)).code).toBe(1);
    expect((await runCommand("settings", "print", "nobody", "--config", config)).code).toBe(2);
    expect((await runCommand("settings", "print", "--config", config)).code).toBe(2);
  });

  it("every line that is printed is read back by the asset server; the others are refused", () => {
    const text = fc.string({ unit: "binary", minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(text, text, (collection, path) => {
        let line: string;
        try {
          line = settingsLine(collection, { kind: "s3", bucket: "sp-assets-us", prefix: `${path}/` });
        } catch {
          return;
        }
        const [, name, uri = ""] = UPSTREAM.exec(line) ?? [];
        expect(name).toBe(collection);
        expect(uri).toBe(`s3://sp-assets-us/${path}`);
        expect(line.startsWith("    '") && line.endsWith("',")).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it.each(["a'b", 'a"b', "a?b", "a#b", "a\nb", "a//b", "a\\b"])("refuses a path with %j", (path) => {
    expect(() => settingsLine("x", { kind: "s3", bucket: "sp-assets-us", prefix: `${path}/` })).toThrow();
  });

  it("adds to a settings file and replaces; the rest stays, and twice is once", async () => {
    const file = join(folder, "settings.py");
    const before =
      "# ours\nCOLLECTION_S3_PATHS = {\n    # 'alice': 's3://old/alice',\n    'zoe': 's3://b/zoe',\n    \"bob\": \"s3://old/bob\"\n}\n\nDEBUG = {'a': 1}\n";
    writeFileSync(file, before);
    const first = await runCommand("settings", "add", file, "--config", config);
    expect(first.code).toBe(0);
    const after = readFileSync(file, "utf8");
    expect(after).toBe(
      "# ours\nCOLLECTION_S3_PATHS = {\n    # 'alice': 's3://old/alice',\n    'zoe': 's3://b/zoe',\n    'bob': 's3://sp-assets-us/deep/path/bob',\n    'alice': 's3://sp-assets-us/alice',\n}\n\nDEBUG = {'a': 1}\n",
    );
    await runCommand("settings", "add", file, "--config", config);
    expect(readFileSync(file, "utf8")).toBe(after);
    expect([...readSettings(after).keys()]).toEqual(["zoe", "bob", "alice"]);
  });

  it("an empty map, a missing comma, and no map at all", () => {
    const line = "    'a': 's3://b/a',";
    const lines = new Map([["a", line]]);
    expect(addSettings("COLLECTION_S3_PATHS = {}\n", lines).text).toBe(`COLLECTION_S3_PATHS = {\n${line}\n}\n`);
    expect(addSettings("COLLECTION_S3_PATHS = {\n}\n", lines).text).toBe(`COLLECTION_S3_PATHS = {\n${line}\n}\n`);
    expect(addSettings("COLLECTION_S3_PATHS = {\n    'z': 's3://b/z'\n}\n", lines).text).toBe(
      `COLLECTION_S3_PATHS = {\n    'z': 's3://b/z',\n${line}\n}\n`,
    );
    expect(() => addSettings("x = 1\n", lines)).toThrow("COLLECTION_S3_PATHS");
    expect(() => addSettings("COLLECTION_S3_PATHS = {\n", lines)).toThrow("not closed");
  });
});

describe("manifest", () => {
  it("CSV and JSON of a bucket's originals", async () => {
    server.contents.put("sp-assets-us", "alice/originals/", "");
    server.contents.put("sp-assets-us", 'alice/originals/a, "b".jpg', "abc", { lastModifiedMs: 1_700_000_000_000 });
    server.contents.put("sp-assets-us", "alice/originals/c.jpg", "c", {
      lastModifiedMs: 1_700_000_000_000,
      metadata: { mtime: "1000000000.5" },
    });
    server.contents.put("sp-assets-us", "alice/thumbnails/t_1.jpg", "t");
    server.requests.clear();
    const csv = await runCommand("manifest", "alice", "--config", config);
    const md5 = (text: string): string => createHash("md5").update(text).digest("hex");
    expect(csv.out).toEqual([
      "path,name,size,modified,md5,sha256",
      `"originals/a, ""b"".jpg","a, ""b"".jpg",3,2023-11-14T22:13:20.000Z,${md5("abc")},`,
      `originals/c.jpg,c.jpg,1,2023-11-14T22:13:20.000Z,${md5("c")},`,
    ]);
    expect(server.requests.counts()).toEqual({ ListObjectsV2: 1 });
    const json = await runCommand("manifest", "alice", "--config", config, "--json", "--sha256", "--all");
    const lines = json.out.map((line) => JSON.parse(line) as Record<string, string>);
    expect(lines.map(({ path }) => path)).toEqual(['originals/a, "b".jpg', "originals/c.jpg", "thumbnails/t_1.jpg"]);
    expect(lines[1]).toMatchObject({ modified: "2001-09-09T01:46:40.500Z", sha256: createHash("sha256").update("c").digest("hex") });
  });

  it("a folder's, with the files' own times", async () => {
    mkdirSync(join(folder, "carol/originals"), { recursive: true });
    writeFileSync(join(folder, "carol/originals/x.tif"), "xx");
    utimesSync(join(folder, "carol/originals/x.tif"), 1_000_000_000, 1_000_000_000);
    const { out } = await runCommand("manifest", "carol", "--config", config);
    expect(out[1]).toBe("originals/x.tif,x.tif,2,2001-09-09T01:46:40.000Z,,");
  });
});

describe("usage", () => {
  it("a table with totals by region, CSV and JSON; a storage that fails is told and the others counted", async () => {
    server.contents.put("sp-assets-us", "alice/originals/a.jpg", "12345");
    server.contents.put("sp-assets-us", "alice/thumbnails/a_1.jpg", "1");
    server.contents.put("sp-assets-us", "alice/thumbnails/", "");
    const table = await runCommand("usage", "--all", "--config", config);
    expect(table.code).toBe(0);
    expect(table.out.find((line) => line.startsWith("alice"))).toMatch(/^alice +us +2 +6 /);
    expect(table.out.find((line) => /^total +us/.test(line))).toMatch(/^total +us +2 +6 /);
    const csv = await runCommand("usage", "alice", "--csv", "--config", config);
    expect(csv.out[1]).toBe("alice,us,s3://sp-assets-us/alice/,2,6,1,5,1,1");
    server.fault({
      when: ({ query }) => query.get("prefix")?.startsWith("alice") === true,
      times: 99,
      action: { kind: "status", status: 403, code: "AccessDenied" },
    });
    const failing = await runCommand("usage", "--json", "--config", config);
    expect(failing.code).toBe(1);
    expect(failing.err[0]).toContain("alice:");
    expect((JSON.parse(failing.out.join("\n")) as { user: string; total?: object }[])[1]).toMatchObject({
      user: "bob",
      total: { files: 0 },
    });
  });
});
