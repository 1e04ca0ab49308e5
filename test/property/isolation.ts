/**
 * Paths of every shape a client can send, through every protocol, against a store in which other users' objects lie
 * beside this one's: every key that reaches the store must be below the user's prefix, and no reply may tell of others.
 */
import { pino } from "pino";
import { ByteBudget } from "../../src/byte-budget.ts";
import { createMemoryStore } from "../../src/objectstore/memory-store.ts";
import type { ObjectStore } from "../../src/objectstore/objectstore.ts";
import { createCommands } from "../../src/gateway/commands.ts";
import { serveSftp } from "../../src/sftp/sftp-server.ts";
import type { Clock } from "../../src/vfs/uploads/clock.ts";
import { loopbackPair } from "../support/loopback-channel.ts";
import { mutate } from "../support/mutate.ts";
import { Random } from "../support/random.ts";
import { attrs, SftpClient, str, u32, u64 } from "../support/sftp-client.ts";
import { createStoredFiles, SMALL_PARTS, type StoredFiles } from "../support/stored-files.ts";
import * as captured from "../unit/rsync/captured-runs.ts";

const PREFIX = "alice/";
/** What nobody but their owners may ever see. */
const CANARY = "canary-of-somebody-else";
const FOREIGN = [
  `alice2/${CANARY}`,
  `alice2/originals/${CANARY}`,
  "alice",
  "alice2",
  `bob/${CANARY}`,
  CANARY,
  `../${CANARY}`,
  `/${CANARY}`,
  `alic/${CANARY}`,
];

const SEGMENTS = [
  ...["", ".", "..", "...", " ", "..;", "~", "~alice2", "a", "alice", "alice2", "bob", "attachments", "originals", "backups", "x.txt"],
  ...[
    "..\\",
    "%2e%2e",
    "%2f",
    "..%2falice2",
    "\u2024\u2024",
    "\uff0e\uff0e",
    "..\u0000",
    "\u0000",
    "\n..",
    "..\n",
    "..\r",
    "-",
    "--",
    "*",
    "?",
  ],
  ...["[a]", "{alice,alice2}", "$HOME", "`id`", "$(id)", ";", "|", "&", "'", '"', "..\u200b", "e\u0301", "\u00e9", "c".repeat(300)],
];
/** Bytes that are no UTF-8: overlong forms of dots and slashes among them. */
const RAW = [Buffer.from([0xff]), Buffer.from([0xc0, 0xae, 0xc0, 0xae]), Buffer.from([0x2e, 0xc0, 0xaf]), Buffer.from([0xed, 0xa0, 0x80])];
const STARTS = [
  "",
  "/",
  "//",
  "/attachments/",
  "/attachments/../",
  "attachments/",
  "./",
  "../",
  "/../../",
  "~/",
  "~alice2/",
  "/attachments/originals/../../../",
];

/** A path of one seed, as bytes. */
export function somePath(random: Random): Buffer {
  const parts: Buffer[] = [Buffer.from(random.pick(STARTS))];
  for (let count = random.below(6); count >= 0; count--) {
    parts.push(random.chance(0.06) ? random.pick(RAW) : Buffer.from(random.pick(SEGMENTS)));
    if (count > 0) parts.push(Buffer.from(random.chance(0.9) ? "/" : random.pick(["//", "\\", "/./", ""])));
  }
  const path = Buffer.concat(parts);
  return random.chance(0.1) ? mutate(path, random, 2) : path;
}

/** `store`, which throws for a key outside of the prefix; what was asked is told to `violation`. */
function guarded(store: ObjectStore, violation: (text: string) => void, onCall: (text: string) => void): ObjectStore {
  const check = (method: string, key: unknown): void => {
    if (typeof key !== "string") return;
    const segments = key.slice(PREFIX.length).split("/");
    const isFolder = key.endsWith("/");
    const bad = segments.some((part, at) => part === "." || part === ".." || (part === "" && !(isFolder && at === segments.length - 1)));
    if (!key.startsWith(PREFIX) || bad || key.includes("\0")) violation(`${method} ${JSON.stringify(key)}`);
  };
  return new Proxy(store, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...given: unknown[]): unknown => {
        const method = String(name);
        onCall(`${method} ${[given[0], method === "copy" ? given[1] : ""].flat().map(String).join(" ")}`);
        for (const key of Array.isArray(given[0]) ? given[0] : [given[0]]) check(method, key);
        if (method === "copy") check(method, given[1]);
        return value.apply(target, given) as unknown;
      };
    },
  });
}

