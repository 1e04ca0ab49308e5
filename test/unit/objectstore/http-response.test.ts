import fc from "../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { ChunkedDecoder, MalformedResponse, parseResponseHead } from "../../../src/objectstore/s3/http-response.ts";

describe("the head of a response", () => {
  it("says status, fields and where the body ends", () => {
    const head = parseResponseHead("HTTP/1.1 206 Partial Content\r\nContent-Length: 12\r\nX-Amz-Meta-A:  b \r\nVary: a\r\nvary: b");
    expect(head).toEqual({
      statusCode: 206,
      reason: "Partial Content",
      headers: { "content-length": "12", "x-amz-meta-a": "b", vary: "a, b" },
      bodyEnd: 12,
      keepsAlive: true,
    });
  });

  it.each([
    ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "chunked", true],
    ["HTTP/1.1 200 OK", "close", false],
    ["HTTP/1.1 304 Not Modified\r\nContent-Length: 5", 0, true],
    ["HTTP/1.1 204", 0, true],
    ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close", 5, false],
    ["HTTP/1.0 200 OK\r\nContent-Length: 5", 5, false],
  ])("%j: the body ends with %s, kept alive: %s", (text, bodyEnd, keepsAlive) => {
    expect(parseResponseHead(text)).toMatchObject({ bodyEnd, keepsAlive });
  });

  it.each([
    "SSH-2.0-x",
    "HTTP/2 200",
    "HTTP/1.1 99 no",
    "HTTP/1.1 200 OK\r\nno field",
    "HTTP/1.1 200 OK\r\n folded: x",
    "HTTP/1.1 200 OK\r\nContent-Length: 5, 6",
    "HTTP/1.1 200 OK\r\nContent-Length: -1",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
  ])("is refused: %j", (text) => {
    expect(() => parseResponseHead(text)).toThrow(MalformedResponse);
  });
});

describe("a chunked body", () => {
  it("is what was sent, however it is cut, and ends where it ends", () => {
    const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 8 });
    fc.assert(
      fc.property(pieces, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (chunks, sizes) => {
        const framed = chunks.map((chunk) =>
          Buffer.concat([Buffer.from(`${chunk.length.toString(16)};x=y\r\n`), chunk, Buffer.from("\r\n")]),
        );
        const wire = Buffer.concat([...framed, Buffer.from("0\r\nTrailer: t\r\n\r\n"), Buffer.from("next")]);
        const decoder = new ChunkedDecoder();
        const got: Buffer[] = [];
        let at = 0;
        for (let turn = 0; !decoder.isDone; turn++) {
          const part = wire.subarray(at, at + (sizes[turn % sizes.length] ?? 1));
          at += decoder.decode(part, (data) => got.push(Buffer.from(data)));
        }
        expect(Buffer.concat(got).equals(Buffer.concat(chunks))).toBe(true);
        expect(wire.subarray(at).toString()).toBe("next");
      }),
    );
  });

  it.each(["xyz\r\n", "-1\r\n", "fffffffffffff\r\n", "1\r\nab\r\n", `1;${"x".repeat(9000)}`])("is refused: %j", (text) => {
    expect(() => new ChunkedDecoder().decode(Buffer.from(text), () => undefined)).toThrow(MalformedResponse);
  });
});
