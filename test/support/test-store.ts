/** What a gateway under test stores into, seen from behind: names are relative to the customer's storage. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { S3Server } from "./s3-server/s3-server.ts";

/** Direct access to the published files of one customer. */
export interface TestStore {
  readonly kind: "s3" | "local";
  /** All published files, sorted; directory markers are left out. */
  names(): string[];
  /** SHA-256 in hex of a published file; undefined if there is none. */
  sha256(name: string): string | undefined;
  size(name: string): number | undefined;
  /** Publishes a file as another program would. */
  put(name: string, bytes: Uint8Array | string): void;
  delete(name: string): void;
}

/** SHA-256 in hex. */
export function sha256(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A customer's prefix on the S3 test server. */
export function s3TestStore(server: S3Server, bucket: string, prefix: string): TestStore {
  const find = (name: string) => server.contents.object(bucket, prefix + name);
  return {
    kind: "s3",
    names: () =>
      server.contents
        .keys(bucket)
        .filter((key) => key.startsWith(prefix) && !key.endsWith("/"))
        .map((key) => key.slice(prefix.length)),
    sha256: (name) => find(name)?.sha256(),
    size: (name) => find(name)?.size,
    put: (name, bytes) => server.contents.put(bucket, prefix + name, bytes),
    delete: (name) => void server.contents.delete(bucket, prefix + name),
  };
}

/** A customer's folder on the local disk. */
export function localTestStore(root: string): TestStore {
  const pathOf = (name: string) => join(root, name);
  return {
    kind: "local",
    names: () =>
      readdirSync(root, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
        .filter((name) => !name.split("/").some((segment) => segment.startsWith(".sftp-s3-gateway")))
        .sort(),
    sha256: (name) => (existsSync(pathOf(name)) ? sha256(readFileSync(pathOf(name))) : undefined),
    size: (name) => (existsSync(pathOf(name)) ? statSync(pathOf(name)).size : undefined),
    put: (name, bytes) => {
      mkdirSync(dirname(pathOf(name)), { recursive: true });
      writeFileSync(pathOf(name), bytes);
    },
    delete: (name) => rmSync(pathOf(name), { force: true }),
  };
}
