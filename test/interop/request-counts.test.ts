import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { BUCKET, PREFIX, startGateway, type TestGateway } from "../support/gateway.ts";
import type { Operation } from "../support/s3-server/s3-request.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";
import { SshSftpClient } from "../support/ssh-sftp-client.ts";
import { FXF } from "../support/sftp-packets.ts";
import { sha256 } from "../support/test-store.ts";
import { REMOTE, STORED } from "./on-stores.ts";
import { sample } from "./samples.ts";

const MIB = 1024 * 1024;

describe("requests to S3", () => {
  let s3: S3Server;
  let gateway: TestGateway;
  let client: SshSftpClient;
  beforeAll(async () => {
    s3 = await startS3Server({ buckets: [BUCKET] });
    gateway = await startGateway({ s3, topYaml: ["listing: { times: exact }"] });
  });
  beforeEach(async () => {
    client = await SshSftpClient.connect(gateway);
    s3.requests.clear();
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === "fail") process.stderr.write(`${describeRequests()}\n${gateway.logText(10)}\n`);
    await client.end();
  });
  afterAll(async () => {
    await gateway.dispose();
    await s3.close();
  });

  const describeRequests = () =>
    s3.requests.records
      .slice(0, 30)
      .map((one) => `${one.operation} ${one.request.rawPath}?${one.request.rawQuery} ${one.status}`)
      .join("\n");
  const stored = (name: string) => s3.contents.object(BUCKET, `${PREFIX}${STORED}/${name}`);
  const plant = (name: string, bytes: Buffer | string) =>
    s3.contents.put(BUCKET, `${PREFIX}${STORED}/${name}`, bytes, { metadata: { mtime: "1500000000" } });
  /** Requests by operation since `action` began. */
  async function countsOf(action: () => Promise<unknown>): Promise<Partial<Record<Operation, number>>> {
    s3.requests.clear();
    await action();
    return s3.requests.counts();
  }

  it("takes one PUT for a new small file, with its time", async () => {
    const times = { permissions: 0o100644, atime: 1_500_000_000, mtime: 1_500_000_000 };
    const counts = await countsOf(async () => {
      const handle = await client.open(`${REMOTE}/small.pdf`, FXF.WRITE | FXF.CREAT | FXF.TRUNC, times);
      await client.writeAll(handle, 0, sample(100_000));
      await client.fsetstat(handle, times);
      await client.close(handle);
    });
    expect(counts).toEqual({ PutObject: 1 });
    expect(stored("small.pdf")).toMatchObject({ metadata: { mtime: "1500000000" }, system: { "content-type": "application/pdf" } });
    expect(stored("small.pdf")?.sha256()).toBe(sha256(sample(100_000)));
  });

  it("takes one PUT for a new small file under a temporary name, as rclone and WinSCP upload", async () => {
    for (const suffix of [".pugixik4.partial", ".filepart"]) {
      const name = `parked${suffix.length}.pdf`;
      const counts = await countsOf(async () => {
        await client.putFile(`${REMOTE}/${name}${suffix}`, sample(100_000));
        await client.setstat(`${REMOTE}/${name}${suffix}`, { atime: 1_500_000_000, mtime: 1_500_000_000 });
        expect(await client.stat(`${REMOTE}/${name}${suffix}`)).toMatchObject({ size: 100_000, mtime: 1_500_000_000 });
        await client.posixRename(`${REMOTE}/${name}${suffix}`, `${REMOTE}/${name}`);
        expect(await client.stat(`${REMOTE}/${name}`)).toMatchObject({ size: 100_000, mtime: 1_500_000_000 });
      });
      expect(counts).toEqual({ PutObject: 1 });
      expect(stored(name)).toMatchObject({ metadata: { mtime: "1500000000" }, system: { "content-type": "application/pdf" } });
      expect(stored(name)?.sha256()).toBe(sha256(sample(100_000)));
    }
  });

  it("takes Create, the parts and Complete for 100 MiB", async () => {
    const data = sample(100 * MIB);
    const counts = await countsOf(() => client.putFile(`${REMOTE}/large.tif`, data, 255 * 1024));
    const etag = stored("large.tif")?.etag ?? "";
    const parts = Number(etag.split("-")[1]);
    expect(parts).toBeGreaterThan(1);
    expect(counts).toEqual({ CreateMultipartUpload: 1, UploadPart: parts, CompleteMultipartUpload: 1 });
    expect(stored("large.tif")?.sha256()).toBe(sha256(data));
  });

  it("takes one HEAD and one GET for a sequential download", async () => {
    plant("download/download.bin", sample(21 * MIB + 7));
    const counts = await countsOf(async () => {
      expect(sha256(await client.getFile(`${REMOTE}/download/download.bin`, 255 * 1024))).toBe(sha256(sample(21 * MIB + 7)));
    });
    expect(counts).toEqual({ HeadObject: 1, GetObject: 1 });
  });

  it("takes ceil(n/1000) LISTs for a listing the cache knows, also after a restart", async () => {
    for (let n = 0; n < 2500; n++) plant(`known/${String(n).padStart(5, "0")}`, "x");
    const first = await client.list(`${REMOTE}/known`);
    expect(first).toHaveLength(2500);
    expect(first.every(({ attributes }) => attributes.mtime === 1_500_000_000)).toBe(true);
    expect(await countsOf(() => client.list(`${REMOTE}/known`))).toEqual({ ListObjectsV2: 3 });
    await client.end();
    await gateway.stop();
    await gateway.start();
    client = await SshSftpClient.connect(gateway);
    const counts = await countsOf(async () => {
      const again = await client.list(`${REMOTE}/known`);
      expect(again.every(({ attributes }) => attributes.mtime === 1_500_000_000)).toBe(true);
    });
    expect(counts).toEqual({ ListObjectsV2: 3 });
  });

  it("takes no HEAD for a listing of what the gateway itself has written", async () => {
    await client.mkdir(`${REMOTE}/own`);
    for (let n = 0; n < 20; n++)
      await client.putFile(`${REMOTE}/own/${n}`, sample(3), 32_768, { permissions: 0o100644, mtime: 1_500_000_000 + n });
    const counts = await countsOf(async () => {
      const names = await client.list(`${REMOTE}/own`);
      expect(names.find(({ filename }) => filename === "7")?.attributes.mtime).toBe(1_500_000_007);
    });
    expect(counts).toEqual({ ListObjectsV2: 1 });
  });

  it("takes only GETs to read all files of a listing", async () => {
    for (let n = 0; n < 30; n++) plant(`listed/${n}`, sample(70_000));
    await client.list(`${REMOTE}/listed`);
    const counts = await countsOf(async () => {
      for (let n = 0; n < 30; n++) expect(await client.getFile(`${REMOTE}/listed/${n}`)).toHaveLength(70_000);
    });
    expect(counts).toEqual({ GetObject: 30 });
  });

  it("takes one HEAD and one LIST for a stat, none right after a listing", async () => {
    plant("stat/a", "a");
    expect(await countsOf(() => client.stat(`${REMOTE}/stat/a`))).toEqual({ HeadObject: 1, ListObjectsV2: 1 });
    await client.list(`${REMOTE}/stat`);
    expect(await countsOf(() => client.stat(`${REMOTE}/stat/a`))).toEqual({});
  });

  for (const size of [120_000, 21 * MIB + 7]) {
    it(`takes no copy to publish ${size} bytes that came as .filepart`, async () => {
      const counts = await countsOf(async () => {
        await client.putFile(`${REMOTE}/part-${size}.tif.filepart`, sample(size));
        expect(stored(`part-${size}.tif`)).toBeUndefined();
        await client.rename(`${REMOTE}/part-${size}.tif.filepart`, `${REMOTE}/part-${size}.tif`);
      });
      expect(stored(`part-${size}.tif`)?.sha256()).toBe(sha256(sample(size)));
      expect(counts).not.toHaveProperty("CopyObject");
      expect(counts).not.toHaveProperty("UploadPartCopy");
      expect(counts).not.toHaveProperty("DeleteObject");
      expect(counts).not.toHaveProperty("DeleteObjects");
      expect(counts).not.toHaveProperty("GetObject");
    });
  }

  it("takes one self-copy for a time that is set afterwards, none for the same time again", async () => {
    await client.putFile(`${REMOTE}/times.txt`, sample(3));
    const change = () => client.setstat(`${REMOTE}/times.txt`, { atime: 1_450_000_000, mtime: 1_450_000_000 });
    const first = await countsOf(change);
    expect(first.CopyObject).toBe(1);
    expect(first).not.toHaveProperty("PutObject");
    expect(stored("times.txt")?.metadata).toMatchObject({ mtime: "1450000000" });
    const second = await countsOf(change);
    expect(second).not.toHaveProperty("CopyObject");
  });

  it("takes one copy and one delete to rename a file", async () => {
    await client.putFile(`${REMOTE}/from.txt`, sample(3));
    const counts = await countsOf(() => client.rename(`${REMOTE}/from.txt`, `${REMOTE}/to.txt`));
    expect(counts.CopyObject).toBe(1);
    expect((counts.DeleteObject ?? 0) + (counts.DeleteObjects ?? 0)).toBe(1);
    expect(stored("from.txt")).toBeUndefined();
    expect(stored("to.txt")?.size).toBe(3);
  });

  it("appends to a large object without downloading it", async () => {
    plant("append/append.bin", sample(40 * MIB));
    const counts = await countsOf(async () => {
      const handle = await client.open(`${REMOTE}/append/append.bin`, FXF.WRITE | FXF.APPEND);
      await client.writeAll(handle, 40 * MIB, Buffer.from("tail"));
      await client.close(handle);
    });
    expect(stored("append/append.bin")?.sha256()).toBe(sha256(Buffer.concat([sample(40 * MIB), Buffer.from("tail")])));
    expect(counts.UploadPartCopy).toBeGreaterThanOrEqual(1);
    const downloaded = s3.requests.records.filter((one) => one.operation === "GetObject").reduce((sum, one) => sum + one.bytesOut, 0);
    expect(downloaded).toBeLessThan(8 * MIB);
  });

  it("sends each byte of an upload once", async () => {
    await client.putFile(`${REMOTE}/once.bin`, sample(21 * MIB + 7), 32_768);
    const sent = s3.requests.records.reduce((sum, one) => sum + (one.operation === "CompleteMultipartUpload" ? 0 : one.bytesIn), 0);
    expect(sent).toBe(21 * MIB + 7);
  });
});
