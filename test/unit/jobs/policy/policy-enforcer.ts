/** Makes the S3 test server obey a policy: what no statement allows is AccessDenied. */
import type { PolicyDocument } from "../../../../src/jobs/policy/policy-documents.ts";
import type { S3Request } from "../../../support/s3-server/s3-request.ts";
import type { S3Server } from "../../../support/s3-server/s3-server.ts";

const ACTIONS: Partial<Record<S3Request["operation"], string>> = {
  ListObjectsV2: "s3:ListBucket",
  HeadBucket: "s3:ListBucket",
  ListMultipartUploads: "s3:ListBucketMultipartUploads",
  GetBucketLocation: "s3:GetBucketLocation",
  GetObject: "s3:GetObject",
  HeadObject: "s3:GetObject",
  PutObject: "s3:PutObject",
  CreateMultipartUpload: "s3:PutObject",
  UploadPart: "s3:PutObject",
  CompleteMultipartUpload: "s3:PutObject",
  DeleteObject: "s3:DeleteObject",
  AbortMultipartUpload: "s3:AbortMultipartUpload",
  ListParts: "s3:ListMultipartUploadParts",
  GetObjectTagging: "s3:GetObjectTagging",
  PutObjectTagging: "s3:PutObjectTagging",
};

/** Puts the policy in force until the server's faults are cleared. */
export function enforcePolicy(server: S3Server, policy: PolicyDocument): void {
  const action = { kind: "status", status: 403, code: "AccessDenied", message: "Access Denied" } as const;
  server.fault({ when: (request) => !allows(policy, request), times: Number.POSITIVE_INFINITY, action });
}

/** The policy without one action, wherever it stands. */
export function withoutAction(policy: PolicyDocument, action: string): PolicyDocument {
  return { ...policy, Statement: policy.Statement.map((one) => ({ ...one, Action: one.Action.filter((name) => name !== action) })) };
}

/** Whether a statement allows the request. A missing object is AccessDenied, too, for those who may not list. */
export function allows(policy: PolicyDocument, request: S3Request): boolean {
  const action = ACTIONS[request.operation];
  if (action === undefined) return false;
  const resource = `arn:aws:s3:::${request.bucket}${request.key === "" ? "" : `/${request.key}`}`;
  return policy.Statement.some(({ Action, Resource, Condition }) => {
    const patterns = Condition?.StringLike?.["s3:prefix"];
    const prefixes = patterns === undefined ? undefined : [patterns].flat();
    const prefix = request.query.get("prefix") ?? "";
    return (
      Action.includes(action) && matches(Resource, resource) && (prefixes === undefined || prefixes.some((one) => matches(one, prefix)))
    );
  });
}

/** `*` and `?` as policies mean them; `${*}` and the like stand for themselves. */
function matches(pattern: string, text: string): boolean {
  const source = pattern.replaceAll(/\$\{([$*?])\}|[\s\S]/g, (one, escaped: string | undefined) => {
    if (escaped !== undefined) return `\\${escaped}`;
    if (one === "*") return "[\\s\\S]*";
    return one === "?" ? "[\\s\\S]" : one.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  });
  return new RegExp(`^${source}$`).test(text);
}
