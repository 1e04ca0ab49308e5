import fc from "../../support/fast-check.ts";
import pino from "pino";
import { describe, expect, it } from "vitest";
import { splitCommandLine } from "../../../src/exec/command-line.ts";
import { parseScpArguments, ScpUsageError } from "../../../src/scp/scp-args.ts";
import { decodeMessage, encodeMessage } from "../../../src/scp/scp-wire.ts";
import { scp } from "../../../src/scp/scp.ts";
import { type LoopbackEnd, loopbackPair } from "../../support/loopback-channel.ts";
import { ModelFileSystem } from "../../support/model-file-system.ts";

const log = pino({ level: "silent" });

/** Answers with their control bytes in sight: `<0>`, `<1>`, `<2>`. */
const visible = (s: string): string => s.replaceAll("\0", "<0>").replaceAll("\u0001", "<1>").replaceAll("\u0002", "<2>");

/** A running `scp` on the server's side and the client's end of its channel. */
function start(
  line: string,
  fileSystem: ModelFileSystem,
): { readonly client: LoopbackEnd; readonly status: Promise<number>; output(): string } {
  const { client, server } = loopbackPair();
  const out: Uint8Array[] = [];
  client.receive({
    data: (chunk) => {
      out.push(chunk);
      client.consume(chunk.length);
    },
    end: () => undefined,
  });
  const status = scp({ words: splitCommandLine(line), channel: server, fileSystem, user: "alice", log });
  return { client, status, output: () => visible(Buffer.concat(out).toString("latin1")) };
}

/** Sends everything at once, then EOF: an answer that never comes must not matter to the outcome. */
async function upload(line: string, wire: string, fileSystem: ModelFileSystem): Promise<{ status: number; answers: string }> {
  const run = start(line, fileSystem);
  run.client.write(Buffer.from(wire, "latin1"));
  run.client.sendEof();
  const status = await run.status;
  await new Promise((resolve) => setImmediate(resolve));
  return { status, answers: run.output() };
}

const text = (fileSystem: ModelFileSystem, path: string): string | undefined => {
  const bytes = fileSystem.get(path);
  return bytes && Buffer.from(bytes).toString();
};

describe("scp options", () => {
  it("reads combined letters and the roles", () => {
    expect(parseScpArguments(splitCommandLine("-prt -d -- -x"))).toMatchObject({
      role: "sink",
      recursive: true,
      preserve: true,
      targetShouldBeDirectory: true,
      operands: [{ text: "-x" }],
    });
    for (const line of ["-t", "-f", "-t a b", "-z -t a", "a b", "-t -f x"]) {
      expect(() => parseScpArguments(splitCommandLine(line))).toThrow(ScpUsageError);
    }
  });
});

describe("scp wire", () => {
  it("decodes what it encodes", () => {
    const name = fc.string({ minLength: 1, unit: "grapheme" }).filter((s) => !/[/\n\0]/.test(s) && s !== "." && s !== "..");
    const mode = fc.integer({ min: 0, max: 0o7777 });
    const message = fc.oneof(
      fc.record({ kind: fc.constant("file" as const), mode, size: fc.maxSafeNat(), name }),
      fc.record({ kind: fc.constant("directory" as const), mode, name }),
      fc.record({ kind: fc.constant("times" as const), mtime: fc.maxSafeNat(), atime: fc.maxSafeNat() }),
      fc.constant({ kind: "end" as const }),
    );
    fc.assert(
      fc.property(message, (m) => {
        expect(decodeMessage(encodeMessage(m).subarray(0, -1))).toEqual(m);
      }),
    );
  });

  it.each(["", "X", "C0644 5", "C644 5 x", "C0644 -1 x", "C0644 99999999999999999 x", "C0644 1 a/b", "C0644 1 ..", "D0755 0 .", "T1 2"])(
    "refuses %j",
    (line) => {
      expect(() => decodeMessage(Buffer.from(line))).toThrow("scp: ");
    },
  );
});

