/**
 * Tries every right that the gateway needs on a customer's bucket, with a canary below the path, and says in plain words
 * which are missing, and whether more is granted than needed. Leaves nothing behind.
 */
import { randomBytes } from "node:crypto";
import { StoreError } from "../../errors.ts";
import { S3Probe } from "../../objectstore/s3/s3-probe.ts";
import type { S3StoreOptions } from "../../objectstore/s3/s3-options.ts";
import { SIDS } from "./policy-documents.ts";

/** `ok`; `missing`: the right is not granted; `wide`: more is granted than needed; `unknown`: something else went wrong. */
export type ProbeStatus = "ok" | "missing" | "wide" | "unknown" | "skipped";

/** What came of one probe. */
export interface PolicyProbe {
  readonly step: string;
  /** The right it needs, such as `s3:PutObject`. */
  readonly action: string;
  /** Name of the statement in the printed policy that grants it; empty where none does. */
  readonly statement: string;
  readonly status: ProbeStatus;
  /** For people: what is wrong and what to do. Empty if nothing is. */
  readonly advice: string;
}

/** The whole check. */
export interface PolicyReport {
  readonly probes: readonly PolicyProbe[];
  /** 0 all granted, 2 more than needed, 1 something missing. */
  readonly exitCode: 0 | 1 | 2;
}

/** Answers that prove a right: the store got as far as looking for the object. */
const GRANTED: ReadonlySet<string> = new Set(["not-found", "no-such-upload"]);
const NO_SUCH_ID = "0123456789abcdef0123456789abcdef";

/** Runs the check below `prefix` (empty, or ending with `/`). Never rejects. */
export async function checkPolicy(options: S3StoreOptions, prefix: string): Promise<PolicyReport> {
  const probe = new S3Probe(options);
  try {
    const run = new PolicyRun(probe, options, prefix);
    await run.run();
    const { probes } = run;
    const has = (...statuses: ProbeStatus[]): boolean => probes.some(({ status }) => statuses.includes(status));
    return { probes, exitCode: has("missing", "unknown") ? 1 : has("wide") ? 2 : 0 };
  } finally {
    probe.close();
  }
}

interface Step {
  readonly step: string;
  readonly action: string;
  readonly statement: string;
  readonly attempt: () => Promise<unknown>;
}

class PolicyRun {
  readonly probes: PolicyProbe[] = [];
  readonly #probe: S3Probe;
  readonly #options: S3StoreOptions;
  readonly #prefix: string;
  readonly #canary: string;
  #hopeless: StoreError | undefined;

  constructor(probe: S3Probe, options: S3StoreOptions, prefix: string) {
    this.#probe = probe;
    this.#options = options;
    this.#prefix = prefix;
    this.#canary = `${prefix}.sftp-s3-gateway-canary-${randomBytes(8).toString("hex")}`;
  }

  async run(): Promise<void> {
    const probe = this.#probe;
    const key = this.#canary;
    const listed = await this.#try({
      step: "list below the path",
      action: "s3:ListBucket",
      statement: SIDS.list,
      attempt: () => probe.list(this.#prefix),
    });
    if (listed === "missing" && (await this.#isOtherOwner())) return;
    await this.#region();
    await this.#try({
      step: "list unfinished uploads below the path",
      action: "s3:ListBucketMultipartUploads",
      statement: SIDS.list,
      attempt: () => probe.listUploads(this.#prefix),
    });
    const object = (step: string, action: string, attempt: () => Promise<unknown>) =>
      this.#try({ step, action, statement: SIDS.objects, attempt });
    await object("write", "s3:PutObject", () => probe.put(key, "canary"));
    await object("read", "s3:GetObject", () => probe.get(key));
    await object("read tags", "s3:GetObjectTagging", () => probe.getTags(key));
    await object("write tags", "s3:PutObjectTagging", () => probe.putTags(key));
    await this.#uploadInParts(object);
    await object("delete", "s3:DeleteObject", () => probe.delete(key));
    await this.#outside();
  }

