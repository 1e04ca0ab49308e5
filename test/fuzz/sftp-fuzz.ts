/**
 * Fuzzes the SFTP server: `npx tsx test/fuzz/sftp-fuzz.ts [packets] [seed] [model|stored]`, over the model file system
 * or over the real one on a memory store; prints how far it is every 100,000 packets. Packets are
 * built from valid ones by random edits, sessions are cut, ended or go on, replies are read or not. A finding is an
 * unexpected error in the log, a hang, a leaked handle or byte of budget, or a reply nobody asked for.
 */
import { setMaxListeners } from "node:events";
import { pino } from "pino";
import { ByteBudget } from "../../src/byte-budget.ts";
import type { Logger } from "../../src/log.ts";
import { serveSftp } from "../../src/sftp/sftp-server.ts";
import type { FileSystem } from "../../src/vfs/file-system.ts";
import { type LoopbackEnd, loopbackPair } from "../support/loopback-channel.ts";
import { ModelFileSystem } from "../support/model-file-system.ts";
import { attrs, packet, str, u32, u64 } from "../support/sftp-client.ts";
import { Random } from "../support/random.ts";
import { createStoredFiles, MOUNT } from "../support/stored-files.ts";

/** What a run found. */
export interface FuzzResult {
  readonly packets: number;
  readonly sessions: number;
  /** Statuses by code, and other replies by type, to see that the fuzzer reaches something. */
  readonly replies: ReadonlyMap<string, number>;
  /** Empty if nothing was found; each names seed and session. */
  readonly findings: readonly string[];
}

const PATHS = [
  "/a",
  "/a",
  "/d/x1",
  "/d/x2",
  "/d/x3",
  "/d/new",
  "",
  "/",
  ".",
  "a",
  "/a",
  "/a/b",
  "a/../b",
  "/d",
  "/d/x",
  "/d/y",
  "/home/alice/a",
  "~",
  "/very/deep/x",
  "\u00e4",
  "a\nb",
];
const EXTENSIONS = [
  "posix-rename@openssh.com",
  "statvfs@openssh.com",
  "fstatvfs@openssh.com",
  "fsync@openssh.com",
  "lsetstat@openssh.com",
  "limits@openssh.com",
  "expand-path@openssh.com",
  "home-directory",
  "users-groups-by-id@openssh.com",
  "copy-data",
  "check-file",
  "check-file-name",
  "hardlink@openssh.com",
];
const OFFSETS = [0, 1, 4, 100, 32768, 261120, 2 ** 32, 2 ** 40, 2 ** 53 - 1];
/** READ; WRITE with CREAT, TRUNC, APPEND; READ and WRITE. */
const COMMON_PFLAGS = [1, 1, 1, 0x1a, 0x0a, 0x0e, 0x0b, 2, 3];
const HANG_MS = 60_000;
const PROGRESS_PACKETS = 100_000;

/** What is behind the server. */
export type FuzzFiles = "model" | "stored";

/** Files for one session: where they can be changed, and what is wrong with them at the end. */
interface Files {
  readonly fs: FileSystem;
  readonly root: string;
  /** Ends them; returns findings. */
  close(): Promise<string[]>;
}

/** Told after each session of packets sent so far and findings. */
export type FuzzProgress = (packets: number, findings: readonly string[]) => void;

/** Runs sessions until `packets` packets were sent. The same arguments do the same, as far as the files do. */
export async function fuzzSftp(
  packets: number,
  seed: number,
  behind: FuzzFiles = "model",
  progress: FuzzProgress = () => undefined,
): Promise<FuzzResult> {
  const findings: string[] = [];
  const replies = new Map<string, number>();
  let sent = 0;
  let sessions = 0;
  while (sent < packets && findings.length < 10) {
    const random = new Random(seed + sessions);
    const budget = new ByteBudget(4 * 1024 * 1024);
    const complaints: string[] = [];
    const log = pino({ level: "error" }, { write: (line: string) => void complaints.push(`log: ${line}`) });
    const files = behind === "model" ? modelFiles(random) : await storedFiles(budget, log);
    const session = new FuzzSession({ random, replies, files, budget, log });
    sent += await session.run(Math.min(packets - sent, 3000));
    session.findings.push(...complaints, ...(await files.close()));
    if (budget.used !== 0) session.findings.push(`${budget.used} bytes of budget leaked`);
    for (const finding of session.findings) findings.push(`seed ${seed + sessions}: ${finding}`);
    sessions++;
    progress(sent, findings);
  }
  return { packets: sent, sessions, replies, findings };
}

