/** The thread behind foreign-test-store.ts: does what it is asked to on a real S3 server, by the AWS SDK alone. */
import { createHash } from "node:crypto";
import { type MessagePort, workerData } from "node:worker_threads";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
} from "@aws-sdk/client-s3";

/** What the thread is started with. */
export interface ForeignStoreOptions {
  readonly client: S3ClientConfig;
  readonly bucket: string;
  /** Requests come and answers go here. */
  readonly port: MessagePort;
  /** One number, set to 1 and notified when an answer lies in the port. */
  readonly answered: SharedArrayBuffer;
}

/** A request; keys are the bucket's. */
export type ForeignStoreRequest =
  | { readonly ask: "keys"; readonly prefix: string }
  | { readonly ask: "sha256" | "size" | "delete"; readonly key: string }
  | { readonly ask: "put"; readonly key: string; readonly bytes: Uint8Array | string };

/** `result`: keys, a hash or a size; undefined for a missing object and for what answers nothing. */
export type ForeignStoreAnswer = { readonly result: string[] | string | number | undefined } | { readonly error: string };

const { client, bucket, port, answered } = workerData as ForeignStoreOptions;
const s3 = new S3Client(client);
const signal = new Int32Array(answered);

port.on("message", (request: ForeignStoreRequest) => {
  void answer(request).then((message) => {
    port.postMessage(message);
    Atomics.store(signal, 0, 1);
    Atomics.notify(signal, 0);
  });
});

async function answer(request: ForeignStoreRequest): Promise<ForeignStoreAnswer> {
  try {
    return { result: await carryOut(request) };
  } catch (error) {
    if (error instanceof Error && (error.name === "NotFound" || error.name === "NoSuchKey")) return { result: undefined };
    return { error: String(error) };
  }
}

async function carryOut(request: ForeignStoreRequest): Promise<string[] | string | number | undefined> {
  if (request.ask === "keys") return keys(request.prefix);
  const object = { Bucket: bucket, Key: request.key };
  if (request.ask === "size") return (await s3.send(new HeadObjectCommand(object))).ContentLength;
  if (request.ask === "put") await s3.send(new PutObjectCommand({ ...object, Body: request.bytes }));
  if (request.ask === "delete") await s3.send(new DeleteObjectCommand(object));
  return request.ask === "sha256" ? sha256(request.key) : undefined;
}

async function sha256(key: string): Promise<string> {
  const { Body: body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
  const hash = createHash("sha256");
  for await (const chunk of body as AsyncIterable<Uint8Array>) hash.update(chunk);
  return hash.digest("hex");
}

async function keys(prefix: string): Promise<string[]> {
  const found: string[] = [];
  let from: string | undefined;
  do {
    const page = await s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: from }));
    for (const { Key: key } of page.Contents ?? []) if (key !== undefined) found.push(key);
    from = page.NextContinuationToken;
  } while (from !== undefined);
  return found;
}
