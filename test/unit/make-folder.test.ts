import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { makeFolder } from "../../src/make-folder.ts";

describe("makeFolder", () => {
  it("makes what is missing with the mode asked for, again without harm", async () => {
    const base = await mkdtemp(join(tmpdir(), "folder-"));
    await makeFolder(join(base, "a/b"), 0o700);
    await makeFolder(join(base, "a/b"), 0o755);
    expect((await stat(join(base, "a/b"))).mode & 0o777).toBe(0o700);
    await rm(base, { recursive: true });
  });

  it("fails at once where nothing can be made", async () => {
    await expect(makeFolder("/proc/none/below")).rejects.toThrow("ENOENT");
    await expect(makeFolder("/proc/self/status/x")).rejects.toThrow("ENOTDIR");
  });
});
