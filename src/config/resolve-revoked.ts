/** What may no longer log in: the lists of the configuration and the files they name. Part of `resolve.ts`. */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { parseAuthorizedKeys } from "../auth/authorized-keys.ts";
import { addRevocations, MAX_KRL_BYTES } from "../auth/krl.ts";
import { Revocations } from "../auth/revocations.ts";
import type { ResolveContext } from "./resolve-connection.ts";
import type { ConfigValues } from "./schema.ts";

/** The revocations of `values`. A list that cannot be read whole is a problem of the configuration, never an empty list. */
export async function resolveRevoked(values: ConfigValues, context: ResolveContext): Promise<Revocations> {
  const { keys, fingerprints, serials, keyIds, krl } = values.server.revoked;
  const revocations = new Revocations();
  for (const print of fingerprints) revocations.addFingerprint(print);
  for (const keyId of keyIds) revocations.addKeyId(undefined, keyId);
  for (const range of serials) {
    const [first = "0", last = first] = String(range).split("-");
    revocations.addSerials(undefined, BigInt(first), BigInt(last));
  }
  for (const [index, entry] of keys.entries()) {
    const file = typeof entry === "object" ? entry.file : /^file:(.+)$/s.exec(entry.trim())?.[1]?.trim();
    if (file !== undefined) {
      await addFile(revocations, file, ["keys", index], context);
    } else {
      report(context, ["keys", index], () => {
        for (const { fingerprint } of parseAuthorizedKeys(String(entry))) revocations.addFingerprint(fingerprint);
      });
    }
  }
  for (const [index, file] of krl.entries()) await addFile(revocations, file, ["krl", index], context);
  return revocations;
}

async function addFile(revocations: Revocations, name: string, path: readonly PropertyKey[], context: ResolveContext): Promise<void> {
  const location = context.locate(["server", "revoked", ...path]);
  const localPath = resolve(dirname(location.file), name);
  context.readsFile(localPath);
  let bytes: Buffer;
  try {
    bytes = await readFile(localPath);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    context.report({ location, message: `server.revoked: ${name} cannot be read: ${reason}` });
    return;
  }
  if (bytes.length <= MAX_KRL_BYTES) context.readsFile(localPath, bytes.toString("latin1"));
  report(context, path, () => addRevocations(revocations, bytes), `${name}: `);
}

function report(context: ResolveContext, path: readonly PropertyKey[], action: () => void, what = ""): void {
  try {
    action();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    context.report({ location: context.locate(["server", "revoked", ...path]), message: `server.revoked: ${what}${reason}` });
  }
}
