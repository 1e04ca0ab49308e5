/**
 * Translates what the AWS SDK, node's HTTP client and S3-compatible stores throw: into a `StoreError` that says what the
 * operator must do, and for the retry loop into whether trying again can help. Makes no requests.
 */
import { StoreError } from "../../errors.ts";
import type { StoreErrorCode } from "../../errors.ts";
import { TransportTimeout } from "./transport-timeout.ts";

/**
 * Whether and how to try again: `soon` after a short wait, `throttled` after a longer one, `credentials` after fetching
 * new ones (once), `region` at the region the store names (once).
 */
export type Retry = "no" | "soon" | "throttled" | "credentials" | "region";

/** What went wrong with one attempt of a request. */
export interface S3Fault {
  /** The store's error code (`NoSuchKey`), or the network's (`ECONNRESET`). */
  readonly name: string;
  readonly status: number | undefined;
  readonly code: StoreErrorCode;
  readonly retry: Retry;
  /** The request may have taken effect although it failed. */
  readonly ambiguous: boolean;
  /** Where the bucket really is, if the store says so. */
  readonly region: string | undefined;
  /** What the operator can do. */
  readonly advice: string;
}

/** The store answered with success, but not with what a success looks like. */
export class MalformedAnswer extends Error {
  override readonly name = "MalformedAnswer";
}

/** The role of the connection may not be assumed. */
export class AssumeRoleError extends Error {
  override readonly name = "AssumeRoleError";
}

interface FaultRule {
  readonly code: StoreErrorCode;
  readonly retry?: Retry;
  readonly ambiguous?: boolean;
  readonly advice?: string;
}

const DENIED =
  "Grant the identity s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts on the prefix, and s3:ListBucket on the bucket; check bucket policy, `expectedBucketOwner` and KMS key policy.";
const CREDENTIALS = "Renew the credentials (`profile`, `accessKeyId`/`secretAccessKey`, or the role the gateway runs as).";
const OVERLOADED = "The store asks for fewer requests; if this lasts, spread the load or raise its limits.";
const BUSY: FaultRule = {
  code: "unavailable",
  retry: "soon",
  ambiguous: true,
  advice: "The store has an internal problem; check its health.",
};
const CORRUPTED: FaultRule = {
  code: "checksum-mismatch",
  retry: "soon",
  advice: "Bytes were changed on the way to the store; check network and memory.",
};
const EXPIRED: FaultRule = { code: "expired-credentials", retry: "credentials", advice: CREDENTIALS };
const THROTTLED: FaultRule = { code: "slow-down", retry: "throttled", advice: OVERLOADED };
const ELSEWHERE: FaultRule = { code: "wrong-region", retry: "region", advice: "Set `awsRegion` (or `endpoint`) to where the bucket is." };
const INVALID: FaultRule = { code: "invalid-argument" };
const FULL: FaultRule = { code: "no-space", advice: "Free space in the store or raise its quota." };

