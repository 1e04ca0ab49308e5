/**
 * The kinds of values that several parts of the configuration file have: sizes, durations, counts, storages, connections.
 * Knows one value at a time.
 */
import { z } from "zod";
import { parseDuration, parseSize } from "./quantities.ts";
import { parseStorageLocation } from "../storage-location.ts";

const SIZE_HINT = "write a size such as 256MiB, 1.5GB or a number of bytes";
const DURATION_HINT = "write a duration such as 30s, 15m, 12h or 7d";

/** A number of bytes, as a number or with a unit. */
export function size(minimum: number): z.ZodType<number, number | string> {
  return z.union([z.number(), z.string()], { error: SIZE_HINT }).transform((value, context) => {
    const bytes = parseSize(String(value));
    if (bytes === undefined || bytes < minimum) {
      context.addIssue({ code: "custom", message: bytes === undefined ? SIZE_HINT : `must be at least ${minimum} bytes: ${SIZE_HINT}` });
      return z.NEVER;
    }
    return bytes;
  });
}

/** A duration in milliseconds; plain numbers are seconds. */
export function duration(minimumMs: number): z.ZodType<number, number | string> {
  return z.union([z.number(), z.string()], { error: DURATION_HINT }).transform((value, context) => {
    const milliseconds = parseDuration(String(value));
    if (milliseconds === undefined || milliseconds < minimumMs) {
      context.addIssue({ code: "custom", message: milliseconds === undefined ? DURATION_HINT : `is too short: ${DURATION_HINT}` });
      return z.NEVER;
    }
    return milliseconds;
  });
}

/** A whole number within bounds. */
export function count(minimum: number, maximum: number): z.ZodNumber {
  return z.int({ error: "write a whole number" }).min(minimum).max(maximum);
}

/** A storage URI in any of its forms; parsed again where it is resolved. */
export const storage = z.string({ error: "write s3://bucket/path or file:///folder" }).superRefine((text, context) => {
  const location = parseStorageLocation(text);
  if (typeof location === "string") context.addIssue({ code: "custom", message: location });
});

/** Any text but the empty one. */
export const nonEmpty = z.string({ error: "write a text" }).min(1, { error: "must not be empty" });

/** How a bucket is reached. */
export const connectionShape = {
  awsRegion: z
    .string({ error: "write a region's name, such as us-east-1" })
    .regex(/^[a-z0-9-]{2,40}$/, { error: "write a region's name, such as us-east-1" })
    .optional()
    .describe("AWS region of the bucket. Default: what the AWS default chain finds."),
  endpoint: z
    .url({ protocol: /^https?$/, error: "write the store's address, such as https://s3.example.org" })
    .optional()
    .describe("Address of an S3-compatible store. Absent: AWS."),
  pathStyle: z
    .boolean({ error: "write true or false" })
    .optional()
    .describe("Bucket in the path instead of the host name; most stores other than AWS need true."),
  profile: nonEmpty.optional().describe("Named profile of the AWS shared configuration files."),
  accessKeyId: nonEmpty.optional().describe("Access key; better an environment reference than in clear. Absent: the AWS default chain."),
  secretAccessKey: nonEmpty.optional().describe("Secret of the access key; better an environment reference than in clear. Never logged."),
  sessionToken: nonEmpty.optional().describe("Session token of temporary credentials. Never logged."),
  roleArn: z
    .string({ error: "write the role's ARN" })
    .regex(/^arn:[a-z-]+:iam::[0-9]{12}:role\/.+$/, { error: "write a role's ARN: arn:aws:iam::123456789012:role/name" })
    .optional()
    .describe("Role to assume for every request."),
  externalId: nonEmpty.optional().describe("External id that the role's owner asks for."),
  narrowRole: z
    .boolean({ error: "write true or false" })
    .optional()
    .describe("Each user's sessions of the role are limited to the user's own path by a session policy: an identity for each user."),
  stsEndpoint: z
    .url({ protocol: /^https?$/, error: "write the token service's address, such as https://sts.example.org" })
    .optional()
    .describe("Address of the token service for roleArn. Absent: AWS."),
  expectedBucketOwner: z
    .string({ error: 'write the 12-digit account number in quotes: "123456789012"' })
    .regex(/^[0-9]{12}$/, { error: 'write the 12-digit account number in quotes: "123456789012"' })
    .optional()
    .describe("Account that must own the bucket; sent with every request."),
};

/** The same as a map of its own. */
export const connection = z.strictObject(connectionShape);
