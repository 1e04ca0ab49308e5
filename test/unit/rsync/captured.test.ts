/** Streams of real clients, byte for byte, into our server; what it answers is what the real one answered. */
import { describe, expect, it } from "vitest";
import { ModelFileSystem } from "../../support/model-file-system.ts";
import * as captured from "./captured-runs.ts";
import { demultiplex, replay } from "./harness.ts";

const bytes = (hex: string): Buffer => Buffer.from(hex, "hex");
const text = (content: Uint8Array | undefined): string | undefined => content && Buffer.from(content).toString();

/** The answer after the handshake (`skip` bytes), frames taken apart. */
function answerOf(output: Buffer, skip: number): { data: string; messages: string[] } {
  const { data, messages } = demultiplex(output.subarray(skip));
  return { data: data.toString("hex"), messages };
}

describe("captured uploads", () => {
  it("takes rsync 3.1.3 at protocol 31", async () => {
    const fs = new ModelFileSystem();
    const { status, output, unconsumed } = await replay(captured.UPLOAD_31.command, bytes(captured.UPLOAD_31.client), fs);
    expect(status).toBe(0);
    expect(unconsumed).toBe(0);
    expect(answerOf(output, 9)).toEqual(answerOf(bytes(captured.UPLOAD_31.server), 9));
    expect(text(fs.get("/dst/a.txt"))).toBe("hello world\n");
    expect(text(fs.get("/dst/sub/b.txt"))).toBe("second file");
    expect(await fs.stat("/dst/a.txt")).toMatchObject({ mtime: 1_700_000_000 });
    expect(fs.openHandles).toBe(0);
  });

  it("takes a compressed file", async () => {
    const fs = new ModelFileSystem();
    const { status, output } = await replay(captured.UPLOAD_Z.command, bytes(captured.UPLOAD_Z.client), fs);
    expect(status).toBe(0);
    expect(output.subarray(0, 9).toString("hex")).toBe("1f0000002801000000");
    expect(answerOf(output, 9)).toEqual(answerOf(bytes(captured.UPLOAD_Z.server), 9));
    expect(text(fs.get("/a.txt"))).toBe("hello world\n");
  });

  it("takes macOS openrsync at protocol 29", async () => {
    const fs = new ModelFileSystem();
    const { status, output } = await replay(captured.OPENRSYNC_UPLOAD.command, bytes(captured.OPENRSYNC_UPLOAD.client), fs);
    expect(status).toBe(0);
    expect(output.subarray(0, 8).toString("hex")).toBe("1f00000001000000");
    expect(answerOf(output, 8)).toEqual(answerOf(bytes(captured.OPENRSYNC_UPLOAD.server), 8));
    expect(text(fs.get("/ap/sub/b.txt"))).toBe("second file");
  });

  it("deletes nothing for a client that goes before its list is complete", async () => {
    const whole = bytes(captured.SECLUDED_DELETE.client);
    const left: number[] = [];
    for (let length = 0; length <= whole.length; length++) {
      const fs = new ModelFileSystem();
      fs.put("/x/a.txt", "hello world\n", { mtime: 1_700_000_000 });
      fs.put("/x/sub/b.txt", "gone");
      const { status } = await replay(captured.SECLUDED_DELETE.command, whole.subarray(0, length), fs, { lingerMs: 1 });
      expect(status === 0).toBe(length === whole.length);
      expect(text(fs.get("/x/a.txt"))).toBe("hello world\n");
      expect(fs.openHandles).toBe(0);
      if (fs.get("/x/sub/b.txt")) left.push(length);
    }
    // Whole up to the byte that ends the list, gone from there on.
    expect(left).toEqual(left.map((_, index) => index));
    const list = whole.indexOf(Buffer.from("a.txt"));
    expect(left.length).toBeGreaterThan(list);
  });

  it("takes secluded arguments, rules and deletes", async () => {
    const fs = new ModelFileSystem();
    fs.put("/x/a.txt", "hello world\n", { mtime: 1_700_000_000 });
    fs.put("/x/sub/b.txt", "gone");
    const { status, output } = await replay(captured.SECLUDED_DELETE.command, bytes(captured.SECLUDED_DELETE.client), fs);
    expect(status).toBe(0);
    expect(answerOf(output, 9)).toEqual(answerOf(bytes(captured.SECLUDED_DELETE.server), 9));
    expect(fs.paths()).toEqual(["/x/", "/x/a.txt"]);
  });

  it("is the same however the stream is cut", async () => {
    for (const chunkBytes of [1, 2, 3, 5, 7, 64]) {
      const fs = new ModelFileSystem();
      const { status } = await replay(captured.OPENRSYNC_UPLOAD.command, bytes(captured.OPENRSYNC_UPLOAD.client), fs, { chunkBytes });
      expect(status).toBe(0);
      expect(text(fs.get("/ap/a.txt"))).toBe("hello world\n");
    }
  });

  it("publishes nothing of a file that was cut", async () => {
    const whole = bytes(captured.UPLOAD_31.client);
    for (let length = 0; length < whole.length; length++) {
      const fs = new ModelFileSystem();
      const { status } = await replay(captured.UPLOAD_31.command, whole.subarray(0, length), fs);
      expect(status).not.toBe(0);
      for (const [path, content] of [
        ["/dst/a.txt", "hello world\n"],
        ["/dst/sub/b.txt", "second file"],
      ] as const) {
        expect([undefined, content]).toContain(text(fs.get(path)));
      }
      expect(fs.openHandles).toBe(0);
    }
  });
});

