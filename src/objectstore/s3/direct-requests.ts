/**
 * The requests that small files consist of, PutObject, HeadObject and GetObject, sent without the SDK: of what one of
 * them costs, the SDK's middlewares take more than half. Where the bucket is and how requests to it are signed is learned
 * from a request that the SDK signs and nobody sends; whatever is no plain success is left to the SDK, which gets the
 * answer as if it had asked. Knows nothing of retries.
 */
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import type {
  GetObjectCommandInput,
  GetObjectCommandOutput,
  HeadObjectCommandInput,
  PutObjectCommandInput,
  S3Client,
} from "@aws-sdk/client-s3";
import { Readable } from "node:stream";
import type { BucketFields } from "./s3-listing.ts";
import { CALL, encodeComponent, withCall } from "./s3-http.ts";
import type { S3Call, S3Transport, WireRequest, WireResponse } from "./s3-http.ts";
import { RequestSigner } from "./sigv4.ts";
import type { SigningScope } from "./sigv4.ts";

/** What answers say of an object, in the SDK's words. */
export type ObjectHead = Pick<
  GetObjectCommandOutput,
  | "CacheControl"
  | "ChecksumCRC32"
  | "ContentDisposition"
  | "ContentEncoding"
  | "ContentLanguage"
  | "ContentLength"
  | "ContentRange"
  | "ContentType"
  | "ETag"
  | "ExpiresString"
  | "LastModified"
  | "Metadata"
  | "StorageClass"
  | "TagCount"
  | "VersionId"
>;

/** An object on its way. Whoever gets it reads or destroys `Body`, a stream. */
export type OpenedObject = ObjectHead & { readonly Body?: unknown };

/** Where a bucket is and how its requests are signed. */
interface Address {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  /** Value of the header. */
  readonly host: string;
  /** What comes before an object's key. */
  readonly path: string;
  readonly scope: SigningScope;
}

/** Buckets whose addresses are kept. */
const MAX_ADDRESSES = 1_000;
const PROBED_KEY = "key";
const CREDENTIAL = /^AWS4-HMAC-SHA256 Credential=[^,]+\/\d{8}\/([^/,]+)\/([^/,]+)\/aws4_request,/;

/** Fields of requests and the headers they are sent as. */
const HEADER_OF: Readonly<Record<string, string>> = {
  ACL: "x-amz-acl",
  CacheControl: "cache-control",
  ChecksumCRC32: "x-amz-checksum-crc32",
  ContentDisposition: "content-disposition",
  ContentEncoding: "content-encoding",
  ContentLanguage: "content-language",
  ContentLength: "content-length",
  ContentType: "content-type",
  ExpectedBucketOwner: "x-amz-expected-bucket-owner",
  IfMatch: "if-match",
  IfNoneMatch: "if-none-match",
  Range: "range",
  SSEKMSKeyId: "x-amz-server-side-encryption-aws-kms-key-id",
  ServerSideEncryption: "x-amz-server-side-encryption",
  StorageClass: "x-amz-storage-class",
  Tagging: "x-amz-tagging",
};
const METADATA = "x-amz-meta-";
/** Fields that are no headers. */
const ELSEWHERE = new Set(["Bucket", "Key", "Body"]);

type Input = BucketFields & { readonly Key: string; readonly Body?: unknown };

/** See the head of this file. Rejects as the SDK does. */
export class DirectRequests {
  readonly #client: S3Client;
  readonly #transport: Pick<S3Transport, "handle">;
  readonly #signer = new RequestSigner();
  readonly #addresses = new Map<string, Promise<Address | undefined>>();

  constructor(client: S3Client, transport: Pick<S3Transport, "handle">) {
    this.#client = client;
    this.#transport = transport;
  }

  /** Sends a PutObject; its body is sent anew for each call. */
  async put(input: PutObjectCommandInput & Input, call: S3Call): Promise<{ readonly ETag?: string | undefined }> {
    const answer = await this.#send("PUT", input, call);
    if (answer?.statusCode !== 200) return this.#client.send(withCall(new PutObjectCommand(input), { ...call, answer }));
    answer.body.resume();
    return { ETag: answer.headers.etag };
  }

  /** Sends a HeadObject. */
  async head(input: HeadObjectCommandInput & Input, call: S3Call): Promise<ObjectHead> {
    const answer = await this.#send("HEAD", input, call);
    if (answer?.statusCode !== 200) return this.#client.send(withCall(new HeadObjectCommand(input), { ...call, answer }));
    answer.body.resume();
    return objectHead(answer.headers);
  }

