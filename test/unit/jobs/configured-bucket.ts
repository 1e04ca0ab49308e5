/** A bucket on the S3 test server and a folder for a configuration that reaches it, fresh for each test of a file. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import { type S3Server, startS3Server } from "../../support/s3-server/s3-server.ts";

/** What the tests of the file work with. */
export interface ConfiguredBucket {
  readonly server: S3Server;
  /** An empty folder. */
  readonly folder: string;
  /** Where the configuration is to be written. */
  readonly config: string;
  /** Keys of a region or user that reach the server, without braces. */
  readonly reach: string;
}

let server: S3Server;
let folder: string;

/** Starts the server for the file's tests and makes the folder for each of them. What is returned tells what is there now. */
export function configuredBucket(bucket: string): () => ConfiguredBucket {
  beforeAll(async () => {
    server = await startS3Server({ buckets: [bucket] });
  });
  afterAll(() => server.close());
  beforeEach(() => {
    server.reset();
    folder = mkdtempSync(join(tmpdir(), "configured-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  return () => {
    const { accessKeyId, secretAccessKey } = server.credentials;
    const reach = `endpoint: "${server.endpoint}", pathStyle: true, accessKeyId: ${accessKeyId}, secretAccessKey: ${secretAccessKey}`;
    return { server, folder, config: join(folder, "gateway.yaml"), reach };
  };
}