/** By the store's error code. */
const RULES: Readonly<Record<string, FaultRule>> = {
  NoSuchKey: { code: "not-found" },
  NotFound: { code: "not-found" },
  NoSuchVersion: { code: "not-found" },
  NoSuchBucket: { code: "no-such-bucket", advice: "Create the bucket or correct `bucket` in the configuration." },
  NoSuchUpload: { code: "no-such-upload" },
  PreconditionFailed: { code: "precondition-failed" },
  ConditionalRequestConflict: { code: "precondition-failed", retry: "soon" },
  OperationAborted: { code: "unavailable", retry: "soon" },
  AccessDenied: { code: "access-denied", advice: DENIED },
  AllAccessDisabled: { code: "access-denied", advice: DENIED },
  AccountProblem: { code: "access-denied", advice: "Resolve the problem of the AWS account." },
  InvalidAccessKeyId: { code: "access-denied", advice: "The store does not know this `accessKeyId`. Correct it." },
  SignatureDoesNotMatch: {
    code: "access-denied",
    advice: "Correct `secretAccessKey`; behind a proxy, keep it from changing the requests.",
  },
  InvalidObjectState: { code: "access-denied", advice: "The object is archived (GLACIER, DEEP_ARCHIVE). Restore it first." },
  ExpiredToken: EXPIRED,
  ExpiredTokenException: EXPIRED,
  InvalidToken: EXPIRED,
  TokenRefreshRequired: EXPIRED,
  CredentialsProviderError: { code: "expired-credentials", retry: "soon", advice: CREDENTIALS },
  AssumeRoleError: { code: "access-denied", advice: "Let the role's trust policy name the gateway's identity and `externalId`." },
  TokenProviderError: { code: "expired-credentials", advice: CREDENTIALS },
  RequestTimeTooSkewed: { code: "unavailable", retry: "soon", advice: "Set this machine's clock (NTP)." },
  RequestExpired: { code: "unavailable", retry: "soon", advice: "Set this machine's clock (NTP)." },
  SlowDown: THROTTLED,
  SlowDownRead: THROTTLED,
  SlowDownWrite: THROTTLED,
  ServiceUnavailable: { ...THROTTLED, code: "unavailable", ambiguous: true },
  Throttling: THROTTLED,
  ThrottlingException: THROTTLED,
  TooManyRequests: THROTTLED,
  RequestLimitExceeded: THROTTLED,
  InternalError: BUSY,
  InternalFailure: BUSY,
  RequestTimeout: { ...BUSY, advice: "The store waited too long for data; check the network." },
  BadDigest: CORRUPTED,
  InvalidDigest: CORRUPTED,
  XAmzContentChecksumMismatch: CORRUPTED,
  XAmzContentSHA256Mismatch: CORRUPTED,
  IncompleteBody: { ...CORRUPTED, code: "io", advice: "The store got fewer bytes than announced; check the network." },
  EntityTooLarge: { code: "too-large" },
  EntityTooSmall: INVALID,
  InvalidPart: INVALID,
  InvalidPartOrder: INVALID,
  InvalidRequest: INVALID,
  MalformedXML: INVALID,
  MetadataTooLarge: INVALID,
  InvalidArgument: INVALID,
  InvalidRange: INVALID,
  InvalidStorageClass: { ...INVALID, advice: "Correct `storageClass` in the configuration." },
  InvalidBucketName: { ...INVALID, advice: "Correct `bucket` in the configuration." },
  KeyTooLongError: { code: "invalid-key" },
  InvalidURI: { code: "invalid-key" },
  XMinioInvalidObjectName: { code: "invalid-key" },
  NotImplemented: { code: "unsupported" },
  MethodNotAllowed: { code: "unsupported" },
  PermanentRedirect: ELSEWHERE,
  TemporaryRedirect: { ...ELSEWHERE, code: "unavailable", retry: "soon" },
  AuthorizationHeaderMalformed: ELSEWHERE,
  IllegalLocationConstraintException: ELSEWHERE,
  QuotaExceeded: FULL,
  InsufficientStorage: FULL,
  XMinioStorageFull: FULL,
};

/** By HTTP status, where the store's code says nothing. */
const STATUS_RULES: Readonly<Record<number, FaultRule>> = {
  301: ELSEWHERE,
  307: ELSEWHERE,
  400: INVALID,
  401: { code: "access-denied", advice: CREDENTIALS },
  403: { code: "access-denied", advice: DENIED },
  404: { code: "not-found" },
  405: { code: "unsupported" },
  408: BUSY,
  409: { code: "precondition-failed", retry: "soon" },
  411: INVALID,
  412: { code: "precondition-failed" },
  413: { code: "too-large" },
  416: INVALID,
  429: THROTTLED,
  501: { code: "unsupported" },
  503: { ...THROTTLED, code: "unavailable", ambiguous: true },
  507: FULL,
};

/** Network errors that come before anything was sent. */
const NOT_CONNECTED = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "EADDRNOTAVAIL"]);
const UNREACHABLE: FaultRule = {
  code: "unavailable",
  retry: "soon",
  advice: "Check that the store runs and that `endpoint`, DNS, route and firewall are right.",
};
const CUT: FaultRule = { ...UNREACHABLE, ambiguous: true };

