/**
 * Translates errors of the operating system into `StoreError`s that say what the operator must do. Makes no calls.
 */
import { StoreError } from "../errors.ts";
import type { StoreErrorCode } from "../errors.ts";

interface Rule {
  readonly code: StoreErrorCode;
  readonly advice: string;
}

const DENIED: Rule = { code: "access-denied", advice: "Give the gateway's user read and write permission there." };
const FULL: Rule = { code: "no-space", advice: "Free space or inodes on that disk, or raise the quota." };
const BUSY: Rule = { code: "unavailable", advice: "Raise the limit of open files (ulimit -n) or lower the number of connections." };
const IN_THE_WAY: Rule = { code: "invalid-key", advice: "A file and a directory cannot have the same name on a disk." };

const RULES: Readonly<Record<string, Rule>> = {
  ENOENT: { code: "not-found", advice: "" },
  EACCES: DENIED,
  EPERM: DENIED,
  EROFS: { code: "access-denied", advice: "The file system is mounted read-only." },
  ENOSPC: FULL,
  EDQUOT: FULL,
  EMFILE: BUSY,
  ENFILE: BUSY,
  ENOMEM: { code: "unavailable", advice: "The machine is out of memory." },
  ENOTDIR: IN_THE_WAY,
  EISDIR: IN_THE_WAY,
  ELOOP: { code: "invalid-key", advice: "Symbolic links are not followed there." },
  ENAMETOOLONG: { code: "invalid-key", advice: "The file system allows 255 bytes for each name." },
  EILSEQ: { code: "invalid-key", advice: "The file system does not allow such a name." },
  EINVAL: { code: "invalid-key", advice: "The file system does not allow such a name or operation." },
  EFBIG: { code: "too-large", advice: "The file system does not hold files of that size." },
};

/** The `StoreError` for what `node:fs` threw; `what` says what was tried on which key. A `StoreError` stays as it is. */
export function localError(error: unknown, what: string): StoreError {
  if (error instanceof StoreError) return error;
  const name = systemCode(error) ?? "unknown error";
  const { code, advice }: Rule = RULES[name] ?? { code: "io", advice: "Check the disk and the kernel's log." };
  return new StoreError(code, `${what} failed: ${name}.${advice === "" ? "" : ` ${advice}`}`, { cause: error });
}

/** The operating system's name of an error (`ENOENT`), if it is one of its errors. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** Whether nothing is at a path: it, or a directory on the way, does not exist or is something else. */
export function isAbsent(error: unknown): boolean {
  const code = systemCode(error);
  return code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP";
}