  async #uploadInParts(object: (step: string, action: string, attempt: () => Promise<unknown>) => Promise<ProbeStatus>): Promise<void> {
    const key = `${this.#canary}-parts`;
    let uploadId = NO_SUCH_ID;
    await object("begin an upload in parts", "s3:PutObject", async () => {
      uploadId = await this.#probe.createUpload(key);
    });
    await object("list the parts of an upload", "s3:ListMultipartUploadParts", () => this.#probe.listParts(key, uploadId));
    await object("abort an upload", "s3:AbortMultipartUpload", () => this.#probe.abortUpload(key, uploadId));
  }

  async #region(): Promise<void> {
    let found = "";
    const status = await this.#try({
      step: "find the region",
      action: "s3:GetBucketLocation",
      statement: SIDS.location,
      attempt: async () => {
        found = await this.#probe.location();
      },
    });
    const { awsRegion, endpoint } = this.#options;
    const actual = found === "" ? "us-east-1" : found === "EU" ? "eu-west-1" : found;
    if (status !== "ok" || endpoint !== undefined || awsRegion === undefined || awsRegion === actual) return;
    const advice = `the bucket is in ${actual}, the configuration says ${awsRegion}: correct awsRegion, every start costs a redirect`;
    this.probes.push({ step: "the right region", action: "", statement: "", status: "unknown", advice });
  }

  /** Nothing outside the path may be readable, and nothing outside is needed. */
  async #outside(): Promise<void> {
    if (this.#prefix === "" || this.#hopeless) return;
    await this.#mustFail("list outside the path", "s3:ListBucket", () => this.#probe.list(""));
    const sibling = `${this.#prefix.slice(0, -1)}-outside-${NO_SUCH_ID}`;
    await this.#mustFail("read outside the path", "s3:GetObject", () => this.#probe.get(sibling));
  }

  async #mustFail(step: string, action: string, attempt: () => Promise<unknown>): Promise<void> {
    let status: ProbeStatus = "wide";
    try {
      await attempt();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (!GRANTED.has(error.code)) status = "ok";
    }
    const advice = `${action} is granted outside ${this.#prefix}, too: the gateway does not need that; narrow the policy to the path`;
    this.probes.push({ step, action, statement: "", status, advice: status === "wide" ? advice : "" });
  }

  /** True if everything is refused only because the bucket is not the expected account's. */
  async #isOtherOwner(): Promise<boolean> {
    const { expectedBucketOwner: owner, ...options } = this.#options;
    if (owner === undefined) return false;
    const anyOwner = new S3Probe(options);
    try {
      await anyOwner.list(this.#prefix);
    } catch (error) {
      if (error instanceof StoreError) return false;
      throw error;
    } finally {
      anyOwner.close();
    }
    this.probes.length = 0;
    const advice = `the bucket does not belong to account ${owner}: correct expectedBucketOwner, or the bucket's name`;
    this.probes.push({ step: "the right owner", action: "", statement: "", status: "missing", advice });
    return true;
  }

  async #try({ step, action, statement, attempt }: Step): Promise<ProbeStatus> {
    const outcome = this.#hopeless ? { status: "skipped" as const, action, advice: "" } : await this.#attempt(action, attempt);
    const advice =
      outcome.advice === "missing" ? missingAdvice(outcome.action, statement, this.#options.bucket, this.#prefix) : outcome.advice;
    this.probes.push({ step, action: outcome.action, statement, status: outcome.status, advice });
    return outcome.status;
  }

  async #attempt(action: string, attempt: () => Promise<unknown>): Promise<{ status: ProbeStatus; action: string; advice: string }> {
    try {
      await attempt();
      return { status: "ok", action, advice: "" };
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (GRANTED.has(error.code)) return { status: "ok", action, advice: "" };
      // A store without tags lacks an ability, not a right.
      if (error.code === "unsupported") return { status: "skipped", action, advice: "this store does not have it" };
      if (error.code !== "access-denied") {
        if (error.code === "no-such-bucket" || error.code === "unavailable" || error.code === "expired-credentials") this.#hopeless = error;
        return { status: "unknown", action, advice: error.message };
      }
      if (/AccessControlListNotSupported/.test(error.message))
        return { status: "missing", action, advice: "the bucket has no ACLs: remove acl" };
      const kms = /\bkms:[A-Za-z]+/.exec(error.message)?.[0] ?? (/\bKMS\./.test(error.message) ? "kms:GenerateDataKey" : undefined);
      return { status: "missing", action: kms ?? action, advice: "missing" };
    }
  }
}

function missingAdvice(action: string, statement: string, bucket: string, prefix: string): string {
  if (action.startsWith("kms:"))
    return `${action} is missing: the policy of the bucket's key must grant kms:Decrypt and kms:GenerateDataKey, and the identity's own policy, too`;
  const resource = statement === SIDS.objects ? `arn:aws:s3:::${bucket}/${prefix}*` : `arn:aws:s3:::${bucket}`;
  return `${action} on ${resource} is missing: add it to the statement ${statement} (policy print shows it), in the bucket's policy and in our identity's`;
}
