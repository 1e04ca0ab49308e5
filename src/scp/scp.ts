/** The `scp` command: the remote side of scp's old protocol (`scp -O`, pscp, old scripts), both directions. */
import { ByteReader } from "../byte-reader.ts";
import { FsError, ProtocolError } from "../errors.ts";
import type { Word } from "../exec/command-line.ts";
import { type Command, complain, type Invocation } from "../exec/commands.ts";
import { parseScpArguments, type ScpArguments, ScpUsageError } from "./scp-args.ts";
import { ScpSink } from "./scp-sink.ts";
import { ScpSource } from "./scp-source.ts";
import { encodeMessage } from "./scp-wire.ts";

/** What one run works with: `reader` reads what `channel` receives. */
export interface ScpRun extends Pick<Invocation, "channel" | "fileSystem" | "log"> {
  readonly reader: ByteReader;
}

/** Serves one `scp -t …` or `scp -f …`; exit status 0 only if everything was transferred. */
export const scp: Command = (invocation) => runScp(invocation.words, { ...invocation, reader: new ByteReader(invocation.channel) });

/** As `scp`, over a channel that is being read already; what follows the run is left in the reader. */
export async function runScp(words: readonly Word[], { channel, reader, fileSystem, log }: ScpRun): Promise<number> {
  let args: ScpArguments;
  try {
    args = parseScpArguments(words);
  } catch (error) {
    if (!(error instanceof ScpUsageError)) throw error;
    complain(channel, error.message);
    return 1;
  }
  try {
    if (args.role === "sink") return await new ScpSink(channel, reader, fileSystem, args).run();
    return await new ScpSource(channel, reader, fileSystem, args).run();
  } catch (error) {
    if (error instanceof ProtocolError) {
      log.info({ err: error }, "scp ended early");
      complain(channel, error.message);
      return 1;
    }
    if (!(error instanceof FsError)) throw error;
    channel.write(encodeMessage({ kind: "error", text: `scp: ${error.message}` }));
    return 1;
  }
}
