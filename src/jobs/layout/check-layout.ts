/**
 * Checks a storage against what the asset server expects of it (facts: seed-system §1.4): one listing, every key looked at
 * once, memory for a hash a name. Changes nothing.
 */
import { StoreError } from "../../errors.ts";
import type { ListedObject, ObjectStore } from "../../objectstore/objectstore.ts";
import { type Lister, orderedPages, sortedOnDisk, UnorderedListing } from "../ordered-listing.ts";
import { WorkQueue } from "../sync/work-queue.ts";
import { type DeepFix, inspectContent } from "./deep-check.ts";
import { type Finding, LayoutReport } from "./layout-report.ts";
import { classifyName, hasNoExtension, impossibleName, isJunk, riskyName } from "./name-rules.ts";
import { TextIndex } from "./text-index.ts";
import { identityOfThumbnail, isThumbnailable, splitExtension, thumbnailIdentities } from "./thumbnail-name.ts";

const ARCHIVED: ReadonlySet<string> = new Set(["GLACIER", "DEEP_ARCHIVE"]);
const DEEP_AT_ONCE = 16;
const CAS_FOLDERS = /^[0-9a-f]{2}\/(?:[0-9a-f]{2}\/)?/;

/** What is checked, and how. */
export interface LayoutOptions {
  readonly store: ObjectStore;
  /** Empty, or ends with `/`. */
  readonly prefix: string;
  /** `cas`: originals lie two folders deep. */
  readonly layout: "specify" | "cas";
  /** Reads type and first bytes of every object: one request each. */
  readonly deep: boolean;
  /** Examples kept for each rule. */
  readonly maxExamples: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((keys: number) => void) | undefined;
}

/** What could be mended, and the report. Keys are whole. */
export interface LayoutResult {
  readonly report: LayoutReport;
  readonly missingMarkers: readonly string[];
  /** Thumbnails without an original, or older than theirs. */
  readonly deletable: readonly string[];
  readonly wrongTypes: readonly DeepFix[];
}

/** Runs the check. Rejects only when aborted: a storage that cannot be listed is a finding. */
export async function checkLayout(options: LayoutOptions): Promise<LayoutResult> {
  let check = new LayoutCheck(options);
  try {
    await check.run(options.store).catch(async (error: unknown) => {
      if (!(error instanceof UnorderedListing)) throw error;
      check = new LayoutCheck(options);
      await check.run(sortedOnDisk(options.store));
    });
  } catch (error) {
    if (!(error instanceof StoreError) || error.code === "aborted") throw error;
    check.report.add({ rule: "L02", severity: "error", key: options.prefix, detail: error.message });
    return { report: check.report, missingMarkers: [], deletable: [], wrongTypes: [] };
  }
  return check.result();
}

class LayoutCheck {
  readonly report: LayoutReport;
  readonly #options: LayoutOptions;
  readonly #queue = new WorkQueue(DEEP_AT_ONCE);
  /** Thumbnail identity → when the newest original of it was written, in seconds. */
  readonly #identities = new TextIndex();
  readonly #folded = new TextIndex({ withValues: false });
  readonly #seen = { originals: false, thumbnails: false };
  readonly #deletable: string[] = [];
  readonly #wrongTypes: DeepFix[] = [];
  #keys = 0;

  constructor(options: LayoutOptions) {
    this.#options = options;
    this.report = new LayoutReport(options.maxExamples);
  }

