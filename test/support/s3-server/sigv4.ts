/**
 * Verifies AWS Signature Version 4 in the Authorization header (Amazon S3 API reference, "Authenticating Requests").
 * Presigned URLs and signatures of single chunks are not supported.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { S3Error } from "./s3-error.ts";

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;
const MAX_SKEW_MS = 15 * 60_000;

/** What of a request is signed, as it stood on the wire. */
export interface SignedRequest {
  readonly method: string;
  readonly rawPath: string;
  readonly rawQuery: string;
  readonly headers: IncomingHttpHeaders;
}

/** Verifies signatures for a set of access keys and one region. */
export class SignatureVerifier {
  readonly #secrets: ReadonlyMap<string, string>;
  readonly #region: string;
  readonly #signingKeys = new Map<string, Buffer>();

  constructor(secrets: ReadonlyMap<string, string>, region: string) {
    this.#secrets = secrets;
    this.#region = region;
  }

  /** Throws the S3 error a wrong, missing, foreign or stale signature leads to; returns the access key id. */
  verify(request: SignedRequest): string {
    const { headers } = request;
    const match = AUTHORIZATION.exec(headers.authorization ?? "");
    if (!match) throw new S3Error(403, "AccessDenied", "Access Denied");
    const [, accessKeyId = "", day = "", region = "", signedHeaders = "", signature = ""] = match;
    const secret = this.#secrets.get(accessKeyId);
    if (secret === undefined) {
      throw new S3Error(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.");
    }
    if (region !== this.#region) {
      const text = `The authorization header is malformed; the region '${region}' is wrong; expecting '${this.#region}'`;
      throw new S3Error(400, "AuthorizationHeaderMalformed", text, {
        details: { Region: this.#region },
        headers: { "x-amz-bucket-region": this.#region },
      });
    }
    const names = signedHeaders.split(";");
    checkSignedHeaders(headers, names);
    const date = String(headers["x-amz-date"] ?? "");
    checkDate(date, day);
    const scope = `${day}/${region}/s3/aws4_request`;
    const digest = createHash("sha256").update(canonicalRequest(request, names)).digest("hex");
    const key = this.#signingKey(accessKeyId, secret, day);
    const expected = createHmac("sha256", key).update(`AWS4-HMAC-SHA256\n${date}\n${scope}\n${digest}`).digest();
    if (!timingSafeEqual(expected, Buffer.from(signature, "hex"))) {
      const text = "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
      throw new S3Error(403, "SignatureDoesNotMatch", text);
    }
    return accessKeyId;
  }

  #signingKey(accessKeyId: string, secret: string, day: string): Buffer {
    const id = `${accessKeyId}/${day}`;
    let key = this.#signingKeys.get(id);
    if (!key) {
      key = Buffer.from(`AWS4${secret}`);
      for (const step of [day, this.#region, "s3", "aws4_request"]) key = createHmac("sha256", key).update(step).digest();
      this.#signingKeys.set(id, key);
    }
    return key;
  }
}

function canonicalRequest(request: SignedRequest, signed: readonly string[]): string {
  const { headers } = request;
  const query = request.rawQuery
    .split("&")
    .filter((pair) => pair !== "")
    .map(canonicalPair)
    .sort()
    .join("&");
  const lines = signed.map((name) => {
    const value = headers[name];
    const text = Array.isArray(value) ? value.join(",") : (value ?? "");
    return `${name}:${text.trim().replace(/ +/g, " ")}`;
  });
  return [request.method, request.rawPath, query, ...lines, "", signed.join(";"), headers["x-amz-content-sha256"] ?? ""].join("\n");
}

/** As S3 does, whatever the client left unencoded on the wire: s3fs sends `delimiter=/` and signs `delimiter=%2F`. */
function canonicalPair(pair: string): string {
  const [name = "", ...value] = pair.split("=");
  return `${encodeStrictly(name)}=${encodeStrictly(value.join("="))}`;
}

function encodeStrictly(text: string): string {
  const encoded = encodeURIComponent(decodeURIComponent(text));
  return encoded.replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

function checkSignedHeaders(headers: IncomingHttpHeaders, signed: readonly string[]): void {
  for (const name of Object.keys(headers)) {
    if ((name === "host" || name.startsWith("x-amz-")) && !signed.includes(name)) {
      throw new S3Error(403, "AccessDenied", "There were headers present in the request which were not signed", {
        details: { HeadersNotSigned: name },
      });
    }
  }
}

function checkDate(date: string, day: string): void {
  const m = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(date);
  if (!m || !date.startsWith(day)) throw new S3Error(403, "AccessDenied", "AWS authentication requires a valid x-amz-date header");
  const time = Date.parse(`${m[1]}-${m[2]}-${m[3]}T${m[4]}:${m[5]}:${m[6]}Z`);
  if (Math.abs(Date.now() - time) > MAX_SKEW_MS) {
    throw new S3Error(403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.");
  }
}
