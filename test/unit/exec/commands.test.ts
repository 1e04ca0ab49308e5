import { createHash } from "node:crypto";
import pino from "pino";
import { describe, expect, it } from "vitest";
import { CommandTable } from "../../../src/exec/commands.ts";
import { df, pwd } from "../../../src/exec/file-system-commands.ts";
import { hashCommand } from "../../../src/exec/hash-commands.ts";
import { loopbackPair } from "../../support/loopback-channel.ts";
import { ModelFileSystem } from "../../support/model-file-system.ts";

/** What rclone runs to find out which shell there is. */
const RCLONE_PROBE = `echo $${"{ShellId}"}%ComSpec%`;

const table = new CommandTable();
table.register("md5sum", hashCommand("md5"));
table.register("sha256sum", hashCommand("sha256"));
table.register("pwd", pwd);
table.register("df", df);
const log = pino({ level: "silent" });

interface Outcome {
  readonly status: number | undefined;
  readonly out: string;
  readonly err: string;
}

/** Runs one line; `input` is the client's standard input, followed by EOF. */
async function run(line: string | Uint8Array, fileSystem = new ModelFileSystem(), input = ""): Promise<Outcome> {
  const { client, server } = loopbackPair();
  const out: Uint8Array[] = [];
  const done = new Promise<void>((resolve) => client.closed.addEventListener("abort", () => resolve()));
  client.receive({
    data: (chunk) => {
      out.push(chunk);
      client.consume(chunk.length);
    },
    end: () => undefined,
  });
  if (input) client.write(Buffer.from(input));
  client.sendEof();
  await table.run(typeof line === "string" ? Buffer.from(line) : line, { channel: server, fileSystem, user: "alice", log });
  await done;
  return { status: client.exitStatus, out: Buffer.concat(out).toString(), err: Buffer.concat(client.errorOutput).toString() };
}

const hex = (algorithm: string, text: string): string => createHash(algorithm).update(text).digest("hex");

describe("exec commands", () => {
  it("answers what is not served with 127 and one line at once", async () => {
    for (const line of ["whoami", RCLONE_PROBE, "rm -rf /; ls", "", "a 'b"]) {
      const outcome = await run(line);
      expect(outcome).toMatchObject({ status: 127, out: "" });
      expect(outcome.err).toMatch(/^[^\n]+\n$/);
    }
    expect((await run(Uint8Array.of(0xff, 0xfe))).err).toBe("the command line is not valid UTF-8\n");
  });

  it("hashes files, wildcards and standard input as coreutils print it", async () => {
    const files = new ModelFileSystem();
    files.put("a b.jpg", "one");
    files.put("c.jpg", "two");
    files.put("n\nl\\", "three");
    expect(await run("md5sum 'a b.jpg'", files)).toEqual({ status: 0, out: `${hex("md5", "one")}  a b.jpg\n`, err: "" });
    expect((await run("/usr/bin/sha256sum *.jpg", files)).out).toBe(`${hex("sha256", "one")}  a b.jpg\n${hex("sha256", "two")}  c.jpg\n`);
    expect((await run("md5sum -- 'n\nl\\'", files)).out).toBe(`\\${hex("md5", "three")}  n\\nl\\\\\n`);
    expect((await run("md5sum", files, "abc")).out).toBe(`${hex("md5", "abc")}  -\n`);
  });

  it("goes on after a missing file and exits 1", async () => {
    const files = new ModelFileSystem();
    files.put("c", "two");
    const outcome = await run("md5sum nope c", files);
    expect(outcome).toMatchObject({ status: 1, out: `${hex("md5", "two")}  c\n` });
    expect(outcome.err).toMatch(/^md5sum: .*nope.*\n$/);
  });

  it("prints the home and the room", async () => {
    expect((await run("pwd")).out).toBe("/\n");
    const outcome = await run("df -h /");
    expect(outcome.status).toBe(0);
    expect(outcome.out).toMatch(/^Filesystem Size Used Available Capacity Mounted on\ngateway \S+ \S+ \S+ \d+% \/\n$/);
    expect((await run("df --sync")).status).toBe(1);
  });
});
