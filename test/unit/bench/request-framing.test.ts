import { describe, expect, it } from "vitest";
import { RequestFraming } from "../../bench/proxies/request-framing.ts";

const put = (key: string, body: string): string => `PUT /b/${key} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const get = (key: string): string => `GET /b/${key} HTTP/1.1\r\nHost: x\r\n\r\n`;
const chunked = "PUT /b/c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n3;x=y\r\nabc\r\n0\r\nx-amz-checksum: 1\r\n\r\n";

/** The requests found when the bytes come in pieces of one size. */
function framed(text: string, pieceBytes: number): string[] {
  const framing = new RequestFraming();
  const bytes = Buffer.from(text);
  const found: string[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    found.push(...framing.push(bytes.subarray(at, at + pieceBytes)).map(({ method, url }) => `${method} ${url}`));
  }
  return found;
}

describe("where requests begin", () => {
  const text = put("one", "GET /b/fake HTTP/1.1\r\n\r\n") + get("two") + chunked + get("three") + put("empty", "") + get("four");
  const expected = ["PUT /b/one", "GET /b/two", "PUT /b/c", "GET /b/three", "PUT /b/empty", "GET /b/four"];

  it.each([1, 2, 7, 64, 10_000])("is found in pieces of %i bytes, whatever the bodies look like", (pieceBytes) => {
    expect(framed(text, pieceBytes)).toEqual(expected);
  });

  it("is told with the headers in lower case", () => {
    const [head] = new RequestFraming().push(Buffer.from("PUT /k HTTP/1.1\r\nX-Amz-Copy-Source: /b/k\r\n\r\n"));
    expect(head?.headers["x-amz-copy-source"]).toBe("/b/k");
  });

  it("is not looked for in what is no HTTP", () => {
    expect(() => new RequestFraming().push(Buffer.from("SSH-2.0-x\r\n\r\n"))).toThrow("no request");
    expect(() => new RequestFraming().push(Buffer.alloc(70_000, "x"))).toThrow("too long");
  });
});
