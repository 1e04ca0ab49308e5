/**
 * The options before a key in an authorized_keys line (sshd(8), AUTHORIZED_KEYS FILE FORMAT): parsing and the checks of
 * source address and time. Options that would have to change what a session may do and cannot here are refused, never
 * ignored. Knows no keys.
 */
import { BlockList, isIP } from "node:net";
import { KeyFormatError } from "./public-key.ts";

/** One pattern of `from=`. */
interface SourcePattern {
  readonly negated: boolean;
  readonly matches: (address: string) => boolean;
}

/** What limits the use of a key. */
export interface KeyOptions {
  /** `from=`: undefined means any address. */
  readonly from: readonly SourcePattern[] | undefined;
  /** `expiry-time=`: ms since the epoch after which the key is refused. */
  readonly expiresAt: number | undefined;
  /** `no-touch-required` for FIDO keys. */
  readonly noTouchRequired: boolean;
  /** `verify-required` for FIDO keys. */
  readonly verifyRequired: boolean;
  /** `cert-authority`: the key signs user certificates and cannot log in itself. */
  readonly certAuthority: boolean;
  /** `principals=`: names a certificate may carry instead of the user's own name. */
  readonly principals: readonly string[] | undefined;
}

/** A key without options. */
export const NO_OPTIONS: KeyOptions = {
  from: undefined,
  expiresAt: undefined,
  noTouchRequired: false,
  verifyRequired: false,
  certAuthority: false,
  principals: undefined,
};

/** Restrict what is not offered anyway, so they hold by themselves. */
const ALREADY_HELD = new Set(["restrict", "no-agent-forwarding", "no-port-forwarding", "no-pty", "no-user-rc", "no-x11-forwarding"]);

/**
 * Splits the options off the start of a line. Returns them and the text after them. Throws `KeyFormatError` for an
 * option that is unknown or malformed.
 */
export function parseKeyOptions(line: string): { options: KeyOptions; rest: string } {
  let options = NO_OPTIONS;
  let position = 0;
  for (;;) {
    const match = /^([A-Za-z0-9-]+)(?:=("(?:[^"\\]|\\.)*"?|[^\s,]*))?/.exec(line.slice(position));
    if (!match?.[1]) throw new KeyFormatError(`cannot read ${quoted(line.slice(position))}; write: ssh-ed25519 AAAA… comment`);
    options = applyOption(options, match[1], unquote(match[1], match[2]));
    position += match[0].length;
    if (line[position] !== ",") break;
    position++;
  }
  if (!/^\s/.test(line.slice(position))) throw new KeyFormatError(`cannot read ${quoted(line)}; write: ssh-ed25519 AAAA… comment`);
  return { options, rest: line.slice(position).trimStart() };
}

/** True if `from=` allows the address: one pattern matches and no negated one does (ssh_config(5), PATTERNS). */
export function addressAllowed(options: Pick<KeyOptions, "from">, address: string): boolean {
  if (!options.from) return true;
  const plain = plainAddress(address);
  let allowed = false;
  for (const pattern of options.from) {
    if (!pattern.matches(plain)) continue;
    if (pattern.negated) return false;
    allowed = true;
  }
  return allowed;
}

/** The IPv4 address inside an IPv4-mapped one, else the address, lower case, without a zone. */
export function plainAddress(address: string): string {
  const lower = address.toLowerCase().replace(/%.*$/, "");
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(lower)?.[1] ?? lower;
}

/** Parses a `from=` or `source-address` list. Throws `KeyFormatError`. */
export function parseSourcePatterns(list: string): SourcePattern[] {
  const patterns = list.split(",").map((part) => part.trim());
  if (patterns.some((part) => part === "" || part === "!")) throw new KeyFormatError(`from=${quoted(list)} has an empty part`);
  return patterns.map((part) => {
    const negated = part.startsWith("!");
    return { negated, matches: sourceMatcher(negated ? part.slice(1) : part) };
  });
}

