/**
 * Uploads a stream of unknown length to S3 through the SDK's own `Upload`: for archives, whose parts need not be taken up
 * again. Requests go the way of all others: retries, region, credentials and errors are those of `S3Requests`.
 */
import type { S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { Readable } from "node:stream";
import type { ObjectProperties } from "../objectstore.ts";
import { checkKey, checkNotAborted, checkProperties } from "../request-checks.ts";
import { withCall } from "./s3-client.ts";
import type { S3StoreOptions } from "./s3-options.ts";
import { etagOf, propertyFields, storageFields } from "./s3-properties.ts";
import { S3Requests } from "./s3-requests.ts";

/** Parts under way at once; so many times the part size is held in memory. */
const PARTS_AT_ONCE = 4;
/** From this size on only two parts are under way. */
const LARGE_PART = 48 * 1024 * 1024;

/** What is uploaded, and how. */
export interface StreamUploadOptions {
  readonly key: string;
  readonly body: AsyncIterable<Uint8Array>;
  /** Bytes of a part, at least 5 MiB; an object has at most 10,000 parts. */
  readonly partSize: number;
  readonly properties: ObjectProperties;
  readonly signal?: AbortSignal | undefined;
}

type SendableCommand = Parameters<S3Client["send"]>[0];

/** The client of `requests` whose `send` is theirs, for a library that sends by itself. */
async function sendingThrough(requests: S3Requests, key: string, signal: AbortSignal | undefined): Promise<S3Client> {
  const client = await requests.run({ operation: "Connect", key, lane: "control", attempt: async (current) => current });
  const send = (command: SendableCommand): Promise<unknown> => {
    const operation = command.constructor.name.replace(/Command$/, "");
    const hasBody = operation === "UploadPart" || operation === "PutObject";
    return requests.run({
      operation,
      key,
      lane: hasBody ? "write" : "slow",
      // What was begun is cleaned up after an abort, too.
      signal: operation === "AbortMultipartUpload" ? undefined : signal,
      attempt: (current, call) => current.send(withCall(command, call)),
    });
  };
  return Object.assign(Object.create(client) as S3Client, { send });
}

async function* untilAborted(body: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    checkNotAborted(signal);
    yield chunk;
  }
}

/**
 * Stores `body` as one object, which is not visible before its end; when it fails nothing is left behind. Rejects with a
 * StoreError, or as `body` does.
 */
export async function uploadStream(store: S3StoreOptions, options: StreamUploadOptions): Promise<{ readonly etag: string }> {
  const { key, body, partSize, properties, signal } = options;
  checkKey(key);
  checkProperties(properties);
  const requests = new S3Requests(store);
  try {
    const upload = new Upload({
      client: await sendingThrough(requests, key, signal),
      partSize,
      queueSize: partSize > LARGE_PART ? 2 : PARTS_AT_ONCE,
      params: {
        Bucket: store.bucket,
        ...(store.expectedBucketOwner === undefined ? {} : { ExpectedBucketOwner: store.expectedBucketOwner }),
        Key: key,
        Body: Readable.from(untilAborted(body, signal), { objectMode: false }),
        ...propertyFields(properties),
        ...storageFields(store),
      },
    });
    const { ETag } = await upload.done();
    return { etag: etagOf(ETag) };
  } finally {
    requests.close();
  }
}
