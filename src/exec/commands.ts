/**
 * The table of commands that `ssh host COMMAND` serves, and what a client is told that asks for anything else. Commands
 * of other folders (scp, rsync) are put into the table by the gateway. Knows nothing of SSH.
 */
import type { ByteChannel } from "../byte-channel.ts";
import { FsError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import { CommandLineError, splitCommandLine, type Word } from "./command-line.ts";

/** What a command gets to work with. */
export interface Invocation {
  /** The words after the command's name. */
  readonly words: readonly Word[];
  /** Standard input and output of the command. The caller sends the exit status. */
  readonly channel: ByteChannel;
  readonly fileSystem: FileSystem;
  readonly user: string;
  readonly log: Logger;
}

/** Runs one command; resolves to its exit status. Rejections are told to the client and end with status 1. */
export type Command = (invocation: Invocation) => Promise<number>;

/** Exit status for what is not served, as a shell gives for a command that it cannot find. */
export const EXIT_NOT_FOUND = 127;

const encoder = new TextEncoder();

/** Writes one line to the client's standard error. */
export function complain(channel: ByteChannel, text: string): void {
  channel.writeError(encoder.encode(`${text}\n`));
}

/** Writes text to the client's standard output. */
export function print(channel: ByteChannel, text: string): void {
  channel.write(encoder.encode(text));
}

/** Commands by name. */
export class CommandTable {
  readonly #commands = new Map<string, Command>();

  /** Serves `command` under `name`; a second one of that name replaces the first. */
  register(name: string, command: Command): void {
    this.#commands.set(name, command);
  }

  /** The command of that name. */
  find(name: string): Command | undefined {
    return this.#commands.get(name);
  }

  /** What is served, for people: `df, md5sum, …`. */
  get names(): string {
    return [...this.#commands.keys()].sort().join(", ");
  }

  /**
   * Runs the exec request `line` and ends `channel` with its exit status: 127 at once, with one line that says what is
   * served, for anything else. Never rejects.
   */
  async run(line: Uint8Array, context: Omit<Invocation, "words">): Promise<void> {
    const { channel, log } = context;
    try {
      channel.exit(await this.#execute(line, context));
    } catch (error) {
      if (error instanceof FsError) complain(channel, error.message);
      else {
        log.error({ err: error }, "command failed");
        complain(channel, "internal error; the server's log has the details");
      }
      channel.exit(1);
    }
  }

  async #execute(line: Uint8Array, context: Omit<Invocation, "words">): Promise<number> {
    const words = this.#split(line, context.channel);
    if (!words) return EXIT_NOT_FOUND;
    const name = words[0]?.text.replace(/^.*\//s, "") ?? "";
    const command = this.#commands.get(name);
    if (!command) {
      complain(context.channel, `'${name.slice(0, 100)}' is not available here; served are sftp, ${this.names}`);
      return EXIT_NOT_FOUND;
    }
    context.log.info({ command: name }, "command");
    return command({ ...context, words: words.slice(1) });
  }

  #split(line: Uint8Array, channel: ByteChannel): Word[] | undefined {
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(line);
    } catch {
      complain(channel, "the command line is not valid UTF-8");
      return undefined;
    }
    try {
      return splitCommandLine(text);
    } catch (error) {
      if (!(error instanceof CommandLineError)) throw error;
      complain(channel, `${error.message}; served are sftp, ${this.names}`);
      return undefined;
    }
  }
}
