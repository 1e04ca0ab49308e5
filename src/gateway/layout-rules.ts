/**
 * What the asset server's layout means for sessions: where files may be put, that thumbnails are the asset server's
 * business, and that those of a changed original go. Knows keys and names; knows no sessions.
 */
import type { UserConfig } from "../config/gateway-config.ts";
import { FsError } from "../errors.ts";
import { StaleThumbnails } from "../jobs/layout/stale-thumbnails.ts";
import { isThumbnailable, splitExtension } from "../jobs/layout/thumbnail-name.ts";
import type { ObjectStore } from "../objectstore/objectstore.ts";
import type { Clock } from "../vfs/uploads/clock.ts";
import type { Intent, VfsLog, VolumeRules } from "../vfs/volume.ts";

const ORIGINALS = "originals/";
const THUMBNAILS = "thumbnails/";
/** Folders of misplaced files that are named in the log, each once. */
const MAX_WARNINGS = 100;
/** A client does not wait longer than this for the deletion of thumbnails; it goes on behind. */
const LONGEST_WAIT_MS = 5_000;
/** `layout: cas`: two folders of the first characters of the name. */
const CAS_FILE = /^[0-9a-f]{2}\/[0-9a-f]{2}\/[^/]+$/;
const CAS_FOLDER = /^[0-9a-f]{2}(?:\/[0-9a-f]{2})?$/;

/** Whose rules they are. */
export interface LayoutRulesOptions extends Pick<UserConfig, "layout" | "thumbnailUploads"> {
  readonly store: ObjectStore;
  /** Empty, or ends with `/`. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly log: VfsLog;
  /** Told, and waited for, after thumbnails were deleted. */
  readonly onDeleted: (keys: readonly string[]) => Promise<void>;
  /** Told that something is gone. */
  readonly onRemoved: () => void;
  /** Told what another process of the node wrote: bytes, or that something is gone. */
  readonly onChangedElsewhere: (publishedBytes: number | undefined) => void;
}

/** See the head of this file. */
export class LayoutRules implements VolumeRules {
  readonly #options: LayoutRulesOptions;
  readonly #thumbnails: StaleThumbnails;
  readonly #warned = new Set<string>();

  constructor(options: LayoutRulesOptions) {
    const { store, prefix, clock, log, onDeleted } = options;
    this.#options = options;
    this.#thumbnails = new StaleThumbnails({
      store,
      folder: prefix + THUMBNAILS,
      now: () => clock.now(),
      onDeleted,
      onError: (error) => log.warn({ err: error }, "thumbnails of a changed original could not be removed; `check --fix` finds them"),
    });
  }

  checkWrite(name: string, path: string, intent: Intent): void {
    if (intent === "remove" || name === "") return;
    if (`${name}/` === THUMBNAILS || `${name}/` === ORIGINALS) return;
    const home = path.slice(0, path.length - name.length);
    if (name.startsWith(THUMBNAILS)) this.#checkThumbnail(path, `${home}${ORIGINALS}`);
    else if (intent !== "set-attributes") this.#checkPlace({ name, path, home }, intent);
  }

  /** True for originals that the asset server makes thumbnails of. */
  isTracked(key: string): boolean {
    return this.#originalName(key) !== undefined;
  }

  async published(key: string, replaced: boolean | undefined): Promise<void> {
    const name = replaced === false ? undefined : this.#originalName(key);
    if (name !== undefined) await this.#discard([name]);
  }

  async removed(keys: readonly string[]): Promise<void> {
    this.#options.onRemoved();
    const names = keys.flatMap((key) => this.#originalName(key) ?? []);
    if (names.length > 0) await this.#discard(names);
  }

  changedElsewhere(publishedBytes: number | undefined): void {
    this.#options.onChangedElsewhere(publishedBytes);
  }

  /** Resolves once thumbnails that were to be deleted are. */
  settled(): Promise<void> {
    return this.#thumbnails.settled();
  }

  async #discard(names: readonly string[]): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const cancel = this.#options.clock.after(LONGEST_WAIT_MS, resolve);
      this.#thumbnails.discard(names).then(resolve, reject).finally(cancel);
    });
  }

  /** The file name of an original that may have thumbnails. */
  #originalName(key: string): string | undefined {
    const folder = this.#options.prefix + ORIGINALS;
    if (!key.startsWith(folder)) return undefined;
    const below = key.slice(folder.length);
    const name = this.#options.layout === "cas" && CAS_FILE.test(below) ? below.slice("00/00/".length) : below;
    const isPicture = !name.includes("/") && !name.startsWith(".") && isThumbnailable(splitExtension(name).extension);
    return isPicture ? name : undefined;
  }

  #checkThumbnail(path: string, originals: string): void {
    if (this.#options.thumbnailUploads) return;
    const text = "the asset server makes the thumbnails by itself; here they can only be read and removed. Put your files into";
    throw new FsError("permission-denied", `${path}: ${text} ${originals}`);
  }

  #checkPlace({ name, path, home }: { readonly name: string; readonly path: string; readonly home: string }, intent: Intent): void {
    const { layout } = this.#options;
    const below = name.startsWith(ORIGINALS) ? name.slice(ORIGINALS.length) : undefined;
    if (isRight(layout, below, intent)) return;
    if (layout === "free") {
      if (below === undefined && intent === "write") this.#warn(name);
      return;
    }
    const right = layout === "cas" ? `${home}${ORIGINALS}ab/cd/, by the first four characters of their names` : `${home}${ORIGINALS}`;
    const why = below === undefined ? "the asset server does not look here" : "the asset server does not look into this folder";
    throw new FsError("permission-denied", `${path}: ${why}. Put your files into ${right}`);
  }

  #warn(name: string): void {
    const slash = name.lastIndexOf("/");
    const folder = name.slice(0, slash + 1);
    if (this.#warned.has(folder) || this.#warned.size >= MAX_WARNINGS) return;
    this.#warned.add(folder);
    this.#options.log.warn(
      { folder: `/${folder}`, name: name.slice(slash + 1) },
      "upload outside of originals/: the asset server does not find it",
    );
  }
}

/** Whether `below` (the name below originals/; undefined: elsewhere) is where the asset server looks. */
function isRight(layout: UserConfig["layout"], below: string | undefined, intent: Intent): boolean {
  if (below === undefined) return false;
  if (layout === "cas") return (intent === "make-directory" ? CAS_FOLDER : CAS_FILE).test(below);
  return layout === "free" || (intent === "write" && !below.includes("/"));
}
