/**
 * Finds where requests begin in the bytes of an HTTP/1.1 connection, without taking bodies apart: after a head it skips
 * `Content-Length` bytes, or chunks. Knows nothing of answers and of what a request means.
 */
import type { IncomingHttpHeaders } from "node:http";

/** The head of a request; header names are in lower case. */
export interface RequestHead {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

/** A longer head is not HTTP. */
const MAX_HEAD_BYTES = 64 * 1024;

const END_OF_HEAD = Buffer.from("\r\n\r\n");
const END_OF_LINE = Buffer.from("\r\n");

type Place = "head" | "body" | "chunk-size" | "chunk" | "trailer";

/** Reads one direction of one connection. `push` throws for what is no HTTP. */
export class RequestFraming {
  #place: Place = "head";
  /** Bytes of the body or chunk that are still to come. */
  #left = 0;
  /** The beginning of a head or line that is not complete. */
  #partial: Buffer = Buffer.alloc(0);

  /** Reads the next bytes and returns the heads that were completed by them. */
  push(bytes: Buffer): RequestHead[] {
    const heads: RequestHead[] = [];
    let rest: Buffer = this.#partial.length > 0 ? Buffer.concat([this.#partial, bytes]) : bytes;
    this.#partial = Buffer.alloc(0);
    while (rest.length > 0) {
      const used = this.#step(rest, heads);
      if (used === 0) {
        if (rest.length > MAX_HEAD_BYTES) throw new Error("the head of a request is too long");
        this.#partial = rest;
        break;
      }
      rest = rest.subarray(used);
    }
    return heads;
  }

  /** Goes one step; returns the bytes used, 0 if more are needed. */
  #step(rest: Buffer, heads: RequestHead[]): number {
    if (this.#place === "head") return this.#head(rest, heads);
    if (this.#place === "chunk-size" || this.#place === "trailer") return this.#line(rest);
    const used = Math.min(this.#left, rest.length);
    this.#left -= used;
    if (this.#left === 0) this.#place = this.#place === "chunk" ? "chunk-size" : "head";
    return used;
  }

  #head(rest: Buffer, heads: RequestHead[]): number {
    const end = rest.indexOf(END_OF_HEAD);
    if (end < 0) return 0;
    const head = parseHead(rest.toString("latin1", 0, end));
    heads.push(head);
    const isChunked = /chunked/i.test(head.headers["transfer-encoding"] ?? "");
    this.#left = isChunked ? 0 : Number(head.headers["content-length"] ?? 0);
    if (isChunked) this.#place = "chunk-size";
    else if (this.#left > 0) this.#place = "body";
    return end + END_OF_HEAD.length;
  }

  /** A line with a chunk's size, or one of the lines behind the last chunk. */
  #line(rest: Buffer): number {
    const end = rest.indexOf(END_OF_LINE);
    if (end < 0) return 0;
    if (this.#place === "trailer") {
      if (end === 0) this.#place = "head";
      return end + END_OF_LINE.length;
    }
    const size = Number.parseInt(rest.toString("latin1", 0, end), 16);
    if (!(size >= 0)) throw new Error("a chunk without a size");
    this.#place = size === 0 ? "trailer" : "chunk";
    this.#left = size + END_OF_LINE.length;
    return end + END_OF_LINE.length;
  }
}

function parseHead(text: string): RequestHead {
  const [first = "", ...lines] = text.split("\r\n");
  const [method = "", url = ""] = first.split(" ");
  if (!url.startsWith("/")) throw new Error(`no request: ${first.slice(0, 80)}`);
  const headers: IncomingHttpHeaders = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  return { method, url, headers };
}