/** Classifies what one attempt threw. */
export function classifyFault(error: unknown): S3Fault {
  const name = nameOf(error);
  const status = statusOf(error);
  const region = regionOf(error);
  const { code, retry = "no", ambiguous = false, advice = "" } = ruleFor(error, name, status);
  return { name, status, code, retry, ambiguous, region, advice };
}

/** The `StoreError` for a classified failure; `what` names operation, bucket and key. */
export function translateFault(fault: S3Fault, what: string, cause: unknown): StoreError {
  const message = cause instanceof Error && cause.message !== fault.name ? cause.message.trim().replace(/\.$/, "") : "";
  const text = message === "" ? "" : `: ${message}`;
  const status = fault.status === undefined ? "" : ` (HTTP ${fault.status})`;
  const region = fault.region === undefined ? "" : ` The bucket is in ${fault.region}.`;
  const advice = fault.advice === "" ? "" : ` ${fault.advice}`;
  return new StoreError(fault.code, `${what}: ${fault.name}${status}${text}.${region}${advice}`, { cause: withoutRequest(cause) });
}

/** The SDK's errors hold the whole exchange, with signatures, tokens and sockets: none of that may reach a log. */
function withoutRequest(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  const bare = new Error(error.message);
  bare.name = error.name;
  if (error.stack !== undefined) bare.stack = error.stack;
  const requestId = property(property(error, "$metadata"), "requestId");
  return typeof requestId === "string" ? Object.assign(bare, { requestId }) : bare;
}

function ruleFor(error: unknown, name: string, status: number | undefined): FaultRule {
  if (error instanceof TransportTimeout) return error.sent ? CUT : UNREACHABLE;
  if (error instanceof MalformedAnswer) return { ...BUSY, code: "io" };
  const rule = RULES[name];
  if (rule) return rule;
  if (name.startsWith("KMS."))
    return { code: "access-denied", advice: "Grant kms:GenerateDataKey and kms:Decrypt on the key, and enable it." };
  if (status !== undefined && (status < 200 || status >= 300)) return STATUS_RULES[status] ?? (status >= 500 ? BUSY : INVALID);
  // An answer that began well and could not be read, or a network error: undefined codes included, for the socket's own.
  if (NOT_CONNECTED.has(name)) return UNREACHABLE;
  return isCertificateProblem(name)
    ? { code: "unavailable", advice: "The endpoint's TLS certificate is not trusted (NODE_EXTRA_CA_CERTS adds one)." }
    : CUT;
}

function isCertificateProblem(name: string): boolean {
  return (
    name.startsWith("CERT_") ||
    name.startsWith("ERR_TLS_") ||
    name.includes("SELF_SIGNED") ||
    name.includes("VERIFY_LEAF") ||
    name.includes("UNABLE_TO_GET_ISSUER")
  );
}

/** Codes of the SDK that only repeat that there was no readable code. */
const NO_CODE = new Set(["Error", "TypeError", "UnknownError", "Unknown", "S3ServiceException", "AggregateError"]);

function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return "UnknownError";
  if ("Code" in error && typeof error.Code === "string") return error.Code;
  if (!NO_CODE.has(error.name)) return error.name;
  if ("code" in error && typeof error.code === "string") return error.code;
  if (error instanceof AggregateError && error.errors[0] instanceof Error) return nameOf(error.errors[0]);
  return error.name;
}

function statusOf(error: unknown): number | undefined {
  const metadata = property(error, "$metadata");
  const status = property(metadata, "httpStatusCode");
  return typeof status === "number" ? status : undefined;
}

function regionOf(error: unknown): string | undefined {
  const header = property(property(property(error, "$response"), "headers"), "x-amz-bucket-region");
  const region = header ?? property(error, "Region");
  return typeof region === "string" && /^[a-z0-9-]{3,40}$/.test(region) ? region : undefined;
}

function property(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
