/**
 * Single S3 operations on one bucket, as rights are probed with: each is sent nearly once and says what the store said.
 * Knows nothing of policies.
 */
import {
  AbortMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetBucketLocationCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
} from "@aws-sdk/client-s3";
import type { S3Client } from "@aws-sdk/client-s3";
import { buffer } from "node:stream/consumers";
import { Readable } from "node:stream";
import type { S3Call } from "./s3-http.ts";
import type { BucketFields } from "./s3-listing.ts";
import type { S3StoreOptions } from "./s3-options.ts";
import { storageFields } from "./s3-properties.ts";
import { withCall } from "./s3-http.ts";
import { S3Requests } from "./s3-requests.ts";

/** See the head of this file. Every method rejects with a `StoreError`. Close it. */
export class S3Probe {
  readonly #requests: S3Requests;
  readonly #bucket: BucketFields;
  readonly #options: S3StoreOptions;

  constructor(options: S3StoreOptions) {
    const { bucket, expectedBucketOwner } = options;
    this.#options = options;
    this.#requests = new S3Requests({ ...options, retry: { maxAttempts: 3, maxThrottledAttempts: 4, totalMs: 15_000 } });
    this.#bucket = { Bucket: bucket, ...(expectedBucketOwner === undefined ? {} : { ExpectedBucketOwner: expectedBucketOwner }) };
  }

  /** One key below `prefix` at most. */
  async list(prefix: string): Promise<void> {
    const fields = { ...this.#bucket, Prefix: prefix, MaxKeys: 1 };
    await this.#run("ListObjectsV2", prefix, (client, call) => client.send(withCall(new ListObjectsV2Command(fields), call)));
  }

  async listUploads(prefix: string): Promise<void> {
    const fields = { ...this.#bucket, Prefix: prefix, MaxUploads: 1 };
    await this.#run("ListMultipartUploads", prefix, (client, call) => client.send(withCall(new ListMultipartUploadsCommand(fields), call)));
  }

  /** The bucket's region as the store names it; empty for us-east-1. */
  location(): Promise<string> {
    return this.#run("GetBucketLocation", undefined, async (client, call) => {
      return (await client.send(withCall(new GetBucketLocationCommand(this.#bucket), call))).LocationConstraint ?? "";
    });
  }

  /** Stores an object as the connection says: storage class, encryption, ACL. */
  async put(key: string, content: string): Promise<void> {
    const fields = { ...this.#object(key), Body: Buffer.from(content), ContentType: "text/plain", ...storageFields(this.#options) };
    await this.#run("PutObject", key, (client, call) => client.send(withCall(new PutObjectCommand(fields), call)));
  }

  async get(key: string): Promise<string> {
    return this.#run("GetObject", key, async (client, call) => {
      const { Body } = await client.send(withCall(new GetObjectCommand(this.#object(key)), call));
      return Body instanceof Readable ? (await buffer(Body)).toString() : "";
    });
  }

  async getTags(key: string): Promise<void> {
    await this.#run("GetObjectTagging", key, (client, call) => client.send(withCall(new GetObjectTaggingCommand(this.#object(key)), call)));
  }

  async putTags(key: string): Promise<void> {
    const fields = { ...this.#object(key), Tagging: { TagSet: [{ Key: "probe", Value: "1" }] } };
    await this.#run("PutObjectTagging", key, (client, call) => client.send(withCall(new PutObjectTaggingCommand(fields), call)));
  }

  async delete(key: string): Promise<void> {
    await this.#run("DeleteObject", key, (client, call) => client.send(withCall(new DeleteObjectCommand(this.#object(key)), call)));
  }

  /** Begins an upload in parts and returns its id. */
  createUpload(key: string): Promise<string> {
    const fields = { ...this.#object(key), ...storageFields(this.#options) };
    return this.#run("CreateMultipartUpload", key, async (client, call) => {
      return (await client.send(withCall(new CreateMultipartUploadCommand(fields), call))).UploadId ?? "";
    });
  }

  async listParts(key: string, uploadId: string): Promise<void> {
    const fields = { ...this.#object(key), UploadId: uploadId };
    await this.#run("ListParts", key, (client, call) => client.send(withCall(new ListPartsCommand(fields), call)));
  }

  async abortUpload(key: string, uploadId: string): Promise<void> {
    const fields = { ...this.#object(key), UploadId: uploadId };
    await this.#run("AbortMultipartUpload", key, (client, call) => client.send(withCall(new AbortMultipartUploadCommand(fields), call)));
  }

  close(): void {
    this.#requests.close();
  }

  #object(key: string): BucketFields & { readonly Key: string } {
    return { ...this.#bucket, Key: key };
  }

  #run<T>(operation: string, key: string | undefined, attempt: (client: S3Client, call: S3Call) => Promise<T>): Promise<T> {
    return this.#requests.run({ operation, ...(key === undefined ? {} : { key }), lane: "control", attempt });
  }
}
