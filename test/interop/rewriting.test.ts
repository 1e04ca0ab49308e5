/** Programs that do not write a file from its beginning to its end: mounts and libraries, on files of many parts. */
import { expect, it } from "vitest";
import { SshSftpClient, SftpStatusError } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";
import { type Interop, onEachStore, REMOTE, STORED } from "./on-stores.ts";
import { sample } from "./samples.ts";

const MIB = 1024 * 1024;
const READ = 1;
const WRITE = 2;
const CREAT = 8;
const TRUNC = 16;
const EXCL = 32;
/** Large enough for several parts before and behind every place that is written again. */
const SIZE = 44 * MIB + 12_345;

/** A client that is no OpenSSH, PuTTY or rclone: a library. */
async function withClient({ gateway }: Interop, work: (client: SshSftpClient) => Promise<void>): Promise<void> {
  const client = await SshSftpClient.connect(gateway);
  await work(client);
  await client.end();
}

onEachStore("writing again", [], {}, (at) => {
  for (const [name, pflags] of [
    ["a new or truncated file", WRITE | CREAT | TRUNC],
    ["a file that must be new", WRITE | CREAT | EXCL],
    ["a file that may be there", WRITE | CREAT],
    ["a file that is read, too", READ | WRITE | CREAT | TRUNC],
  ] as const) {
    it(`over bytes that have left long ago, in ${name}`, async () => {
      const { store } = at();
      const bytes = Buffer.from(sample(SIZE));
      const file = `again-${pflags}.tif`;
      await withClient(at(), async (client) => {
        const handle = await client.open(`${REMOTE}/${file}`, pflags);
        await client.writeAll(handle, 0, bytes, 240_000);
        for (const offset of [30 * MIB, 0, 17 * MIB - 5, SIZE - 100, 12 * MIB]) {
          const again = sample(70_001).subarray(0, Math.min(70_001, SIZE - offset));
          await client.write(handle, offset, again);
          again.copy(bytes, offset);
        }
        expect((await client.fstat(handle)).size).toBe(SIZE);
        if (pflags & READ)
          expect(sha256(await client.read(handle, 17 * MIB - 10, 30_000))).toBe(sha256(bytes.subarray(17 * MIB - 10).subarray(0, 30_000)));
        await client.write(handle, SIZE, Buffer.from("the end"));
        await client.close(handle);
      });
      expect(store.sha256(`${STORED}/${file}`)).toBe(sha256(Buffer.concat([bytes, Buffer.from("the end")])));
    });
  }

  it("its header last, as writers of video and archives do", async () => {
    const { store, s3 } = at();
    const bytes = Buffer.from(sample(SIZE));
    s3?.requests.clear();
    await withClient(at(), async (client) => {
      const handle = await client.open(`${REMOTE}/movie.mov`, WRITE | CREAT | TRUNC);
      await client.write(handle, 0, Buffer.alloc(48));
      await client.writeAll(handle, 48, bytes.subarray(48), 240_000);
      await client.write(handle, 0, bytes.subarray(0, 48));
      await client.close(handle);
    });
    expect(store.sha256(`${STORED}/movie.mov`)).toBe(sha256(bytes));
    // One part is sent a second time.
    if (s3)
      expect(s3.requests.counts()).toMatchObject({
        CreateMultipartUpload: 1,
        CompleteMultipartUpload: 1,
        UploadPart: Math.ceil(SIZE / (8 * MIB)) + 1,
      });
  });

  it("in four stretches side by side", async () => {
    const { store } = at();
    const bytes = Buffer.from(sample(SIZE));
    await withClient(at(), async (client) => {
      const handle = await client.open(`${REMOTE}/stretches.bin`, WRITE | CREAT | TRUNC);
      const stretch = Math.ceil(SIZE / 4);
      for (let done = 0; done < stretch; done += 256_000) {
        const writes = [0, 1, 2, 3].map((index) => {
          const from = index * stretch + done;
          return client.writeAll(handle, from, bytes.subarray(from, Math.min(from + 256_000, (index + 1) * stretch, SIZE)), 128_000);
        });
        await Promise.all(writes);
      }
      await client.close(handle);
    });
    expect(store.sha256(`${STORED}/stretches.bin`)).toBe(sha256(bytes));
  });

  it("from its end to its beginning", async () => {
    const { store } = at();
    const bytes = Buffer.from(sample(SIZE));
    await withClient(at(), async (client) => {
      const handle = await client.open(`${REMOTE}/backwards.bin`, WRITE | CREAT | TRUNC);
      for (let end = SIZE; end > 0; end -= 250_000) {
        const from = Math.max(0, end - 250_000);
        await client.write(handle, from, bytes.subarray(from, end));
      }
      await client.close(handle);
    });
    expect(store.sha256(`${STORED}/backwards.bin`)).toBe(sha256(bytes));
  });

  it("after it was cut in the middle of what has left", async () => {
    const { store } = at();
    const bytes = Buffer.from(sample(SIZE));
    await withClient(at(), async (client) => {
      const handle = await client.open(`${REMOTE}/cut.bin`, WRITE | CREAT | TRUNC);
      await client.writeAll(handle, 0, bytes, 240_000);
      await client.fsetstat(handle, { size: 19 * MIB + 1 });
      await client.write(handle, 19 * MIB + 1, Buffer.from("new tail"));
      await client.close(handle);
    });
    expect(store.sha256(`${STORED}/cut.bin`)).toBe(sha256(Buffer.concat([bytes.subarray(0, 19 * MIB + 1), Buffer.from("new tail")])));
  });

  it("is refused where a hole of more than 64 MiB would come to be, and nothing is published", async () => {
    const { store } = at();
    await withClient(at(), async (client) => {
      const handle = await client.open(`${REMOTE}/hole.bin`, WRITE | CREAT | TRUNC);
      await client.writeAll(handle, 0, sample(9 * MIB), 240_000);
      await expect(client.write(handle, 80 * MIB, Buffer.from("far"))).rejects.toBeInstanceOf(SftpStatusError);
      await expect(client.close(handle)).rejects.toBeInstanceOf(SftpStatusError);
      await client.remove(`${REMOTE}/hole.bin`);
    });
    expect(store.size(`${STORED}/hole.bin`)).toBeUndefined();
  });
});
