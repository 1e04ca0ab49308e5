/**
 * What the SFTP codec and queues cost without SSH and store: `npx tsx test/bench/sftp-loopback.ts [MiB]`. Moves bytes
 * through `serveSftp` over a loopback channel, 64 requests in flight, onto a file that costs nothing. The client's share
 * is in the figures.
 */
import { pino } from "pino";
import { ByteBudget } from "../../src/byte-budget.ts";
import { serveSftp } from "../../src/sftp/sftp-server.ts";
import type { FileHandle, FileSystem } from "../../src/vfs/file-system.ts";
import { type LoopbackEnd, loopbackPair } from "../support/loopback-channel.ts";
import { ModelFileSystem } from "../support/model-file-system.ts";
import { attrs, CREAT, packet, R, str, TRUNC, u32, u64, W } from "../support/sftp-client.ts";

const MIB = 1024 * 1024;
const IN_FLIGHT = 64;
const CHUNK = 32 * 1024;

type Direction = "up" | "down";

/** A file system of one endless file that costs nothing to read and write. */
function freeFileSystem(): FileSystem {
  const zeros = new Uint8Array(CHUNK);
  const handle: FileHandle = {
    read: async (_offset, length) =>
      Array.from({ length: Math.ceil(length / CHUNK) }, (_, i) => zeros.subarray(0, Math.min(CHUNK, length - i * CHUNK))),
    write: async () => undefined,
    copyFrom: async () => 0,
    stat: () => fs.stat("/"),
    setstat: async () => undefined,
    sync: async () => undefined,
    close: async () => undefined,
    abort: async () => undefined,
  };
  const fs = new ModelFileSystem();
  fs.open = async () => handle;
  return fs;
}

/** A client that keeps requests in flight and looks only at the heads of replies. */
class Pump {
  readonly done: Promise<void>;
  readonly #channel: LoopbackEnd;
  readonly #direction: Direction;
  readonly #body: Uint8Array;
  #left: number;
  #inFlight = 0;
  #offset = 0;
  #handle: Buffer | undefined;
  #head: Buffer = Buffer.alloc(0);
  #skip = 0;
  #finish: () => void = () => undefined;

  constructor(channel: LoopbackEnd, direction: Direction, requestBytes: number, total: number) {
    this.#channel = channel;
    this.#direction = direction;
    this.#body = new Uint8Array(requestBytes);
    this.#left = total;
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    channel.receive({ data: (chunk) => this.#data(chunk), end: () => undefined });
    channel.write(packet(1, u32(3)), packet(3, u32(1), str("/f"), u32(direction === "up" ? W | CREAT | TRUNC : R), attrs()));
  }

  #send(): void {
    const handle = this.#handle;
    while (handle && this.#inFlight < IN_FLIGHT && this.#left > 0) {
      const bytes = Math.min(this.#body.length, this.#left);
      if (this.#direction === "down") this.#channel.write(packet(5, u32(2), str(handle), u64(this.#offset), u32(bytes)));
      else {
        const head = Buffer.concat([u32(0), Buffer.from([6]), u32(2), str(handle), u64(this.#offset), u32(bytes)]);
        head.writeUInt32BE(head.length - 4 + bytes);
        this.#channel.write(head, this.#body.subarray(0, bytes));
      }
      this.#offset += bytes;
      this.#left -= bytes;
      this.#inFlight++;
    }
    if (this.#left === 0 && this.#inFlight === 0) this.#finish();
  }

  #data(chunk: Uint8Array): void {
    this.#channel.consume(chunk.length);
    let rest = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    while (rest.length > 0) {
      const skipped = Math.min(this.#skip, rest.length);
      this.#skip -= skipped;
      rest = rest.subarray(skipped);
      if (rest.length === 0) break;
      if (this.#head.length > 0) rest = Buffer.concat([this.#head, rest]);
      this.#head = Buffer.alloc(0);
      if (rest.length < 25 && rest.length < 4 + (rest.length < 4 ? Number.POSITIVE_INFINITY : rest.readUInt32BE(0))) {
        this.#head = rest;
        break;
      }
      const type = rest.readUInt8(4);
      if (type === 102) this.#handle = Buffer.from(rest.subarray(13, 13 + rest.readUInt32BE(9)));
      else if (type !== 2) this.#inFlight--;
      this.#skip = 4 + rest.readUInt32BE(0);
    }
    this.#send();
  }
}

async function measure(direction: Direction, requestBytes: number, total: number): Promise<string> {
  const { client, server } = loopbackPair({ windowBytes: 4 * MIB });
  const served = serveSftp(server, freeFileSystem(), { budget: new ByteBudget(256 * MIB), log: pino({ level: "silent" }), user: "alice" });
  const cpu = process.cpuUsage();
  const began = performance.now();
  await new Pump(client, direction, requestBytes, total).done;
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  client.sendEof();
  await served;
  const perGib = ((user + system) / 1e6 / total) * 1024 * MIB;
  return `${direction.padEnd(4)} ${String(requestBytes).padStart(6)} B: ${(total / MIB / seconds).toFixed(0)} MiB/s, ${perGib.toFixed(3)} CPU-s/GiB`;
}

const total = Number(process.argv[2] ?? 1024) * MIB;
for (const round of ["cold", "warm"]) {
  for (const requestBytes of [255 * 1024, 32 * 1024, 4096]) {
    for (const direction of ["up", "down"] as const) console.log(round, await measure(direction, requestBytes, total));
  }
}