/** The model with some files in it, now and then slow. */
function modelFiles(random: Random): Files {
  const fs = new ModelFileSystem({
    batchSize: random.pick([1, 10, 500]),
    symlinks: random.chance(0.3),
    checksums: random.chance(0.5),
    before: () => (random.chance(0.2) ? nextTurn() : undefined),
  });
  fs.put("/a", Buffer.alloc(300_000, 1));
  for (let i = 0; i < 30; i++) fs.put(`/d/x${i}`, "x");
  return { fs, root: "", close: async () => (fs.openHandles === 0 ? [] : [`${fs.openHandles} handles leaked`]) };
}

/** The real file system with the same files. */
async function storedFiles(budget: ByteBudget, log: Logger): Promise<Files> {
  const { fs, store, close } = await createStoredFiles({ budget, log });
  const properties = { contentType: "application/octet-stream", metadata: {} };
  await store.put("alice/a", [Buffer.alloc(300_000, 1)], properties);
  for (let i = 0; i < 30; i++) await store.put(`alice/d/x${i}`, [Buffer.from("x")], properties);
  return {
    fs,
    root: MOUNT,
    close: async () => {
      await close();
      return [];
    },
  };
}

interface FuzzSessionOptions {
  readonly random: Random;
  readonly replies: Map<string, number>;
  readonly files: Files;
  readonly budget: ByteBudget;
  readonly log: Logger;
}

/** One channel from INIT to its end. */
class FuzzSession {
  readonly findings: string[] = [];
  readonly #random: Random;
  readonly #replies: Map<string, number>;
  readonly #near: LoopbackEnd;
  readonly #far: LoopbackEnd;
  readonly #root: string;
  readonly #done: Promise<void>;
  readonly #handles: Buffer[] = [];
  readonly #asked = new Map<number, number>();
  #reads = true;
  #received: Buffer = Buffer.alloc(0);
  #id = 0;

