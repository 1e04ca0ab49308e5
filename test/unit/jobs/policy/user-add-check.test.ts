import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { generateEd25519KeyPair } from "../../../../src/cli/openssh-key.ts";
import { loadConfig } from "../../../../src/config/load.ts";
import { bucketPolicy } from "../../../../src/jobs/policy/policy-documents.ts";
import type { S3Server } from "../../../support/s3-server/s3-server.ts";
import { configuredBucket } from "../configured-bucket.ts";
import { runCommand } from "../sync/sync-fixture.ts";
import { enforcePolicy, withoutAction } from "./policy-enforcer.ts";

let server: S3Server;
let folder: string;
let config: string;

const bucket = configuredBucket("sp-assets-us");
beforeEach(() => {
  let reach: string;
  ({ server, folder, config, reach } = bucket());
  writeFileSync(config, `server: { hostKeys: "${folder}/keys" }\nregions:\n  us: { bucket: sp-assets-us, ${reach} }\nusers: {}\n`);
  writeFileSync(join(folder, "bob.pub"), `${generateEd25519KeyPair("bob").publicKey}\n`);
});

const add = (...more: string[]) =>
  runCommand("user", "add", "bob", "--key", join(folder, "bob.pub"), "--config", config, "--check", "--host", "files.example.org", ...more);

describe("user add --check", () => {
  it("makes the folders, adds, and prints what to send", async () => {
    const { code, out } = await add("--region", "us", "--create-folders");
    expect(code).toBe(0);
    expect(server.contents.keys("sp-assets-us")).toEqual(["bob/originals/", "bob/thumbnails/"]);
    const text = out.join("\n");
    expect(text).toContain("sftp -P 2022 bob@files.example.org");
    expect(text).toMatch(/fingerprint {2}SHA256:/);
    expect(text).toContain("    'bob': 's3://sp-assets-us/bob',");
    expect(readFileSync(config, "utf8")).toContain("bob:");
  });

  it("a missing right: nothing is added and nothing is left", async () => {
    const before = readFileSync(config, "utf8");
    const policy = bucketPolicy({ bucket: "sp-assets-us", prefix: "bob/", partition: "aws", versions: false }, "arn:aws:iam::1:role/x");
    enforcePolicy(server, withoutAction(policy, "s3:GetObject"));
    const { code, err } = await add("--region", "us", "--create-folders");
    expect(code).toBe(1);
    expect(err.join("\n")).toContain("s3:GetObject on arn:aws:s3:::sp-assets-us/bob/* is missing");
    expect(err.at(-1)).toContain("nothing was added");
    expect(readFileSync(config, "utf8")).toBe(before);
    expect(server.contents.keys("sp-assets-us")).toEqual([]);
  });

  it("a wrong layout: what was made is undone", async () => {
    server.contents.put("sp-assets-us", "bob/loose.jpg", "x");
    const { code, err } = await add("--region", "us", "--create-folders");
    expect([code, err.join("\n")]).toEqual([1, expect.stringContaining("ERROR L05")]);
    expect(server.contents.keys("sp-assets-us")).toEqual(["bob/loose.jpg"]);
  });

  it("a folder that is new: left only if everything went well", async () => {
    const storage = `file://${folder}/files/bob`;
    const refused = await add("--storage", storage);
    expect([refused.code, refused.err.at(-1)]).toEqual([1, expect.stringContaining("--create-folders")]);
    expect(existsSync(join(folder, "files/bob"))).toBe(false);
    expect((await add("--storage", storage, "--create-folders")).code).toBe(0);
    expect(existsSync(join(folder, "files/bob/originals"))).toBe(true);
  });

  it("an overlap with another user's storage, or a connection that makes no sense: refused with nothing done", async () => {
    writeFileSync(
      config,
      readFileSync(config, "utf8").replace("users: {}", "users:\n  all: { storage: s3://sp-assets-us/, region: us, keys: [] }"),
    );
    const before = readFileSync(config, "utf8");
    const overlap = await add("--region", "us", "--create-folders");
    expect([overlap.code, overlap.err.join("\n")]).toEqual([2, expect.stringContaining('overlaps s3://sp-assets-us/ of user "all"')]);
    const wrong = await add("--storage", "s3://bobs-museum/assets", "--s3", "expectedBucketOwner=12");
    expect([wrong.code, wrong.err.join("\n")]).toEqual([2, expect.stringContaining("expectedBucketOwner")]);
    expect(readFileSync(config, "utf8")).toBe(before);
    expect(server.requests.count()).toBe(0);
  });

  it("a host key that cannot be read: everything is undone", async () => {
    const before = readFileSync(config, "utf8");
    writeFileSync(join(folder, "keys"), "a file where the folder should be");
    const { code } = await add("--region", "us", "--create-folders");
    expect(code).not.toBe(0);
    expect(readFileSync(config, "utf8")).toBe(before);
    expect(server.contents.keys("sp-assets-us")).toEqual([]);
  });

  it("a customer's own bucket, with its connection and layout", async () => {
    const { accessKeyId, secretAccessKey } = server.credentials;
    const reach = [`endpoint=${server.endpoint}`, "pathStyle=true", `accessKeyId=${accessKeyId}`, `secretAccessKey=${secretAccessKey}`];
    const { code, out } = await add(
      "--storage",
      "s3://sp-assets-us/bobs/assets",
      "--create-folders",
      "--layout",
      "specify",
      "--s3",
      ...reach,
    );
    expect([code, out.join("\n")]).toEqual([0, expect.stringContaining("    'bob': 's3://sp-assets-us/bobs/assets',")]);
    const { config: loaded } = await loadConfig(config);
    expect(readFileSync(config, "utf8")).toMatch(
      /\n {4}s3: \{ endpoint: "http:.*", pathStyle: true, .* \}\n {4}layout: specify\n {4}keys:\n/,
    );
    expect(loaded.users.get("bob")).toMatchObject({ layout: "specify", storage: { connection: { pathStyle: true, accessKeyId } } });
  });
});
