/** The fault matrix: what a client does so that a store call happens, what goes wrong with that call, and what must hold afterwards. */
import { REMOTE, STORED } from "../interop/on-stores.ts";
import { sample } from "../interop/samples.ts";
import { BUCKET, PREFIX, type TestGateway } from "../support/gateway.ts";
import type { FaultAction } from "../support/s3-server/faults.ts";
import type { Operation, S3Request } from "../support/s3-server/s3-request.ts";
import type { S3Server } from "../support/s3-server/s3-server.ts";
import { FX, FXF } from "../support/sftp-packets.ts";
import { SftpStatusError, SshSftpClient } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";

const BLOCK = 255 * 1024;
const small = sample(70_000);
const large = sample(9_000_000);
const old = sample(9_100_000);

/** SHA-256 of what is published under a name of a cell's folder; undefined if nothing is. */
type Published = (name: string) => string | undefined;

/** One store call, and what a client does to cause it. */
export interface Act {
  readonly operation: Operation;
  /** Files that are there before. */
  readonly planted: Readonly<Record<string, Buffer>>;
  /** Folder: path as the client says it. */
  run(client: SshSftpClient, folder: string, gateway: TestGateway): Promise<void>;
  /** Whether this is what must be published after a success; after a failure. */
  isDone(published: Published): boolean;
  isUntouchedOrDone(published: Published): boolean;
  /** Done again after a failure, it does the same. */
  readonly isRepeatable?: boolean;
}

const is = (published: Published, name: string, data: Buffer | undefined) => published(name) === (data && sha256(data));

function replaces(operation: Operation, data: Buffer): Act {
  return {
    operation,
    planted: { file: old },
    run: (client, folder) => client.putFile(`${folder}/file`, data, BLOCK),
    isRepeatable: true,
    isDone: (published) => is(published, "file", data),
    isUntouchedOrDone: (published) => is(published, "file", old) || is(published, "file", data),
  };
}

function reads(operation: Operation, run: Act["run"]): Act {
  const isDone = (published: Published) => is(published, "file", large);
  return { operation, planted: { file: large }, run, isDone, isUntouchedOrDone: isDone };
}

const NAMES = ["a", "b", "c"];

/** Every call on the data paths of a session. */
export const ACTS: readonly Act[] = [
  replaces("PutObject", small),
  replaces("CreateMultipartUpload", large),
  replaces("UploadPart", large),
  replaces("CompleteMultipartUpload", large),
  {
    operation: "UploadPartCopy",
    planted: { file: large },
    run: async (client, folder) => {
      const handle = await client.open(`${folder}/file`, FXF.WRITE | FXF.APPEND);
      await client.writeAll(handle, large.length, small);
      await client.close(handle);
    },
    isDone: (published) => is(published, "file", Buffer.concat([large, small])),
    isUntouchedOrDone: (published) => is(published, "file", large) || is(published, "file", Buffer.concat([large, small])),
  },
  reads("GetObject", async (client, folder) => {
    const got = await client.getFile(`${folder}/file`, BLOCK);
    if (sha256(got) !== sha256(large)) throw new Error("the download is not what is published");
  }),
  reads("HeadObject", async (client, folder) => {
    const { size } = await client.stat(`${folder}/file`);
    if (size !== large.length) throw new Error(`the size is ${size}`);
  }),
  reads("ListObjectsV2", async (client, folder) => {
    const names = (await client.list(folder)).map(({ filename }) => filename);
    if (!names.includes("file")) throw new Error(`the listing shows ${names.join(", ")}`);
  }),
  {
    operation: "CopyObject",
    planted: { file: small },
    run: (client, folder) => client.rename(`${folder}/file`, `${folder}/moved`),
    isDone: (published) => is(published, "moved", small) && is(published, "file", undefined),
    isUntouchedOrDone: (published) => is(published, "moved", small) || is(published, "file", small),
  },
  {
    operation: "DeleteObject",
    planted: { file: small },
    run: (client, folder) => client.remove(`${folder}/file`),
    isDone: (published) => is(published, "file", undefined),
    isUntouchedOrDone: (published) => is(published, "file", undefined) || is(published, "file", small),
  },
  {
    operation: "DeleteObjects",
    planted: Object.fromEntries(NAMES.map((name) => [`from/${name}`, small])),
    run: (client, folder) => client.rename(`${folder}/from`, `${folder}/to`),
    isDone: (published) => NAMES.every((name) => is(published, `to/${name}`, small) && is(published, `from/${name}`, undefined)),
    isUntouchedOrDone: (published) => NAMES.every((name) => is(published, `to/${name}`, small) || is(published, `from/${name}`, small)),
  },
  {
    operation: "AbortMultipartUpload",
    isRepeatable: true,
    planted: { other: small },
    run: async (client, folder, gateway) => {
      const cut = await SshSftpClient.connect(gateway);
      const handle = await cut.open(`${folder}/file`, FXF.WRITE | FXF.CREAT | FXF.TRUNC);
      await cut.writeAll(handle, 0, sample(18 * 1024 * 1024), BLOCK);
      cut.destroy();
      await client.remove(`${folder}/file`);
    },
    isDone: (published) => is(published, "file", undefined),
    isUntouchedOrDone: (published) => is(published, "file", undefined),
  },
];

/** One way a call goes wrong. */
export interface Failing {
  readonly what: string;
  readonly action: FaultAction;
  /** Once, or whenever it is called. */
  readonly times: number;
  /** The client must not notice; otherwise it may be told. */
  readonly mustSucceed: boolean;
  /** Calls it can happen to; all without it. */
  readonly only?: readonly Operation[];
  readonly except?: readonly Operation[];
}

