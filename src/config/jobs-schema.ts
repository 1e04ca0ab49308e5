/**
 * The parts of the configuration file that are about the operators' nights: `backups:`, a user's `backup:`, and `jobs:`.
 * Knows one value at a time.
 */
import { Cron } from "croner";
import { z } from "zod";
import { connection, count, duration, nonEmpty, size, storage } from "./schema-values.ts";

const MIB = 1024 * 1024;
const DAY_MS = 86_400_000;
const trueOrFalse = z.boolean({ error: "write true or false" });

const compression = z
  .string()
  .regex(/^(auto|store|xz:[0-9]|tar|zst|zst:(?:[1-9]|1[0-9]))$/, { error: "write auto, store, xz:0 to xz:9, zst:1 to zst:19, or tar" })
  .describe(
    "auto compresses what shrinks and stores the rest; store never compresses; xz:0 to xz:9 always does. zst:1 to zst:19 makes .tar.zst, tar makes .tar.",
  );

const archiveShape = {
  compression: compression.optional(),
  keep: count(1, 1000).optional().describe("Whole archives that are kept, with the incremental ones after each (default 2)."),
  fullEvery: count(1, 1000)
    .optional()
    .describe("Every so many runs make a whole archive, those between incremental ones (default 1: all whole)."),
  thumbnails: trueOrFalse.optional().describe("Whether thumbnails go in; they can be made again (default true)."),
  volumeSize: size(MIB).optional().describe("Splits an archive into several of about this size, each complete by itself (default: one)."),
};

/** One user's differences; `false`: no backups of this user. */
export const userBackup = z.union([z.literal(false), z.strictObject(archiveShape)], { error: "write false, or a map such as { keep: 4 }" });

/** Where backups go and how they are made. */
export const backups = z
  .strictObject({
    to: storage.describe(
      "Where archives go: s3://bucket/path or file:///folder, below it a folder for each user. No user's storage may overlap it.",
    ),
    region: nonEmpty.optional().describe("Region whose connection reaches the bucket."),
    s3: connection.optional().describe("Connection of the bucket; overrides the region's."),
    ...archiveShape,
    grace: duration(0)
      .default(DAY_MS)
      .describe("A replaced archive that is no longer kept stays so long, for downloads that are under way."),
  })
  .describe("Backups of the users' storages: NAME-assets.tar.xz in each user's home.");

function checkTimezone(timezone: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: timezone }).format() !== "";
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

/** What is wrong with a cron line, or undefined. */
function cronFault(pattern: string): string | undefined {
  try {
    const cron = new Cron(pattern, { paused: true, timezone: "UTC" });
    return cron.nextRun() === null ? "this schedule never comes" : undefined;
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^CronPattern: /, "") : String(error);
    return `${reason}; write five cron fields, such as "0 3 * * 0" (Sundays at 3:00)`;
  }
}

const scheduleShape = {
  schedule: z
    .string({ error: 'write five cron fields in quotes, such as "0 3 * * 0"' })
    .superRefine((pattern, context) => {
      const fault = cronFault(pattern);
      if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
    })
    .optional()
    .describe("When it runs: cron fields minute, hour, day, month, weekday (a sixth in front: second). Absent: only on demand."),
  timezone: z
    .string({ error: "write a time zone, such as America/Chicago" })
    .refine(checkTimezone, { error: "is no time zone: write one such as UTC or America/Chicago" })
    .default("UTC")
    .describe("Time zone of the schedule; changes of daylight saving are followed."),
  jitter: duration(0).default(0).describe("Each run begins up to this much later, by chance."),
  runOnStart: trueOrFalse.default(false).describe("Also runs when the gateway starts."),
  catchUp: trueOrFalse.default(true).describe("A run that was missed while no gateway ran is made up for at the start."),
};

const names = (what: string): z.ZodType<string[] | undefined> =>
  z
    .array(nonEmpty, { error: `write a list of ${what}` })
    .min(1)
    .optional();

const job = z.discriminatedUnion(
  "kind",
  [
    z.strictObject({
      kind: z.literal("backup"),
      users: names("users").describe("Whose storages; absent: all users'."),
      ...scheduleShape,
    }),
    z.strictObject({ kind: z.literal("sweep"), ...scheduleShape }),
    z.strictObject({
      kind: z.literal("sync"),
      regions: names("regions").describe(
        "Regions to be copied to their backup; absent with source and destination, else all that have one.",
      ),
      source: nonEmpty.optional().describe("What is copied: s3://, file:///, a region or a user."),
      destination: nonEmpty.optional().describe("Where to."),
      options: z.array(z.string()).default([]).describe("Options as on the command line, such as --size-only."),
      ...scheduleShape,
    }),
  ],
  { error: "write backup, sweep or sync" },
);

/** The scheduled jobs by name. */
export const jobs = z
  .record(z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/, { error: "write 1 to 64 letters, digits, . _ -" }), job)
  .describe("Jobs that run by the clock, by name.");
