import fc from "../../support/fast-check.ts";
import { connect, createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { afterEach, describe, expect, it } from "vitest";
import { ProtocolError } from "../../../src/errors.ts";
import { parseProxyHeader, readProxyHeader } from "../../../src/ssh/proxy-header.ts";

const SIGNATURE = Buffer.from("0d0a0d0a000d0a515549540a", "hex");

function v2(command: number, family: number, body: Uint8Array): Buffer {
  const head = Buffer.from([command, family, body.length >> 8, body.length & 0xff]);
  return Buffer.concat([SIGNATURE, head, body]);
}

const IPV4_BODY = Buffer.from([192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0, 22]);
const IPV6_BODY = Buffer.concat([
  Buffer.from("20010db8000000000000000000000001", "hex"),
  Buffer.from("20010db8000000000000000000000002", "hex"),
  Buffer.from([1, 2, 0, 22]),
]);

describe("a PROXY header", () => {
  it.each([
    ["PROXY TCP4 192.0.2.7 198.51.100.1 12345 22\r\n", "192.0.2.7"],
    ["PROXY TCP6 2001:db8::1 2001:db8::2 65535 22\r\n", "2001:db8::1"],
    ["PROXY UNKNOWN\r\n", undefined],
    ["PROXY UNKNOWN ff:: ff:: 1 2\r\n", undefined],
  ])("of version 1 is read: %j", (line, address) => {
    expect(parseProxyHeader(Buffer.from(`${line}SSH-2.0-x\r\n`))).toEqual({ address, length: line.length });
    for (let cut = 0; cut < line.length; cut++) expect(parseProxyHeader(Buffer.from(line.slice(0, cut)))).toBeUndefined();
  });

  it.each([
    ["TCP over IPv4", v2(0x21, 0x11, IPV4_BODY), "192.0.2.7"],
    ["TCP over IPv6", v2(0x21, 0x21, IPV6_BODY), "2001:db8:0:0:0:0:0:1"],
    ["with more behind the addresses", v2(0x21, 0x11, Buffer.concat([IPV4_BODY, Buffer.alloc(1000, 3)])), "192.0.2.7"],
    ["for the balancer itself", v2(0x20, 0x00, Buffer.alloc(0)), undefined],
    ["for a Unix socket", v2(0x21, 0x31, Buffer.alloc(216)), undefined],
  ])("of version 2 is read: %s", (_, header, address) => {
    expect(parseProxyHeader(Buffer.concat([header, Buffer.from("SSH-")]))).toEqual({ address, length: header.length });
    for (let cut = 0; cut < header.length; cut++) expect(parseProxyHeader(header.subarray(0, cut))).toBeUndefined();
  });

  it.each([
    "SSH-2.0-OpenSSH_9.2\r\n",
    "GET / HTTP/1.1\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 12345\r\n",
    "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
    "PROXY TCP4 192.0.2.700 198.51.100.1 1 2\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 99999 22\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 01 22\r\n",
    "PROXY  TCP4 192.0.2.7 198.51.100.1 1 22\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 1 22 x\r\n",
    `PROXY UNKNOWN ${"x".repeat(200)}`,
  ])("is refused: %j", (line) => {
    expect(() => parseProxyHeader(Buffer.from(line))).toThrow(ProtocolError);
  });

  it.each([
    ["another version", v2(0x31, 0x11, IPV4_BODY)],
    ["an unknown command", v2(0x22, 0x11, IPV4_BODY)],
    ["UDP", v2(0x21, 0x12, IPV4_BODY)],
    ["too short addresses", v2(0x21, 0x21, IPV4_BODY)],
    ["more than there can be", v2(0x21, 0x11, Buffer.alloc(60_000))],
  ])("of version 2 is refused: %s", (_, header) => {
    expect(() => parseProxyHeader(header)).toThrow(ProtocolError);
  });

  it("is a header, incomplete, or a ProtocolError, whatever comes", () => {
    const started = fc.tuple(fc.constantFrom(Buffer.from("PROXY "), SIGNATURE, Buffer.alloc(0)), fc.uint8Array({ maxLength: 300 }));
    fc.assert(
      fc.property(started, ([head, tail]) => {
        try {
          const header = parseProxyHeader(Buffer.concat([head, tail]));
          if (header) expect(header.length).toBeLessThanOrEqual(head.length + tail.length);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("reading it from a socket", () => {
  let server: Server | undefined;
  afterEach(() => void server?.close());

  async function pair(): Promise<{ client: Socket; accepted: Socket }> {
    const listening = createServer({ pauseOnConnect: true });
    server = listening;
    listening.listen(0, "127.0.0.1");
    await once(listening, "listening");
    const address = listening.address();
    const client = connect(typeof address === "object" && address ? address.port : 0, "127.0.0.1");
    const [accepted] = (await once(listening, "connection")) as [Socket];
    return { client, accepted };
  }

  it("leaves what comes after it, also when it comes byte by byte", async () => {
    const { client, accepted } = await pair();
    const text = "PROXY TCP4 192.0.2.7 198.51.100.1 1 22\r\nSSH-2.0-x\r\n";
    const header = readProxyHeader(accepted, 5_000);
    client.setNoDelay(true);
    for (const byte of text.slice(0, -6)) {
      client.write(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    client.end(text.slice(-6));
    expect(await header).toMatchObject({ address: "192.0.2.7" });
    let rest = "";
    for await (const chunk of accepted) rest += String(chunk);
    expect(rest).toBe("SSH-2.0-x\r\n");
  });

  it("ends when nothing comes, and when the peer leaves", async () => {
    const silent = await pair();
    await expect(readProxyHeader(silent.accepted, 20)).rejects.toThrow("in time");
    silent.client.destroy();
    const gone = await pair();
    const header = readProxyHeader(gone.accepted, 5_000);
    gone.client.end("PROXY");
    await expect(header).rejects.toThrow("closed");
  });
});
