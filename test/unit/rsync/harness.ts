/** Runs `serveRsync` on a pair of in-memory channels with given client bytes. For the unit and fuzz tests. */
import { splitCommandLine } from "../../../src/exec/command-line.ts";
import { type RsyncServerOptions, serveRsync } from "../../../src/rsync/session.ts";
import type { FileSystem } from "../../../src/vfs/file-system.ts";
import { type LoopbackOptions, loopbackPair } from "../../support/loopback-channel.ts";

/** A log that says nothing. */
export const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined };

/** What a run came to. */
export interface Replayed {
  readonly status: number;
  readonly output: Buffer;
  readonly errors: string;
  /** Bytes of the client that the server did not give back. */
  readonly unconsumed: number;
}

/** Sends `client` to a server that got `command`, then EOF; resolves when the run has ended. */
export async function replay(
  command: string,
  client: Uint8Array,
  fileSystem: FileSystem,
  options: Partial<RsyncServerOptions> & LoopbackOptions = {},
): Promise<Replayed> {
  const pair = loopbackPair(options);
  const output: Uint8Array[] = [];
  pair.client.receive({
    data: (chunk) => {
      output.push(Uint8Array.from(chunk));
      pair.client.consume(chunk.length);
    },
    end: () => undefined,
  });
  const words = splitCommandLine(command).slice(1);
  const running = serveRsync(words, pair.server, fileSystem, { log: silent, lingerMs: 5, randomSeed: () => 1, ...options });
  pair.client.write(client);
  pair.client.sendEof();
  const status = await running;
  pair.server.exit(status);
  await pair.client.whenClosed();
  return {
    status,
    output: Buffer.concat(output),
    errors: Buffer.concat(pair.client.errorOutput).toString(),
    unconsumed: pair.server.unconsumed,
  };
}

/** Takes frames apart: the data stream, and the messages as `tag:text`. */
export function demultiplex(bytes: Buffer): { readonly data: Buffer; readonly messages: string[] } {
  const data: Buffer[] = [];
  const messages: string[] = [];
  for (let at = 0; at + 4 <= bytes.length; ) {
    const word = bytes.readUInt32LE(at);
    const payload = bytes.subarray(at + 4, at + 4 + (word & 0xffffff));
    const tag = (word >>> 24) - 7;
    if (tag === 0) data.push(payload);
    else messages.push(`${tag}:${payload.toString("latin1")}`);
    at += 4 + payload.length;
  }
  return { data: Buffer.concat(data), messages };
}
