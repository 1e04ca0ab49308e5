/** Requests without the SDK's middlewares: the same on the wire as the SDK's, and left to the SDK where it knows more. */
import { HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DirectRequests } from "../../../src/objectstore/s3/direct-requests.ts";
import { acquireConnection, type S3Connection } from "../../../src/objectstore/s3/s3-client.ts";
import { ChunkBody, type WireRequest, type WireResponse, withCall } from "../../../src/objectstore/s3/s3-http.ts";
import { type S3ConnectionOptions, SILENT_LOG } from "../../../src/objectstore/s3/s3-options.ts";
import { startS3Server } from "../../support/s3-server/s3-server.ts";

const LANE = { lane: "control" } as const;
const IDENTITY = { accessKeyId: "AKIAEXAMPLE", secretAccessKey: "secret/with+signs", sessionToken: "token" };
const SUCCESS: WireResponse = { statusCode: 200, reason: "OK", headers: { etag: '"0123"' }, body: Readable.from([]) };

const open: S3Connection[] = [];
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.parse("2026-11-03T10:20:30.456Z") });
});
afterEach(() => {
  vi.useRealTimers();
  for (const connection of open.splice(0)) connection.release();
});

function connect(options: S3ConnectionOptions): S3Connection {
  const connection = acquireConnection({ ...IDENTITY, ...options }, SILENT_LOG);
  open.push(connection);
  return connection;
}

/** Requests that go nowhere: `sent` has them, `answers` what they are answered with. */
function unsent(options: S3ConnectionOptions, answers: WireResponse[] = []): { direct: DirectRequests; sent: WireRequest[] } {
  const sent: WireRequest[] = [];
  const handle = async (request: WireRequest): Promise<{ response: WireResponse }> => {
    sent.push(request);
    return { response: answers.shift() ?? SUCCESS };
  };
  return { direct: new DirectRequests(connect(options).client, { handle }), sent };
}

/** The request as the SDK would send it. */
async function signedBySdk(options: S3ConnectionOptions, command: PutObjectCommand | HeadObjectCommand): Promise<WireRequest> {
  const sent: WireRequest[] = [];
  const answer = (request: WireRequest): WireResponse => {
    sent.push(request);
    return SUCCESS;
  };
  const call = { ...LANE, answer };
  const { client } = connect(options);
  await (command instanceof PutObjectCommand ? client.send(withCall(command, call)) : client.send(withCall(command, call)));
  const [request] = sent;
  if (!request) throw new Error("the SDK has sent nothing");
  return request;
}

