/**
 * AWS Signature Version 4 in the Authorization header, for requests to S3 without a query (Amazon S3 API reference,
 * "Authenticating Requests: Using the Authorization Header"). Bodies are not signed. Sends nothing; knows no operation.
 */
import { createHash, createHmac } from "node:crypto";

/** Whom a signature is of. */
export interface SigningIdentity {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

/** Where a signature is good. */
export interface SigningScope {
  readonly region: string;
  /** `s3`, or what else answers S3's requests there. */
  readonly service: string;
}

/** What of a request is signed. */
export interface UnsignedRequest {
  readonly method: string;
  /** Encoded as it goes over the wire. */
  readonly path: string;
  /** Names in lower case, `host` among them. */
  readonly headers: Readonly<Record<string, string>>;
  readonly hasBody: boolean;
}

const ALGORITHM = "AWS4-HMAC-SHA256";
const NO_BODY = createHash("sha256").digest("hex");
/** What proxies may change. */
const NOT_SIGNED = new Set(["cache-control", "user-agent"]);

/** Signs requests of one identity; keeps the key of the day. */
export class RequestSigner {
  #keyId = "";
  #key = Buffer.alloc(0);

  /** The headers with those that sign them. */
  sign(request: UnsignedRequest, identity: SigningIdentity, { region, service }: SigningScope, now: Date): Record<string, string> {
    const time = now.toISOString().replace(/[-:]|\.\d+/g, "");
    const day = time.slice(0, 8);
    const scope = `${day}/${region}/${service}/aws4_request`;
    const payload = request.hasBody ? "UNSIGNED-PAYLOAD" : NO_BODY;
    const headers: Record<string, string> = { ...request.headers, "x-amz-date": time, "x-amz-content-sha256": payload };
    if (identity.sessionToken !== undefined) headers["x-amz-security-token"] = identity.sessionToken;
    const names = Object.keys(headers)
      .filter((name) => !NOT_SIGNED.has(name))
      .sort();
    const fields = names.map((name) => `${name}:${(headers[name] ?? "").trim().replace(/\s+/g, " ")}\n`).join("");
    const signed = names.join(";");
    const canonical = `${request.method}\n${request.path}\n\n${fields}\n${signed}\n${payload}`;
    const digest = createHash("sha256").update(canonical).digest("hex");
    const signature = createHmac("sha256", this.#keyFor(identity, scope))
      .update(`${ALGORITHM}\n${time}\n${scope}\n${digest}`)
      .digest("hex");
    headers.authorization = `${ALGORITHM} Credential=${identity.accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`;
    return headers;
  }

  #keyFor({ secretAccessKey }: SigningIdentity, scope: string): Buffer {
    const id = `${scope} ${secretAccessKey}`;
    if (this.#keyId !== id) {
      let key = Buffer.from(`AWS4${secretAccessKey}`);
      for (const step of scope.split("/")) key = createHmac("sha256", key).update(step).digest();
      this.#key = key;
      this.#keyId = id;
    }
    return this.#key;
  }
}
