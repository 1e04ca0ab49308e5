/** Which function serves which operation. */
import {
  createBucket,
  deleteBucket,
  deleteObjects,
  getBucketLocation,
  getBucketVersioning,
  headBucket,
  listBuckets,
} from "./bucket-operations.ts";
import type { Exchange, Reply } from "./exchange.ts";
import { listMultipartUploads, listObjects } from "./list-operations.ts";
import {
  abortMultipartUpload,
  completeMultipartUpload,
  createMultipartUpload,
  listParts,
  uploadPart,
  uploadPartCopy,
} from "./multipart-operations.ts";
import {
  copyObject,
  deleteObject,
  getObject,
  getObjectAttributes,
  getObjectTagging,
  putObject,
  putObjectTagging,
} from "./object-operations.ts";
import type { Operation } from "./s3-request.ts";

/** Serves one operation; throws an S3Error for an answer other than success. */
export type OperationHandler = (exchange: Exchange) => Reply | Promise<Reply>;

/** The table of operations. */
export const operations: Readonly<Record<Operation, OperationHandler>> = {
  ListBuckets: listBuckets,
  CreateBucket: createBucket,
  HeadBucket: headBucket,
  DeleteBucket: deleteBucket,
  GetBucketLocation: getBucketLocation,
  GetBucketVersioning: getBucketVersioning,
  ListObjects: listObjects,
  ListObjectsV2: listObjects,
  ListMultipartUploads: listMultipartUploads,
  DeleteObjects: deleteObjects,
  PutObject: putObject,
  CopyObject: copyObject,
  GetObject: getObject,
  HeadObject: getObject,
  DeleteObject: deleteObject,
  GetObjectAttributes: getObjectAttributes,
  GetObjectTagging: getObjectTagging,
  PutObjectTagging: putObjectTagging,
  CreateMultipartUpload: createMultipartUpload,
  UploadPart: uploadPart,
  UploadPartCopy: uploadPartCopy,
  CompleteMultipartUpload: completeMultipartUpload,
  AbortMultipartUpload: abortMultipartUpload,
  ListParts: listParts,
};
