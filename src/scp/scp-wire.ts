/**
 * Control lines of scp's old protocol (rcp's, as OpenSSH's `scp -O` speaks it): `T`, `C`, `D`, `E`, and the answers
 * `\0`, `\1 text`, `\2 text`. Pure, no I/O.
 */
import { ProtocolError } from "../errors.ts";

/** Longest control line in bytes that is accepted: mode, size and a name of any length a key can have. */
export const MAX_LINE_LENGTH = 8192;

/** The answer that says: go on. */
export const OK = Uint8Array.of(0);

/** What the sending side announces. Times in whole seconds, modes are permission bits. */
export type ScpMessage =
  | { readonly kind: "times"; readonly mtime: number; readonly atime: number }
  | { readonly kind: "file"; readonly mode: number; readonly size: number; readonly name: string }
  | { readonly kind: "directory"; readonly mode: number; readonly name: string }
  | { readonly kind: "end" }
  | { readonly kind: "warning"; readonly text: string }
  | { readonly kind: "error"; readonly text: string };

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decode(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw new ProtocolError("scp: a name is not valid UTF-8", { cause: error });
  }
}

function whole(digits: string, what: string): number {
  const value = Number(digits);
  if (!Number.isSafeInteger(value)) throw new ProtocolError(`scp: ${what} out of range`);
  return value;
}

function checkedName(name: string): string {
  if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0")) {
    throw new ProtocolError(`scp: unexpected file name '${name}'`);
  }
  return name;
}

/** Decodes one control line without its newline. Throws `ProtocolError` for anything that is none. */
export function decodeMessage(line: Uint8Array): ScpMessage {
  if (line[0] === 1 || line[0] === 2) {
    const text = Buffer.from(line.subarray(1)).toString("utf8");
    return { kind: line[0] === 1 ? "warning" : "error", text };
  }
  const text = decode(line);
  if (text === "E") return { kind: "end" };
  const times = /^T(-?\d{1,17}) \d{1,6} (-?\d{1,17}) \d{1,6}$/.exec(text);
  if (times) return { kind: "times", mtime: whole(times[1] ?? "", "time"), atime: whole(times[2] ?? "", "time") };
  const entry = /^([CD])([0-7]{4}) (\d{1,17}) (.*)$/s.exec(text);
  if (!entry) throw new ProtocolError("scp: unexpected control line");
  const mode = Number.parseInt(entry[2] ?? "0", 8);
  const name = checkedName(entry[4] ?? "");
  if (entry[1] === "D") return { kind: "directory", mode, name };
  return { kind: "file", mode, size: whole(entry[3] ?? "", "size"), name };
}

/** A name as it may stand in a control line: a newline is sent as `\^J`, the way OpenSSH does. */
function wireName(name: string): string {
  return name.replaceAll("\n", "\\^J");
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, "0");
}

/** Encodes a control line with its newline. Inverse of `decodeMessage` for names without a newline. */
export function encodeMessage(message: ScpMessage): Uint8Array {
  switch (message.kind) {
    case "times":
      return Buffer.from(`T${message.mtime} 0 ${message.atime} 0\n`);
    case "file":
      return Buffer.from(`C${octal(message.mode)} ${message.size} ${wireName(message.name)}\n`);
    case "directory":
      return Buffer.from(`D${octal(message.mode)} 0 ${wireName(message.name)}\n`);
    case "end":
      return Buffer.from("E\n");
    case "warning":
    case "error":
      return Buffer.from(`${message.kind === "warning" ? "\x01" : "\x02"}${message.text.replaceAll("\n", " ")}\n`);
  }
}