  /** Sends a GetObject. */
  async get(input: GetObjectCommandInput & Input, call: S3Call): Promise<OpenedObject> {
    const answer = await this.#send("GET", input, call);
    const isGood = answer?.statusCode === 200 || answer?.statusCode === 206;
    if (!answer || !isGood) return this.#client.send(withCall(new GetObjectCommand(input), { ...call, answer }));
    return { ...objectHead(answer.headers), Body: answer.body };
  }

  /** The answer to a request; undefined where only the SDK knows how to send it. */
  async #send(method: string, input: Input, call: S3Call): Promise<WireResponse | undefined> {
    const address = await this.#address(input);
    const fields = address && headersOf(input);
    if (!fields) return undefined;
    const { protocol, hostname, port, host, scope } = address;
    const { config } = this.#client;
    const identity = await config.credentials();
    const path = `${address.path}${input.Key.split("/").map(encodeComponent).join("/")}`;
    const now = new Date(Date.now() + config.systemClockOffset);
    const unsigned = { method, path, headers: { ...fields, ...call.headers, host }, hasBody: input.Body !== undefined };
    const headers = this.#signer.sign(unsigned, identity, scope, now);
    const request = { method, protocol, hostname, path, headers, body: input.Body, [CALL]: call, ...(port === undefined ? {} : { port }) };
    return (await this.#transport.handle(request)).response;
  }

  #address({ Bucket }: BucketFields): Promise<Address | undefined> {
    let address = this.#addresses.get(Bucket);
    if (!address) {
      address = this.#learn(Bucket);
      this.#addresses.set(Bucket, address);
      address.catch(() => this.#addresses.delete(Bucket));
      const oldest = this.#addresses.keys().next();
      if (this.#addresses.size > MAX_ADDRESSES && !oldest.done) this.#addresses.delete(oldest.value);
    }
    return address;
  }

  async #learn(Bucket: string): Promise<Address | undefined> {
    let signed: WireRequest | undefined;
    const command = new HeadObjectCommand({ Bucket, Key: PROBED_KEY });
    const answer = (request: WireRequest): WireResponse => {
      signed = request;
      return { statusCode: 200, reason: "OK", headers: {}, body: Readable.from([]) };
    };
    await this.#client.send(withCall(command, { lane: "control", answer }));
    return signed && addressOf(signed);
  }
}

function addressOf({ protocol, hostname, port, path, headers }: WireRequest): Address | undefined {
  const [, region, service] = CREDENTIAL.exec(headers.authorization ?? "") ?? [];
  const { host } = headers;
  if (region === undefined || service === undefined || host === undefined || !path.endsWith(`/${PROBED_KEY}`)) return undefined;
  const before = path.slice(0, -PROBED_KEY.length);
  return { protocol, hostname, host, path: before, scope: { region, service }, ...(port === undefined ? {} : { port }) };
}

/** The headers of a request; undefined if it has fields that are not known here. */
function headersOf(input: Input): Record<string, string> | undefined {
  const headers: Record<string, string> = {};
  for (const [field, value] of Object.entries(input)) {
    if (value === undefined || ELSEWHERE.has(field)) continue;
    const name = HEADER_OF[field];
    if (name !== undefined) headers[name] = String(value);
    else if (field === "Expires" && value instanceof Date) headers.expires = value.toUTCString();
    else if (field !== "Metadata") return undefined;
    else for (const [key, text] of Object.entries(value as Record<string, string>)) headers[METADATA + key.toLowerCase()] = text;
  }
  return headers;
}

function objectHead(headers: Readonly<Record<string, string>>): ObjectHead {
  const metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) if (name.startsWith(METADATA)) metadata[name.slice(METADATA.length)] = value;
  const modifiedMs = Date.parse(headers["last-modified"] ?? "");
  return {
    CacheControl: headers["cache-control"],
    ChecksumCRC32: headers["x-amz-checksum-crc32"],
    ContentDisposition: headers["content-disposition"],
    ContentEncoding: headers["content-encoding"],
    ContentLanguage: headers["content-language"],
    ContentLength: wholeNumber(headers["content-length"]),
    ContentRange: headers["content-range"],
    ContentType: headers["content-type"],
    ETag: headers.etag,
    ExpiresString: headers.expires,
    LastModified: Number.isNaN(modifiedMs) ? undefined : new Date(modifiedMs),
    Metadata: metadata,
    StorageClass: headers["x-amz-storage-class"] as ObjectHead["StorageClass"],
    TagCount: wholeNumber(headers["x-amz-tagging-count"]),
    VersionId: headers["x-amz-version-id"],
  };
}

function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
