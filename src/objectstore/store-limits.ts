/**
 * The limits of Amazon S3, which the s3 and the memory store have. Pure data.
 */
import type { StoreLimits } from "./objectstore.ts";

const MIB = 1024 ** 2;

/** Amazon S3 User Guide, "Amazon S3 multipart upload limits"; objects up to "50 TB". */
export const S3_LIMITS: StoreLimits = {
  minPartSize: 5 * MIB,
  maxPartSize: 5 * 1024 * MIB,
  maxParts: 10_000,
  maxPutSize: 5 * 1024 * MIB,
  maxObjectSize: 50_000 * 1024 * MIB,
  preferredPartSize: 8 * MIB,
};
