/**
 * The error answers of the S3 protocol. Knows the codes that S3's API reference lists, nothing of HTTP connections.
 */

/** An answer other than success: HTTP status, S3 error code and text; `details` become further XML elements. */
export class S3Error extends Error {
  override readonly name = "S3Error";
  readonly status: number;
  readonly code: string;
  readonly details: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  constructor(
    status: number,
    code: string,
    message = code,
    extra: { details?: Record<string, string>; headers?: Record<string, string> } = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = extra.details ?? {};
    this.headers = extra.headers ?? {};
  }
}

/** The error for a key that has no object. */
export function noSuchKey(key: string): S3Error {
  return new S3Error(404, "NoSuchKey", "The specified key does not exist.", { details: { Key: key } });
}

/** The error for an upload id that does not exist, is finished, aborted, or belongs to another key. */
export function noSuchUpload(uploadId: string): S3Error {
  const text = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
  return new S3Error(404, "NoSuchUpload", text, { details: { UploadId: uploadId } });
}

/** The error for a condition (If-Match and its relatives) that does not hold. */
export function preconditionFailed(condition: string): S3Error {
  return new S3Error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", {
    details: { Condition: condition },
  });
}
