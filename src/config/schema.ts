/**
 * The shape of the configuration file, its defaults and its descriptions: the source of the types, of the checks and of
 * the JSON Schema that editors use. Knows one value at a time; what has to fit together is checked in `resolve.ts`.
 */
import { isIP } from "node:net";
import { z } from "zod";
import { backups, jobs, userBackup } from "./jobs-schema.ts";
import { parseSize } from "./quantities.ts";
import { connection, connectionShape, count, duration, nonEmpty, size, storage } from "./schema-values.ts";
import { checkBucket } from "../storage-location.ts";

const MIB = 1024 * 1024;
const DAY_MS = 86_400_000;

/** Bytes per second: as a size, optionally with `/s`. */
function rate(): z.ZodType<number, number | string> {
  const hint = "write bytes per second, such as 10MiB or 10MiB/s";
  return z.union([z.number(), z.string()], { error: hint }).transform((value, context) => {
    const bytes = parseSize(String(value).replace(/\/s$/, ""));
    if (bytes === undefined || bytes < 1024) {
      context.addIssue({ code: "custom", message: bytes === undefined ? hint : `must be at least 1KiB: ${hint}` });
      return z.NEVER;
    }
    return bytes;
  });
}

/** A host and port; port 0 takes a free one. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

const LISTEN_HINT = 'write "HOST:PORT", such as "0.0.0.0:2022" or "[::]:2022"';

/** Host and port of `HOST:PORT` (IPv6 in brackets), or undefined. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]\s]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host !== undefined && port <= 65_535 ? { host, port } : undefined;
}

const listenAddress = z.string({ error: LISTEN_HINT }).transform((text, context): ListenAddress => {
  const address = parseListenAddress(text);
  if (address) return address;
  context.addIssue({ code: "custom", message: LISTEN_HINT });
  return z.NEVER;
});

const NETWORK_HINT = "write an address or a network, such as 192.0.2.7 or 2001:db8::/32";

function isNetwork(text: string): boolean {
  const [address = "", prefix] = text.split("/");
  const family = isIP(address);
  return family !== 0 && Number(prefix ?? 0) <= (family === 4 ? 32 : 128);
}

const sseAlgorithm = z.enum(["AES256", "aws:kms"]);
const objectShape = {
  storageClass: z
    .enum(["STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "REDUCED_REDUNDANCY", "EXPRESS_ONEZONE"])
    .optional()
    .describe("Storage class of new objects. Archive classes are not offered: their objects cannot be read back at once."),
  sse: z
    .union([sseAlgorithm, z.strictObject({ algorithm: sseAlgorithm, kmsKeyId: nonEmpty.optional() })], {
      error: "write AES256, aws:kms, or { algorithm: aws:kms, kmsKeyId: … }",
    })
    .optional()
    .describe("Server-side encryption of new objects. Absent: the bucket's own default."),
  acl: z
    .enum(["private", "bucket-owner-full-control", "bucket-owner-read", "authenticated-read", "public-read"])
    .optional()
    .describe("Canned ACL of new objects; only for buckets that still have ACLs on."),
};

const region = z
  .strictObject({
    bucket: z
      .string({ error: "write the bucket's name" })
      .superRefine((name, context) => {
        const wrong = checkBucket(name);
        if (wrong) context.addIssue({ code: "custom", message: wrong });
      })
      .describe("Bucket in which each user of the region gets the prefix NAME/."),
    backup: storage.optional().describe("Where the region is synced to; never derived from names."),
    ...connectionShape,
    ...objectShape,
  })
  .describe("A bucket of our own and how to reach it.");

const keyEntry = z.union(
  [nonEmpty, z.strictObject({ file: nonEmpty.describe("A .pub or authorized_keys file, relative to this file.") })],
  {
    error: "write a public key line, a pasted block, or file: NAME.pub",
  },
);

const user = z
  .strictObject({
    region: z
      .string({ error: "write the name of one of the regions" })
      .optional()
      .describe("Storage becomes s3://<bucket>/<user>/ of that region."),
    storage: storage.optional().describe("s3://bucket/path or file:///folder; instead of region, or with region's connection."),
    s3: connection.optional().describe("Connection of this user's storage; overrides the region's."),
    keys: z
      .union([z.array(keyEntry), nonEmpty], { error: "write a list of public keys" })
      .describe("Public keys as people have them: OpenSSH lines with options, RFC 4716 blocks, file: NAME."),
    readOnly: z.boolean({ error: "write true or false" }).default(false).describe("Nothing can be written, renamed or removed."),
    quota: z
      .strictObject({ bytes: size(1).optional(), files: count(1, 1e12).optional() })
      .optional()
      .describe("Most bytes and files; uploads beyond are refused."),
    bandwidth: z
      .strictObject({ up: rate().optional(), down: rate().optional() })
      .optional()
      .describe("Most bytes per second of all the user's sessions together; up is towards the gateway."),
    shared: z
      .boolean({ error: "write true or false" })
      .default(false)
      .describe("The storage may overlap another user's who is shared too."),
    layout: z
      .enum(["specify", "cas", "free"], { error: "write specify, cas or free" })
      .default("free")
      .describe("specify: files only directly in originals/; cas: two folders deep there; free: anywhere, what lies elsewhere is logged."),
    thumbnailUploads: z
      .boolean({ error: "write true or false" })
      .default(false)
      .describe(
        "Files may also be put into thumbnails/, for a migration. Else they can be read and removed there: the asset server makes them.",
      ),
    backup: userBackup.optional().describe("How this user's backups differ from those of the others; false: none."),
    ...objectShape,
  })
  .describe("A customer: who may log in, and where the files lie.");

const limits = z
  .strictObject({
    loginGrace: duration(1000).default(60_000).describe("Time a connection has to log in."),
    maxAuthTries: count(1, 100).default(6).describe("Keys a connection may offer before it is ended."),
    maxUnauthenticated: count(1, 100_000)
      .default(1024)
      .describe("Connections that have not logged in yet, in total; silent ones give way first."),
    maxUnauthenticatedPerIp: count(1, 100_000).default(512).describe("The same from one address."),
    maxSessionsPerUser: count(1, 100_000).default(1000).describe("Connections of one user at a time."),
    maxChannelsPerConnection: count(1, 1000).default(64).describe("Sessions (sftp, scp, …) on one connection at a time."),
    idleTimeout: duration(10_000).default(3_600_000).describe("A login without any open session is ended after this."),
    maxSessionTime: duration(10_000).optional().describe("A login is ended after this, whatever it does. Absent: never."),
    keepaliveInterval: duration(1000).default(15_000).describe("A silent client is asked for a sign of life this often."),
    drain: duration(0).default(30_000).describe("Time running sessions get to finish when the gateway stops."),
  })
  .prefault({});

const network = z
  .string({ error: NETWORK_HINT })
  .refine((text) => /^[0-9a-fA-F:.]+(\/[0-9]{1,3})?$/.test(text) && isNetwork(text), { error: NETWORK_HINT });

const penalties = z
  .union(
    [
      z.literal(false),
      z.strictObject({
        failedLogin: duration(0).default(5_000).describe("Penalty of a connection that left after tries that were refused."),
        tooManyTries: duration(0).default(10_000).describe("Penalty of a connection that was ended by maxAuthTries."),
        violation: duration(0).default(10_000).describe("Penalty of a client that broke the protocol."),
        loginTimeout: duration(0).default(10_000).describe("Penalty of a connection that did not log in within loginGrace."),
        threshold: duration(1000)
          .default(60_000)
          .describe("An address is refused when its penalties add up to this, until they have passed."),
        max: duration(1000).default(600_000).describe("Penalties of one address never add up to more."),
        knownFor: duration(0)
          .default(7 * DAY_MS)
          .describe("So long after a login the offences of its address count a tenth, so that offices with one address stay served."),
        allow: z.array(network).max(1000).default(["127.0.0.1", "::1"]).describe("Addresses and networks that are never refused."),
      }),
    ],
    { error: "write false for none, or a map of penalties" },
  )
  .prefault({})
  .describe("Penalties per address (IPv6: per /64); they pass with time and are kept over a restart. false: none.");

const KEX = [
  "mlkem768x25519-sha256",
  "curve25519-sha256",
  "curve25519-sha256@libssh.org",
  "diffie-hellman-group16-sha512",
  "ecdh-sha2-nistp256",
  "ecdh-sha2-nistp384",
  "ecdh-sha2-nistp521",
  "diffie-hellman-group14-sha256",
] as const;
const HOST_KEYS = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsa-sha2-512",
  "rsa-sha2-256",
  "ssh-rsa",
] as const;
const CIPHERS = [
  "aes128-gcm@openssh.com",
  "aes256-gcm@openssh.com",
  "chacha20-poly1305@openssh.com",
  "aes256-ctr",
  "aes192-ctr",
  "aes128-ctr",
] as const;
const MACS = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512", "hmac-sha1"] as const;

const algorithms = z
  .union(
    [
      z.enum(["modern", "compatible"]),
      z.strictObject({
        kex: z.array(z.enum(KEX)).min(1).optional().describe("Key exchanges in order of preference."),
        hostKeys: z.array(z.enum(HOST_KEYS)).min(1).optional().describe("Host key algorithms; those without a key are left out."),
        ciphers: z.array(z.enum(CIPHERS)).min(1).optional().describe("Ciphers; the client's order decides."),
        macs: z.array(z.enum(MACS)).min(1).optional().describe("MACs, for ciphers that need one."),
      }),
    ],
    { error: "write modern, compatible, or lists: { kex: […], hostKeys: […], ciphers: […], macs: […] }" },
  )
  .default("modern")
  .describe("compatible also offers older key exchanges and MACs, for clients of before 2015. Lists are offered as written.");

const SERIAL_HINT = 'write a serial number, or a range such as "100-199"';

const revoked = z
  .strictObject({
    keys: z.array(keyEntry).default([]).describe("Public keys, also of authorities: lines, or file: NAME."),
    fingerprints: z
      .array(z.string().regex(/^SHA256:[A-Za-z0-9+/]{43}$/, { error: "write SHA256:… as ssh-keygen -l prints it" }))
      .default([])
      .describe("The same by fingerprint."),
    serials: z
      .array(
        z.union([count(1, Number.MAX_SAFE_INTEGER), z.string().regex(/^[1-9][0-9]{0,19}(-[1-9][0-9]{0,19})?$/, { error: SERIAL_HINT })], {
          error: SERIAL_HINT,
        }),
      )
      .default([])
      .describe("Serial numbers of certificates, of every authority; a KRL can name one."),
    keyIds: z.array(nonEmpty).default([]).describe("Key ids of certificates, of every authority."),
    krl: z
      .union([z.array(nonEmpty), nonEmpty.transform((file) => [file])], { error: "write a file, or a list of files" })
      .default([])
      .describe("KRL files made with ssh-keygen -k, or lists of public keys; relative to this file, read again when they change."),
  })
  .prefault({})
  .describe("Keys and certificates that may no longer log in; what is logged in with them ends at once.");

const server = z
  .strictObject({
    listen: z
      .union([z.array(listenAddress).min(1, { error: LISTEN_HINT }), listenAddress.transform((address) => [address])], {
        error: LISTEN_HINT,
      })
      .prefault(["0.0.0.0:2022"])
      .describe("Addresses to listen on; port 0 takes a free one."),
    hostKeys: nonEmpty
      .default("keys/")
      .describe("Folder of OpenSSH private host keys; generated when missing. Relative to the working directory."),
    state: nonEmpty.default("state/").describe("Folder of the cache and the unfinished uploads. Relative to the working directory."),
    banner: z.string().max(4096).optional().describe("Shown before the login."),
    motd: z.string().max(4096).optional().describe("Shown to those who open a shell."),
    memoryBudget: size(16 * MIB)
      .prefault("256MiB")
      .describe("Most memory that clients together can make the gateway hold. When it is spent, they wait."),
    workers: z
      .union([z.literal("auto"), count(1, 64)], { error: "write auto or a number of processes" })
      .default("auto")
      .describe("Processes that serve sessions. auto: one per core but the last, fewer where memory is small."),
    proxyProtocol: z
      .array(network)
      .max(1000)
      .default([])
      .describe("Load balancers: connections from these addresses must begin with a PROXY protocol header (v1 or v2), others must not."),
    limits,
    penalties,
    revoked,
    algorithms,
    allowSha1Signatures: z
      .boolean({ error: "write true or false" })
      .default(false)
      .describe("Accepts ssh-rsa signatures with SHA-1, which Debian 12's curl needs. Insecure: logged as a warning."),
  })
  .prefault({})
  .describe("The SSH server.");

const uploads = z
  .strictObject({
    temporaryNames: z
      .array(
        z
          .string()
          .regex(/^(?=..)[^*/]{0,255}\*[^*/]{0,255}$/, { error: "write a name with one * for the final name, for example *.filepart" }),
      )
      .max(64)
      .default(["*.filepart", "*.????????.partial"])
      .describe(
        "Names under which clients upload before they rename, with one * for the final name and ? for a letter or digit; published only by the rename.",
      ),
    expiry: duration(60_000)
      .default(7 * DAY_MS)
      .describe("Unfinished uploads are discarded after this."),
  })
  .prefault({})
  .describe("Unfinished uploads.");

