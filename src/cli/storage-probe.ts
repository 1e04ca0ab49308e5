/**
 * Tries on a store what the gateway will need of it, with a canary object that it removes again. Knows the store port
 * only.
 */
import { randomBytes } from "node:crypto";
import { buffer } from "node:stream/consumers";
import { StoreError } from "../errors.ts";
import type { MultipartUpload, ObjectStore } from "../objectstore/objectstore.ts";

/** A step that did not work; `reason` is for the operator and names what to do where the store knows. */
export interface ProbeFailure {
  readonly step: "list" | "put" | "read" | "delete" | "multipart create" | "multipart abort";
  readonly reason: string;
}

/** What came out; no failures means everything worked. */
export interface ProbeResult {
  readonly failures: readonly ProbeFailure[];
}

/** After one of these every other step would say the same. */
const HOPELESS: ReadonlySet<string> = new Set(["no-such-bucket", "wrong-region", "expired-credentials", "unavailable"]);
const CANARY_NAME = ".sftp-s3-gateway-canary-";

/** Tries `store` below `prefix`; read-only users need only the listing. Never rejects. */
export async function probeStorage(store: ObjectStore, prefix: string, options: { readonly readOnly: boolean }): Promise<ProbeResult> {
  const failures: ProbeFailure[] = [];
  let hopeless = false;
  const attempt = async (step: ProbeFailure["step"], action: () => Promise<void>): Promise<boolean> => {
    if (hopeless) return false;
    try {
      await action();
      return true;
    } catch (error) {
      hopeless = error instanceof StoreError && HOPELESS.has(error.code);
      failures.push({ step, reason: error instanceof Error ? error.message : String(error) });
      return false;
    }
  };
  await attempt("list", async () => {
    for await (const _page of store.list(prefix, { delimiter: "/", pageSize: 1 })) break;
  });
  if (options.readOnly) return { failures };

  const key = `${prefix}${CANARY_NAME}${randomBytes(8).toString("hex")}`;
  const content = Buffer.from(`sftp-s3-gateway config check ${new Date().toISOString()}\n`);
  const written = await attempt("put", async () => {
    await store.put(key, [content], { contentType: "text/plain", metadata: { mtime: "0" } });
  });
  if (written) {
    await attempt("read", async () => {
      const read = await store.get(key);
      if (!(await buffer(read.body)).equals(content)) throw new Error("the canary came back changed");
    });
    await attempt("delete", () => store.delete([key]));
  }
  let upload: MultipartUpload | undefined;
  const created = await attempt("multipart create", async () => {
    upload = await store.createUpload(`${key}-parts`, { contentType: "application/octet-stream" });
  });
  if (created) await attempt("multipart abort", async () => upload?.abort());
  return { failures };
}
