import fc from "../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { ProtocolError } from "../../../src/errors.ts";
import { PacketStream, releaseData } from "../../../src/sftp/packet-stream.ts";
import { readAttributes, writeAttributes } from "../../../src/sftp/wire/attributes.ts";
import { MAX_PACKET_BYTES, PacketType } from "../../../src/sftp/wire/constants.ts";
import { WireReader } from "../../../src/sftp/wire/reader.ts";
import { writeAttrs, writeDataHeader, writeHandle, writePath, writeStatus, writeVersion } from "../../../src/sftp/wire/replies.ts";
import { decodeInit, decodeRequest, type Packet, type Request, requestId } from "../../../src/sftp/wire/requests.ts";
import { WireWriter } from "../../../src/sftp/wire/writer.ts";
import type { AttributeChange, Attributes } from "../../../src/vfs/file-system.ts";
import { attrs, packet, str, u32, u64 } from "../../support/sftp-client.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const whole = (bytes: Uint8Array): Packet => ({ bytes: bytes.length - 4, chunks: [bytes.subarray(4)] });

/** The same packet in slices cut at the given places. */
const sliced = (bytes: Uint8Array, cuts: readonly number[]): Packet => {
  const body = bytes.subarray(4);
  const places = [0, ...cuts.map((cut) => cut % (body.length + 1)), body.length].sort((a, b) => a - b);
  const chunks = places.slice(1).map((end, i) => Uint8Array.from(body.subarray(places[i], end)));
  return { bytes: body.length, chunks: chunks.filter((chunk) => chunk.length > 0) };
};

/** Requests as they are compared: bytes as hex, the slices of a WRITE put together. */
const plain = (original: Request): unknown => ({
  ...original,
  ...("handle" in original ? { handle: hex(original.handle) } : {}),
  ...("chunks" in original ? { chunks: hex(Buffer.concat(original.chunks)) } : {}),
});

const sent = (change: AttributeChange): Buffer =>
  attrs({
    ...(change.size === undefined ? {} : { size: change.size }),
    ...(change.uid === undefined ? {} : { owner: [change.uid, change.gid ?? 0] }),
    ...(change.mode === undefined ? {} : { permissions: change.mode }),
    ...(change.mtime === undefined ? {} : { times: [change.atime ?? 0, change.mtime] }),
  });

/** The client's side of the codec, to be inverted by the server's. */
const encode = (request: Request): Buffer => {
  const id = u32(request.id);
  switch (request.kind) {
    case "open":
      return packet(3, id, str(request.path), u32(request.pflags), sent(request.attributes));
    case "close":
      return packet(4, id, str(request.handle));
    case "read":
      return packet(5, id, str(request.handle), u64(request.offset), u32(request.length));
    case "write":
      return packet(6, id, str(request.handle), u64(request.offset), str(Buffer.concat(request.chunks)));
    case "setstat":
      return packet(9, id, str(request.path), sent(request.attributes));
    case "fsetstat":
      return packet(10, id, str(request.handle), sent(request.attributes));
    case "mkdir":
      return packet(14, id, str(request.path), sent(request.attributes));
    case "rename":
      return packet(18, id, str(request.from), str(request.to));
    case "symlink":
      return packet(20, id, str(request.target), str(request.path));
    case "fstat":
      return packet(8, id, str(request.handle));
    case "readdir":
      return packet(12, id, str(request.handle));
    case "lstat":
      return packet(7, id, str(request.path));
    case "opendir":
      return packet(11, id, str(request.path));
    case "remove":
      return packet(13, id, str(request.path));
    case "rmdir":
      return packet(15, id, str(request.path));
    case "realpath":
      return packet(16, id, str(request.path));
    case "stat":
      return packet(17, id, str(request.path));
    case "readlink":
      return packet(19, id, str(request.path));
    default:
      throw new Error(`not encoded here: ${request.kind}`);
  }
};