describe.each([
  ["rsync 3.1.3", captured.UPLOAD_31, { "/dst/a.txt": "hello world\n", "/dst/sub/b.txt": "second file" }],
  ["with -z", captured.UPLOAD_Z, { "/a.txt": "hello world\n" }],
  ["openrsync", captured.OPENRSYNC_UPLOAD, { "/ap/a.txt": "hello world\n", "/ap/sub/b.txt": "second file" }],
] as const)("an upload of %s that is cut at any byte", (_, { command, client }, files) => {
  it("leaves old versions or whole new ones, and the next run makes all of it right", async () => {
    const whole = bytes(client);
    for (let length = 0; length < whole.length; length++) {
      const fs = new ModelFileSystem();
      for (const path of Object.keys(files)) fs.put(path, "an older version", { mtime: 1 });
      const cut = await replay(command, whole.subarray(0, length), fs, { lingerMs: 1 });
      expect(cut.status).not.toBe(0);
      expect(cut.unconsumed).toBe(0);
      for (const [path, content] of Object.entries(files)) expect(["an older version", content]).toContain(text(fs.get(path)));
      expect(fs.openHandles).toBe(0);
      // What it sends does not fit the old versions' blocks: as to a server that has none.
      for (const path of Object.keys(files)) await fs.remove(path);
      expect((await replay(command, whole, fs, { lingerMs: 1 })).status).toBe(0);
      for (const [path, content] of Object.entries(files)) expect(text(fs.get(path))).toBe(content);
    }
  });
});

describe("captured downloads", () => {
  it.each([
    ["rsync 3.1.3", captured.DOWNLOAD_31],
    ["a delta", captured.DELTA_DOWNLOAD],
    ["openrsync", captured.OPENRSYNC_DOWNLOAD],
  ])("end by themselves when the client goes at any byte: %s", async (_, { command, client }) => {
    const whole = bytes(client);
    for (let length = 0; length < whole.length; length++) {
      const fs = new ModelFileSystem();
      for (const path of ["/dst/a.txt", "/dst/sub/b.txt", "/ap/a.txt", "/ap/sub/b.txt", "/d.bin"]) fs.put(path, "hello world\n");
      const before = fs.paths();
      const { status, unconsumed } = await replay(command, whole.subarray(0, length), fs, { lingerMs: 1 });
      expect(status).not.toBe(0);
      expect(unconsumed).toBe(0);
      expect(fs.openHandles).toBe(0);
      expect(fs.paths()).toEqual(before);
    }
  });

  const delta = (): ModelFileSystem => {
    const fs = new ModelFileSystem();
    fs.put("/d.bin", "AAAAAAAAxxBBBBBBBBCCCCCC", { mtime: 1_700_000_001 });
    return fs;
  };
  /** Without the statistics and the end, which hold times. */
  const untilStatistics = (data: string): string => data.slice(0, -2 * 17);

  it("sends a delta", async () => {
    const { status, output } = await replay(captured.DELTA_DOWNLOAD.command, bytes(captured.DELTA_DOWNLOAD.client), delta());
    expect(status).toBe(0);
    expect(untilStatistics(answerOf(output, 9).data)).toBe(untilStatistics(answerOf(bytes(captured.DELTA_DOWNLOAD.server), 9).data));
  });

  it("sends a compressed delta that real clients took", async () => {
    const command = captured.DELTA_DOWNLOAD.command.replace("-te.", "-tze.");
    const { status, output } = await replay(command, bytes(captured.DELTA_DOWNLOAD.client), delta());
    expect(status).toBe(0);
    expect(untilStatistics(answerOf(output, 9).data)).toBe(untilStatistics(answerOf(bytes(captured.DELTA_DOWNLOAD_Z.server), 9).data));
  });

  it("serves macOS openrsync at protocol 29", async () => {
    const fs = new ModelFileSystem({ now: () => 1_600_000_000 });
    fs.put("/ap/a.txt", "hello world\n", { mtime: 1_700_000_000 });
    fs.put("/ap/sub/b.txt", "second file", { mtime: 1_600_000_000 });
    const { status, output } = await replay(captured.OPENRSYNC_DOWNLOAD.command, bytes(captured.OPENRSYNC_DOWNLOAD.client), fs);
    expect(status).toBe(0);
    const { data } = demultiplex(output.subarray(8));
    expect(data.includes(Buffer.from("hello world\n"))).toBe(true);
    // The transfer checksum: MD4 of the seed and the bytes.
    expect(data.includes(bytes("a7d12ed3e2927d33f4ff0e42c63d12fe"))).toBe(true);
    expect(data.includes(bytes("72dbf4b3195cbb92"))).toBe(true);
  });
});