const listing = z
  .strictObject({
    times: z
      .enum(["auto", "exact", "listing"])
      .default("auto")
      .describe(
        "exact asks the store for every unknown time; listing shows the store's own; auto is exact for directories of less than 2,000 entries.",
      ),
  })
  .prefault({})
  .describe("Directory listings.");

const admin = z
  .strictObject({
    listen: listenAddress.optional().describe("Address of /healthz, /readyz and /metrics; keep it local. Absent: off."),
  })
  .prefault({})
  .describe("Health and metrics over HTTP.");

const log = z
  .strictObject({
    level: z.enum(["trace", "debug", "info", "warn", "error", "fatal"]).default("info").describe("Least severe level that is logged."),
    format: z.enum(["auto", "json", "pretty"]).default("auto").describe("auto is pretty on a terminal, else JSON."),
  })
  .prefault({})
  .describe("The log.");

/** The whole file. */
export const configSchema = z
  .strictObject({
    server,
    admin,
    log,
    uploads,
    listing,
    backups: backups.optional(),
    jobs: jobs.default({}),
    include: z
      .array(nonEmpty)
      .default([])
      .describe("More drop-in files or folders with users and regions, relative to this file. users.d/ beside it is always read."),
    regions: z.record(z.string(), region).default({}).describe("Buckets by region name."),
    users: z.record(z.string(), user).default({}).describe("Users by login name."),
  })
  .describe("Configuration of sftp-s3-gateway.");

/** The parts of the file that a drop-in may hold. */
export const DROP_IN_KEYS: readonly string[] = ["users", "regions"];

/** The file after checks and defaults, before names are looked up and files are read. */
export type ConfigValues = z.output<typeof configSchema>;
/** One region of it. */
export type RegionValues = z.output<typeof region>;
/** One user of it. */
export type UserValues = z.output<typeof user>;
/** Connection keys of a region or a user. */
export type ConnectionValues = z.output<typeof connection>;
/** How backups are made. */
export type BackupsValues = NonNullable<ConfigValues["backups"]>;
/** One scheduled job. */
export type JobValues = ConfigValues["jobs"][string];
/** How new objects are stored. */
export type SseValues = UserValues["sse"];