const uint32 = fc.integer({ min: 0, max: 0xffffffff });
const offset = fc.maxSafeNat();
const path = fc.string({ unit: "grapheme", maxLength: 40 }).filter((text) => !text.includes("\0"));
const handle = fc.uint8Array({ maxLength: 256 });
const change: fc.Arbitrary<AttributeChange> = fc
  .tuple(
    fc.option(offset),
    fc.option(fc.tuple(uint32, uint32)),
    fc.option(fc.integer({ min: 0, max: 0o7777 })),
    fc.option(fc.tuple(uint32, uint32)),
  )
  .map(([size, owner, mode, times]) => ({
    ...(size === null ? {} : { size }),
    ...(owner ? { uid: owner[0], gid: owner[1] } : {}),
    ...(mode === null ? {} : { mode }),
    ...(times ? { atime: times[0], mtime: times[1] } : {}),
  }));
const id = uint32;
const onPath = (kind: "lstat" | "opendir" | "remove" | "rmdir" | "realpath" | "stat" | "readlink"): fc.Arbitrary<Request> =>
  fc.record({ kind: fc.constant(kind), id, path });
const onHandle = (kind: "close" | "fstat" | "readdir"): fc.Arbitrary<Request> => fc.record({ kind: fc.constant(kind), id, handle });
const request: fc.Arbitrary<Request> = fc.oneof(
  fc.record({ kind: fc.constant("open" as const), id, path, pflags: uint32, attributes: change }),
  fc.record({ kind: fc.constant("setstat" as const), id, path, attributes: change }),
  fc.record({ kind: fc.constant("mkdir" as const), id, path, attributes: change }),
  fc.record({ kind: fc.constant("fsetstat" as const), id, handle, attributes: change }),
  fc.record({ kind: fc.constant("read" as const), id, handle, offset, length: uint32 }),
  fc
    .record({ id, handle, offset: fc.integer({ min: 0, max: 2 ** 52 }), data: fc.uint8Array({ maxLength: 2000 }) })
    .map(({ data, ...rest }) => ({ kind: "write" as const, ...rest, length: data.length, chunks: [data] })),
  fc.record({ kind: fc.constant("rename" as const), id, from: path, to: path }),
  fc.record({ kind: fc.constant("symlink" as const), id, target: path, path }),
  onPath("lstat"),
  onPath("opendir"),
  onPath("remove"),
  onPath("rmdir"),
  onPath("realpath"),
  onPath("stat"),
  onPath("readlink"),
  onHandle("close"),
  onHandle("fstat"),
  onHandle("readdir"),
);