function sourceMatcher(pattern: string): (address: string) => boolean {
  const [network, prefixText, more] = pattern.split("/");
  if (network !== undefined && prefixText !== undefined) {
    const family = isIP(network);
    const prefix = /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : Number.NaN;
    if (more !== undefined || family === 0 || !(prefix <= (family === 4 ? 32 : 128))) {
      throw new KeyFormatError(`from= has ${quoted(pattern)}, which is no network; write e.g. 192.0.2.0/24`);
    }
    const list = new BlockList();
    list.addSubnet(network, prefix, family === 4 ? "ipv4" : "ipv6");
    return (address) => isIP(address) !== 0 && list.check(address, isIP(address) === 4 ? "ipv4" : "ipv6");
  }
  if (isIP(pattern) === 6) {
    const list = new BlockList();
    list.addAddress(pattern, "ipv6");
    return (address) => isIP(address) === 6 && list.check(address, "ipv6");
  }
  if (!/^[0-9a-fA-F:.*?]+$/.test(pattern)) {
    throw new KeyFormatError(
      `from= has ${quoted(pattern)}; host names are not looked up, write addresses, networks or patterns like 192.0.2.*`,
    );
  }
  const expression = new RegExp(`^${pattern.toLowerCase().replaceAll(".", "\\.").replace(/\*+/g, ".*").replaceAll("?", ".")}$`);
  return (address) => expression.test(address);
}

function applyOption(options: KeyOptions, name: string, value: string | undefined): KeyOptions {
  const lower = name.toLowerCase();
  if (value === undefined) {
    if (ALREADY_HELD.has(lower)) return options;
    if (lower === "no-touch-required") return { ...options, noTouchRequired: true };
    if (lower === "verify-required") return { ...options, verifyRequired: true };
    if (lower === "cert-authority") return { ...options, certAuthority: true };
  } else {
    if (lower === "from") {
      if (options.from) throw new KeyFormatError('from= is given twice; write one list: from="192.0.2.0/24,198.51.100.7"');
      return { ...options, from: parseSourcePatterns(value) };
    }
    if (lower === "expiry-time") {
      const expiresAt = parseExpiry(value);
      return { ...options, expiresAt: Math.min(expiresAt, options.expiresAt ?? expiresAt) };
    }
    if (lower === "principals") {
      const principals = value.split(",").filter((principal) => principal !== "");
      return { ...options, principals };
    }
  }
  throw new KeyFormatError(
    `the key option ${quoted(name)} is not supported; supported are from=, expiry-time=, restrict, no-…, verify-required, cert-authority and principals=; without options a line is: ssh-ed25519 AAAA… comment`,
  );
}

/** YYYYMMDD[HHMM[SS]][Z]; local time unless it ends in Z, as in sshd(8). */
function parseExpiry(value: string): number {
  const match = /^(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})(\d{2})?)?(Z?)$/i.exec(value);
  const fields = (match ?? []).slice(1, 7).map((part) => Number(part ?? 0));
  const [year, month, day, hour, minute, second] = fields;
  if (
    year !== undefined &&
    month !== undefined &&
    day !== undefined &&
    hour !== undefined &&
    minute !== undefined &&
    second !== undefined
  ) {
    const utc = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
    const real = utc.getUTCMonth() === month - 1 && utc.getUTCDate() === day && hour < 24 && minute < 60 && second < 61;
    if (real) return match?.[7] ? utc.getTime() : new Date(year, month - 1, day, hour, minute, second).getTime();
  }
  throw new KeyFormatError(`expiry-time=${quoted(value)} is no date; write YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with Z for UTC`);
}

function unquote(name: string, raw: string | undefined): string | undefined {
  if (raw === undefined || !raw.startsWith('"')) return raw;
  if (raw.length < 2 || !raw.endsWith('"')) throw new KeyFormatError(`the quote after ${name}= is not closed`);
  return raw.slice(1, -1).replace(/\\(["\\])/g, "$1");
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
