/**
 * The beginning of a run (rsync compat.c `setup_protocol`): secluded arguments, versions, compat flags, checksum seed.
 * Knows no files.
 */
import type { Word } from "../exec/command-line.ts";
import { ProtocolError } from "../errors.ts";
import { ExitStatus, RsyncExit } from "./exit-codes.ts";
import type { MultiplexReader } from "./multiplex-reader.ts";
import type { MultiplexWriter } from "./multiplex-writer.ts";
import { toText } from "./names.ts";
import { clientMultiplexes, compatFlags, type ServerOptions } from "./server-options.ts";

/** The protocol we speak at most, and at least. */
const PROTOCOL = 31;
const OLDEST_PROTOCOL = 29;
const MAX_ARGUMENT = 4096;
const MAX_ARGUMENTS = 1000;

/** What the handshake settled. */
export interface Handshake {
  readonly protocol: number;
  readonly seed: number;
  readonly compat: number;
}

/** Reads the arguments that `-s` sends on the channel: NUL-terminated words, the first is the program's name, an empty one ends. */
export async function receiveSecludedArguments(reader: MultiplexReader): Promise<Word[]> {
  const words: Word[] = [];
  for (let count = 0; count < MAX_ARGUMENTS; count++) {
    const bytes = await reader.decode((cursor) => {
      let text = "";
      for (let byte = cursor.u8(); byte !== 0; byte = cursor.u8()) {
        text += String.fromCharCode(byte);
        if (text.length > MAX_ARGUMENT) throw new ProtocolError("overlong argument");
      }
      return text;
    });
    if (bytes === "" && count > 0) return words;
    const text = bytes === "" ? "" : toText(bytes);
    if (text === undefined) throw new RsyncExit(ExitStatus.usage, "rsync: an argument is not valid UTF-8");
    if (count > 0) words.push(/[*?[]/.test(text) ? { text, pattern: text } : { text });
  }
  throw new ProtocolError("too many arguments");
}

/** Exchanges versions and settles flags and seed. Throws `RsyncExit` before anything is multiplexed. */
export async function shakeHands(
  reader: MultiplexReader,
  writer: MultiplexWriter,
  options: ServerOptions,
  defaultSeed: number,
): Promise<Handshake> {
  writer.out.i32(PROTOCOL);
  writer.flush();
  const version = await reader.decode((cursor) => cursor.i32());
  if (version < OLDEST_PROTOCOL || version > 40) {
    const hint = version < 20 || version > 40 ? "protocol version mismatch -- is your shell clean?" : `protocol ${version} is too old`;
    throw new RsyncExit(ExitStatus.protocolVersion, hint);
  }
  const protocol = Math.min(PROTOCOL, version);
  const compat = protocol >= 30 ? compatFlags(options) : 0;
  if (protocol >= 30) writer.out.u8(compat);
  const seed = options.checksumSeed || defaultSeed;
  writer.out.i32(seed);
  writer.setMultiplexing(true);
  reader.setDemultiplexing(clientMultiplexes(options, protocol));
  return { protocol, seed, compat };
}
