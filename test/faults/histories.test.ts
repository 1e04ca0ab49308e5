/** Two gateways on one bucket, several clients each, few names: every read is one whole version that was current. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { REMOTE } from "../interop/on-stores.ts";
import { BUCKET, startGateway, type TestGateway } from "../support/gateway.ts";
import { Random } from "../support/random.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";
import { FX } from "../support/sftp-packets.ts";
import { SftpStatusError, SshSftpClient } from "../support/ssh-sftp-client.ts";
import { findings, type Operation } from "./histories.ts";

const NAMES = ["one", "two", "three", "four"];
const SECONDS = 12;
const BLOCK = 255 * 1024;

/** A content that says its version in every eight bytes: a mixture of two cannot pass for either. */
function contentOf(version: number): Buffer {
  const size = version % 11 === 0 ? 9_000_000 : 8 * (1 + ((version * 7_919) % 40_000));
  const content = Buffer.alloc(size);
  const word = Buffer.alloc(8);
  word.writeBigUInt64BE(BigInt(version));
  return content.fill(word);
}

function versionOf(content: Buffer): number {
  const version = content.length < 8 ? -1 : Number(content.readBigUInt64BE(0));
  if (!content.equals(contentOf(version))) throw new Error(`${content.length} bytes that are no whole version (first word ${version})`);
  return version;
}

describe("the judgement of histories", () => {
  const at = (began: number, ended: number, client = "a") => ({ client, name: "one", began, ended });
  const put = (version: number, began: number, ended: number): Operation => ({ ...at(began, ended), kind: "put", version, failed: false });
  const get = (version: number | undefined, began: number, ended: number): Operation => ({
    ...at(began, ended, "b"),
    kind: "get",
    version,
  });

  it("accepts either version while one replaces the other, and either answer while a file goes", () => {
    const removal: Operation = { ...at(50, 60), kind: "delete", failed: false };
    expect(findings([put(1, 0, 10), put(2, 20, 30), get(1, 25, 26), get(2, 25, 26), get(2, 31, 32)])).toEqual([]);
    expect(findings([put(1, 0, 10), removal, get(1, 55, 56), get(undefined, 55, 56), get(undefined, 70, 80)])).toEqual([]);
  });

  it.each([
    ["a stale version", [put(1, 0, 10), put(2, 20, 30), get(1, 31, 40)]],
    ["a version nobody wrote", [put(1, 0, 10), get(3, 11, 12)]],
    ["a version from the future", [get(1, 0, 5), put(1, 10, 20)]],
    ["a missing file", [put(1, 0, 10), get(undefined, 11, 12)]],
    ["a file missing in a listing", [put(1, 0, 10), { ...at(11, 12, "b"), kind: "list", names: [] }]],
  ] satisfies [string, Operation[]][])("finds %s", (_what, history) => {
    expect(findings(history)).toHaveLength(1);
  });
});

describe("histories of two gateways on one bucket", () => {
  let s3: S3Server;
  let gateways: TestGateway[];
  beforeAll(async () => {
    s3 = await startS3Server({ buckets: [BUCKET] });
    gateways = [await startGateway({ s3 }), await startGateway({ s3 })];
  });
  afterAll(async () => {
    for (const gateway of gateways) await gateway.dispose();
    await s3.close();
  });

  it("have whole versions only, each current between the begin and the end of its read", { timeout: 120_000 }, async () => {
    const history: Operation[] = [];
    let version = 0;
    const until = performance.now() + SECONDS * 1000;

    async function work(client: string, gateway: TestGateway, seed: number): Promise<void> {
      const random = new Random(seed);
      const sftp = await SshSftpClient.connect(gateway);
      const noSuchFile = (error: unknown) => {
        if (error instanceof SftpStatusError && error.code === FX.NO_SUCH_FILE) return undefined;
        throw error;
      };
      /** Whether it was refused; what may have happened nevertheless is in the history. */
      const refused = (request: Promise<unknown>) =>
        request.then(
          () => false,
          (error: unknown) => {
            if (error instanceof SftpStatusError) return true;
            throw error;
          },
        );
      while (performance.now() < until) {
        const name = random.pick(NAMES);
        const path = `${REMOTE}/${name}`;
        const dice = random.below(100);
        const began = performance.now();
        const done = () => ({ client, name, began, ended: performance.now() });
        if (dice < 35) {
          const mine = ++version;
          const failed = await refused(sftp.putFile(path, contentOf(mine), BLOCK));
          history.push({ ...done(), kind: "put", version: mine, failed });
        } else if (dice < 75) {
          const content = await sftp.getFile(path, BLOCK).catch((error: unknown) => {
            // Replaced while it was read: an error is what is promised, never a mixture.
            if (error instanceof SftpStatusError && error.code === FX.FAILURE) return "changed" as const;
            return noSuchFile(error);
          });
          if (content !== "changed") history.push({ ...done(), kind: "get", version: content && versionOf(content) });
        } else if (dice < 85) {
          const failed = await refused(sftp.remove(path));
          history.push({ ...done(), kind: "delete", failed });
        } else if (dice < 92) {
          const to = random.pick(NAMES.filter((other) => other !== name));
          const failed = await refused(sftp.posixRename(path, `${REMOTE}/${to}`));
          history.push({ ...done(), kind: "rename", to, failed });
        } else {
          const names = (await sftp.list(REMOTE).catch(noSuchFile))?.map(({ filename }) => filename) ?? [];
          history.push({ ...done(), kind: "list", names });
        }
      }
      await sftp.end();
    }

    await Promise.all([0, 1, 2, 3, 4, 5].map((n) => work(`client ${n}`, gateways[n % 2] as TestGateway, 1000 + n)));
    const kinds = new Set(history.map(({ kind }) => kind));
    expect([...kinds].sort()).toEqual(["delete", "get", "list", "put", "rename"]);
    expect(history.length).toBeGreaterThan(100);
    expect(findings(history)).toEqual([]);
  });
});