describe("scp -t", () => {
  it("receives a file under the given name, with times", async () => {
    const files = new ModelFileSystem();
    const { status, answers } = await upload("-p -t x.jpg", "T1700000000 0 1700000001 0\nC0600 5 y.jpg\nhello\0", files);
    expect({ status, answers }).toEqual({ status: 0, answers: "<0><0><0><0>" });
    expect(text(files, "x.jpg")).toBe("hello");
    expect(await files.stat("x.jpg")).toMatchObject({ mtime: 1_700_000_000, mode: 0o600 });
  });

  it("receives a tree into a directory, or as a new name, not one level deeper", async () => {
    const files = new ModelFileSystem();
    await files.mkdir("in");
    const tree = "D0755 0 d\nC0644 1 a\nx\0D0755 0 e\nE\nE\n";
    expect((await upload("-r -t in", tree, files)).status).toBe(0);
    expect((await upload("-r -t new", tree, files)).status).toBe(0);
    expect(files.paths()).toEqual(["/in/", "/in/d/", "/in/d/a", "/in/d/e/", "/new/", "/new/a", "/new/e/"]);
  });

  it("publishes nothing that is short, refused by the sender, or cut off", async () => {
    for (const wire of ["C0644 5 x\nhel", "C0644 5 x\nhello\x01read error\n"]) {
      const files = new ModelFileSystem();
      expect((await upload("-t x", wire, files)).status).toBe(1);
      expect(files.paths()).toEqual([]);
      expect(files.openHandles).toBe(0);
    }
  });

  it("publishes what came whole from a sender that leaves without confirming, as libssh2 does", async () => {
    const files = new ModelFileSystem();
    await upload("-t x", "C0644 5 x\nhello", files);
    expect(text(files, "x")).toBe("hello");
    expect(files.openHandles).toBe(0);
  });

  it("warns about one file and goes on with the next", async () => {
    const files = new ModelFileSystem();
    await files.mkdir("d");
    await files.mkdir("d/a");
    const run = start("-t d", files);
    run.client.write(Buffer.from("C0644 1 a\n"));
    // The sender leaves out the data of a file whose line was answered with a warning.
    run.client.write(Buffer.from("C0644 1 b\ny\0"));
    run.client.sendEof();
    expect(await run.status).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(run.output()).toMatch(/^<0><1>scp: .*a.*\n<0><0>$/);
    expect(text(files, "d/b")).toBe("y");
  });

  it("ends with an error where a directory is demanded, names are hostile, or -r is missing", async () => {
    const files = new ModelFileSystem();
    files.put("plain", "1");
    expect((await upload("-d -t plain", "", files)).answers).toMatch(/^<2>scp: plain: Not a directory\n$/);
    expect((await upload("-d -t none", "", files)).answers).toMatch(/^<2>scp: none: No such file/);
    expect((await upload("-t .", "C0644 1 ../x\ny<0>", files)).answers).toMatch(/<2>scp: unexpected file name/);
    expect((await upload("-t .", "D0755 0 d\nE\n", files)).answers).toMatch(/<2>scp: received a directory without -r\n$/);
    expect(files.paths()).toEqual(["/plain"]);
  });

  it("ends by itself on any input", async () => {
    const alphabet = fc.constantFrom("C0644 3 a\n", "D0755 0 d\n", "E\n", "T1 0 1 0\n", "abc", "\0", "\x01w\n", "\x02e\n", "\n", "é", "C");
    await fc.assert(
      fc.asyncProperty(fc.array(alphabet, { maxLength: 12 }), async (pieces) => {
        const files = new ModelFileSystem();
        const { status } = await upload("-r -t .", Buffer.from(pieces.join("")).toString("latin1"), files);
        expect([0, 1]).toContain(status);
        expect(files.openHandles).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});

describe("scp -f", () => {
  it("sends files by wildcard, with times", async () => {
    const files = new ModelFileSystem();
    files.put("a 1.jpg", "one", { mtime: 1_700_000_000, atime: 1_700_000_000 });
    files.put("a 2.jpg", "");
    const run = start("-p -f a*.jpg", files);
    run.client.write(Buffer.alloc(7));
    expect(await run.status).toBe(0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(run.output()).toMatch(/^T1700000000 0 1700000000 0\nC0644 3 a 1\.jpg\none<0>T\d+ 0 \d+ 0\nC0644 0 a 2\.jpg\n<0>$/);
  });

  it("sends a tree, encodes newlines in names, and tells what is missing", async () => {
    const files = new ModelFileSystem();
    files.put("d/a\nb", "1");
    files.put("d/e/f", "22");
    const run = start("-r -f d none", files);
    run.client.write(Buffer.alloc(9));
    expect(await run.status).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(run.output()).toMatch(/^D0755 0 d\nC0644 1 a\\\^Jb\n1<0>D0755 0 e\nC0644 2 f\n22<0>E\nE\n<1>scp: .*none.*\n$/);
  });

  it("sends the first files of a directory before its listing is complete", async () => {
    const files = new ModelFileSystem();
    files.put("d/a", "first");
    const opendir = files.opendir.bind(files);
    let finish: () => void = () => undefined;
    const rest = new Promise<void>((resolve) => {
      finish = resolve;
    });
    files.opendir = async (path) => {
      const handle = await opendir(path);
      let batches = 0;
      return {
        next: async () => {
          if (batches++ > 0) await rest;
          return handle.next();
        },
        stat: () => handle.stat(),
        close: () => handle.close(),
      };
    };
    const run = start("-r -f d", files);
    run.client.write(Buffer.alloc(5));
    await expect.poll(() => run.output()).toBe("D0755 0 d\nC0644 5 a\nfirst<0>");
    finish();
    expect(await run.status).toBe(0);
  });

  it("refuses a directory without -r and stops when the receiver gives up", async () => {
    const files = new ModelFileSystem();
    files.put("d/a", "1");
    const plain = start("-f d", files);
    plain.client.write(Buffer.alloc(1));
    expect(await plain.status).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(plain.output()).toMatch(/^<1>scp: d: not a regular file\n$/);
    const given = start("-f d/a", files);
    given.client.write(Buffer.from("\0\x02disk full\n"));
    expect(await given.status).toBe(1);
    expect(files.openHandles).toBe(0);
  });
});