describe("requests", () => {
  it("decode to what was encoded, however they are sliced", () => {
    fc.assert(
      fc.property(request, fc.array(fc.nat(), { maxLength: 6 }), (original, cuts) => {
        const bytes = encode(original);
        expect(plain(decodeRequest(sliced(bytes, cuts)))).toEqual(plain(original));
        expect(requestId(sliced(bytes, cuts))).toBe(original.id);
      }),
      { numRuns: 1000 },
    );
  });

  it("cut short anywhere are a ProtocolError, and nothing else", () => {
    fc.assert(
      fc.property(request, fc.nat(), (original, at) => {
        const bytes = encode(original);
        const cut = bytes.subarray(0, 5 + (at % (bytes.length - 5)));
        expect(() => decodeRequest(whole(cut))).toThrow(ProtocolError);
      }),
      { numRuns: 1000 },
    );
  });

  it("of any bytes are a value or a ProtocolError", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 201 }),
        fc.uint8Array({ minLength: 4, maxLength: 80 }),
        fc.array(fc.nat(), { maxLength: 3 }),
        (type, body, cuts) => {
          try {
            expect(decodeRequest(sliced(packet(type, body), cuts)).kind).toBeTypeOf("string");
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolError);
          }
        },
      ),
      { numRuns: 5000 },
    );
  });

  it("have the bytes of the draft", () => {
    const read = Buffer.from("00000019050000000700000004deadbeef000000010000000200008000", "hex");
    expect(decodeRequest(whole(read))).toEqual({
      kind: "read",
      id: 7,
      handle: Buffer.from("deadbeef", "hex"),
      offset: 2 ** 32 + 2,
      length: 32768,
    });
    const open = Buffer.from("0000001803000000010000000566696c652e0000001a00000004000081a4", "hex");
    const { bytes } = whole(open);
    expect(bytes).toBe(26);
    expect(decodeRequest(whole(open))).toEqual({ kind: "open", id: 1, path: "file.", pflags: 26, attributes: { mode: 0o644 } });
    expect(decodeInit(whole(Buffer.from("000000050100000003", "hex")))).toBe(3);
  });

  it("refuse what no file here can have", () => {
    const refused = (...fields: Parameters<typeof packet>): void =>
      expect(() => decodeRequest(whole(packet(...fields)))).toThrow(ProtocolError);
    refused(5, u32(1), str("h"), u64(2n ** 63n), u32(1));
    refused(5, u32(1), str("h"), u64(2n ** 53n), u32(1));
    refused(6, u32(1), str("h"), u64(2n ** 53n - 1n), str("data"));
    refused(6, u32(1), str("h"), u64(0), u32(5), Buffer.from("four"));
    refused(17, u32(1), str(Buffer.from([0x61, 0xff])));
    refused(17, u32(1), str(Buffer.from([0xed, 0xa0, 0x80])));
    refused(17, u32(1), str("a\0b"));
    refused(17, u32(1), str("x".repeat(8193)));
    refused(4, u32(1), str("h".repeat(257)));
    refused(9, u32(1), str("/f"), u32(1), u64(2n ** 64n - 1n));
    refused(9, u32(1), str("/f"), u32(0x80000000), u32(0xffffffff));
    refused(9, u32(1), str("/f"), u32(0x80000000), u32(2), str("a"), str("b"));
    refused(200, u32(1), str("users-groups-by-id@openssh.com"), str("abc"), str(""));
    refused(200, u32(1), str("users-groups-by-id@openssh.com"), str(Buffer.alloc(4100)), str(""));
    refused(200, u32(1), str("copy-data"), str("a"), u64(2 ** 52), u64(2 ** 53 - 1), str("b"), u64(0));
  });

  it("skip extended attributes", () => {
    const extended = Buffer.concat([u32(0x80000008), u32(3), u32(4), u32(1), str("acl"), str("x")]);
    expect(decodeRequest(whole(packet(9, u32(1), str("/f"), extended)))).toMatchObject({ attributes: { atime: 3, mtime: 4 } });
  });
});

describe("replies", () => {
  const written = (write: (writer: WireWriter) => void): string => {
    const writer = new WireWriter();
    write(writer);
    return hex(writer.take());
  };
  const file: Attributes = { type: "file", size: 2 ** 33 + 5, mode: 0o644, uid: 1000, gid: 100, mtime: 2, atime: 1 };

  it("have the bytes of the draft", () => {
    expect(written((writer) => writeStatus(writer, 9, 2, "no"))).toBe(`00000013650000000900000002${hex(str("no"))}00000000`);
    expect(written((writer) => writeHandle(writer, 1, Buffer.from("h")))).toBe("0000000a66000000010000000168");
    expect(written((writer) => writeDataHeader(writer, 3, 1000))).toBe("000003f16700000003000003e8");
    expect(written((writer) => writePath(writer, 2, "/ä"))).toBe(`0000001b680000000200000001${hex(str("/ä"))}${hex(str("/ä"))}00000000`);
    expect(written((writer) => writeAttrs(writer, 4, file))).toBe(
      "00000025690000000" + "40000000f0000000200000005000003e800000064000081a40000000100000002",
    );
    expect(written(writeVersion)).toMatch(/^[0-9a-f]{8}0200000003/);
  });

  it("of attributes read back as they were", () => {
    fc.assert(
      fc.property(offset, uint32, uint32, fc.integer({ min: 0, max: 0o7777 }), uint32, uint32, (size, uid, gid, mode, mtime, atime) => {
        const writer = new WireWriter();
        writer.begin(105);
        writeAttributes(writer, { type: "directory", size, uid, gid, mode, mtime, atime });
        writer.end();
        expect(readAttributes(new WireReader(writer.take(), 5))).toEqual({ size, uid, gid, mode, mtime, atime });
      }),
    );
  });

  it("never change once taken, and grow over the buffer", () => {
    const writer = new WireWriter();
    const taken: [Uint8Array, string][] = [];
    for (let i = 0; i < 200; i++) {
      writeStatus(writer, i, 4, "x".repeat(i * 7));
      if (i % 3 !== 0) continue;
      const bytes = writer.take();
      taken.push([bytes, hex(bytes)]);
    }
    for (const [bytes, was] of taken) expect(hex(bytes)).toBe(was);
    const all = Buffer.concat([...taken.map(([bytes]) => bytes), writer.take()]);
    let count = 0;
    for (let at = 0; at < all.length; at += 4 + all.readUInt32BE(at)) expect(all.readUInt32BE(at + 5)).toBe(count++);
    expect(count).toBe(200);
  });
});

