/** Operations on buckets and batches: create, head, delete, location, DeleteObjects. */
import { Bucket } from "./bucket.ts";
import { unquote } from "./conditions.ts";
import { type Exchange, emptyReply, isoTime, type Reply, xmlReply } from "./exchange.ts";
import { S3Error } from "./s3-error.ts";
import { document, element, elementsOf, textElement, textOf } from "./xml.ts";

const MAX_BATCH = 1000;

/** ListBuckets. */
export function listBuckets({ state }: Exchange): Reply {
  const items = [...state.buckets.keys()]
    .sort()
    .map((name) => element("Bucket", textElement("Name", name), textElement("CreationDate", isoTime(0))));
  const owner = element("Owner", textElement("ID", "owner"));
  return xmlReply(document("ListAllMyBucketsResult", owner, element("Buckets", ...items)));
}

/** CreateBucket. */
export async function createBucket({ request, state, receive }: Exchange): Promise<Reply> {
  await receive({ isDocument: true });
  if (state.buckets.has(request.bucket)) {
    throw new S3Error(409, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.");
  }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(request.bucket)) {
    throw new S3Error(400, "InvalidBucketName", "The specified bucket is not valid.");
  }
  state.buckets.set(request.bucket, new Bucket(request.bucket));
  return emptyReply(200, { location: `/${request.bucket}` });
}

/** HeadBucket. */
export function headBucket({ bucket, state }: Exchange): Reply {
  return emptyReply(bucket ? 200 : 404, { "x-amz-bucket-region": state.region });
}

/** DeleteBucket: only an empty one. */
export function deleteBucket({ bucket, state }: Exchange): Reply {
  if (bucket.size > 0) throw new S3Error(409, "BucketNotEmpty", "The bucket you tried to delete is not empty");
  state.buckets.delete(bucket.name);
  return emptyReply(204);
}

/** GetBucketLocation; us-east-1 answers with an empty constraint. */
export function getBucketLocation({ state }: Exchange): Reply {
  const region = state.region === "us-east-1" ? "" : state.region;
  return xmlReply(document("LocationConstraint", region));
}

/** GetBucketVersioning: never enabled here. */
export function getBucketVersioning(): Reply {
  return xmlReply(document("VersioningConfiguration"));
}

/** DeleteObjects, with an ETag per object as condition where given. */
export async function deleteObjects({ bucket, request, receive }: Exchange): Promise<Reply> {
  const body = await receive();
  const hasChecksum = Object.keys(request.headers).some((name) => name === "content-md5" || name.startsWith("x-amz-checksum-"));
  if (!hasChecksum) throw new S3Error(400, "InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*");
  const xml = Buffer.concat(body.chunks).toString("utf8");
  const quiet = textOf(xml, "Quiet") === "true";
  const items = elementsOf(xml, "Object");
  if (items.length === 0 || items.length > MAX_BATCH) {
    throw new S3Error(400, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema");
  }
  const results = items.map((item) => {
    const key = textOf(item, "Key") ?? "";
    const etag = textOf(item, "ETag");
    const current = bucket.get(key);
    if (etag !== undefined && unquote(etag) !== current?.etag) {
      const code = current ? "PreconditionFailed" : "NoSuchKey";
      return element("Error", textElement("Key", key), textElement("Code", code), textElement("Message", code));
    }
    bucket.delete(key);
    return quiet ? "" : element("Deleted", textElement("Key", key));
  });
  return xmlReply(document("DeleteResult", ...results));
}
