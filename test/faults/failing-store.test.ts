import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { REMOTE, STORED } from "../interop/on-stores.ts";
import { sample } from "../interop/samples.ts";
import { BUCKET, PREFIX, startGateway, type TestGateway } from "../support/gateway.ts";
import type { FaultAction } from "../support/s3-server/faults.ts";
import type { Operation } from "../support/s3-server/s3-request.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";
import { SftpStatusError, SshSftpClient } from "../support/ssh-sftp-client.ts";
import { FX, FXF } from "../support/sftp-packets.ts";
import { sha256 } from "../support/test-store.ts";

const small = sample(70_000);
const large = sample(18 * 1024 * 1024);
const old = Buffer.from("the version that was there before");

/** Operations of the upload of a file, with a file that leads to them. */
const uploads: readonly (readonly [Operation, Buffer])[] = [
  ["PutObject", small],
  ["CreateMultipartUpload", large],
  ["UploadPart", large],
  ["CompleteMultipartUpload", large],
];
const passing: readonly FaultAction[] = [
  { kind: "status", status: 503, code: "SlowDown" },
  { kind: "status", status: 500, code: "InternalError" },
  { kind: "status", status: 503, code: "SlowDown", early: true },
  { kind: "reset", at: "before-body" },
  { kind: "reset", at: "after-body" },
  { kind: "reset", afterBytes: 50_000 },
  { kind: "late-commit", answer: "reset" },
  { kind: "late-commit", answer: { status: 500, code: "InternalError" } },
];

const nameOf = (action: FaultAction) =>
  Object.values(action)
    .map((value) => (typeof value === "object" ? JSON.stringify(value) : String(value)))
    .join(" ");

