/**
 * One session channel's requests (RFC 4254 §6): which of them start what, which are refused. Knows no protocols: what
 * runs in a session is handed in.
 */
import type { WireReader } from "../auth/wire-reader.ts";
import type { SshChannel } from "./ssh-channel.ts";
import type { ByteChannel } from "../byte-channel.ts";
import type { SessionInfo } from "./session-registry.ts";

/** What the gateway runs in sessions. Called synchronously; must not throw. Each owes the channel `exit` or `destroy`. */
export interface SessionHandlers {
  /** False if there is no subsystem of that name. */
  subsystem(name: string, channel: ByteChannel, session: SessionInfo): boolean;
  /** `command` is the exec line as the client sent it. */
  exec(command: Uint8Array, channel: ByteChannel, session: SessionInfo): void;
  shell(channel: ByteChannel, session: SessionInfo, options: { readonly pty: boolean }): void;
}

/** Decides on the requests of one channel. */
export class SshSession {
  readonly channel: SshChannel;
  readonly #handlers: SessionHandlers;
  readonly #info: SessionInfo;
  #pty = false;
  #started = false;

  constructor(channel: SshChannel, handlers: SessionHandlers, info: SessionInfo) {
    this.channel = channel;
    this.#handlers = handlers;
    this.#info = info;
  }

  /**
   * Handles one request whose type-specific data `reader` is at. Returns what to answer, and what to start after the
   * answer is sent. Throws `ProtocolError` for malformed data.
   */
  request(type: string, reader: WireReader): { success: boolean; start?: () => void } {
    switch (type) {
      case "pty-req":
        if (this.#started) return { success: false };
        this.#pty = true;
        return { success: true };
      case "exec":
        return this.#start(reader, (command) => this.#handlers.exec(command, this.channel, this.#info));
      case "subsystem":
        return this.#subsystem(reader.text());
      case "shell":
        return this.#start(undefined, () => this.#handlers.shell(this.channel, this.#info, { pty: this.#pty }));
      default:
        // env, x11-req, auth-agent-req@openssh.com, window-change, signal, PuTTY's winadj and whatever comes later
        return { success: type === "window-change" || type === "signal" };
    }
  }

  #start(reader: WireReader | undefined, run: (argument: Uint8Array) => void): { success: boolean; start?: () => void } {
    const argument = reader ? Buffer.from(reader.string()) : Buffer.alloc(0);
    if (this.#started) return { success: false };
    this.#started = true;
    return { success: true, start: () => this.channel.guard(() => run(argument)) };
  }

  #subsystem(name: string): { success: boolean } {
    if (this.#started) return { success: false };
    this.channel.guard(() => {
      this.#started = this.#handlers.subsystem(name, this.channel, this.#info);
    });
    return { success: this.#started };
  }
}