const ALWAYS = Number.POSITIVE_INFINITY;
const status = (code: number, name: string): FaultAction => ({ kind: "status", status: code, code: name });
const passing: readonly (readonly [string, FaultAction, (readonly Operation[])?])[] = [
  ["500", status(500, "InternalError")],
  ["503 SlowDown", status(503, "SlowDown")],
  ["clock skew", status(403, "RequestTimeTooSkewed")],
  ["cut before it is read", { kind: "reset", at: "before-body" }],
  ["cut before the answer", { kind: "reset", at: "after-body" }],
  ["cut in the middle", { kind: "reset", afterBytes: 40_000 }, ["PutObject", "UploadPart"]],
  ["answer cut short", { kind: "truncate", afterBytes: 100 }, ["GetObject", "ListObjectsV2"]],
  ["body changed on the way", status(400, "BadDigest"), ["PutObject", "UploadPart"]],
  [
    "200 with an error inside",
    { kind: "error-in-200", code: "InternalError" },
    ["CopyObject", "UploadPartCopy", "CompleteMultipartUpload"],
  ],
  ["done, answer lost", { kind: "late-commit", answer: "reset" }],
  ["done, 500 answered", { kind: "late-commit", answer: { status: 500, code: "InternalError" } }],
  ["5 s late", { kind: "delay", ms: 5_000 }],
];

const FAILINGS: readonly Failing[] = [
  ...passing.map(([what, action, only]) => ({ what: `${what}, once`, action, times: 1, mustSucceed: true, ...(only && { only }) })),
  ...passing
    .filter(([, { kind }]) => kind !== "delay" && kind !== "late-commit")
    .map(([what, action, only]) => ({ what: `${what}, always`, action, times: ALWAYS, mustSucceed: false, ...(only && { only }) })),
  { what: "403, always", action: status(403, "AccessDenied"), times: ALWAYS, mustSucceed: false },
  // An answer to HEAD has no body: there a missing bucket looks like a missing object.
  {
    what: "404 NoSuchBucket, always",
    action: status(404, "NoSuchBucket"),
    times: ALWAYS,
    mustSucceed: false,
    except: ["HeadObject"],
  },
  { what: "expired credentials, always", action: status(400, "ExpiredToken"), times: ALWAYS, mustSucceed: false },
  { what: "no answer, once", action: { kind: "hang" }, times: 1, mustSucceed: true },
  { what: "no answer, always", action: { kind: "hang" }, times: ALWAYS, mustSucceed: false },
];

/** The ways that can happen to a call. */
export function failingsOf({ operation }: Act): Failing[] {
  return FAILINGS.filter(({ only, except }) => (only === undefined || only.includes(operation)) && !except?.includes(operation));
}

/** What came of a cell. */
export interface Outcome {
  readonly act: Act;
  readonly failing: Failing;
  readonly hits: number;
  readonly ms: number;
  /** The client's answer; undefined: success. */
  readonly error: unknown;
  /** What is wrong; undefined: the promises hold. */
  readonly broken: string | undefined;
}

/** Lets one call fail in one way in a folder of its own, looks at what is published, and repeats the act on the healthy store. */
export async function runCell(s3: S3Server, gateway: TestGateway, act: Act, failing: Failing, folder: string): Promise<Outcome> {
  const prefix = `${PREFIX}${STORED}/${folder}`;
  const published: Published = (name) => s3.contents.object(BUCKET, `${prefix}/${name}`)?.sha256();
  const plant = (into: string) => {
    for (const [name, bytes] of Object.entries(act.planted)) s3.contents.put(BUCKET, `${PREFIX}${STORED}/${into}/${name}`, bytes);
  };
  plant(folder);
  const when = (request: S3Request) => concerns(request, prefix);
  const client = await SshSftpClient.connect(gateway);
  const fault = s3.fault({ operation: act.operation, action: failing.action, times: failing.times, when });
  const started = Date.now();
  const error = await outcomeOf(act.run(client, `${REMOTE}/${folder}`, gateway));
  const ms = Date.now() - started;
  fault.remove();
  const isWhole = error === undefined ? act.isDone(published) : act.isUntouchedOrDone(published);
  let broken = isWhole ? undefined : `${error ? "failed" : "succeeded"}, but what is published is neither the old nor the new state`;
  if (error !== undefined && !(error instanceof SftpStatusError)) broken ??= `no status, but ${error}`;
  if (error instanceof SftpStatusError && error.code === FX.NO_SUCH_FILE)
    broken ??= `"no such file" about a file that is there: ${error.message}`;
  if (failing.mustSucceed && error !== undefined) broken ??= `not carried through: ${error}`;
  const next = act.isRepeatable ? folder : `${folder}-again`;
  if (!act.isRepeatable) plant(next);
  const again = await outcomeOf(act.run(client, `${REMOTE}/${next}`, gateway));
  if (act.isRepeatable && !act.isDone(published)) broken ??= "done again on the healthy store, but it is not what is published";
  if (again !== undefined) broken ??= `the store is well again, the session is not: ${again}`;
  await client.end();
  return { act, failing, hits: fault.hits, ms, error, broken };
}

/** A DeleteObjects names its keys in its body: cells of that act must not run side by side. */
function concerns(request: S3Request, prefix: string): boolean {
  if (request.operation === "DeleteObjects") return true;
  const name = request.key || (request.query.get("prefix") ?? "");
  return name === prefix || name.startsWith(`${prefix}/`);
}

function outcomeOf(request: Promise<unknown>): Promise<unknown> {
  return request.then(
    () => undefined,
    (error: unknown) => error,
  );
}
