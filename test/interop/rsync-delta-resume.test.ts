/**
 * Uploads that lose their connection where an older version is published: what the next run has to send, beside what it
 * has to send to the real rsync behind the real sshd. Nothing here is typed by hand as expected.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startCuttingForward } from "../support/cutting-forward.ts";
import { BUCKET, type TestGateway } from "../support/gateway.ts";
import { run } from "../support/processes.ts";
import { type RealSshd, startRealSshd } from "../support/real-sshd.ts";
import { sha256 } from "../support/test-store.ts";
import { onEachStore, REMOTE, STORED } from "./on-stores.ts";

const MIB = 1024 * 1024;

/** An old version, a new one, and after how many bytes of the client's the connection is lost. */
interface Case {
  readonly old: Uint8Array;
  readonly data: Uint8Array;
  readonly cut: number;
}

interface Server {
  readonly port: number;
  readonly user: string;
  readonly sshOptions: readonly string[];
}

function changed(old: Uint8Array, every: number, length: number): Uint8Array {
  const data = Buffer.from(old);
  for (let at = 0; at + length <= data.length; at += every) randomBytes(length).copy(data, at);
  return data;
}

const old = randomBytes(20 * MIB);
const news = randomBytes(8 * MIB + 77);
const TWO_PLACES: Case = {
  old,
  data: Buffer.concat([old.subarray(0, 6 * MIB), news.subarray(0, 4 * MIB + 77), old.subarray(7 * MIB, 15 * MIB), news.subarray(4 * MIB)]),
  cut: 6 * MIB,
};
const MIDDLE: Case = { old, data: Buffer.concat([old.subarray(0, 7 * MIB), news, old.subarray(7 * MIB)]), cut: 6 * MIB };
const SMALL: Case = { old, data: changed(old, 150_000, 100), cut: MIB / 2 };
const BEHIND: Case = { old, data: Buffer.concat([old.subarray(0, 9 * MIB + 5), news]), cut: 6 * MIB };
const CASES: readonly (readonly [what: string, options: string, test: Case])[] = [
  ["something new in the middle", "-P", MIDDLE],
  ["something new in the middle", "--inplace", MIDDLE],
  ["something new in the middle", "--partial-dir=.part", MIDDLE],
  ["something new in the middle", "-Pz", MIDDLE],
  [
    "something old behind something new",
    "-P",
    { old: old.subarray(0, 4 * MIB), data: Buffer.concat([news, old.subarray(0, 4 * MIB)]), cut: 6 * MIB },
  ],
  ["nothing that stays", "-P", { old: old.subarray(0, 4 * MIB), data: news, cut: 6 * MIB }],
  ["something new in two places", "-P", TWO_PLACES],
  ["something new in two places", "--inplace --partial", TWO_PLACES],
  ["something new in two places", "-P --protocol=29", TWO_PLACES],
  ["changes everywhere", "--inplace", { old, data: changed(old, MIB, 200_000), cut: 2 * MIB }],
  ["small changes everywhere", "-P", SMALL],
  ["small changes everywhere", "--inplace", SMALL],
  ["something new behind what stays", "-P", BEHIND],
  ["something new behind what stays", "-Pz", BEHIND],
];

/** Sends one version of the file; the literal bytes that took, and how it ended. */
async function send(server: Server, target: string, { data, mtime, port = server.port, options = "", work }: Sending): Promise<Sent> {
  const path = join(work, "delta.bin");
  writeFileSync(path, data);
  utimesSync(path, mtime, mtime);
  const shell = ["ssh", "-p", String(port), "-o", `HostKeyAlias=[127.0.0.1]:${server.port}`, "-l", server.user, ...server.sshOptions];
  const words = shell.map((word) => (word.includes(" ") ? `'${word}'` : word)).join(" ");
  const args = ["-t", "--stats", ...options.split(" ").filter((word) => word !== ""), "-e", words, "delta.bin", `127.0.0.1:${target}`];
  const { code, stdout, stderr } = await run("rsync", args, { cwd: work });
  return { code, stderr, literal: Number((/Literal data: ([\d,]+)/.exec(stdout)?.[1] ?? "").replaceAll(",", "")) };
}

interface Sending {
  readonly data: Uint8Array;
  readonly mtime: number;
  readonly port?: number;
  readonly options?: string;
  readonly work: string;
}

interface Sent {
  readonly code: number;
  readonly stderr: string;
  readonly literal: number;
}

