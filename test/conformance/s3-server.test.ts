import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HeadBucketCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";
import { defineConformance } from "./s3-conformance.ts";
import { clientFor, expectRejection } from "./s3-target.ts";

describe("the S3 test server", () => {
  let server: S3Server;
  beforeAll(async () => {
    server = await startS3Server({ buckets: ["owned"], owner: "123456789012" });
  });
  afterAll(() => server.close());

  defineConformance(() => server, "production");
  defineConformance(() => server, "sdk defaults");

  it("checks the expected bucket owner", async () => {
    const client = clientFor(server, "production");
    await client.send(new HeadBucketCommand({ Bucket: "owned", ExpectedBucketOwner: "123456789012" }));
    const foreign = new HeadBucketCommand({ Bucket: "owned", ExpectedBucketOwner: "210987654321" });
    await expectRejection(client.send(foreign), 403);
    client.destroy();
  });

  it("names the right region to a client of another", async () => {
    const client = clientFor(server, "production", { region: "eu-west-1" });
    const request = client.send(new PutObjectCommand({ Bucket: "owned", Key: "k", Body: "x" }));
    await expectRejection(request, 400, "AuthorizationHeaderMalformed");
    client.destroy();
  });

  it("takes tiny parts where tests ask for it", async () => {
    const small = await startS3Server({ buckets: ["small"], minPartSize: 1 });
    expect(small.contents.keys("small")).toEqual([]);
    await small.close();
  });
});
