/** Opens the storage that the configuration gives a user. */
import type { UserStorage } from "../config/gateway-config.ts";
import type { Logger } from "../log.ts";
import type { ObjectStore } from "../objectstore/objectstore.ts";
import { sessionPolicy } from "../jobs/policy/policy-documents.ts";
import { openStorage } from "../objectstore/open-store.ts";

/** An open storage; disposing of it closes the store. */
export interface OpenedStorage extends AsyncDisposable {
  readonly store: ObjectStore;
  /** Empty, or ends with `/`. */
  readonly prefix: string;
}

/** The AWS tools' own variables, where the configuration names no region. */
function defaultRegion(): string | undefined {
  return process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION;
}

/**
 * Opens `storage`. Makes no request to a bucket; a missing folder is created. Rejects with a StoreError if a folder
 * cannot be used.
 */
export async function openUserStorage({ uri, location, connection }: UserStorage, log?: Logger): Promise<OpenedStorage> {
  const { narrowRole = false, roleArn } = connection ?? {};
  const narrowed = narrowRole && roleArn !== undefined && location.kind === "s3";
  const options = connection && {
    ...connection,
    ...(narrowed && { sessionPolicy: sessionPolicy(location.bucket, location.prefix, roleArn) }),
    awsRegion: connection.awsRegion ?? defaultRegion(),
    log,
  };
  const { store, prefix } = await openStorage(uri, options);
  return { store, prefix, [Symbol.asyncDispose]: () => store.close() };
}

/** Equal for storages that are the same place, whoever reaches it; holds no secret. */
export function storageIdentity({ uri, connection }: UserStorage): string {
  return connection?.endpoint === undefined ? uri : `${connection.endpoint} ${uri}`;
}