/** What a run of many paths found. */
export interface IsolationResult {
  readonly paths: number;
  /** Requests that the store was asked, to see that something happens. */
  readonly storeCalls: number;
  readonly findings: readonly string[];
}

interface World {
  readonly files: StoredFiles;
  readonly clock: OperationClock;
  readonly budget: ByteBudget;
  close(): Promise<void>;
}

const log = pino({ level: "silent" });

/** What becomes of a world besides findings. */
interface Watching {
  readonly count: () => void;
  /** Every request to the store, with its keys. */
  readonly onCall: (text: string) => void;
  /** Without: other users have nothing. */
  readonly hasOthers: boolean;
}

async function createWorld(findings: string[], { count, onCall, hasOthers }: Watching): Promise<World> {
  const memory = createMemoryStore({ limits: SMALL_PARTS });
  const foreign = hasOthers ? FOREIGN : [];
  for (const key of foreign) await memory.put(key, [Buffer.from(CANARY)]);
  for (const key of ["alice/a", "alice/originals/x.txt", "alice/attachments/a"]) await memory.put(key, [Buffer.from("own")]);
  const budget = new ByteBudget(64 * 1024 * 1024);
  const store = guarded(
    new Proxy(memory, {
      get: (target, name) => {
        count();
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    }),
    (text) => findings.push(`outside of the prefix: ${text}`),
    onCall,
  );
  const clock = new OperationClock();
  const files = await createStoredFiles({ budget, log, store, prefix: PREFIX, clock });
  const close = async (): Promise<void> => {
    await files.close();
    for (const key of foreign) {
      const body = await memory.get(key).catch(() => undefined);
      if (body?.info.size !== CANARY.length) findings.push(`the object ${key} of somebody else was changed`);
      body?.destroy();
    }
  };
  return { files, budget, clock, close };
}

/** Time that passes with the operations, so that what is remembered for some seconds is so on every machine. */
class OperationClock implements Clock {
  #nowMs = 1_700_000_000_000;
  readonly #timers = new Set<{ readonly dueMs: number; readonly action: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  after(ms: number, action: () => void): () => void {
    const timer = { dueMs: this.#nowMs + ms, action };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** One operation takes five milliseconds. */
  step(): void {
    this.#nowMs += 5;
    for (const timer of [...this.#timers]) {
      if (timer.dueMs > this.#nowMs || !this.#timers.delete(timer)) continue;
      timer.action();
    }
  }
}

/** Sends one request about `path`; resolves with everything that came back. */
async function overSftp(client: SftpClient, random: Random, path: Buffer): Promise<Buffer> {
  const other = str(random.chance(0.5) ? path : somePath(random));
  const paths = str(path);
  const extended = (name: string, ...fields: Buffer[]): Promise<Buffer> =>
    client.request(200, str(name), ...fields).then((reply) => reply.fields);
  const plain = (type: number, ...fields: Buffer[]): Promise<Buffer> => client.request(type, ...fields).then((reply) => reply.fields);
  switch (random.below(20)) {
    case 0:
    case 1: {
      const { type, fields } = await client.request(3, paths, u32(random.pick([1, 0x1a, 0x0a, 2, 0x2a, 0x0e])), attrs());
      if (type !== 102) return fields;
      const read = random.chance(0.5) ? plain(5, fields, u64(0), u32(1000)) : plain(6, fields, u64(0), str("own"));
      return Buffer.concat([await read, await plain(4, fields)]);
    }
    case 2:
    case 3: {
      const { type, fields } = await client.request(11, paths);
      if (type !== 102) return fields;
      return Buffer.concat([await plain(12, fields), await plain(12, fields), await plain(4, fields)]);
    }
    case 4:
      return plain(18, paths, other);
    case 5:
      return plain(20, paths, other);
    case 6:
      return extended("posix-rename@openssh.com", paths, other);
    case 7:
      return extended("hardlink@openssh.com", paths, other);
    case 8:
      return extended(random.pick(["statvfs@openssh.com", "expand-path@openssh.com", "home-directory"]), paths);
    case 9:
      return extended("check-file-name", paths, str("md5,sha256"), u64(0), u64(0), u32(0));
    case 10:
      return extended("lsetstat@openssh.com", paths, attrs({ times: [1, 1] }));
    case 11:
      return plain(14, paths, attrs());
    case 12:
      return plain(9, paths, attrs({ permissions: 0o644 }));
    default:
      return plain(random.pick([7, 13, 15, 16, 16, 17, 17, 19, 19]), paths);
  }
}

/** Runs a command that names `path`; resolves with everything that came back. */
async function overExec({ files, budget }: World, random: Random, path: Buffer): Promise<Buffer> {
  const quoted = Buffer.concat([
    Buffer.from("'"),
    Buffer.from(path.toString("latin1").replaceAll("'", "'\\''"), "latin1"),
    Buffer.from("'"),
  ]);
  const word = random.chance(0.7) ? quoted : path;
  const run = random.pick([captured.UPLOAD_31, captured.DOWNLOAD_31, captured.DELTA_DOWNLOAD, captured.UPLOAD_Z]);
  const isRsync = random.chance(0.3);
  const command = isRsync
    ? Buffer.concat([Buffer.from(`${run.command.slice(0, run.command.lastIndexOf(" . "))} . `), word])
    : Buffer.concat([
        Buffer.from(random.pick(["scp -t ", "scp -r -t ", "scp -f ", "scp -r -p -f ", "md5sum ", "sha256sum ", "md5sum -b ", "df "])),
        word,
      ]);
  const client = isRsync
    ? Buffer.from(run.client, "hex")
    : Buffer.from(random.pick(["C0644 3 x\nown\0", "D0755 0 ..\nC0644 3 y\nown\0E\n", "\0\0\0\0\0\0", ""]));
  const { client: near, server } = loopbackPair();
  const output: Uint8Array[] = [];
  near.receive({
    data: (chunk) => {
      output.push(Uint8Array.from(chunk));
      near.consume(chunk.length);
    },
    end: () => undefined,
  });
  near.write(client);
  near.sendEof();
  await createCommands(budget, "/nonexistent").run(command, { channel: server, fileSystem: files.fs, user: "alice", log });
  near.destroy("done");
  return Buffer.concat([...output, ...near.errorOutput]);
}

/** How to try paths. */
export interface IsolationOptions {
  /** One operation in so many is a command (default 25). */
  readonly execEvery?: number;
  /** Whether other users have files (default true). */
  readonly hasOthers?: boolean;
  /** Told of every request to the store. */
  readonly onCall?: (text: string) => void;
}

/** Tries `paths` paths from `seed` on, each with one operation. */
export async function tryPaths(paths: number, seed: number, options: IsolationOptions = {}): Promise<IsolationResult> {
  const { execEvery = 25, hasOthers = true, onCall = () => undefined } = options;
  const findings: string[] = [];
  let storeCalls = 0;
  for (let done = 0; done < paths && findings.length < 20; ) {
    const world = await createWorld(findings, { count: () => storeCalls++, onCall, hasOthers });
    const { client: near, server } = loopbackPair();
    const served = serveSftp(server, world.files.fs, { budget: world.budget, log, user: "alice" });
    const client = new SftpClient(near);
    await client.init();
    for (const end = Math.min(paths, done + 2_000); done < end; done++) {
      world.clock.step();
      const random = new Random(seed + done);
      const path = somePath(random);
      const before = findings.length;
      const reply = await (random.below(execEvery) === 0 ? overExec(world, random, path) : overSftp(client, random, path));
      if (reply.includes(CANARY)) findings.push(`told of somebody else: ${JSON.stringify(reply.toString("latin1").slice(0, 200))}`);
      for (let at = before; at < findings.length; at++)
        findings[at] = `seed ${seed + done}, ${JSON.stringify(path.toString("latin1"))}: ${findings[at]}`;
      client.replies.length = 0;
    }
    near.sendEof();
    await served;
    await world.close();
  }
  return { paths, storeCalls, findings };
}

if (import.meta.url === `file://${process.argv[1]}`) {
  const [paths = "1000000", seed = "1"] = process.argv.slice(2);
  const alive = setInterval(() => undefined, 1000);
  const { storeCalls, findings } = await tryPaths(Number(paths), Number(seed));
  clearInterval(alive);
  console.log(`${paths} paths from seed ${seed}, ${storeCalls} store calls, ${findings.length} findings`);
  for (const finding of findings) console.log(`FINDING ${finding}`);
  process.exitCode = findings.length > 0 ? 1 : 0;
}