  constructor({ random, replies, files, budget, log }: FuzzSessionOptions) {
    this.#random = random;
    this.#replies = replies;
    this.#root = files.root;
    const chunkBytes = random.pick([7, 1000, 32768, 32768]);
    const { client, server } = loopbackPair({ chunkBytes, windowBytes: random.pick([300_000, 2_097_152]) });
    this.#near = client;
    this.#far = server;
    setMaxListeners(0, server.closed);
    const maxHandles = random.pick([2, 30, 30, 1000]);
    this.#done = serveSftp(server, files.fs, { budget, log, user: "alice", maxHandles });
    client.receive({ data: (chunk) => this.#data(chunk), end: () => undefined });
  }

  /** Sends up to `most` packets; returns how many. */
  async run(most: number): Promise<number> {
    const random = this.#random;
    this.#near.write(packet(1, u32(3)));
    let sent = 1;
    const length = Math.min(most, random.below(3000) + 1);
    while (sent < length && !this.#near.closed.aborted) {
      for (let burst = random.below(100); burst >= 0 && sent < length; burst--, sent++) this.#near.write(this.#packet());
      for (let turn = random.below(6); turn > 0; turn--) await nextTurn();
      if (random.chance(0.003)) this.#reads = false;
      if (this.#near.pendingBytes > 8 * 1024 * 1024) break;
    }
    await this.#end();
    return sent;
  }

  async #end(): Promise<void> {
    const isCut = this.#random.chance(0.5) || !this.#reads;
    if (isCut) this.#near.destroy("cut");
    else this.#near.sendEof();
    let done = false;
    const end = this.#done.then(
      () => {
        done = true;
      },
      (error: unknown) => {
        done = true;
        this.findings.push(`serveSftp rejected: ${String(error)}`);
      },
    );
    const began = performance.now();
    while (!(done && this.#near.closed.aborted) && performance.now() - began < HANG_MS) await nextTurn();
    if (!done || !this.#near.closed.aborted) {
      this.findings.push("hangs after the end of the channel");
      return;
    }
    await end;
    const isWhole = this.#near.destroyedBecause === undefined;
    if (isWhole && this.#asked.size > 0) this.findings.push(`${this.#asked.size} requests were not answered`);
    if (isWhole && this.#far.unconsumed > 300_000) this.findings.push(`${this.#far.unconsumed} bytes of window leaked`);
  }

  #data(chunk: Uint8Array): void {
    if (!this.#reads) return;
    this.#near.consume(chunk.length);
    this.#received = this.#received.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#received, chunk]);
    let at = 0;
    for (; this.#received.length - at >= 4; at += 4 + this.#received.readUInt32BE(at)) {
      const length = this.#received.readUInt32BE(at);
      if (this.#received.length - at < 4 + length) break;
      this.#reply(this.#received.subarray(at + 4, at + 4 + length));
    }
    this.#received = this.#received.subarray(at);
  }

  #reply(body: Buffer): void {
    const type = body.readUInt8(0);
    const key = type === 101 ? `status ${body.readUInt32BE(5)}` : `type ${type}`;
    this.#replies.set(key, (this.#replies.get(key) ?? 0) + 1);
    if (type === 2) return;
    if (type === 102 && this.#handles.length < 50) this.#handles.push(Buffer.from(body.subarray(9)));
    const id = body.readUInt32BE(1);
    const asked = this.#asked.get(id) ?? 0;
    if (asked === 0) this.findings.push(`reply of type ${type} to ${id}, which nobody asked`);
    else if (asked === 1) this.#asked.delete(id);
    else this.#asked.set(id, asked - 1);
  }

  /** A request, valid in most cases; its id is noted if it has to be answered. */
  #packet(): Buffer {
    const random = this.#random;
    const bytes = random.chance(0.7) ? this.#valid() : this.#edited(this.#valid());
    if (random.chance(0.0002)) return Buffer.concat([u32(random.pick([0, 1, 3, 263_169, 2 ** 31, 2 ** 32 - 1])), bytes]);
    const isFramed = bytes.length >= 9 && bytes.readUInt32BE(0) === bytes.length - 4;
    if (isFramed && bytes[4] !== 1) {
      const id = bytes.readUInt32BE(5);
      this.#asked.set(id, (this.#asked.get(id) ?? 0) + 1);
    }
    return bytes;
  }

  /** Bytes changed, cut or added inside an intact frame. */
  #edited(bytes: Buffer): Buffer {
    const random = this.#random;
    let body = Buffer.from(bytes.subarray(4));
    for (let edits = random.below(4); edits >= 0; edits--) {
      const at = random.below(body.length);
      const edit = random.below(4);
      if (edit === 0 && (at > 0 || random.chance(0.05))) body[at] = random.below(256);
      else if (edit === 1) body = body.subarray(0, Math.max(random.chance(0.002) ? 1 : 5, at));
      else if (edit === 2) body = Buffer.concat([body.subarray(0, at + 1), random.bytes(random.below(20)), body.subarray(at + 1)]);
      else if (at + 4 <= body.length && at > 4) body.writeUInt32BE(random.pick([0, 0xffffffff, 0x7fffffff, 65536]), at);
    }
    return str(body);
  }

  #valid(): Buffer {
    const random = this.#random;
    const id = u32(++this.#id);
    const path = (): Buffer => this.#path();
    const handle = (): Buffer => str(random.chance(0.95) && this.#handles.length > 0 ? random.pick(this.#handles) : random.bytes(8));
    const offset = (): Buffer => u64(random.pick(OFFSETS));
    const change = (): Buffer =>
      attrs({
        ...(random.chance(0.3) ? { size: random.pick(OFFSETS.slice(0, 6)) } : {}),
        ...(random.chance(0.3) ? { permissions: random.below(65536) } : {}),
        ...(random.chance(0.3) ? { times: [random.below(2 ** 31), random.below(2 ** 31)] } : {}),
      });
    const type = random.pick([3, 3, 3, 3, 4, 5, 5, 5, 6, 6, 6, 7, 8, 9, 10, 11, 12, 12, 13, 14, 15, 16, 17, 18, 19, 20, 200, 200, 77]);
    switch (type) {
      case 3:
        return packet(type, id, path(), u32(random.chance(0.6) ? random.pick(COMMON_PFLAGS) : random.below(64)), change());
      case 4:
        return packet(type, id, random.chance(0.2) ? handle() : str(this.#handles.shift() ?? random.bytes(8)));
      case 5:
        return packet(type, id, handle(), offset(), u32(random.pick([0, 1, 1000, 32768, 261120, 2 ** 32 - 1])));
      case 6:
        return packet(type, id, handle(), offset(), str(random.bytes(random.pick([0, 1, 10, 1000, 5000, 40_000]))));
      case 8:
      case 12:
        return packet(type, id, handle());
      case 10:
        return packet(type, id, handle(), change());
      case 9:
      case 14:
        return packet(type, id, path(), change());
      case 18:
      case 20:
        return packet(type, id, path(), path());
      case 200:
        return packet(type, id, str(random.pick(EXTENSIONS)), ...this.#arguments());
      default:
        return packet(type, id, path());
    }
  }

  #path(): Buffer {
    const path = this.#random.pick(PATHS);
    return str(this.#random.chance(0.95) && !path.startsWith("~") ? `${this.#root}/${path}` : path);
  }

  /** Arguments of an extension, of the right shape now and then. */
  #arguments(): Buffer[] {
    const random = this.#random;
    const handle = (): Buffer => str(this.#handles.length > 0 ? random.pick(this.#handles) : "h");
    const shapes = [
      [this.#path(), this.#path()],
      [handle()],
      [handle(), u64(random.pick(OFFSETS)), u64(random.below(1000)), handle(), u64(random.pick(OFFSETS))],
      [this.#path(), attrs({ size: 5 })],
      [random.chance(0.5) ? handle() : str("/a"), str("md5,sha1"), u64(0), u64(0), u32(0)],
      [str(Buffer.concat([u32(1000), u32(1)])), str(u32(5))],
    ];
    return random.pick(shapes);
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function main(): Promise<void> {
  const [packets = "1000000", seed = String(Date.now() % 1_000_000_000), behind = "model"] = process.argv.slice(2);
  // Timers of the files do not keep the process alive.
  const alive = setInterval(() => undefined, 1000);
  const began = performance.now();
  const state = (): string => {
    const rss = Math.round(process.memoryUsage().rss / 1024 / 1024);
    return `from seed ${seed}, ${((performance.now() - began) / 1000).toFixed(1)} s, ${rss} MiB`;
  };
  let told = 0;
  const result = await fuzzSftp(Number(packets), Number(seed), behind === "stored" ? "stored" : "model", (sent, findings) => {
    if (sent < told + PROGRESS_PACKETS) return;
    told = sent;
    console.log(`${new Date().toISOString()} ${behind}: ${sent} packets ${state()}, ${findings.length} findings`);
  });
  console.log(`${behind}: ${result.packets} packets in ${result.sessions} sessions ${state()}`);
  for (const [reply, count] of [...result.replies].sort()) console.log(`  ${reply}: ${count}`);
  for (const finding of result.findings) console.log(`FINDING ${finding}`);
  clearInterval(alive);
  process.exitCode = result.findings.length > 0 ? 1 : 0;
}

if (import.meta.url === `file://${process.argv[1]}`) await main();
