/**
 * HTTP/1.1 responses as bytes (RFC 9112): the head as text, and where the body ends. Pure; knows no sockets.
 */

/** Longest head that is understood. */
export const MAX_HEAD_BYTES = 64 * 1024;
/** Longest line of a chunked body's framing, extensions and trailer fields included. */
const MAX_LINE_BYTES = 8 * 1024;
const LINE_FEED = 0x0a;

/** The peer does not speak HTTP/1.1. */
export class MalformedResponse extends Error {
  override readonly name = "MalformedResponse";
}

/** Where a body ends: after so many bytes, with its last chunk, or with the connection. */
export type BodyEnd = number | "chunked" | "close";

/** What comes before a body. */
export interface ResponseHead {
  readonly statusCode: number;
  readonly reason: string;
  /** Names in lower case; the values of repeated fields joined by commas. */
  readonly headers: Record<string, string>;
  readonly bodyEnd: BodyEnd;
  /** False if the peer closes the connection after this response. */
  readonly keepsAlive: boolean;
}

/** Parses a head: everything before the empty line, without it. Answers to HEAD have no body. Throws `MalformedResponse`. */
export function parseResponseHead(text: string, isHead = false): ResponseHead {
  const [first = "", ...lines] = text.split("\r\n");
  const status = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: (.*))?$/.exec(first);
  if (!status) throw new MalformedResponse("the answer is no HTTP/1.1 response");
  const headers: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const line of lines) {
    const field = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*$/.exec(line);
    if (!field) throw new MalformedResponse("a field of the answer's head is malformed");
    const [, name = "", value = ""] = field;
    const key = name.toLowerCase();
    headers[key] = headers[key] === undefined ? value : `${headers[key]}, ${value}`;
  }
  const statusCode = Number(status[2]);
  const connection = (headers.connection ?? "").toLowerCase();
  const bodyEnd = isHead ? 0 : bodyEndOf(statusCode, headers);
  const keepsAlive = bodyEnd !== "close" && (status[1] === "1" ? !connection.includes("close") : connection.includes("keep-alive"));
  return { statusCode, reason: status[3] ?? "", headers: { ...headers }, bodyEnd, keepsAlive };
}

function bodyEndOf(statusCode: number, headers: Readonly<Record<string, string>>): BodyEnd {
  if (statusCode === 204 || statusCode === 304 || statusCode < 200) return 0;
  const encoding = headers["transfer-encoding"];
  const length = headers["content-length"];
  if (encoding !== undefined) {
    // both together are an attempt at smuggling (RFC 9112 §6.3)
    if (length !== undefined || encoding.toLowerCase() !== "chunked") throw new MalformedResponse("the answer's body has no clear end");
    return "chunked";
  }
  if (length === undefined) return "close";
  if (!/^\d{1,15}$/.test(length)) throw new MalformedResponse("the answer's content length is malformed");
  return Number(length);
}

/** Takes the framing out of a chunked body (RFC 9112 §7.1). */
export class ChunkedDecoder {
  #state: "size" | "data" | "data-end" | "trailer" | "done" = "size";
  #left = 0;
  #line = "";

  /** True after the last chunk and its trailer. */
  get isDone(): boolean {
    return this.#state === "done";
  }

  /** Calls `emit` with views of the data in `bytes`; returns how many bytes belong to the body. Throws `MalformedResponse`. */
  decode(bytes: Uint8Array, emit: (data: Uint8Array) => void): number {
    let at = 0;
    while (at < bytes.length && this.#state !== "done") {
      if (this.#state === "data") {
        const data = bytes.subarray(at, at + this.#left);
        at += data.length;
        this.#left -= data.length;
        if (this.#left === 0) this.#state = "data-end";
        emit(data);
        continue;
      }
      const feed = bytes.indexOf(LINE_FEED, at);
      const end = feed < 0 ? bytes.length : feed + 1;
      if (this.#line.length + end - at > MAX_LINE_BYTES) throw new MalformedResponse("a line of a chunked body is too long");
      this.#line += Buffer.from(bytes.buffer, bytes.byteOffset + at, end - at).toString("latin1");
      at = end;
      if (feed < 0) break;
      const line = this.#line.replace(/\r?\n$/, "");
      this.#line = "";
      this.#endLine(line);
    }
    return at;
  }

  #endLine(line: string): void {
    if (this.#state === "size") {
      const size = /^([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?$/.exec(line)?.[1];
      if (size === undefined) throw new MalformedResponse("the size of a chunk is malformed");
      this.#left = Number.parseInt(size, 16);
      this.#state = this.#left === 0 ? "trailer" : "data";
    } else if (this.#state === "data-end") {
      if (line !== "") throw new MalformedResponse("a chunk is longer than it said");
      this.#state = "size";
    } else if (line === "") this.#state = "done";
  }
}