describe("a failing store", () => {
  let s3: S3Server;
  let gateway: TestGateway;
  let client: SshSftpClient;
  let path: string;
  let name: string;
  let number = 0;
  beforeAll(async () => {
    s3 = await startS3Server({ buckets: [BUCKET] });
    gateway = await startGateway({ s3 });
  });
  beforeEach(async () => {
    name = `file-${number++}`;
    path = `${REMOTE}/${name}`;
    client = await SshSftpClient.connect(gateway);
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === "fail") process.stderr.write(`gateway's log (${task.name}):\n${gateway.logText(12)}\n`);
    s3.clearFaults();
    await client.end();
  });
  afterAll(async () => {
    await gateway.dispose();
    await s3.close();
  });

  const stored = () => s3.contents.object(BUCKET, `${PREFIX}${STORED}/${name}`)?.sha256();
  const plant = (bytes: Buffer) => s3.contents.put(BUCKET, `${PREFIX}${STORED}/${name}`, bytes);
  const outcome = (request: Promise<unknown>) =>
    request.then(
      () => undefined,
      (error: unknown) => error,
    );
  async function expectFailure(request: Promise<unknown>, code: number = FX.FAILURE): Promise<string> {
    const error = await outcome(request);
    expect(error).toBeInstanceOf(SftpStatusError);
    expect((error as SftpStatusError).code).toBe(code);
    for (const secret of [BUCKET, "127.0.0.1", PREFIX]) expect((error as Error).message).not.toContain(secret);
    return (error as Error).message;
  }

  describe("that fails once", () => {
    for (const [operation, data] of uploads) {
      for (const action of [
        ...passing,
        ...(operation === "CompleteMultipartUpload" ? [{ kind: "error-in-200", code: "InternalError" } as const] : []),
      ]) {
        it(`${operation}: ${nameOf(action)}: the upload succeeds`, async () => {
          const fault = s3.fault({ operation, action });
          await client.putFile(path, data, 255 * 1024);
          expect(fault.hits).toBe(1);
          expect(stored()).toBe(sha256(data));
        });
      }
    }

    for (const action of [...passing.slice(0, 5), { kind: "truncate", afterBytes: 1_000_000 } as const]) {
      it(`GetObject: ${nameOf(action)}: the download is whole`, async () => {
        plant(large);
        const fault = s3.fault({ operation: "GetObject", action });
        expect(sha256(await client.getFile(path, 255 * 1024))).toBe(sha256(large));
        expect(fault.hits).toBe(1);
      });
    }

    for (const operation of ["HeadObject", "ListObjectsV2", "CopyObject", "DeleteObject", "DeleteObjects"] as const) {
      it(`${operation}: SlowDown: listing, renaming and removing succeed`, async () => {
        plant(small);
        s3.fault({ operation, action: { kind: "status", status: 503, code: "SlowDown" } });
        expect((await client.list(REMOTE)).some(({ filename }) => filename === name)).toBe(true);
        await client.rename(path, `${path}.renamed`);
        await client.remove(`${path}.renamed`);
        expect(await outcome(client.stat(path))).toMatchObject({ code: FX.NO_SUCH_FILE });
      });
    }
  });

  describe("that keeps failing", () => {
    for (const [operation, data] of uploads) {
      for (const action of [
        { kind: "status", status: 500, code: "InternalError" },
        { kind: "reset", at: "after-body" },
      ] as const) {
        it(`${operation}: ${nameOf(action)}: the client is told, the old version stays, the next upload works`, async () => {
          plant(old);
          s3.fault({ operation, times: Number.POSITIVE_INFINITY, action });
          await expectFailure(client.putFile(path, data, 255 * 1024));
          expect(stored()).toBe(sha256(old));
          s3.clearFaults();
          await client.putFile(path, data, 255 * 1024);
          expect(stored()).toBe(sha256(data));
        });
      }

      it(`${operation}: AccessDenied: permission denied at once`, async () => {
        const fault = s3.fault({
          operation,
          times: Number.POSITIVE_INFINITY,
          action: { kind: "status", status: 403, code: "AccessDenied" },
        });
        await expectFailure(client.putFile(path, data, 255 * 1024), FX.PERMISSION_DENIED);
        expect(stored()).toBeUndefined();
        expect(fault.hits).toBeLessThanOrEqual(operation === "UploadPart" ? 8 : 2);
      });
    }

    it("GetObject: the client is told, and can read on when the store is back", async () => {
      plant(large);
      s3.fault({ operation: "GetObject", times: Number.POSITIVE_INFINITY, action: { kind: "status", status: 500, code: "InternalError" } });
      await expectFailure(client.getFile(path, 255 * 1024));
      s3.clearFaults();
      expect(sha256(await client.getFile(path, 255 * 1024))).toBe(sha256(large));
    });

    it("an object replaced while it is read ends in an error, not in a mixture", async () => {
      plant(large);
      const handle = await client.open(path, 1);
      const first = await client.read(handle, 0, 32_768);
      expect(first.equals(large.subarray(0, 32_768))).toBe(true);
      plant(Buffer.alloc(large.length, 1));
      const last = await client.read(handle, large.length - 32_768, 32_768).catch((error: unknown) => error);
      if (Buffer.isBuffer(last)) expect(last.equals(large.subarray(large.length - 32_768))).toBe(true);
      else expect(last).toMatchObject({ code: FX.FAILURE });
    });
  });

  it("tells what the operator must do, in the log only", async () => {
    s3.fault({ operation: "PutObject", action: { kind: "status", status: 404, code: "NoSuchBucket" }, times: Number.POSITIVE_INFINITY });
    await expectFailure(client.putFile(path, small));
    await expect.poll(() => gateway.logText(50), { timeout: 5_000 }).toMatch(/bucket/i);
  });

  it("keeps within its memory for 64 uploads at once to a slow store", async () => {
    const clients = await Promise.all(Array.from({ length: 64 }, () => SshSftpClient.connect(gateway)));
    s3.uploadBytesPerSecond = 40 * 1024 * 1024;
    const data = sample(6_000_000);
    let peakKib = 0;
    const timer = setInterval(() => {
      peakKib = Math.max(peakKib, residentKib(gateway.pid));
    }, 50);
    await Promise.all(clients.map((one, n) => one.putFile(`${path}-${n}`, data))).finally(() => clearInterval(timer));
    await Promise.all(clients.map((one) => one.end()));
    for (let n = 0; n < 64; n++) expect(s3.contents.object(BUCKET, `${PREFIX}${STORED}/${name}-${n}`)?.sha256()).toBe(sha256(data));
    expect(peakKib).toBeGreaterThan(0);
    expect(peakKib / 1024).toBeLessThan(256 + 256);
  });

  it("keeps nothing of a file that failed and was never closed, once it has been sent anew", async () => {
    s3.fault({ operation: "UploadPart", action: { kind: "status", status: 403, code: "AccessDenied" } });
    const handle = await client.open(path, FXF.WRITE | FXF.CREAT | FXF.TRUNC);
    await expectFailure(
      (async () => {
        for (let at = 0; at < large.length; at += 256 * 1024) await client.write(handle, at, large.subarray(at, at + 256 * 1024));
        throw new Error("no WRITE failed");
      })(),
      FX.PERMISSION_DENIED,
    );
    s3.clearFaults();
    await client.putFile(path, large, 255 * 1024);
    await client.end();
    await expect
      .poll(() => gateway.log.some(({ msg, path: of, result }) => msg === "transfer end" && of === path && result === "aborted"))
      .toBe(true);
    expect(s3.contents.uploads(BUCKET).filter(({ key }) => key.endsWith(name))).toEqual([]);
    client = await SshSftpClient.connect(gateway);
    expect((await client.stat(path)).size).toBe(large.length);
    expect(stored()).toBe(sha256(large));
  });
});

/** Of a process and its children; what they share counts once. */
function residentKib(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  const sizes = [String(pid), ...children].map((one) => /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${one}/smaps_rollup`, "utf8"))?.[1]);
  return sizes.reduce((sum, size) => sum + Number(size ?? 0), 0);
}
