import { afterAll, beforeAll, describe } from "vitest";
import type { ForeignS3 } from "../support/rgw.ts";
import { findVersitygw, startVersitygw } from "../support/versitygw.ts";
import { defineConformance } from "./s3-conformance.ts";
import type { Feature } from "./s3-target.ts";

const program = findVersitygw();

/** What versitygw's posix backend does otherwise than S3: names are files there. */
const lacks: ReadonlySet<Feature> = new Set([
  "copy destination conditions",
  "key limit",
  "control characters",
  "empty segments",
  "list uploads paging",
  "unknown access keys",
]);

describe.skipIf(program === undefined)("versitygw", () => {
  let server: ForeignS3;
  beforeAll(async () => {
    server = await startVersitygw(program ?? "");
  });
  afterAll(() => server?.stop());

  defineConformance(() => server, "production", lacks);
});
