/** Looks into objects: stored type and first bytes against the extension (rules D01 and D02). One request an object. */
import { buffer } from "node:stream/consumers";
import { StoreError } from "../../errors.ts";
import type { ListedObject, ObjectInfo, ObjectStore } from "../../objectstore/objectstore.ts";
import { contentTypeOf } from "../../vfs/content-type.ts";
import type { Finding } from "./layout-report.ts";
import { splitExtension } from "./thumbnail-name.ts";

const HEAD_BYTES = 16;

/** An object whose type is to be set right. */
export interface DeepFix {
  readonly info: ObjectInfo;
  readonly contentType: string;
}

/** First bytes by extension; `.` stands for any byte (latin1). */
const MAGIC: Readonly<Record<string, RegExp>> = {
  ".jpg": /^\xff\xd8\xff/,
  ".jpeg": /^\xff\xd8\xff/,
  ".jpe": /^\xff\xd8\xff/,
  ".png": /^\x89PNG\r\n.\n/s,
  ".gif": /^GIF8[79]a/,
  ".tif": /^(?:II[*+]\0|MM\0[*+])/,
  ".tiff": /^(?:II[*+]\0|MM\0[*+])/,
  ".pdf": /^%PDF-/,
  ".heic": /^....ftyp/s,
  ".heif": /^....ftyp/s,
  ".mp4": /^....ftyp/s,
  ".zip": /^PK/,
  ".docx": /^PK/,
  ".xlsx": /^PK/,
};

/** The findings about one object and, where the type is wrong, how to mend it. */
export async function inspectContent(
  store: ObjectStore,
  object: ListedObject,
  name: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly findings: readonly Finding[]; readonly fix?: DeepFix }> {
  const { key, size } = object;
  try {
    const { info, bytes } = await readHead(store, object, signal);
    const findings: Finding[] = [];
    const expected = contentTypeOf(name);
    const wrongType = !sameType(info.contentType, expected);
    if (wrongType) {
      const severity = expected === "application/pdf" ? "error" : "warning";
      findings.push({ rule: "D01", severity, key, size, detail: `${info.contentType ?? "no type"}, should be ${expected}` });
    }
    const magic = MAGIC[splitExtension(name).extension.toLowerCase()];
    if (magic && size > 0 && !magic.test(bytes.toString("latin1"))) {
      findings.push({ rule: "D02", severity: "warning", key, size, detail: "the content is not what the extension says" });
    }
    return { findings, ...(wrongType ? { fix: { info, contentType: expected } } : {}) };
  } catch (error) {
    if (!(error instanceof StoreError) || error.code === "aborted") throw error;
    if (error.code === "not-found") return { findings: [] };
    return { findings: [{ rule: "D02", severity: "warning", key, size, detail: `cannot be read: ${error.message}` }] };
  }
}

async function readHead(
  store: ObjectStore,
  { key, size }: ListedObject,
  signal: AbortSignal | undefined,
): Promise<{ info: ObjectInfo; bytes: Buffer }> {
  if (size === 0) return { info: await store.head(key, signal), bytes: Buffer.alloc(0) };
  const read = await store.get(key, { range: { start: 0, end: HEAD_BYTES - 1 }, ...(signal ? { signal } : {}) });
  return { info: read.info, bytes: await buffer(read.body) };
}

function sameType(stored: string | undefined, expected: string): boolean {
  const bare = stored?.split(";")[0]?.trim().toLowerCase();
  // S3's own name for "unknown" is as good as the usual one.
  return bare === expected || (expected === "application/octet-stream" && (bare === "binary/octet-stream" || bare === undefined));
}
