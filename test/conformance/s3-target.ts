/** A server the conformance suite runs against, and the AWS SDK clients it is asked with. */
import { randomBytes } from "node:crypto";
import { GetObjectCommand, type GetObjectCommandOutput, PutObjectCommand, S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { expect } from "vitest";
import type { S3Credentials } from "../support/s3-server/s3-server.ts";

/** What a real server may not be able to do; the test server can do all of it. */
export type Feature =
  | "trailers"
  | "conditional put"
  | "conditional delete"
  | "conditional complete"
  | "copy source conditions"
  | "copy destination conditions"
  | "multipart etag"
  | "no such upload"
  | "invalid part order"
  | "skipped parts"
  | "repeated parts"
  | "part numbers"
  | "full object crc"
  | "composite crc"
  | "content md5"
  | "metadata limit"
  | "key limit"
  | "control characters"
  | "empty segments"
  | "list uploads paging"
  | "unknown access keys"
  | "checksum rejection";

/** How the SDK's client is configured: as the gateway does it, or as it comes. */
export type ClientSettings = "production" | "sdk defaults";

/** A running server. */
export interface S3Target {
  readonly endpoint: string;
  readonly credentials: S3Credentials;
  readonly region: string;
}

/** One bucket on a target, with the client to ask it. */
export class TargetBucket {
  readonly client: S3Client;
  readonly bucket = `b${randomBytes(6).toString("hex")}`;

  constructor(client: S3Client) {
    this.client = client;
  }

  /** Puts an object and returns its ETag. */
  async put(key: string, body: string | Buffer): Promise<string> {
    const content = Buffer.from(body);
    const command = new PutObjectCommand({ Bucket: this.bucket, Key: key, Body: content, ContentLength: content.length });
    return (await this.client.send(command)).ETag ?? "";
  }

  /** Reads an object whole. */
  async read(key: string): Promise<Buffer> {
    return bodyOf(await this.client.send(new GetObjectCommand({ Bucket: this.bucket, Key: key })));
  }
}

/** All bytes of an answer. */
export async function bodyOf(output: GetObjectCommandOutput): Promise<Buffer> {
  return Buffer.from((await output.Body?.transformToByteArray()) ?? []);
}

/** A client for a target; `overrides` win. */
export function clientFor(target: S3Target, settings: ClientSettings, overrides: S3ClientConfig = {}): S3Client {
  const production: S3ClientConfig = {
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    expectContinueHeader: false,
  };
  return new S3Client({
    endpoint: target.endpoint,
    region: target.region,
    credentials: target.credentials,
    forcePathStyle: true,
    maxAttempts: 1,
    ...(settings === "production" ? production : {}),
    ...overrides,
  });
}

/** Expects a request to fail with that HTTP status and one of the codes, if any are given. */
export async function expectRejection(request: Promise<unknown>, status: number | readonly number[], ...codes: string[]): Promise<void> {
  const error: unknown = await request.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error, "should have been rejected").toBeInstanceOf(Error);
  const { name, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } };
  expect([status].flat(), `status of ${String(error)}`).toContain($metadata?.httpStatusCode);
  if (codes.length > 0) expect(codes).toContain(name);
}
