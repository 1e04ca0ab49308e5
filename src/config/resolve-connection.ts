/**
 * How a storage is reached: a region's connection with a user's own over it, checked. Part of `resolve.ts`.
 */
import type { ConfigLocation } from "../errors.ts";
import type { S3Connection } from "./gateway-config.ts";
import type { ConnectionValues, RegionValues, UserValues } from "./schema.ts";
import type { Problem } from "./yaml-source.ts";

/** What resolving needs to know of its surroundings. */
export interface ResolveContext {
  readonly file: string | undefined;
  /** Folder that relative `hostKeys` and `state` count from. */
  readonly workingDirectory: string;
  /** Where the value at a path stands, in whichever file that is. */
  readonly locate: (path: readonly PropertyKey[]) => ConfigLocation;
  readonly report: (problem: Problem) => void;
  /** Told of every key file before it is read and again with its text, so that it can be watched. */
  readonly readsFile: (file: string, text?: string) => void;
}

const CONNECTION_KEYS = [
  "awsRegion",
  "endpoint",
  "pathStyle",
  "profile",
  "accessKeyId",
  "secretAccessKey",
  "sessionToken",
  "roleArn",
  "externalId",
  "narrowRole",
  "stsEndpoint",
  "expectedBucketOwner",
] as const satisfies readonly (keyof ConnectionValues)[];

/** How `user` reaches a bucket: its own connection over that of its region. */
export function connectionOf(
  user: Pick<UserValues, "s3" | "storageClass" | "sse" | "acl">,
  region: RegionValues | undefined,
): S3Connection {
  const merged: Record<string, unknown> = {};
  for (const key of CONNECTION_KEYS) {
    const value = user.s3?.[key] ?? region?.[key];
    if (value !== undefined) merged[key] = value;
  }
  // One identity replaces another as a whole: a user's own access key must not be combined with the region's profile or role.
  if (user.s3?.accessKeyId !== undefined || user.s3?.profile !== undefined) {
    for (const key of ["accessKeyId", "secretAccessKey", "sessionToken", "profile", "roleArn", "externalId", "narrowRole"] as const) {
      if (user.s3[key] === undefined) delete merged[key];
    }
  }
  const { storageClass = region?.storageClass, sse = region?.sse, acl = region?.acl } = user;
  return Object.freeze({ ...(merged as ConnectionValues), storageClass, sse, acl });
}

/** Reports what does not fit together in a connection at `path`. */
export function checkConnection(path: readonly PropertyKey[], connection: ConnectionValues, context: ResolveContext): void {
  const complain = (key: string, message: string): void => context.report({ location: context.locate([...path, key]), message });
  if ((connection.accessKeyId === undefined) !== (connection.secretAccessKey === undefined)) {
    const [there, missing] = connection.accessKeyId === undefined ? ["secretAccessKey", "accessKeyId"] : ["accessKeyId", "secretAccessKey"];
    complain(there, `${there}: write ${missing} beside it, or neither for the AWS default chain`);
  }
  if (connection.profile !== undefined && connection.accessKeyId !== undefined)
    complain("profile", "profile: write either a profile or an access key");
  if (connection.sessionToken !== undefined && connection.accessKeyId === undefined)
    complain("sessionToken", "sessionToken: needs accessKeyId");
  for (const key of ["externalId", "narrowRole"] as const) {
    if (connection[key] !== undefined && connection.roleArn === undefined) complain(key, `${key}: needs roleArn`);
  }
}