  /** Originals come before thumbnails in the listing, and must: rejects with `UnorderedListing` otherwise. */
  async run(lister: Lister): Promise<void> {
    const { prefix, signal, onProgress } = this.#options;
    try {
      for await (const page of orderedPages(lister, prefix, signal)) {
        for (const object of page) {
          const looked = this.#look(object);
          if (looked) await looked;
        }
        onProgress?.(this.#keys);
      }
    } finally {
      await this.#queue.idle();
    }
  }

  result(): LayoutResult {
    const { prefix } = this.#options;
    const missingMarkers: string[] = [];
    for (const [folder, rule] of [["originals", "L03"] as const, ["thumbnails", "L04"] as const]) {
      if (this.#seen[folder]) continue;
      this.#add({ rule, severity: "error", key: `${prefix}${folder}/`, detail: "does not exist (--fix creates it)" });
      missingMarkers.push(`${prefix}${folder}/`);
    }
    return { report: this.report, missingMarkers, deletable: this.#deletable, wrongTypes: this.#wrongTypes };
  }

  /** What has to be waited for, if anything. */
  #look(object: ListedObject): Promise<void> | undefined {
    const { prefix, deep } = this.#options;
    this.#keys++;
    const path = object.key.slice(prefix.length);
    if (path === "") return undefined;
    const [, folder = "", name = ""] = /^(originals|thumbnails)\/(.*)$/s.exec(path) ?? [];
    if (folder === "") {
      this.#misplaced(object, path);
      return undefined;
    }
    const isOriginal = folder === "originals";
    this.#seen[isOriginal ? "originals" : "thumbnails"] = true;
    if (name === "") return undefined;
    const base = this.#options.layout === "cas" && isOriginal ? name.replace(CAS_FOLDERS, "") : name;
    if (base === "") return undefined;
    if (base.includes("/")) {
      this.#nested(object, path, folder);
      return undefined;
    }
    if (ARCHIVED.has(object.storageClass ?? "")) {
      this.#add({ rule: "C01", severity: "error", key: object.key, size: object.size, detail: object.storageClass ?? "" });
    }
    if (isOriginal) this.#original(object, base);
    else this.#thumbnail(object, base);
    return deep ? this.#queue.add(() => this.#inspect(object, base)) : undefined;
  }

  #original({ key, size, lastModifiedMs }: ListedObject, name: string): void {
    const { extension } = splitExtension(name);
    this.report.countOriginal(extension, size);
    this.report.classes[classifyName(name)]++;
    this.#checkName(key, name, size);
    if (size === 0) this.#add({ rule: "T02", severity: "warning", key, detail: "empty" });
    if (hasNoExtension(name)) this.#add({ rule: "T02", severity: "warning", key, size, detail: "no extension" });
    else if (!isThumbnailable(extension)) this.#add({ rule: "T03", severity: "info", key, size });
    const folded = name.normalize("NFC").toLowerCase();
    if (!this.#folded.add(folded)) {
      this.#add({ rule: "N02", severity: "warning", key, size, detail: "differs from another name in case or form only" });
    }
    const [identity = "", ...others] = thumbnailIdentities(name);
    const written = seconds(lastModifiedMs);
    if (!this.#identities.add(identity, written) && isThumbnailable(extension)) {
      this.#add({ rule: "T04", severity: "warning", key, size, detail: "another original has the same thumbnail" });
    }
    for (const other of others) this.#identities.add(other, written);
  }

  #thumbnail({ key, size, lastModifiedMs }: ListedObject, name: string): void {
    this.report.thumbnails.count++;
    this.report.thumbnails.bytes += size;
    if (isJunk(name)) {
      this.#add({ rule: "T01", severity: "warning", key, size });
      return;
    }
    const identity = identityOfThumbnail(name);
    if (identity === undefined) {
      this.#add({ rule: "H01", severity: "error", key, size, detail: "not NAME_SIZE.jpg, .gif or .png" });
      return;
    }
    const written = this.#identities.get(identity);
    if (written === undefined) this.#add({ rule: "H02", severity: "warning", key, size });
    else if (seconds(lastModifiedMs) < written) this.#add({ rule: "H03", severity: "warning", key, size });
    else return;
    this.#deletable.push(key);
  }

  #checkName(key: string, name: string, size: number): void {
    const impossible = impossibleName(name, key);
    if (impossible !== undefined) this.#add({ rule: "N01", severity: "error", key, size, detail: impossible });
    if (isJunk(name)) this.#add({ rule: "T01", severity: "warning", key, size });
    const risky = riskyName(name);
    if (risky !== undefined) this.#add({ rule: "N02", severity: "warning", key, size, detail: risky });
  }

  #misplaced({ key, size }: ListedObject, path: string): void {
    if (this.#options.prefix === "" && path.startsWith("/")) {
      this.#add({ rule: "L06", severity: "error", key, size, detail: `should be ${path.replace(/^\/+/, "")}` });
      return;
    }
    this.#add({ rule: "L05", severity: "error", key, size, detail: `should be ${rightPath(path)}` });
  }

  #nested({ key, size }: ListedObject, path: string, folder: string): void {
    const rule = /^(?:originals|thumbnails)\/(?:originals|thumbnails)\//i.test(path) ? "L05" : "L07";
    this.#add({
      rule,
      severity: "error",
      key,
      size,
      detail: `should be ${rule === "L05" ? rightPath(path) : `${folder}/${baseName(path)}`}`,
    });
  }

  async #inspect(object: ListedObject, name: string): Promise<void> {
    const { store, signal } = this.#options;
    const { findings, fix } = await inspectContent(store, object, name, signal);
    for (const finding of findings) this.#add(finding);
    if (fix) this.#wrongTypes.push(fix);
  }

  #add(finding: Finding): void {
    this.report.add(finding);
  }
}

/** S3 tells times to the second. */
function seconds(ms: number): number {
  return Math.min(2 ** 32 - 1, Math.max(0, Math.floor(ms / 1000)));
}

function baseName(path: string): string {
  return path.replace(/\/+$/, "").split("/").at(-1) ?? "";
}

/** Where a misplaced file most likely belongs. */
function rightPath(path: string): string {
  const folders = path.split("/").slice(0, -1);
  const belongs = folders.findLast((folder) => /^(?:originals?|thumbnails?|thumbs)$/i.test(folder)) ?? "originals";
  const folder = /^t/i.test(belongs) ? "thumbnails" : "originals";
  const isFolder = path.endsWith("/");
  return isFolder ? `${folder}/` : `${folder}/${baseName(path)}`;
}