describe("a direct request", () => {
  it.each<[string, S3ConnectionOptions, string]>([
    ["in the path", { endpoint: "http://127.0.0.1:9000", pathStyle: true }, "museum"],
    ["in the host", { endpoint: "http://storage.example:9000" }, "museum"],
    ["below an endpoint's path", { endpoint: "https://storage.example/s3/", pathStyle: true }, "museum"],
    ["at Amazon", { awsRegion: "eu-central-1" }, "museum"],
    ["with dots", { awsRegion: "eu-central-1" }, "museum.example"],
    ["behind an access point", { awsRegion: "eu-central-1" }, "arn:aws:s3:eu-central-1:123456789012:accesspoint/museum"],
    ["at an IPv6 address", { endpoint: "http://[::1]:9000", pathStyle: true }, "museum"],
  ])("has the address and the signature the SDK gives it: bucket %s", async (_, options, bucket) => {
    const { direct, sent } = unsent(options);
    const input = { Bucket: bucket, Key: "a  b/../c//+ü'(1)*.txt", ExpectedBucketOwner: "123456789012" };
    await direct.head(input, LANE);
    const { protocol, hostname, port, path, headers } = await signedBySdk(options, new HeadObjectCommand(input));
    expect(sent).toHaveLength(1);
    expect(sent[0]).toMatchObject({ protocol, hostname, path, headers });
    expect(sent[0]?.port).toBe(port);
    expect(Object.keys(sent[0]?.headers ?? {}).sort()).toEqual(Object.keys(headers).sort());
  });

  it("has the fields of a PutObject in the headers the SDK puts them in", async () => {
    const options = { endpoint: "http://127.0.0.1:9000", pathStyle: true };
    const input = {
      Bucket: "museum",
      Key: "a",
      ContentLength: 1,
      ContentType: "text/plain",
      ChecksumCRC32: "jNwWgw==",
      CacheControl: "no-cache",
      ContentDisposition: "inline",
      ContentEncoding: "gzip",
      ContentLanguage: "de",
      Expires: new Date("2026-12-01T00:00:00Z"),
      Metadata: { mtime: "17", Mode: "  two  spaces ", empty: "" },
      IfMatch: '"0123"',
      IfNoneMatch: "*",
      ACL: "private",
      StorageClass: "STANDARD_IA",
      ServerSideEncryption: "aws:kms",
      SSEKMSKeyId: "key",
      Tagging: "a=b",
      ExpectedBucketOwner: "123456789012",
    } as const;
    const { direct, sent } = unsent(options);
    const body = new ChunkBody([Buffer.from("x")]);
    expect(await direct.put({ ...input, Body: body }, LANE)).toEqual({ ETag: '"0123"' });
    const { headers } = await signedBySdk(options, new PutObjectCommand({ ...input, Body: new ChunkBody([Buffer.from("x")]) }));
    // the SDK signs a query that names the operation, too
    const withoutSignature = ({ authorization, ...rest }: Readonly<Record<string, string>>): object => ({
      ...rest,
      authorization: authorization?.replace(/Signature=.*/, ""),
    });
    expect(withoutSignature(sent[0]?.headers ?? {})).toEqual(withoutSignature(headers));
    expect(sent[0]).toMatchObject({ method: "PUT", path: "/museum/a", body });
  });

  it("is left to the SDK if it has a field that is not known", async () => {
    const server = await startS3Server({ buckets: ["museum"] });
    server.contents.put("museum", "a", "x");
    const { direct } = connect({ endpoint: server.endpoint, pathStyle: true, ...server.credentials, sessionToken: undefined });
    expect(await direct.head({ Bucket: "museum", Key: "a", RequestPayer: "requester" }, LANE)).toMatchObject({ ContentLength: 1 });
    expect(server.requests.records.map(({ request }) => request.headers["x-amz-request-payer"])).toEqual(["requester"]);
    await server.close();
  });

  it("asks the SDK for the address once", async () => {
    const { direct, sent } = unsent({ endpoint: "http://127.0.0.1:9000", pathStyle: true });
    const fields = { Bucket: "museum", Key: "a" };
    await Promise.all([
      direct.head(fields, LANE),
      direct.head({ ...fields, Key: "b" }, LANE),
      direct.head({ ...fields, Bucket: "other" }, LANE),
    ]);
    expect(sent.map(({ path }) => path).sort()).toEqual(["/museum/a", "/museum/b", "/other/a"]);
  });

  it("that is refused rejects with what the SDK makes of the answer, and learns the store's time", async () => {
    const refusal = {
      statusCode: 403,
      reason: "Forbidden",
      headers: { date: "Tue, 03 Nov 2026 11:20:30 GMT", "content-type": "application/xml" },
      body: Readable.from([Buffer.from("<Error><Code>RequestTimeTooSkewed</Code><Message>too far</Message></Error>")]),
    };
    const { direct, sent } = unsent({ endpoint: "http://skewed.example", pathStyle: true }, [refusal]);
    const input = { Bucket: "museum", Key: "a", ContentLength: 0, Body: new ChunkBody([]) };
    await expect(direct.put(input, LANE)).rejects.toMatchObject({ name: "RequestTimeTooSkewed", message: "too far" });
    await direct.put(input, LANE);
    // The clock's own milliseconds are not in the store's answer.
    expect(sent.map(({ headers }) => headers["x-amz-date"]?.slice(0, -3))).toEqual(["20261103T1020", "20261103T1120"]);
  });
});
