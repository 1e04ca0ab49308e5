/** Writes an answer onto an HTTP response with back-pressure; knows how to spoil it on purpose. */
import type { ServerResponse } from "node:http";
import { sliceChunks } from "./bucket.ts";
import type { Reply } from "./exchange.ts";
import type { FaultAction } from "./faults.ts";
import type { S3Error } from "./s3-error.ts";
import { document, textElement } from "./xml.ts";

const BATCH_BYTES = 1024 * 1024;

/** Sends the answer; resolves with the body bytes written, also when the client went away. */
export async function sendReply(response: ServerResponse, reply: Reply, fault?: FaultAction): Promise<number> {
  response.writeHead(reply.status, { ...reply.headers });
  if (typeof reply.body === "string") {
    response.end(reply.body);
    return Buffer.byteLength(reply.body);
  }
  const chunks = spoiled(reply.body, fault);
  const sent = await writeChunks(response, chunks);
  if (fault?.kind === "stall") await closed(response);
  else if (fault?.kind === "truncate") response.socket?.destroySoon();
  else response.end();
  return sent;
}

function spoiled(body: readonly Buffer[], fault: FaultAction | undefined): readonly Buffer[] {
  if (fault?.kind === "stall" || fault?.kind === "truncate") return sliceChunks(body, 0, fault.afterBytes);
  if (fault?.kind !== "corrupt") return body;
  const at = fault.atByte;
  const wrong = Buffer.concat(sliceChunks(body, at, at + 1)).map((byte) => byte ^ 1);
  return [...sliceChunks(body, 0, at), Buffer.from(wrong), ...sliceChunks(body, at + 1, Number.POSITIVE_INFINITY)];
}

async function writeChunks(response: ServerResponse, chunks: readonly Buffer[]): Promise<number> {
  let sent = 0;
  let index = 0;
  while (index < chunks.length && !response.destroyed) {
    response.cork();
    let batch = 0;
    let isReady = true;
    while (index < chunks.length && batch < BATCH_BYTES) {
      const chunk = chunks[index++] ?? Buffer.alloc(0);
      isReady = response.write(chunk);
      batch += chunk.length;
    }
    response.uncork();
    sent += batch;
    if (!isReady) await drained(response);
  }
  return sent;
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off("drain", done);
      response.off("close", done);
      resolve();
    };
    response.on("drain", done);
    response.on("close", done);
    if (response.destroyed) done();
  });
}

/** Resolves when the connection of this response is gone. */
export function closed(response: ServerResponse): Promise<void> {
  if (response.destroyed) return Promise.resolve();
  return new Promise((resolve) => response.once("close", () => resolve()));
}

/** The answer an error leads to. */
export function errorReply(error: S3Error, resource: string, isHead: boolean): Reply {
  if (error.status === 304) return { status: 304, headers: error.headers, body: "" };
  const details = Object.entries(error.details).map(([name, value]) => textElement(name, value));
  const content = [textElement("Code", error.code), textElement("Message", error.message), ...details, textElement("Resource", resource)];
  const xml = document("Error", ...content).replace(/ xmlns="[^"]*"/, "");
  const length = Buffer.byteLength(xml);
  const headers = { "content-type": "application/xml", ...(isHead ? {} : { "content-length": length }), ...error.headers };
  return { status: error.status, headers, body: isHead ? "" : xml };
}
