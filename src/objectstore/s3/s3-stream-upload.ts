/**
 * Uploads a stream of unknown length to S3 through the SDK's own `Upload`: for archives, whose parts need not be taken up
 * again. Requests go the way of all others: retries, region, credentials and errors are those of `S3Requests`.
 */
import { HeadObjectCommand } from "@aws-sdk/client-s3";
import type { S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { Readable } from "node:stream";
import type { ObjectProperties } from "../objectstore.ts";
import { checkKey, checkNotAborted, checkProperties } from "../request-checks.ts";
import type { S3StoreOptions } from "./s3-options.ts";
import { etagOf, propertyFields, storageFields } from "./s3-properties.ts";
import { withCall } from "./s3-http.ts";
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

/** Counts what has passed. */
interface Passed {
  bytes: number;
}

/** What the sending needs to know of the upload. */
interface SendingContext {
  readonly requests: S3Requests;
  readonly object: { readonly Bucket: string; readonly Key: string; readonly ExpectedBucketOwner?: string };
  readonly signal: AbortSignal | undefined;
  readonly passed: Passed;
}

/** The client of `requests` whose `send` is theirs, for a library that sends by itself. */
async function sendingThrough(context: SendingContext): Promise<S3Client> {
  const { requests, object, signal } = context;
  const key = object.Key;
  const client = await requests.run({ operation: "Connect", key, lane: "control", attempt: async (current) => current });
  const send = (command: SendableCommand): Promise<unknown> => {
    const operation = command.constructor.name.replace(/Command$/, "");
    const hasBody = operation === "UploadPart" || operation === "PutObject";
    return requests.run<unknown>({
      operation,
      key,
      lane: hasBody ? "write" : "slow",
      // What was begun is cleaned up after an abort, too.
      signal: operation === "AbortMultipartUpload" ? undefined : signal,
      attempt: (current, call) => current.send(withCall(command, call)),
      ...(operation === "CompleteMultipartUpload" ? { recover: () => findCompleted(context) } : {}),
    });
  };
  return Object.assign(Object.create(client) as S3Client, { send });
}

/** The answer to a completion was lost, and the upload is gone: the object is there if it has all the bytes. */
async function findCompleted({ requests, object, signal, passed }: SendingContext): Promise<{ readonly ETag: string } | undefined> {
  const { ContentLength, ETag } = await requests.run({
    operation: "HeadObject",
    key: object.Key,
    lane: "control",
    signal,
    attempt: (client, call) => client.send(withCall(new HeadObjectCommand(object), call)),
  });
  return ContentLength === passed.bytes && ETag !== undefined ? { ETag } : undefined;
}

async function* untilAborted(body: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined, passed: Passed): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    checkNotAborted(signal);
    passed.bytes += chunk.length;
    yield chunk;
  }
}

/**
 * Stores `body` as one object under a key that has none, which is not visible before its end; when it fails nothing is left behind. Rejects with a
 * StoreError, or as `body` does.
 */
export async function uploadStream(store: S3StoreOptions, options: StreamUploadOptions): Promise<{ readonly etag: string }> {
  const { key, body, partSize, properties, signal } = options;
  checkKey(key);
  checkProperties(properties);
  const requests = new S3Requests(store);
  const passed: Passed = { bytes: 0 };
  const owner = store.expectedBucketOwner === undefined ? {} : { ExpectedBucketOwner: store.expectedBucketOwner };
  const object = { Bucket: store.bucket, Key: key, ...owner };
  try {
    const upload = new Upload({
      client: await sendingThrough({ requests, object, signal, passed }),
      partSize,
      queueSize: partSize > LARGE_PART ? 2 : PARTS_AT_ONCE,
      params: {
        ...object,
        Body: Readable.from(untilAborted(body, signal, passed), { objectMode: false }),
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
