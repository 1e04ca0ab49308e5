import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { checkPolicy } from "../../../../src/jobs/policy/check-policy.ts";
import {
  BUCKET_ACTIONS,
  bucketPolicy,
  identityPolicy,
  LIST_ACTIONS,
  OBJECT_ACTIONS,
  type PolicyDocument,
} from "../../../../src/jobs/policy/policy-documents.ts";
import { type S3Server, startS3Server } from "../../../support/s3-server/s3-server.ts";
import { runCommand } from "../sync/sync-fixture.ts";
import { enforcePolicy, withoutAction } from "./policy-enforcer.ts";

const PRINCIPAL = "arn:aws:iam::123456789012:role/gateway";
const TARGET = { bucket: "bobs-museum", prefix: "specify/assets/", partition: "aws", versions: false };
let server: S3Server;
let folder: string;
let config: string;

beforeAll(async () => {
  server = await startS3Server({ buckets: ["bobs-museum"], owner: "111122223333" });
  folder = mkdtempSync(join(tmpdir(), "policy-"));
  config = join(folder, "gateway.yaml");
  const { accessKeyId, secretAccessKey } = server.credentials;
  const reach = `endpoint: "${server.endpoint}", pathStyle: true, accessKeyId: ${accessKeyId}, secretAccessKey: ${secretAccessKey}`;
  writeFileSync(
    config,
    `users:
  bob: { storage: "s3://bobs-museum/specify/assets", s3: { ${reach}, expectedBucketOwner: "111122223333" }, keys: [] }
  other: { storage: "s3://bobs-museum/other", s3: { ${reach}, expectedBucketOwner: "999999999999" }, keys: [] }
  typo: { storage: "s3://bobs-musuem/x", s3: { ${reach} }, keys: [] }
  role: { storage: "s3://roles-museum/x", s3: { roleArn: "arn:aws:iam::444455556666:role/specify", externalId: "e-1" }, keys: [] }
  folder: { storage: "file://${folder}/files", keys: [] }
`,
  );
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => server.reset());

function options() {
  const { accessKeyId, secretAccessKey } = server.credentials;
  return { bucket: "bobs-museum", endpoint: server.endpoint, pathStyle: true, accessKeyId, secretAccessKey };
}

const policy = bucketPolicy(TARGET, PRINCIPAL);
const ALL_ACTIONS = [...LIST_ACTIONS, ...BUCKET_ACTIONS, ...OBJECT_ACTIONS];

describe("policy check", () => {
  it("the printed policy is enough, and leaves nothing behind", async () => {
    enforcePolicy(server, policy);
    const report = await checkPolicy(options(), TARGET.prefix);
    expect(report.probes.filter(({ status }) => status !== "ok")).toEqual([]);
    expect(report.exitCode).toBe(0);
    expect(server.contents.keys("bobs-museum")).toEqual([]);
    expect(server.contents.uploads("bobs-museum")).toEqual([]);
  });

  it.each(ALL_ACTIONS)("without %s that and nothing else is named", async (action) => {
    enforcePolicy(server, withoutAction(policy, action));
    const { probes, exitCode } = await checkPolicy(options(), TARGET.prefix);
    const missing = probes.filter(({ status }) => status === "missing");
    expect(new Set(missing.map((probe) => probe.action))).toEqual(new Set([action]));
    expect(missing[0]?.advice).toContain(`${action} on arn:aws:s3:::bobs-museum`);
    expect(policy.Statement.map(({ Sid }) => Sid)).toContain(missing[0]?.statement);
    expect(exitCode).toBe(1);
  });

  it("more than needed is said", async () => {
    const wide: PolicyDocument = bucketPolicy({ ...TARGET, prefix: "" }, PRINCIPAL);
    enforcePolicy(server, wide);
    const { probes, exitCode } = await checkPolicy(options(), TARGET.prefix);
    expect(probes.filter(({ status }) => status === "wide").map(({ step }) => step)).toEqual([
      "list outside the path",
      "read outside the path",
    ]);
    expect(exitCode).toBe(2);
  });

  it("a key of KMS that may not be used", async () => {
    const message = "User is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:eu-central-1:1:key/2";
    server.fault({ operation: "PutObject", times: 9, action: { kind: "status", status: 403, code: "AccessDenied", message } });
    const { probes } = await checkPolicy({ ...options(), sse: "aws:kms" }, TARGET.prefix);
    expect(probes.find(({ step }) => step === "write")).toMatchObject({ status: "missing", action: "kms:GenerateDataKey" });
  });

  it("on the command line: the rights, another owner, a bucket that does not exist, a folder", async () => {
    enforcePolicy(server, withoutAction(policy, "s3:DeleteObject"));
    const bob = await runCommand("policy", "check", "bob", "--config", config);
    expect(bob.code).toBe(1);
    expect(bob.out.some((line) => /^MISSING +delete +s3:DeleteObject$/.test(line))).toBe(true);
    server.reset();
    const other = await runCommand("policy", "check", "other", "--config", config, "--json");
    const report = JSON.parse(other.out.join("\n")) as { probes: { advice: string }[] };
    expect(report.probes.map(({ advice }) => advice)).toEqual([
      "the bucket does not belong to account 999999999999: correct expectedBucketOwner, or the bucket's name",
    ]);
    const typo = await runCommand("policy", "check", "typo", "--config", config);
    expect([typo.code, typo.out.join("\n")]).toEqual([1, expect.stringContaining("NoSuchBucket")]);
    expect((await runCommand("policy", "check", "folder", "--config", config)).code).toBe(2);
  });
});

describe("policy print", () => {
  it("splits bucket and object statements and names the path only", async () => {
    const args = ["--bucket", "bobs-museum", "--prefix", "specify/assets", "--principal", PRINCIPAL];
    const { code, out, err } = await runCommand("policy", "print", ...args);
    expect(code).toBe(0);
    const printed = JSON.parse(out.join("\n")) as PolicyDocument;
    expect(printed).toEqual(policy);
    const [list, location, objects] = printed.Statement;
    expect(list).toMatchObject({
      Principal: { AWS: PRINCIPAL },
      Resource: "arn:aws:s3:::bobs-museum",
      Condition: { StringLike: { "s3:prefix": ["specify/assets", "specify/assets/*"] } },
    });
    expect(location).toMatchObject({ Action: ["s3:GetBucketLocation"], Resource: "arn:aws:s3:::bobs-museum" });
    expect(objects).toMatchObject({ Resource: "arn:aws:s3:::bobs-museum/specify/assets/*" });
    expect(err.join("\n")).toContain("AbortIncompleteMultipartUpload");
    const all = JSON.parse((await runCommand("policy", "print", ...args, "--json")).out.join("\n")) as Record<string, unknown>;
    expect(Object.keys(all)).toEqual(["bucket", "identity", "lifecycle"]);
    expect(all.identity).toEqual(identityPolicy(TARGET));
  });

  it("for a role: its permissions, its trust with the external id, and what we need", async () => {
    const { out } = await runCommand("policy", "print", "role", "--principal", PRINCIPAL, "--config", config, "--json");
    const all = JSON.parse(out.join("\n")) as Record<string, unknown>;
    expect(all.trust).toMatchObject({
      Statement: [{ Principal: { AWS: PRINCIPAL }, Condition: { StringEquals: { "sts:ExternalId": "e-1" } } }],
    });
    expect(all.assume).toMatchObject({ Statement: [{ Resource: "arn:aws:iam::444455556666:role/specify" }] });
    expect(JSON.stringify(all.role)).not.toContain("Principal");
  });

  it("stars and question marks of a path stand for themselves", () => {
    const odd = { ...TARGET, prefix: "a*b?c$/" };
    enforcePolicy(server, bucketPolicy(odd, PRINCIPAL));
    return checkPolicy(options(), "a*b?c$/").then(({ exitCode }) => expect(exitCode).toBe(0));
  });

  it.each([
    [[]],
    [["--bucket", "b"]],
    [["--bucket", "bobs-museum", "--principal", "me"]],
    [["nobody", "--principal", PRINCIPAL]],
    [["folder", "--principal", PRINCIPAL]],
    [["bob", "--bucket", "x"]],
  ])("%j is a usage error", async (args) => {
    expect((await runCommand("policy", "print", ...args, "--config", config)).code).toBe(2);
  });
});
