/** What the gateway's processes and the store hold at one moment. */
import { readdirSync, readFileSync } from "node:fs";
import { BUCKET, type TestGateway } from "../support/gateway.ts";
import type { S3Server } from "../support/s3-server/s3-server.ts";

/** One moment. Memory and descriptors are sums over the gateway's process and its children. */
export interface Sample {
  readonly seconds: number;
  /** Counts the gateway's starts. */
  readonly life: number;
  readonly rssMiB: number;
  readonly descriptors: number;
  /** Multipart uploads in the store, without those whose ids it kept to itself: they are the sweep's (see `unheard`). */
  readonly unfinished: number;
  /** Lock objects in the store. */
  readonly locks: number;
}

/** The moment now; undefined while the gateway does not run. */
export function sampleOf(at: {
  readonly gateway: TestGateway;
  readonly s3: S3Server;
  readonly seconds: number;
  readonly life: number;
}): Sample | undefined {
  const { gateway, s3, seconds, life } = at;
  if (gateway.pid === 0) return undefined;
  let rssMiB = 0;
  let descriptors = 0;
  try {
    for (const pid of withChildren(gateway.pid)) {
      rssMiB += Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
      descriptors += readdirSync(`/proc/${pid}/fd`).length;
    }
  } catch {
    return undefined; // it ended while we looked
  }
  const locks = s3.contents.keys(BUCKET).filter((key) => key.includes("lock")).length;
  return { seconds, life, rssMiB, descriptors, unfinished: Math.max(0, s3.contents.uploads(BUCKET).length - unheard(s3)), locks };
}

/** Multipart uploads that the store has begun, but the answer with their ids was lost: nobody can go on with or abort them by name. */
export function unheard(s3: S3Server): number {
  return s3.requests.count("CreateMultipartUpload", ({ fault }) => fault === "late-commit");
}

function withChildren(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
  return [pid, ...children.flatMap(withChildren)];
}
