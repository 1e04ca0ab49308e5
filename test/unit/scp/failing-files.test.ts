/** scp whose file system fails at any one call, or whose client goes at any byte: it ends, says so, and publishes nothing broken. */
import pino from "pino";
import { describe, expect, it } from "vitest";
import { splitCommandLine } from "../../../src/exec/command-line.ts";
import { FsError, type FsErrorCode } from "../../../src/errors.ts";
import { scp } from "../../../src/scp/scp.ts";
import { turns } from "../../support/gate.ts";
import { loopbackPair } from "../../support/loopback-channel.ts";
import { ModelFileSystem } from "../../support/model-file-system.ts";

const log = pino({ level: "silent" });
const UPLOAD = {
  line: "-r -p -t dst",
  wire:
    "T1700000000 0 1700000000 0\nD0755 0 tree\nT1700000001 0 1700000001 0\nC0644 12 a.txt\nhello world\n\0" +
    "D0755 0 sub\nC0600 11 b.txt\nsecond file\0E\nE\n",
};
/** Answers to everything a download sends, and some more. */
const DOWNLOAD = { line: "-r -p -f x", wire: "\0".repeat(40) };
const SENT = { "/dst/tree/a.txt": "hello world\n", "/dst/tree/sub/b.txt": "second file" };
const OLD = "an older version";

function files(before: (operation: string, path: string) => void = () => undefined): ModelFileSystem {
  let armed = false;
  const fs = new ModelFileSystem({ before: (operation, path) => (armed ? before(operation, path) : undefined) });
  fs.put("/dst/tree/a.txt", OLD, { mtime: 1 });
  fs.put("/x/a.txt", "hello world\n", { mtime: 1_700_000_000 });
  fs.put("/x/sub/b.txt", "second file");
  armed = true;
  return fs;
}

async function run({ line, wire }: { readonly line: string; readonly wire: string }, fileSystem: ModelFileSystem) {
  const { client, server } = loopbackPair();
  let output = "";
  client.receive({
    data: (chunk) => {
      output += Buffer.from(chunk).toString("latin1");
      client.consume(chunk.length);
    },
    end: () => undefined,
  });
  const status = scp({ words: splitCommandLine(line), channel: server, fileSystem, user: "alice", log });
  client.write(Buffer.from(wire, "latin1"));
  client.sendEof();
  const ended = { status: await status };
  await turns();
  return { ...ended, output };
}

function expectWhole(fs: ModelFileSystem, where: string): void {
  expect(fs.openHandles, where).toBe(0);
  for (const [path, content] of Object.entries(SENT)) {
    const found = fs.get(path);
    if (found) expect([OLD, content], where).toContain(Buffer.from(found).toString());
  }
}

describe.each([
  ["an upload", UPLOAD],
  ["a download", DOWNLOAD],
])("%s by scp", (_, session) => {
  it.each(["io", "permission-denied", "no-space", "not-found", "unavailable"] as const)("%s at every call", async (code: FsErrorCode) => {
    let calls = 0;
    const counted = files(() => void calls++);
    expect((await run(session, counted)).status).toBe(0);
    expect(calls).toBeGreaterThan(8);
    for (let failing = 0; failing < calls; failing++) {
      let call = 0;
      let failed = "";
      const fs = files((operation, path) => {
        if (call++ !== failing) return;
        failed = `${operation} ${path}`;
        throw new FsError(code, `${path}: made to fail`);
      });
      const { status, output } = await run(session, fs);
      expect([0, 1], failed).toContain(status);
      // What it does not tell its client must not have mattered; a name that is not there is nothing to tell of.
      if (status === 0 && code !== "not-found")
        for (const [path, content] of Object.entries(SENT)) {
          if (session === UPLOAD) expect(Buffer.from(fs.get(path) ?? []).toString(), failed).toBe(content);
          else expect(output, failed).toContain(content);
        }
      expectWhole(fs, failed);
    }
  });

  it("whose client goes at any byte", async () => {
    for (let length = 0; length < session.wire.length; length++) {
      const fs = files();
      const { status } = await run({ ...session, wire: session.wire.slice(0, length) }, fs);
      const where = `after ${length} bytes`;
      // Between two lines nobody can tell that more was to come, in the middle of a file's bytes everybody.
      const isInFile = ["hello world", "second file"].some((text) => {
        const start = session.wire.indexOf(text);
        return start >= 0 && length >= start && length < start + text.length;
      });
      if (isInFile) expect(status, where).toBe(1);
      expectWhole(fs, where);
    }
  });
});
