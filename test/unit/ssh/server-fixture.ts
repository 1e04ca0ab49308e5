/** A running SshServer with echo-like handlers, client keys and a captured log, for the tests of src/ssh. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { pino } from "pino";
import { parseAuthorizedKeys } from "../../../src/auth/authorized-keys.ts";
import type { AuthUser } from "../../../src/auth/authenticator.ts";
import { ByteBudget } from "../../../src/byte-budget.ts";
import type { ByteChannel } from "../../../src/byte-channel.ts";
import { SshServer, type SshServerOptions } from "../../../src/ssh/ssh-server.ts";
import type { SessionHandlers } from "../../../src/ssh/ssh-session.ts";

/** A server under test and everything around it. */
export interface Fixture {
  readonly server: SshServer;
  readonly port: number;
  readonly budget: ByteBudget;
  readonly users: Map<string, AuthUser>;
  /** Folder with client keys `ed25519`, `ecdsa`, `rsa` and their `.pub`. */
  readonly folder: string;
  /** Parsed log lines so far. */
  readonly log: Record<string, unknown>[];
  /** Resolves with the first log line, past or future, that `matches`. */
  logged(matches: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
  /** Options for the OpenSSH client. */
  sshArguments(key?: string): string[];
  stop(): Promise<void>;
}

/** Starts a server on a free port; user `alice` has all three keys. */
export async function startServer(options: Partial<SshServerOptions> = {}): Promise<Fixture> {
  const folder = mkdtempSync(join(tmpdir(), "ssh-test-"));
  const hostKeys = join(folder, "host");
  execFileSync("mkdir", ["-m", "700", hostKeys]);
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(hostKeys, "ssh_host_ed25519_key")]);
  execFileSync("ssh-keygen", ["-q", "-t", "ecdsa", "-N", "", "-f", join(hostKeys, "ssh_host_ecdsa_key")]);
  for (const type of ["ed25519", "ecdsa"])
    execFileSync("ssh-keygen", ["-q", "-t", type, "-N", "", "-f", join(folder, type), "-C", `alice ${type}`]);
  execFileSync("ssh-keygen", ["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", join(folder, "rsa"), "-C", "alice rsa"]);
  const keys = ["ed25519", "ecdsa", "rsa"].flatMap((type) => parseAuthorizedKeys(readFileSync(join(folder, `${type}.pub`), "utf8")));
  const users = new Map<string, AuthUser>([["alice", { name: "alice", keys }]]);
  const budget = options.budget ?? new ByteBudget(64 * 1024 * 1024);
  const log: Record<string, unknown>[] = [];
  const waiting = new Set<() => void>();
  const sink = new Writable({
    write(line: Buffer, _encoding, done) {
      log.push(JSON.parse(line.toString()) as Record<string, unknown>);
      for (const wake of waiting) wake();
      done();
    },
  });
  const server = new SshServer({
    listen: [{ host: "127.0.0.1", port: 0 }],
    hostKeys,
    users: { find: (name) => users.get(name) },
    handlers: testHandlers(),
    log: pino({ level: "debug" }, sink),
    ...options,
    budget,
  });
  await server.listen();
  const port = server.addresses[0]?.port ?? 0;
  return {
    server,
    port,
    budget,
    users,
    folder,
    log,
    logged: (matches) =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = log.find(matches);
          if (!found) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
    sshArguments: (key = "ed25519") => [
      ...["-F", "none", "-p", String(port), "-i", join(folder, key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"],
      ...["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"],
    ],
    stop: async () => {
      await server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/**
 * exec `echo`: what comes in goes out, exit 0 at EOF; `count`: prints the bytes received; `source N`: N bytes of
 * "a"; `block N`: N bytes at once, exit 0 at EOF;
 * `both`: a line each to stdout and stderr, exit 7; `hold`: takes nothing and never ends. Subsystem `echo` too.
 */
export function testHandlers(): SessionHandlers {
  return {
    subsystem: (name, channel) => {
      if (name !== "echo") return false;
      echo(channel);
      return true;
    },
    exec: (command, channel) => {
      const [verb, argument] = Buffer.from(command).toString().split(" ");
      if (verb === "echo") echo(channel);
      else if (verb === "count") count(channel);
      else if (verb === "source") void source(channel, Number(argument));
      else if (verb === "block") {
        channel.write(Buffer.alloc(Number(argument), "a"));
        channel.receive({ data: (chunk) => channel.consume(chunk.length), end: () => channel.exit(0) });
      } else if (verb === "hold") channel.receive({ awaitsPeer: true, data: () => undefined, end: () => undefined });
      else if (verb === "both") {
        channel.write(Buffer.from("out\n"));
        channel.writeError(Buffer.from("err\n"));
        channel.exit(7);
      } else {
        channel.write(command);
        channel.exit(0);
      }
    },
    shell: (channel, _session, { pty }) => {
      channel.write(Buffer.from(`no shell, pty ${pty}\n`));
      channel.exit(1);
    },
  };
}

function echo(channel: ByteChannel): void {
  channel.receive({
    data: (chunk) => {
      channel.write(chunk);
      void channel.drained().then(() => channel.consume(chunk.length));
    },
    end: () => channel.exit(0),
  });
}

function count(channel: ByteChannel): void {
  let total = 0;
  channel.receive({
    data: (chunk) => {
      total += chunk.length;
      channel.consume(chunk.length);
    },
    end: () => {
      channel.write(Buffer.from(`${total}\n`));
      channel.exit(0);
    },
  });
}

async function source(channel: ByteChannel, bytes: number): Promise<void> {
  const block = Buffer.alloc(64 * 1024, "a");
  for (let left = bytes; left > 0 && !channel.closed.aborted; left -= block.length) {
    channel.write(block.subarray(0, Math.min(left, block.length)));
    await channel.drained();
  }
  channel.exit(0);
}
