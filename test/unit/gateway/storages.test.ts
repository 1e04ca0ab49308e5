import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { UserStorage } from "../../../src/config/gateway-config.ts";
import { openUserStorage } from "../../../src/gateway/storages.ts";
import { type S3Server, startS3Server } from "../../support/s3-server/s3-server.ts";

const ROLE = "arn:aws-cn:iam::123456789012:role/museum";

let server: S3Server;
let sts: Server;
let asked: URLSearchParams[];

beforeEach(async () => {
  server = await startS3Server({ buckets: ["museum"] });
  asked = [];
  sts = createServer(async (request, response) => {
    asked.push(new URLSearchParams(await text(request)));
    const { accessKeyId, secretAccessKey } = server.credentials;
    const keys = `<AccessKeyId>${accessKeyId}</AccessKeyId><SecretAccessKey>${secretAccessKey}</SecretAccessKey>`;
    const rest = `<SessionToken>session-${asked.length}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>`;
    response.setHeader("content-type", "text/xml");
    response.end(`<AssumeRoleResponse><AssumeRoleResult><Credentials>${keys}${rest}</Credentials></AssumeRoleResult></AssumeRoleResponse>`);
  });
  await new Promise<void>((resolve) => sts.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  sts.closeAllConnections();
  sts.close();
  await server.close();
});

function storageOf(name: string, narrowRole?: boolean): UserStorage {
  const prefix = `${name}/`;
  return {
    uri: `s3://museum/${prefix}`,
    location: { kind: "s3", bucket: "museum", prefix },
    connection: {
      endpoint: server.endpoint,
      pathStyle: true,
      accessKeyId: "BASE",
      secretAccessKey: "base-secret",
      roleArn: ROLE,
      ...(narrowRole !== undefined && { narrowRole }),
      stsEndpoint: `http://127.0.0.1:${(sts.address() as AddressInfo).port}`,
      storageClass: undefined,
      sse: undefined,
      acl: undefined,
    },
  };
}

describe("the storage of a user whose role is narrowed", () => {
  it("is reached by a session of its own that is limited to its path", async () => {
    for (const name of ["alice*", "bob"]) {
      await using opened = await openUserStorage(storageOf(name, true));
      await opened.store.put(`${name}/a.jpg`, [Buffer.from("x")]);
    }
    const tokens = server.requests.records.map(({ request }) => request.headers["x-amz-security-token"]);
    expect(tokens).toEqual(["session-1", "session-2"]);
    const policy = asked[0]?.get("Policy") ?? "";
    expect(policy.length).toBeLessThanOrEqual(2048);
    const { Statement } = JSON.parse(policy) as { Statement: { Action: string[]; Resource: string; Condition?: unknown }[] };
    // A star in a name is a letter, not a pattern.
    const alice = ["alice$", "{*}"].join("");
    expect(Statement.find(({ Action }) => Action.includes("s3:PutObject"))?.Resource).toBe(`arn:aws-cn:s3:::museum/${alice}/*`);
    expect(Statement.find(({ Action }) => Action.includes("s3:ListBucket"))).toMatchObject({
      Resource: "arn:aws-cn:s3:::museum",
      Condition: { StringLike: { "s3:prefix": [alice, `${alice}/*`] } },
    });
    const inBucket = Statement.filter(({ Action }) =>
      Action.some((action) => action.startsWith("s3:") && !/^s3:(?:List|GetBucket)/.test(action)),
    );
    expect(inBucket.every(({ Resource }) => Resource.startsWith(`arn:aws-cn:s3:::museum/${alice}/`))).toBe(true);
    expect(asked[1]?.get("Policy")).toContain("museum/bob/*");
  });

  it("needs no session policy otherwise", async () => {
    await using opened = await openUserStorage(storageOf("alice"));
    await opened.store.put("alice/a.jpg", [Buffer.from("x")]);
    expect(asked.map((question) => question.get("Policy"))).toEqual([null]);
  });
});
