/** What is wrong or noteworthy with one name: the rules N and T of the layout check (facts: seed-system §1.4). Pure. */
import { splitExtension } from "./thumbnail-name.ts";

/** `attachment.attachmentLocation` is varchar(128). */
const MAX_NAME_CHARACTERS = 128;
const MAX_KEY_BYTES = 1024;

const SP7 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}(\.[^./]*)?$/;
const SP6 = /^sp6-?\d+\.att(\.[^./]*)?$/;
const JUNK = /^(?:thumbs\.db|\.ds_store|desktop\.ini|\._.*|~\$.*|.*\.(?:filepart|part|partial|tmp|crdownload)|.*_\$folder\$)$/i;
const RESERVED = /^(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\.|$)/i;

/** Who made a name: Specify 7, Specify 6, or somebody else. */
export type NameClass = "sp7" | "sp6" | "foreign";

/** Rule N03. */
export function classifyName(name: string): NameClass {
  if (SP7.test(name)) return "sp7";
  return SP6.test(name) ? "sp6" : "foreign";
}

/** Rule N01: why the database or the servers cannot hold this name; undefined if they can. */
export function impossibleName(name: string, key: string): string | undefined {
  const characters = name.length > MAX_NAME_CHARACTERS ? [...name].length : name.length;
  if (characters > MAX_NAME_CHARACTERS) return `${characters} characters, the database holds ${MAX_NAME_CHARACTERS}`;
  if (key.length > MAX_KEY_BYTES / 4 && Buffer.byteLength(key) > MAX_KEY_BYTES) return `the key is longer than ${MAX_KEY_BYTES} bytes`;
  if (/[\p{Surrogate}\ufffd]/u.test(name)) return "not valid UTF-8";
  if (/\p{Cc}/u.test(name)) return "control characters";
  if (name.includes('"')) return 'a " in it, which breaks public images';
  return name.includes("\\") ? "a backslash in it" : undefined;
}

/** Rule N02: why the name may fail on other systems; undefined if it will not. */
export function riskyName(name: string): string | undefined {
  if (name.normalize("NFC") !== name) return "not in Unicode's composed form (NFC): the database compares bytes";
  if (/^[ .]|[ .]$/.test(name)) return "begins or ends with a space or dot";
  if (/^[-@]/.test(name)) return "begins with - or @, which ImageMagick misreads";
  const [hazard] = /[[\]%*?:<>|]/.exec(name) ?? [];
  if (hazard !== undefined) return `a ${hazard} in it, which ImageMagick or Windows misreads`;
  return RESERVED.test(name) ? "a name Windows keeps for itself" : undefined;
}

/** Rule T01: leftovers of desktops and of transfers that did not end. */
export function isJunk(name: string): boolean {
  return JUNK.test(name);
}

/** Rule T02, second half. */
export function hasNoExtension(name: string): boolean {
  return splitExtension(name).extension === "";
}
