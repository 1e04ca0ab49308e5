/** A file system that fails at any one call: the run ends, says so, leaves no handle open and publishes nothing broken. */
import { describe, expect, it } from "vitest";
import { FsError, type FsErrorCode } from "../../../src/errors.ts";
import { ModelFileSystem } from "../../support/model-file-system.ts";
import * as captured from "./captured-runs.ts";
import { replay } from "./harness.ts";

const RUNS = {
  upload: captured.UPLOAD_31,
  "upload at protocol 29": captured.OPENRSYNC_UPLOAD,
  deletion: captured.SECLUDED_DELETE,
  download: captured.DELTA_DOWNLOAD,
} as const;

function files(before: (operation: string, path: string) => void): ModelFileSystem {
  let armed = false;
  const fs = new ModelFileSystem({ before: (operation, path) => (armed ? before(operation, path) : undefined) });
  fs.put("/x/a.txt", "hello world\n", { mtime: 1_700_000_000 });
  fs.put("/x/sub/b.txt", "gone");
  fs.put("/d.bin", "AAAAAAAAxxBBBBBBBBCCCCCC", { mtime: 1_700_000_001 });
  armed = true;
  return fs;
}

describe.each(Object.entries(RUNS))("failing files: %s", (_, run) => {
  const client = Buffer.from(run.client, "hex");

  it.each(["io", "permission-denied", "no-space", "not-found"] as const)("%s at every call", async (code: FsErrorCode) => {
    let calls = 0;
    const whole = files(() => void calls++);
    expect((await replay(run.command, client, whole)).status).toBe(0);
    expect(calls).toBeGreaterThan(0);
    for (let failing = 0; failing < calls; failing++) {
      let call = 0;
      let failed = "";
      const fs = files((operation, path) => {
        if (call++ !== failing) return;
        failed = `${operation} ${path}`;
        throw new FsError(code, `${path}: made to fail`);
      });
      const { status, unconsumed } = await replay(run.command, client, fs);
      expect(Number.isInteger(status), failed).toBe(true);
      expect(unconsumed, failed).toBe(0);
      expect(fs.openHandles, failed).toBe(0);
      for (const [path, content] of [
        ["/dst/a.txt", "hello world\n"],
        ["/ap/sub/b.txt", "second file"],
      ] as const) {
        const found = fs.get(path);
        if (found) expect(Buffer.from(found).toString(), failed).toBe(content);
      }
    }
  });
});

describe("deletions", () => {
  const { command, client } = captured.SECLUDED_DELETE;

  it("do not happen when the destination cannot be listed whole", async () => {
    const fs = files((operation) => {
      if (operation === "walk") throw new FsError("io", "made to fail");
    });
    const { status } = await replay(command, Buffer.from(client, "hex"), fs);
    expect(status).toBe(23);
    expect(fs.paths()).toContain("/x/sub/b.txt");
  });

  it("do not happen when the client reports an error while it lists", async () => {
    const fs = files(() => undefined);
    // The same list, ended by the flags 0x1004 and the error word 1.
    const whole = client.replace("3000000707000000", "3200000707000000").replace("a48100000001000007", "a4810000041001" + "01000007");
    expect(whole).not.toBe(client);
    const { status } = await replay(command, Buffer.from(whole, "hex"), fs);
    expect(status).toBe(23);
    expect(fs.paths()).toContain("/x/sub/b.txt");
  });
});
