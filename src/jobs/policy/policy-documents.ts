/**
 * The JSON that a customer or we paste at AWS so that the gateway may use a part of a bucket: bucket policy, identity
 * policy, trust policy, lifecycle rule (facts: seed-system §2.8). Pure.
 */

/** One statement of a policy. */
export interface PolicyStatement {
  readonly Sid: string;
  readonly Effect: "Allow";
  readonly Principal?: { readonly AWS: string };
  readonly Action: readonly string[];
  readonly Resource: string;
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;
}

/** A policy as AWS takes it. */
export interface PolicyDocument {
  readonly Version: "2012-10-17";
  readonly Statement: readonly PolicyStatement[];
}

/** Which part of which bucket, and for whom. */
export interface PolicyTarget {
  readonly bucket: string;
  /** Empty for the whole bucket, else ends with `/`. */
  readonly prefix: string;
  /** `aws`, `aws-cn` or `aws-us-gov`. */
  readonly partition: string;
  /** Adds the right to read old versions. */
  readonly versions: boolean;
  /** ARN of the key that encrypts the objects, where it is the customer's own. */
  readonly kmsKeyArn?: string | undefined;
}

/** Actions on the bucket itself that are limited to the path by `s3:prefix`. */
export const LIST_ACTIONS = ["s3:ListBucket", "s3:ListBucketMultipartUploads"] as const;
/** Actions on the bucket that know no path. */
export const BUCKET_ACTIONS = ["s3:GetBucketLocation"] as const;
/** Actions on objects below the path. */
export const OBJECT_ACTIONS = [
  "s3:GetObject",
  "s3:PutObject",
  "s3:DeleteObject",
  "s3:AbortMultipartUpload",
  "s3:ListMultipartUploadParts",
  "s3:GetObjectTagging",
  "s3:PutObjectTagging",
] as const;
const KMS_ACTIONS = ["kms:Decrypt", "kms:GenerateDataKey"] as const;

/** Statement names, by what they grant; `policy check` points to them. */
export const SIDS = { list: "ListBelowThePath", location: "FindTheRegion", objects: "ObjectsBelowThePath", kms: "UseTheKey" } as const;

/** The bucket's policy that lets `principal` in. */
export function bucketPolicy(target: PolicyTarget, principal: string): PolicyDocument {
  const statements = s3Statements(target).map(({ Sid, Effect, ...rest }) => ({ Sid, Effect, Principal: { AWS: principal }, ...rest }));
  return { Version: "2012-10-17", Statement: statements };
}

/** The policy of the identity itself: ours beside a bucket policy, or the customer's role's. */
export function identityPolicy(target: PolicyTarget): PolicyDocument {
  const { kmsKeyArn } = target;
  const key = kmsKeyArn === undefined ? [] : [{ Sid: SIDS.kms, Effect: "Allow" as const, Action: KMS_ACTIONS, Resource: kmsKeyArn }];
  return { Version: "2012-10-17", Statement: [...s3Statements(target), ...key] };
}

/**
 * What a session of an assumed role is limited to, as the text that AssumeRole takes (at most 2,048 characters): the
 * intersection with the role's own policies counts, so that keys and ACLs are left to those.
 */
export function sessionPolicy(bucket: string, prefix: string, roleArn: string): string {
  const partition = roleArn.split(":")[1] ?? "aws";
  const { Version, Statement } = identityPolicy({ bucket, prefix, partition, versions: true, kmsKeyArn: "*" });
  const path = Statement.find(({ Sid }) => Sid === SIDS.objects)?.Resource ?? "";
  return JSON.stringify({
    Version,
    Statement: [...Statement, { Sid: "AclsBelowThePath", Effect: "Allow", Action: ["s3:PutObjectAcl"], Resource: path }],
  });
}

/** What our identity needs to assume the customer's role. */
export function assumePolicy(roleArn: string): PolicyDocument {
  return { Version: "2012-10-17", Statement: [{ Sid: "AssumeTheRole", Effect: "Allow", Action: ["sts:AssumeRole"], Resource: roleArn }] };
}

/** The trust policy of the customer's role: `principal` may assume it, with the external id only. */
export function trustPolicy(principal: string, externalId: string | undefined): object {
  const condition = externalId === undefined ? {} : { Condition: { StringEquals: { "sts:ExternalId": externalId } } };
  return {
    Version: "2012-10-17",
    Statement: [{ Sid: "LetTheGatewayIn", Effect: "Allow", Principal: { AWS: principal }, Action: "sts:AssumeRole", ...condition }],
  };
}

/** The bucket's lifecycle configuration that discards unfinished uploads, which cost money and are not seen. */
export function lifecycleRule({ prefix }: PolicyTarget): object {
  return {
    Rules: [
      {
        ID: "discard-unfinished-uploads",
        Status: "Enabled",
        Filter: { Prefix: prefix },
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 },
      },
    ],
  };
}

function s3Statements({ bucket, prefix, partition, versions }: PolicyTarget): PolicyStatement[] {
  const arn = `arn:${partition}:s3:::${bucket}`;
  const path = prefix.replace(/\/$/, "");
  const below = path === "" ? {} : { Condition: { StringLike: { "s3:prefix": [literal(path), `${literal(path)}/*`] } } };
  return [
    { Sid: SIDS.list, Effect: "Allow", Action: LIST_ACTIONS, Resource: arn, ...below },
    { Sid: SIDS.location, Effect: "Allow", Action: BUCKET_ACTIONS, Resource: arn },
    {
      Sid: SIDS.objects,
      Effect: "Allow",
      Action: versions ? [...OBJECT_ACTIONS, "s3:GetObjectVersion"] : OBJECT_ACTIONS,
      Resource: `${arn}/${path === "" ? "" : `${literal(path)}/`}*`,
    },
  ];
}

/** Text in a policy's pattern that stands for itself. */
function literal(text: string): string {
  return text.replaceAll(/[$*?]/g, (character) => `\${${character}}`);
}
