/** What an operation gets to see of a request and gives back as its answer. */
import type { Bucket, Content, StoredObject } from "./bucket.ts";
import type { ChecksumAlgorithm } from "./checksums.ts";
import type { S3Request } from "./s3-request.ts";

/** An answer: XML text, chunks of an object, or nothing. */
export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body: string | readonly Buffer[];
}

/** Settings and state the operations share. */
export interface StoreState {
  readonly buckets: Map<string, Bucket>;
  readonly region: string;
  /** Smallest part but the last, in bytes. */
  readonly minPartSize: number;
  readonly maxPutSize: number;
  /** Whether ETags are MD5 based. */
  readonly md5: boolean;
  /** Whether a copied range wrongly gets the checksum of its whole source. */
  readonly copiesSourceChecksum: boolean;
  /** Whether completing an upload takes the checksum of every part, if it was begun with checksums. */
  readonly wantsChecksumsAgain: boolean;
  /** Whether completing an upload again answers as the first time, as long as the server lives. */
  readonly rememberCompleted: boolean;
  readonly completed: Map<string, StoredObject>;
  now(): number;
}

/** One request being served. */
export interface Exchange {
  readonly request: S3Request;
  readonly state: StoreState;
  /** The bucket of the request; throws NoSuchBucket. */
  readonly bucket: Bucket;
  /** Reads and checks the request's body. */
  receive(options?: { computed?: ChecksumAlgorithm | undefined; isDocument?: boolean }): Promise<Content>;
}

/** An answer with an XML document. */
export function xmlReply(xml: string, status = 200, headers: Record<string, string> = {}): Reply {
  return { status, headers: { "content-type": "application/xml", "content-length": Buffer.byteLength(xml), ...headers }, body: xml };
}

/** An answer without content. */
export function emptyReply(status = 200, headers: Record<string, string> = {}): Reply {
  return { status, headers: status === 204 ? headers : { "content-length": 0, ...headers }, body: "" };
}

/** S3's text form of a time in XML. */
export function isoTime(ms: number): string {
  return new Date(Math.floor(ms / 1000) * 1000).toISOString();
}