/** Sends the old version, and loses the connection on the way of the new one. */
async function interrupt(server: Server, target: string, { old: before, data, cut }: Case, options: string, work: string): Promise<void> {
  expect((await send(server, target, { data: before, mtime: 1_500_000_000, work })).code).toBe(0);
  const lossy = await startCuttingForward(server.port, cut);
  expect((await send(server, target, { data, mtime: 1_600_000_000, port: lossy.port, options, work })).code).not.toBe(0);
  await lossy.close();
  expect(lossy.cut).toBe(true);
}

/** As `interrupt`; resolves when the gateway has put aside what came, which takes a while on a busy machine. */
async function interruptGateway(gateway: TestGateway, test: Case, options: string, work: string): Promise<void> {
  const kept = () => gateway.log.filter(({ msg }) => msg === "upload kept for resume").length;
  const before = kept();
  await interrupt(gateway, TARGET, test, options, work);
  await expect.poll(kept, { timeout: 20_000, interval: 20 }).toBeGreaterThan(before);
}

/** Sends the new version again; the literal bytes that took. */
async function again(server: Server, target: string, { data }: Case, options: string, work: string): Promise<number> {
  const { code, stderr, literal } = await send(server, target, { data, mtime: 1_600_000_000, options, work });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return literal;
}

/** True while a process of the real server is there that writes `target`. */
function isServed(target: string): boolean {
  return readdirSync("/proc").some((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const words = readFileSync(join("/proc", pid, "cmdline"), "utf8").split("\0");
      return words.includes("--server") && words.includes(target);
    } catch {
      return false; // It has ended meanwhile.
    }
  });
}

const REAL = new Map<number, number>();
const TARGET = `${REMOTE}/delta.bin`;

onEachStore("a delta of rsync that is cut", ["rsync", "ssh", "sshd"], {}, (at) => {
  let sshd: RealSshd;
  beforeAll(async () => {
    sshd = await startRealSshd();
  });
  afterAll(() => sshd.stop());

  /** What the real one is sent again, asked once. */
  async function real(index: number, test: Case, options: string): Promise<number> {
    const known = REAL.get(index);
    if (known !== undefined) return known;
    const { work } = at();
    mkdirSync(join(work, "real"));
    const target = join(work, "real/delta.bin");
    await interrupt(sshd, target, test, options, work);
    // The torn file is in its place when the server that wrote it is gone.
    await expect.poll(() => isServed(target), { timeout: 20_000, interval: 20 }).toBe(false);
    const literal = await again(sshd, target, test, options, work);
    expect(sha256(readFileSync(target))).toBe(sha256(test.data));
    REAL.set(index, literal);
    return literal;
  }

  const cases = CASES.map(([what, options, test], index) => [what, options, test, index] as const);
  it.for(cases)("with %s, %s: no more is sent again than to the real rsync", async ([_, options, test, index], { skip }) => {
    const { gateway, store, work, s3 } = at();
    // The store makes little difference.
    if (!s3 && index % 3 !== 0) return skip();
    await interruptGateway(gateway, test, options, work);
    expect(store.sha256(`${STORED}/delta.bin`)).toBe(sha256(test.old));
    const mine = await again(gateway, TARGET, test, options, work);
    expect(store.sha256(`${STORED}/delta.bin`)).toBe(sha256(test.data));
    expect(s3?.contents.uploads(BUCKET) ?? []).toEqual([]);
    // What the client was about to send may be some packets more or less; a block at the end, and with -z up to a MiB, is not noted.
    expect(mine).toBeLessThan((await real(index, test, options)) + (options.includes("z") ? 1.25 : 0.25) * MIB);
  });

  it("goes on behind what the store copied after the gateway was killed", async () => {
    const { gateway, store, work } = at();
    await interruptGateway(gateway, BEHIND, "-P", work);
    await gateway.kill();
    await gateway.start();
    // 8 MiB are new.
    expect(await again(gateway, TARGET, BEHIND, "", work)).toBeLessThan(3 * MIB);
    expect(store.sha256(`${STORED}/delta.bin`)).toBe(sha256(BEHIND.data));
  });

  it("sends what is new twice where that repeats itself behind the cut, and nothing that stays", async () => {
    const { gateway, store, work } = at();
    const test = { old, data: Buffer.concat([news, old, news]), cut: 10 * MIB };
    await interruptGateway(gateway, test, "-P", work);
    expect(await again(gateway, TARGET, test, "-P", work)).toBeLessThan(2 * news.length + MIB);
    expect(store.sha256(`${STORED}/delta.bin`)).toBe(sha256(test.data));
  });
});
