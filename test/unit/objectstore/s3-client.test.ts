/** Who the S3 store is to the store: shared clients, assumed roles, credentials that expire, secrets that stay secret. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { acquireConnection } from "../../../src/objectstore/s3/s3-client.ts";
import { type S3StoreOptions, SILENT_LOG } from "../../../src/objectstore/s3/s3-options.ts";
import { createS3Store } from "../../../src/objectstore/s3/s3-store.ts";
import { type S3Server, startS3Server } from "../../support/s3-server/s3-server.ts";

let server: S3Server;
beforeEach(async () => {
  server = await startS3Server({ buckets: ["museum"] });
});
afterEach(() => server.close());

const options = (): S3StoreOptions => ({
  bucket: "museum",
  endpoint: server.endpoint,
  pathStyle: true,
  ...server.credentials,
  retry: { baseMs: 1, throttledBaseMs: 1 },
});

describe("connections", () => {
  it("are shared by stores with equal settings and by no others", () => {
    const equal = [1, 2, 3].map(() => acquireConnection(options(), SILENT_LOG));
    const other = acquireConnection({ ...options(), secretAccessKey: "other" }, SILENT_LOG);
    expect(new Set(equal.map(({ client }) => client)).size).toBe(1);
    expect(other.client).not.toBe(equal[0]?.client);
    for (const connection of [...equal, other]) connection.release();
    const fresh = acquireConnection(options(), SILENT_LOG);
    expect(fresh.client).not.toBe(equal[0]?.client);
    fresh.release();
  });

  it("stay open for the others when one store closes, and come back after the last", async () => {
    const one = createS3Store(options());
    const two = createS3Store(options());
    await Promise.all([one.put("a", []), two.put("b", [])]);
    await one.close();
    await one.close();
    expect((await two.head("a")).size).toBe(0);
    await two.close();
    expect((await two.head("a")).size).toBe(0);
    await two.close();
  });
});

describe("an assumed role", () => {
  let sts: Server;
  let asked: URLSearchParams[];
  beforeEach(async () => {
    asked = [];
    sts = createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += String(chunk);
      asked.push(new URLSearchParams(body));
      const { accessKeyId, secretAccessKey } = server.credentials;
      const expiration = new Date(Date.now() + 3_600_000).toISOString();
      response.setHeader("content-type", "text/xml");
      response.end(
        `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>${accessKeyId}</AccessKeyId><SecretAccessKey>${secretAccessKey}</SecretAccessKey><SessionToken>token-${asked.length}</SessionToken><Expiration>${expiration}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
      );
    });
    await new Promise<void>((resolve) => sts.listen(0, "127.0.0.1", resolve));
  });
  afterEach(() => {
    sts.closeAllConnections();
    sts.close();
  });
  const role = (): S3StoreOptions => ({
    ...options(),
    accessKeyId: "BASE",
    secretAccessKey: "base-secret",
    roleArn: "arn:aws:iam::123456789012:role/museum",
    externalId: "external-1",
    sessionPolicy: "{}",
    stsEndpoint: `http://127.0.0.1:${(sts.address() as AddressInfo).port}`,
  });

  it("is assumed once, with external id and policy, for all requests", async () => {
    const store = createS3Store(role());
    await Promise.all([store.put("a", []), store.put("b", []), store.put("c", [])]);
    expect(asked).toHaveLength(1);
    expect(Object.fromEntries(asked[0] ?? [])).toMatchObject({
      Action: "AssumeRole",
      RoleArn: role().roleArn,
      ExternalId: "external-1",
      Policy: "{}",
    });
    expect(server.requests.records[0]?.request.headers["x-amz-security-token"]).toBe("token-1");
    await store.close();
  });

  it("is assumed again when the store says the token has expired", async () => {
    const store = createS3Store(role());
    await store.put("a", []);
    server.fault({ operation: "PutObject", action: { kind: "status", status: 400, code: "ExpiredToken" } });
    await store.put("b", []);
    // A refused HEAD says nothing but 400: the reason is asked for, and then acted upon.
    server.fault({ operation: ["HeadObject", "GetObject"], times: 2, action: { kind: "status", status: 400, code: "ExpiredToken" } });
    server.contents.put("museum", "c", "x");
    expect((await store.head("c")).size).toBe(1);
    expect(asked).toHaveLength(3);
    expect(server.requests.records.at(-1)?.request.headers["x-amz-security-token"]).toBe("token-3");
    await store.close();
  });

  it("that cannot be assumed is a clear error", async () => {
    sts.removeAllListeners("request");
    sts.on("request", (_, response) => {
      response.writeHead(403, { "content-type": "text/xml" });
      response.end(
        "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to assume</Message></Error></ErrorResponse>",
      );
    });
    const store = createS3Store(role());
    await expect(store.put("a", [])).rejects.toMatchObject({
      code: "access-denied",
      message: expect.stringMatching(/role\/museum.*not authorized to assume.*trust policy/),
    });
    await store.close();
  });
});

describe("secrets", () => {
  it("are in no error and no log line", async () => {
    const lines: unknown[] = [];
    const keep = (...line: unknown[]): void => void lines.push(line);
    const store = createS3Store({
      ...options(),
      secretAccessKey: "very-secret-key",
      sessionToken: "very-secret-token",
      log: { debug: keep, info: keep, warn: keep, error: keep },
    });
    server.fault({ times: 100, action: { kind: "reset" } });
    const outcomes = await Promise.allSettled([store.put("a", [Buffer.from("x")]), store.head("a"), store.delete(["a", "b"])]);
    for (const outcome of outcomes) {
      const shown = inspect(outcome, { depth: 20, showHidden: true });
      expect(shown).toContain("StoreError");
      expect(shown).not.toMatch(/very-secret|Signature=/);
    }
    server.clearFaults();
    await expect(store.head("a")).rejects.toMatchObject({ code: "access-denied" });
    expect(inspect(lines, { depth: 20 })).not.toMatch(/very-secret|Signature=/);
    await store.close();
  });
});
