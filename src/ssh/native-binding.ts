/**
 * Keeps ssh2's compiled ciphers out where they would end the process: those compiled with the headers of Node 24.19 or
 * newer abort a Node before 26.4 when the first of them is collected as garbage (mscdex/ssh2#1511, nodejs/node#65446,
 * nodejs/node#65262). Knows no ciphers.
 */
import { readFileSync } from "node:fs";
import Module from "node:module";

const BINDING = "ssh2/lib/protocol/crypto/build/Release/sshcrypto.node";

/** What such a program calls, and others do not. */
const HOOK = "RemoveEnvironmentCleanupHook";

/** Whether `program`, a compiled module, would abort Node `version` (such as `24.21.0`). */
export function abortsNode(program: Uint8Array, version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const isMended = major > 26 || (major === 26 && minor >= 4);
  return !isMended && Buffer.from(program.buffer, program.byteOffset, program.byteLength).includes(HOOK);
}

/** To be called before ssh2 is loaded: lets it find no compiled ciphers if they are unsafe; true then. */
export function withholdUnsafeBinding(require: NodeJS.Require, version: string = process.versions.node): boolean {
  let path: string;
  let program: Uint8Array;
  try {
    path = require.resolve(BINDING);
    program = readFileSync(path);
  } catch {
    return false; // not compiled: ssh2 does without
  }
  if (!abortsNode(program, version)) return false;
  const nothing = new Module(path);
  nothing.exports = null;
  nothing.loaded = true;
  require.cache[path] = nothing;
  return true;
}
