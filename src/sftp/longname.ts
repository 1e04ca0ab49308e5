/**
 * The line `ls -l` prints for a directory entry, which OpenSSH's client shows as it comes (draft-ietf-secsh-filexfer-02
 * §7). Knows no directory.
 */
import type { Attributes, FileType } from "../vfs/file-system.ts";
import type { NameEntry } from "./wire/replies.ts";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const TYPE_LETTER: Record<FileType, string> = { file: "-", directory: "d", symlink: "l" };
/** Times further away than this show the year instead of the time of day. Seconds. */
const HALF_A_YEAR = (365 * 24 * 60 * 60) / 2;
/** Columns and times remembered; files of one directory have few different ones. */
const MAX_REMEMBERED = 512;

/** Formats lines for one user; remembers the parts that repeat from entry to entry. */
export class LongnameFormatter {
  readonly #nameOf: (id: number) => string;
  readonly #now: () => number;
  readonly #dates = new Map<number, string>();
  readonly #columns = new Map<string, string>();

  /** `nameOf` says what stands for a uid or gid; `now` is in seconds since the epoch. Dates are in the server's time zone. */
  constructor(nameOf: (id: number) => string, now: () => number) {
    this.#nameOf = nameOf;
    this.#now = now;
  }

  /** The line for one entry. */
  format(entry: NameEntry): string {
    const { attributes } = entry;
    const size = String(attributes.size).padStart(8);
    return `${this.#leading(attributes)} ${size} ${this.#date(attributes.mtime)} ${entry.name}`;
  }

  #leading(attributes: Attributes): string {
    const { type, mode, uid, gid } = attributes;
    const key = `${type}${mode},${uid},${gid}`;
    const known = this.#columns.get(key);
    if (known !== undefined) return known;
    const links = "1".padStart(3);
    const column = `${TYPE_LETTER[type]}${permissions(mode)} ${links} ${this.#nameOf(uid).padEnd(8)} ${this.#nameOf(gid).padEnd(8)}`;
    return remember(this.#columns, key, column);
  }

  #date(mtime: number): string {
    const minute = Math.floor(mtime / 60);
    const known = this.#dates.get(minute);
    if (known !== undefined) return known;
    const date = new Date(mtime * 1000);
    const day = `${MONTHS[date.getMonth()] ?? "???"} ${String(date.getDate()).padStart(2)}`;
    const now = this.#now();
    const isRecent = mtime <= now && mtime > now - HALF_A_YEAR;
    const clock = `${String(date.getHours()).padStart(2, "0")}:${String(date.getMinutes()).padStart(2, "0")}`;
    return remember(this.#dates, minute, `${day} ${isRecent ? clock : String(date.getFullYear()).padStart(5)}`);
  }
}

function remember<K>(map: Map<K, string>, key: K, value: string): string {
  if (map.size >= MAX_REMEMBERED) map.clear();
  map.set(key, value);
  return value;
}

/** The nine letters, with set-uid, set-gid and sticky bits as `ls` shows them. */
function permissions(mode: number): string {
  const letter = (bit: number, char: string): string => (mode & bit ? char : "-");
  const special = (execute: number, bit: number, both: string): string => {
    if (!(mode & bit)) return letter(execute, "x");
    return mode & execute ? both : both.toUpperCase();
  };
  return (
    letter(0o400, "r") +
    letter(0o200, "w") +
    special(0o100, 0o4000, "s") +
    letter(0o040, "r") +
    letter(0o020, "w") +
    special(0o010, 0o2000, "s") +
    letter(0o004, "r") +
    letter(0o002, "w") +
    special(0o001, 0o1000, "t")
  );
}
