/** Uploads by rsync that lose their connection and go on in another run: what crosses the wire a second time is counted. */
import { randomUUID } from "node:crypto";
import { readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { startCuttingForward } from "../support/cutting-forward.ts";
import { type Finished, run } from "../support/processes.ts";
import { sha256 } from "../support/test-store.ts";
import { type Interop, onEachStore, REMOTE, STORED } from "./on-stores.ts";
import { sample } from "./samples.ts";

const MIB = 1024 * 1024;
const SIZE = 14 * MIB + 5;
/** Size of the notes about 20 MiB: room for 64 histories, and records of 36 bytes for every 128 KiB. */
const NOTES_OF_20_MIB = 64 * 32_776 + 160 * 36;
/** Bytes of the client's side of the connection after which it is lost; some thousand of them are not rsync's. */
const SENT = 11 * MIB;

onEachStore("rsync that is cut", ["rsync", "ssh"], { logLevel: "debug" }, (at) => {
  const host = `127.0.0.1:${REMOTE}`;
  const shell = ({ gateway }: Interop, port = gateway.port): string =>
    ["ssh", "-p", String(port), "-o", `HostKeyAlias=[127.0.0.1]:${gateway.port}`, "-l", gateway.user, ...gateway.sshOptions]
      .map((word) => (word.includes(" ") ? `'${word}'` : word))
      .join(" ");
  const rsync = (args: readonly string[]): Promise<Finished> => run("rsync", ["-e", shell(at()), ...args], { cwd: at().work });

  const notesFolder = (): string => join(at().gateway.dir, "state", "rsync-notes");
  const noteFiles = (): string[] => readdirSync(notesFolder());
  const noteSizes = (): number => noteFiles().reduce((sum, name) => sum + statSync(join(notesFolder(), name)).size, 0);

  /** Writes a file and begins to send it; the connection is lost on the way. */
  async function interrupt(name: string, data: Uint8Array, options: readonly string[], sent = SENT): Promise<void> {
    const { work, store } = at();
    writeFileSync(join(work, name), data);
    utimesSync(join(work, name), 1_500_000_000, 1_500_000_000);
    const before = store.names().includes(`${STORED}/${name}`) ? store.sha256(`${STORED}/${name}`) : undefined;
    const lossy = await startCuttingForward(at().gateway.port, sent);
    const result = await run("rsync", ["-t", ...options, "-e", shell(at(), lossy.port), name, `${host}/${name}`], { cwd: work });
    await lossy.close();
    expect(lossy.cut).toBe(true);
    expect(result.code).not.toBe(0);
    const after = store.names().includes(`${STORED}/${name}`) ? store.sha256(`${STORED}/${name}`) : undefined;
    expect(after).toBe(before);
  }

  /** Sends it again and returns the literal bytes that took. */
  async function again(name: string, data: Uint8Array, options: readonly string[]): Promise<number> {
    const { store, work } = at();
    writeFileSync(join(work, name), data);
    utimesSync(join(work, name), 1_500_000_000, 1_500_000_000);
    const { code, stdout, stderr } = await rsync(["-t", "--stats", ...options, name, `${host}/${name}`]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(store.sha256(`${STORED}/${name}`)).toBe(sha256(data));
    const unchanged = await rsync(["-ti", name, `${host}/${name}`]);
    expect(unchanged.stdout).toBe("");
    return Number((/Literal data: ([\d,]+)/.exec(stdout)?.[1] ?? "").replaceAll(",", ""));
  }

  it.for([
    ["--partial", "--partial"],
    ["-P", ""],
    ["--inplace", "--inplace"],
    ["--partial-dir=.partial", "--partial-dir=.partial"],
    ["-P", "--append-verify"],
    ["--append-verify", "--append-verify"],
    ["-P", "-P --append"],
    ["-P --protocol=30", "-P --protocol=30"],
    ["-P --protocol=29", "-P --protocol=29"],
    ["-P --protocol=29", "--append-verify --protocol=29"],
    ["-Pc", "-Pc"],
    ["-P -s", "-P -s"],
    ["-Pz", "-Pz"],
    ["-P", "-z"],
    ["-Pzz", "-Pzz"],
    ["-Pz --protocol=30", "-Pz --protocol=30"],
    ["-Pz", "-z --append-verify"],
  ])("with %s goes on with %s", async ([first = "", second = ""], { skip }) => {
    // The store makes no difference to the options.
    if (!at().s3 && /^-P[-szc ]|=/.test(first)) return skip();
    const name = `f${first}${second}.bin`.replaceAll(/\W/g, "");
    const data = sample(SIZE);
    const words = (text: string): string[] => text.split(" ").filter((word) => word !== "");
    await interrupt(name, data, words(first));
    const literal = await again(name, data, words(second));
    expect(literal).toBeGreaterThan(0);
    expect(literal).toBeLessThan(SIZE - SENT + 1.5 * MIB);
  });

  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    it(`goes on after the gateway got ${signal}`, async () => {
      const { gateway } = at();
      const data = sample(SIZE);
      await interrupt(`${signal}.bin`, data, ["-Pz"]);
      await gateway.stop(signal);
      await gateway.start();
      // What was killed before it was kept is lost but for whole parts.
      expect(await again(`${signal}.bin`, data, ["-P"])).toBeLessThan(signal === "SIGKILL" ? SIZE - 7 * MIB : SIZE - SENT + 1.5 * MIB);
    });
  }

  it("goes on after the gateway was killed in the middle", async () => {
    const { gateway, work } = at();
    const data = sample(40 * MIB);
    writeFileSync(join(work, "killed.bin"), data);
    const running = run("rsync", ["-tP", "--bwlimit=20000", "-e", shell(at()), "killed.bin", `${host}/killed.bin`], { cwd: work });
    await expect.poll(() => noteSizes(), { timeout: 20_000, interval: 20 }).toBeGreaterThan(NOTES_OF_20_MIB);
    await gateway.kill();
    await running;
    await gateway.start();
    // Only what the store has can be gone on with.
    expect(await again("killed.bin", data, [])).toBeLessThan(40 * MIB - 8 * MIB);
  });

  it("goes on a second time", async () => {
    const data = sample(SIZE);
    await interrupt("twice.bin", data, ["-P"], 5 * MIB);
    await interrupt("twice.bin", data, ["-P"], 6 * MIB);
    expect(await again("twice.bin", data, ["-P"])).toBeLessThan(SIZE - 11 * MIB + 4 * MIB);
  });

  it("keeps the old version until the new one is whole, and goes on beside it", async () => {
    const data = sample(SIZE);
    await again("beside.bin", sample(3 * MIB), []);
    await interrupt("beside.bin", data, ["-PI"]);
    expect(await again("beside.bin", data, ["-P"])).toBeLessThan(SIZE - SENT + 1.5 * MIB);
  });

  it.each([
    ["at its start", 10],
    ["in what was sent", 5 * MIB],
    ["behind what was sent", 13 * MIB],
  ])("sends what is right when the file has changed %s", async (_, offset) => {
    for (const options of [["-P"], ["-Pz"], ["-P", "--append-verify"]]) {
      const data = Buffer.from(sample(SIZE));
      const name = `changed${offset}${options.join("")}.bin`;
      await interrupt(name, data, ["-P"]);
      data.fill(1, offset, offset + 1000);
      await again(name, data, options);
    }
  });

  it("makes files right that have become shorter, or are full of zeros", async () => {
    const data = sample(SIZE);
    await interrupt("shorter.bin", data, ["-P"]);
    await again("shorter.bin", data.subarray(0, 9 * MIB), ["-P"]);
    for (const options of ["-Pz"]) {
      const zeros = Buffer.concat([
        data.subarray(0, 4 * MIB),
        Buffer.alloc(2 * MIB),
        data.subarray(4 * MIB),
        Buffer.alloc(3 * MIB),
        data.subarray(0, 77),
      ]);
      await interrupt(`zeros${options}.bin`, zeros, [options]);
      expect(await again(`zeros${options}.bin`, zeros, [options])).toBeLessThan(zeros.length - SENT + 1.5 * MIB);
    }
  });

  // What lies before the cut cannot be read: none of it may be named behind, though it comes again there.
  const alike = (length: number): Buffer => Buffer.alloc(length, "the same again, ");
  const full = (length: number): Buffer => Buffer.alloc(length, 0xff);
  it.for([
    ["-P", (data: Buffer) => [data.subarray(0, 6 * MIB), data.subarray(0, 6 * MIB), data.subarray(MIB, 7 * MIB)]],
    ["-Pz", (data: Buffer) => [data.subarray(0, 6 * MIB), data.subarray(0, 6 * MIB), data.subarray(MIB, 7 * MIB)]],
    ["-P --inplace", (data: Buffer) => [data.subarray(0, 10 * MIB), data.subarray(77, 7 * MIB)]],
    ["-P --append-verify", (data: Buffer) => [data.subarray(0, 10 * MIB), data.subarray(77, 7 * MIB)]],
    ["-P", (data: Buffer) => [full(MIB), data.subarray(0, 4 * MIB), full(MIB), data.subarray(0, 5 * MIB), full(3 * MIB)]],
    ["-Pz", (data: Buffer) => [data.subarray(0, MIB), full(MIB), data.subarray(0, 12 * MIB), full(2 * MIB)]],
  ] as const)("sends nothing twice where a file repeats itself behind the cut, %s (%#)", async ([options, pieces]) => {
    const data = Buffer.concat(pieces(sample(SIZE)));
    const name = `repeated-${randomUUID()}.bin`;
    await interrupt(name, data, options.split(" "));
    expect(await again(name, data, options.split(" "))).toBeLessThan(data.length - SENT + 1.5 * MIB);
  });

  it("begins anew where the last block before the cut goes on behind it, or the client cannot be told", async () => {
    const even = Buffer.concat([sample(2 * MIB), alike(12 * MIB)]);
    await interrupt("even.bin", even, ["-P"]);
    expect(await again("even.bin", even, ["-P"])).toBeGreaterThan(even.length - MIB);
    const repeated = Buffer.concat([sample(7 * MIB), sample(7 * MIB)]);
    await interrupt("plain.bin", repeated, ["-P"]);
    await again("plain.bin", repeated, []);
  });

  it("leaves few notes behind", () => {
    // Those of an upload that died with its process stay until they expire.
    expect(noteFiles().length).toBeLessThanOrEqual(3);
  });
});
