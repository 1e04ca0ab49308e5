/**
 * `md5sum`, `sha1sum`, `sha256sum`, in the output format of GNU coreutils: from a stored checksum where there is one,
 * else by reading the file. Without a name they hash standard input, which is how rclone finds out that they exist.
 */
import { createHash } from "node:crypto";
import { ByteReader } from "../byte-reader.ts";
import { FsError } from "../errors.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import { type Command, complain, type Invocation, print } from "./commands.ts";
import { expandGlob } from "./glob.ts";

const READ_LENGTH = 256 * 1024;

/** A command that hashes with `algorithm` (`md5`, `sha1`, `sha256`). Exit status 1 if any name could not be read. */
export function hashCommand(algorithm: "md5" | "sha1" | "sha256"): Command {
  return async (invocation) => {
    const names = await operands(invocation, `${algorithm}sum`);
    if (!names) return 1;
    if (names.length === 0 || (names.length === 1 && names[0] === "-")) {
      print(invocation.channel, `${await hashInput(invocation, algorithm)}  -\n`);
      return 0;
    }
    let status = 0;
    for (const name of names) {
      try {
        const digest = (await invocation.fileSystem.storedChecksum(name, algorithm)) ?? (await hashFile(invocation, name, algorithm));
        if (digest === undefined) return 1;
        print(invocation.channel, outputLine(digest, name));
        await invocation.channel.drained();
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        complain(invocation.channel, `${algorithm}sum: ${error.message}`);
        status = 1;
      }
    }
    return status;
  };
}

/** One line of output; names with a backslash or newline are escaped and the line marked, as coreutils does. */
function outputLine(digest: string, name: string): string {
  if (!/[\\\n\r]/.test(name)) return `${digest}  ${name}\n`;
  const escaped = name.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\r", "\\r");
  return `\\${digest}  ${escaped}\n`;
}

/** The names to hash, wildcards expanded; undefined (after a complaint) for options other than `-b`, `-t`, `--`. */
async function operands({ words, channel, fileSystem }: Invocation, program: string): Promise<string[] | undefined> {
  const names: string[] = [];
  let options = true;
  for (const word of words) {
    if (options && word.text === "--") options = false;
    else if (options && ["-b", "-t", "--binary", "--text"].includes(word.text)) continue;
    else if (options && word.text.startsWith("-") && word.text !== "-") {
      complain(channel, `${program}: the option ${word.text} is not available here`);
      return undefined;
    } else {
      const expanded = word.pattern === undefined ? [] : await expandGlob(fileSystem, word.pattern);
      names.push(...(expanded.length > 0 ? expanded : [word.text]));
    }
  }
  return names;
}

async function hashInput({ channel }: Invocation, algorithm: string): Promise<string> {
  const hash = createHash(algorithm);
  const reader = new ByteReader(channel);
  for (let chunks = await reader.take(READ_LENGTH); chunks.length > 0; chunks = await reader.take(READ_LENGTH)) {
    for (const chunk of chunks) {
      hash.update(chunk);
      channel.consume(chunk.length);
    }
  }
  return hash.digest("hex");
}

/** Undefined if the client left meanwhile. */
async function hashFile(
  { channel, fileSystem }: { readonly channel: Invocation["channel"]; readonly fileSystem: FileSystem },
  path: string,
  algorithm: string,
): Promise<string | undefined> {
  const hash = createHash(algorithm);
  const handle = await fileSystem.open(path, { read: true });
  try {
    let offset = 0;
    for (;;) {
      const chunks = await handle.read(offset, READ_LENGTH);
      if (chunks.length === 0) return hash.digest("hex");
      if (channel.closed.aborted) return undefined;
      for (const chunk of chunks) {
        hash.update(chunk);
        offset += chunk.length;
      }
    }
  } finally {
    await handle.close();
  }
}