describe("the packet stream", () => {
  it("gives the packets that were sent, however the bytes are cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 3000 }), { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 30 }),
        (bodies, sizes) => {
          const bytes = Buffer.concat(bodies.map((body) => str(body)));
          const stream = new PacketStream();
          const got: string[] = [];
          for (let at = 0, turn = 0; at < bytes.length; turn++) {
            const size = sizes[turn % sizes.length] ?? 1;
            const lent = Uint8Array.from(bytes.subarray(at, at + size));
            stream.push(lent);
            at += size;
            // Not always at once: chunks must pile up, too.
            if (turn % 3 !== 0) for (let next = stream.next(); next; next = stream.next()) got.push(hex(Buffer.concat(next.chunks)));
            stream.settle();
            lent.fill(0xdb);
          }
          for (let next = stream.next(); next; next = stream.next()) got.push(hex(Buffer.concat(next.chunks)));
          expect(got).toEqual(bodies.map(hex));
          expect(stream.buffered).toBe(0);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("puts a large WRITE together in memory of its own, which others get once it is released", () => {
    const stream = new PacketStream();
    const writeOf = (fill: number): Uint8Array | undefined => {
      stream.push(u32(8 * 32768));
      for (let i = 0; i < 8; i++) {
        const lent = Buffer.alloc(32768, fill);
        lent[0] = i === 0 ? PacketType.WRITE : fill;
        stream.push(lent);
        if (i < 7) expect(stream.next()).toBeUndefined();
        else break;
      }
      const packet = stream.next();
      expect(packet?.chunks).toHaveLength(1);
      return packet?.chunks[0];
    };
    const first = writeOf(1);
    const second = writeOf(2);
    expect(first?.subarray(1).every((byte) => byte === 1)).toBe(true);
    expect(second?.buffer).not.toBe(first?.buffer);
    releaseData(first ? [first] : []);
    expect(writeOf(3)?.buffer).toBe(first?.buffer);
    expect(second?.subarray(1).every((byte) => byte === 2)).toBe(true);
  });

  it("holds little for a large WRITE of which little has come", () => {
    const before = process.memoryUsage().arrayBuffers;
    const streams = Array.from({ length: 200 }, () => new PacketStream());
    for (const stream of streams) {
      stream.push(u32(255 * 1024));
      stream.push(Buffer.from([PacketType.WRITE]));
      for (let i = 0; i < 4; i++) stream.push(Buffer.alloc(1024));
      expect(stream.next()).toBeUndefined();
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024);
  });

  it("refuses a length of 0 and above the maximum as soon as it is there", () => {
    for (const length of [0, MAX_PACKET_BYTES + 1, 0x7fffffff, 0xffffffff]) {
      const stream = new PacketStream();
      stream.push(u32(length));
      expect(() => stream.next()).toThrow(ProtocolError);
    }
  });

  it("does not keep large buffers alive for small slices", () => {
    const stream = new PacketStream();
    const body = 10_000;
    stream.push(u32(body));
    for (let i = 0; i < body; i++) stream.push(new Uint8Array(65536).subarray(0, 1));
    const chunks = stream.next()?.chunks ?? [];
    expect(chunks.length).toBeLessThan(4);
    const held = new Set(chunks.map((chunk) => chunk.buffer));
    expect([...held].reduce((sum, buffer) => sum + buffer.byteLength, 0)).toBeLessThan(64 * 1024 + 2 * 32 * 1024);
  });
});
