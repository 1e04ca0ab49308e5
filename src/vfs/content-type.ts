/**
 * The content type of an object by the ending of its name. Knows nothing of stores.
 */
import mime from "mime";

/** What objects without a known ending get, as S3 itself would give them. */
export const DEFAULT_CONTENT_TYPE = "application/octet-stream";

/** What directory markers carry, as s3fs and others write it. */
export const DIRECTORY_CONTENT_TYPE = "application/x-directory";

/** The content type for a name or key by its ending, whatever its case; always one (`DEFAULT_CONTENT_TYPE` at worst). */
export function contentTypeOf(name: string): string {
  return mime.getType(name.slice(name.lastIndexOf("/") + 1)) ?? DEFAULT_CONTENT_TYPE;
}
