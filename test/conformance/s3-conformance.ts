/**
 * What the gateway relies on of an S3 server, asked through the AWS SDK. Runs against the test server, to show that it
 * behaves as S3, and against real servers, to show that the checks are not just the test server's opinion.
 */
import { CreateBucketCommand, GetBucketLocationCommand, HeadBucketCommand, type S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { listingChecks } from "./listing-checks.ts";
import { multipartChecks } from "./multipart-checks.ts";
import { objectChecks } from "./object-checks.ts";
import { type ClientSettings, clientFor, expectRejection, type Feature, type S3Target, TargetBucket } from "./s3-target.ts";

/** What a check may look at besides its bucket. */
export interface CheckContext {
  readonly settings: ClientSettings;
  readonly lacks: ReadonlySet<Feature>;
}

/** One behaviour of S3. Checks share a bucket and use keys of their own. */
export interface Check {
  readonly name: string;
  /** Left out on servers that lack it. */
  readonly needs?: Feature;
  run(on: TargetBucket, context: CheckContext): Promise<void>;
}

/** Defines the suite; `target` is called once the tests run. `lacks`: what is known not to work there. */
export function defineConformance(target: () => S3Target, settings: ClientSettings, lacks: ReadonlySet<Feature> = new Set()): void {
  describe(`with the SDK's ${settings === "production" ? "settings of the gateway" : "defaults"}`, () => {
    let client: S3Client;
    let on: TargetBucket;
    beforeAll(async () => {
      client = clientFor(target(), settings);
      on = new TargetBucket(client);
      await client.send(new CreateBucketCommand({ Bucket: on.bucket }));
    });
    afterAll(() => client.destroy());
    const groups = { objects: objectChecks, listings: listingChecks, "multipart uploads": multipartChecks };
    for (const [group, checks] of Object.entries(groups)) {
      describe(group, () => {
        for (const check of checks) {
          if (check.needs === undefined || !lacks.has(check.needs)) it(check.name, () => check.run(on, { settings, lacks }));
        }
      });
    }
    it("knows its buckets", async () => {
      await client.send(new HeadBucketCommand({ Bucket: on.bucket }));
      await client.send(new GetBucketLocationCommand({ Bucket: on.bucket }));
      await expectRejection(client.send(new HeadBucketCommand({ Bucket: "no-such-bucket" })), 404);
    });
    it("refuses a wrong secret and an unknown key", async () => {
      const { accessKeyId } = target().credentials;
      const strangers = [accessKeyId, ...(lacks.has("unknown access keys") ? [] : ["AKIAUNKNOWN"])];
      for (const credentials of strangers.map((id) => ({ accessKeyId: id, secretAccessKey: "wrong" }))) {
        const stranger = clientFor(target(), settings, { credentials });
        await expectRejection(stranger.send(new HeadBucketCommand({ Bucket: on.bucket })), 403);
        stranger.destroy();
      }
      expect((await on.put("signed", "x")).length).toBeGreaterThan(2);
    });
  });
}
