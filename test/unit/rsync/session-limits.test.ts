/** What ends a run from our side: `--timeout` as rsync's servers understand it, and lists the process has no room for. */
import { describe, expect, it } from "vitest";
import { splitCommandLine } from "../../../src/exec/command-line.ts";
import { ByteBuilder } from "../../../src/rsync/byte-builder.ts";
import { RsyncExit } from "../../../src/rsync/exit-codes.ts";
import { FileListEncoder } from "../../../src/rsync/file-list-send.ts";
import { ENTRY_BYTES, ListMemory, type ListShare } from "../../../src/rsync/list-memory.ts";
import { defaultOptions } from "../../../src/rsync/server-options.ts";
import { serveRsync } from "../../../src/rsync/session.ts";
import { loopbackPair } from "../../support/loopback-channel.ts";
import { ModelFileSystem } from "../../support/model-file-system.ts";
import { replay, silent } from "./harness.ts";

const MIB = 1024 * 1024;

/** The client's version, as it comes at protocol 29. */
function version(): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(29);
  return bytes;
}

/** The start of an upload at protocol 29: the version and a list of `count` files with long names. */
function uploadOf(count: number): Buffer {
  const out = new ByteBuilder();
  const options = defaultOptions();
  const encoder = new FileListEncoder(out, options, { protocol: 29, safe: false });
  for (let index = 0; index < count; index++) {
    encoder.entry({ name: `${index}-${"n".repeat(180)}`, size: 1, mtime: 1_600_000_000, mode: 0o100644, flags: 0 });
  }
  encoder.end(0);
  return Buffer.concat([version(), out.take()]);
}

describe("--timeout", () => {
  /**
   * A run whose clock goes on by a second at each look, once the client has got `after` bytes; the client hangs up at second
   * `hangUpAt`.
   */
  async function run(
    command: string,
    client: Uint8Array,
    { windowBytes = 2 * MIB, after = 0, hangUpAt = Number.POSITIVE_INFINITY } = {},
  ): Promise<number> {
    const pair = loopbackPair({ windowBytes });
    let received = 0;
    const data = (chunk: Uint8Array): void => {
      received += chunk.length;
      if (windowBytes > MIB) pair.client.consume(chunk.length);
    };
    pair.client.receive({ data, end: () => undefined });
    const fs = new ModelFileSystem();
    fs.put("/big.bin", Buffer.alloc(4 * MIB), { mtime: 1 });
    let seconds = 0;
    const now = (): number => {
      if (received >= after) seconds += 1;
      if (seconds === hangUpAt) pair.client.sendEof();
      return seconds * 1000;
    };
    pair.client.write(client);
    const words = splitCommandLine(command).slice(1);
    return serveRsync(words, pair.server, fs, { log: silent, lingerMs: 5, randomSeed: () => 1, keepAliveMs: 6, now });
  }

  it("ends a run whose list does not come", async () => {
    expect(await run("rsync --server -tr --timeout=20 . /", version())).toBe(30);
  });

  it("ends a run whose client does not take what is sent", async () => {
    // Empty filter list; then nothing is read: the list of one entry is larger than what the client takes.
    const filters = Buffer.alloc(4);
    expect(await run("rsync --server --sender -tr --timeout=20 . /", Buffer.concat([version(), filters]), { windowBytes: 8 })).toBe(30);
  });

  it("lets a client be silent that takes what is sent", async () => {
    const status = await run("rsync --server -tr --timeout=20 . /", uploadOf(1), { after: 20, hangUpAt: 500 });
    expect(status).toBe(12);
  });
});

describe("memory for lists", () => {
  /** Entries a share takes until it is refused, at most `most`. */
  function fill(share: ListShare, most = Number.POSITIVE_INFINITY): number {
    for (let count = 0; count < most; count++) {
      try {
        share.entry(1024 - ENTRY_BYTES);
      } catch (error) {
        if (error instanceof RsyncExit && error.status === 22) return count;
        throw error;
      }
    }
    return most;
  }

  it("leaves as much free as any user holds", () => {
    const memory = new ListMemory(64 * MIB);
    const [first, second, third] = [memory.open("a"), memory.open("b"), memory.open("c")];
    expect(fill(first)).toBe(32 * 1024);
    expect(fill(second)).toBe(16 * 1024);
    first.release();
    expect(fill(third)).toBe(24 * 1024);
    second.release();
    third.release();
    expect(memory.used).toBe(0);
  });

  it("has room for short lists always", () => {
    const memory = new ListMemory(16 * MIB);
    for (let users = 0; users < 20; users++) fill(memory.open(`user${users}`));
    expect(fill(memory.open("another"))).toBe(4 * 1024);
  });

  it("counts all runs of a user together", () => {
    const memory = new ListMemory(64 * MIB);
    const runs = [memory.open("a"), memory.open("a"), memory.open("a")] as const;
    expect(fill(runs[0], 20 * 1024)).toBe(20 * 1024);
    expect(fill(runs[1])).toBe(12 * 1024);
    expect(fill(runs[2])).toBe(0);
    expect(fill(memory.open("b"))).toBe(16 * 1024);
    runs[0].release();
    expect(fill(runs[2], 1)).toBe(1);
  });

  it("refuses a list that does not fit, and gives its memory back", async () => {
    const lists = new ListMemory(MIB);
    const { status, output } = await replay("rsync --server -r . /", uploadOf(20_000), new ModelFileSystem(), { lists });
    expect(status).toBe(22);
    expect(output.toString("latin1")).toContain("no room for so long a list");
    expect(lists.used).toBe(0);
  });

  it("counts filter rules", async () => {
    const rule = Buffer.concat([Buffer.alloc(4), Buffer.from(`- ${"p".repeat(4000)}`)]);
    rule.writeInt32LE(rule.length - 4);
    const rules = Buffer.concat(Array.from({ length: 2_000 }, () => rule));
    const lists = new ListMemory(MIB);
    const client = Buffer.concat([version(), rules]);
    const { status } = await replay("rsync --server --sender -r . /", client, new ModelFileSystem(), { lists });
    expect(status).toBe(22);
    expect(lists.used).toBe(0);
  });
});
