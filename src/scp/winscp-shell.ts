/**
 * The dialogue of WinSCP's SCP mode, which wants a shell: line by line one command of a fixed set, each followed by an
 * `echo` that tells the end of its output and its exit status (WinSCP, core/ScpFileSystem.cpp `DefaultCommandSet`).
 * There is no shell here: lines that are not of that form end the session, commands outside the table are refused.
 */
import type { ByteChannel } from "../byte-channel.ts";
import { ByteReader } from "../byte-reader.ts";
import { FsError, ProtocolError } from "../errors.ts";
import { CommandLineError, splitCommandLine, type Word } from "../exec/command-line.ts";
import { complain, EXIT_NOT_FOUND, type Command } from "../exec/commands.ts";
import type { Logger } from "../log.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import { runScp } from "./scp.ts";
import { SHELL_COMMANDS, type ShellContext } from "./shell-commands.ts";
import { WorkingDirectory } from "./working-directory.ts";

const MAX_LINE = 64 * 1024;
const FAILURE = 1;
/** `COMMAND ; echo "…end-of-file:STATUS"`, where the command may be missing. */
const LAST = /^(?:(.*) ; )?echo "WinSCP: this is end-of-file:([^"]*)"$/s;
const FIRST = 'echo "WinSCP: this is begin-of-file" ; ';
const VARIABLE = /^echo "\$(\?|\w+)"$/;
const IDENT = /^SSH-2\.0-WinSCP/;

/** What a session works with. */
export interface WinScpSession {
  readonly channel: ByteChannel;
  readonly fileSystem: FileSystem;
  readonly user: string;
  readonly log: Logger;
  /** Further commands that take their input from words only (`md5sum`, `df`); undefined if there is none of that name. */
  readonly command: (name: string) => Command | undefined;
  /** What a client is told that does not speak this dialogue. */
  readonly greeting: string;
}

/** True if a client with this identification line may mean the dialogue when it asks for a shell. */
export function mayBeWinScp(clientIdent: string): boolean {
  return IDENT.test(clientIdent);
}

/** Serves the dialogue until the client leaves, and ends the channel. Rejects with what is a bug here. */
export async function serveWinScp(session: WinScpSession): Promise<void> {
  const { channel } = session;
  const shell = new WinScpShell(session, new ByteReader(channel));
  try {
    channel.exit(await shell.run());
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    complain(channel, error.message);
    channel.exit(FAILURE);
  }
}

/** See the head of this file. */
class WinScpShell {
  readonly #session: WinScpSession;
  readonly #reader: ByteReader;
  readonly #files: WorkingDirectory;
  /** Of the last command. */
  #status = 0;

  constructor(session: WinScpSession, reader: ByteReader) {
    this.#session = session;
    this.#reader = reader;
    this.#files = new WorkingDirectory(session.fileSystem);
  }

  async run(): Promise<number> {
    const { channel, greeting } = this.#session;
    for (;;) {
      const line = await this.#reader.line(MAX_LINE);
      if (!line) return 0;
      const parsed = LAST.exec(Buffer.from(line).toString("utf8").replace(/\r$/, ""));
      if (!parsed) {
        channel.write(Buffer.from(greeting));
        return FAILURE;
      }
      const [, command, status = ""] = parsed;
      if (command !== undefined) this.#status = await this.#execute(command);
      this.#print(`WinSCP: this is end-of-file:${status.startsWith("$") ? this.#status : status}`);
      await channel.drained();
    }
  }

  #print(line: string): void {
    this.#session.channel.write(Buffer.from(`${line}\n`));
  }

  async #execute(text: string): Promise<number> {
    const { channel, log } = this.#session;
    const variable = VARIABLE.exec(text);
    if (variable) {
      this.#print(variable[1] === "?" ? String(this.#status) : "");
      return 0;
    }
    let line = text;
    if (line.startsWith(FIRST)) {
      this.#print("WinSCP: this is begin-of-file");
      line = line.slice(FIRST.length);
    }
    try {
      const words = splitCommandLine(line);
      return await this.#run(words[0]?.text ?? "", words.slice(1));
    } catch (error) {
      if (!(error instanceof FsError) && !(error instanceof CommandLineError)) throw error;
      log.debug({ err: error }, "command failed");
      complain(channel, error.message);
      return FAILURE;
    }
  }

  async #run(name: string, words: readonly Word[]): Promise<number> {
    const { channel, user, log, command } = this.#session;
    if (name === "scp") return runScp(words, { channel, reader: this.#reader, fileSystem: this.#files, log });
    const known = SHELL_COMMANDS.get(name);
    const context: ShellContext = {
      files: this.#files,
      user,
      print: (line) => this.#print(line),
      complain: (line) => complain(channel, line),
    };
    if (known) {
      return known(
        words.map(({ text }) => text),
        context,
      );
    }
    const other = words.some(({ text }) => !text.startsWith("-")) ? command(name) : undefined;
    if (other) return other({ words, channel, fileSystem: this.#files, user, log });
    complain(channel, `'${name.slice(0, 100)}' is not available here`);
    return EXIT_NOT_FOUND;
  }
}
