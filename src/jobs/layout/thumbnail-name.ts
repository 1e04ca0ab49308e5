/**
 * How the asset server names thumbnails: `<root>_<scale><ext>` of an original `<root><ext>` (web-asset-server, branch
 * s3-commands; facts: seed-system §1.3). Pure.
 */

/** Name and extension as Python's os.path.splitext cuts them: dots in front belong to the name. */
export function splitExtension(name: string): { readonly root: string; readonly extension: string } {
  const dot = name.lastIndexOf(".");
  return dot > 0 && /[^.]/.test(name.slice(0, dot))
    ? { root: name.slice(0, dot), extension: name.slice(dot) }
    : { root: name, extension: "" };
}

/** Types whose thumbnails are PNGs. The asset server's newer branch treats HEIC so, too. */
const PNG_THUMBNAILS: ReadonlySet<string> = new Set([".pdf", ".tif", ".tiff"]);
const HEIC: ReadonlySet<string> = new Set([".heic", ".heif"]);
const THUMBNAILABLE: ReadonlySet<string> = new Set([".jpg", ".jpeg", ".jpe", ".gif", ".png", ...PNG_THUMBNAILS, ...HEIC]);
const THUMBNAIL_TYPES: ReadonlySet<string> = new Set(["", ".jpg", ".jpeg", ".jpe", ".gif", ".png", ...HEIC]);

/** Whether the asset server can make a thumbnail of a file with this extension. */
export function isThumbnailable(extension: string): boolean {
  return THUMBNAILABLE.has(extension.toLowerCase());
}

/** What thumbnails of `original` are called without their scale: root and extension; several where branches differ. */
export function thumbnailIdentities(original: string): string[] {
  const { root, extension } = splitExtension(original);
  const lower = extension.toLowerCase();
  if (PNG_THUMBNAILS.has(lower)) return [identity(root, ".png")];
  return HEIC.has(lower) ? [identity(root, extension), identity(root, ".png")] : [identity(root, extension)];
}

/** The identity a thumbnail's name stands for; undefined for names no asset server makes. */
export function identityOfThumbnail(name: string): string | undefined {
  const [, root, , extension = ""] = /^(.+)_(\d{1,5})(\.[^.]*)?$/su.exec(name) ?? [];
  return root !== undefined && THUMBNAIL_TYPES.has(extension.toLowerCase()) ? identity(root, extension) : undefined;
}

function identity(root: string, extension: string): string {
  return `${root}/${extension}`;
}
