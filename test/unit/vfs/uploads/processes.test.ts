import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { StateDirectory } from "../../../../src/state/state-directory.ts";
import type { PendingUploads } from "../../../../src/vfs/pending-uploads.ts";
import type { UploadRegistry } from "../../../../src/vfs/uploads/upload-registry.ts";
import { MIB, same } from "./upload-fixture.ts";
import { content, openShared } from "./uploading-process.ts";

let directory: string;
let child: ChildProcess;
let registry: UploadRegistry;
let state: StateDirectory;
let view: PendingUploads;

beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "uploads-"));
  ({ registry, state } = await openShared(directory));
  view = registry.view({ user: "alice", session: "here" });
  const script = new URL("./uploading-process.ts", import.meta.url).pathname;
  child = spawn(process.execPath, ["--import", "tsx", script, directory], { stdio: ["ignore", "pipe", "inherit"] });
  if (child.stdout) await once(child.stdout, "data");
});

afterAll(async () => {
  child.kill("SIGKILL");
  await registry.close();
  await state.close();
  await rm(directory, { recursive: true, force: true });
});

async function resume(key: string, offset: number, whole: Buffer): Promise<void> {
  const handle = await view.open({ key, path: `/${key}`, flags: { write: true }, attributes: {}, published: "absent" });
  await handle.write(offset, [whole.subarray(offset)]);
  await handle.close();
  expect(same(await readFile(path.join(directory, "store", key)), whole)).toBe(true);
}

/** What a client does that takes the version it was shown for the beginning of its own. */
async function goOnBehindOld(key: string): Promise<unknown> {
  const handle = await view.open({ key, path: `/${key}`, flags: { write: true }, attributes: {}, published: "unknown" });
  const error = await handle.write(1000, [content(5000).subarray(1000)]).catch((reason: unknown) => reason);
  await handle.close().catch(() => undefined);
  return error;
}

describe("two processes on one state directory", () => {
  const refusal = { code: "stale", message: expect.stringContaining("interrupted at 0 bytes; send it again from the start") };

  for (const key of ["overwritten", "opened", "moved"]) {
    it(`let nobody go on behind the old version while another is begun: ${key}`, async () => {
      expect(await goOnBehindOld(key)).toMatchObject(refusal);
      expect(same(await readFile(path.join(directory, "store", key)), content(1000))).toBe(true);
    });
  }

  it("see each other's uploads; one that dies leaves them to the other", async () => {
    expect(await view.find("large")).toMatchObject({ state: "live-elsewhere" });
    expect(await view.find("synced")).toMatchObject({ state: "live-elsewhere" });
    expect(await view.find("parked.filepart")).toMatchObject({ state: "parked", attributes: { size: 2 * MIB } });

    child.kill("SIGKILL");
    await once(child, "exit");

    const large = await view.find("large");
    expect(large).toMatchObject({ state: "dropped", attributes: { size: 5 * MIB } });
    await resume("large", 5 * MIB, content(6 * MIB));
    expect(await view.find("synced")).toMatchObject({ state: "dropped", attributes: { size: 300_000 } });
    await resume("synced", 300_000, content(400_000));
    expect(await view.rename("parked.filepart", "parked", { replace: false, path: "/parked" })).toBe(true);
    for (const key of ["parked", "published"]) {
      expect(same(await readFile(path.join(directory, "store", key)), content(2 * MIB))).toBe(true);
    }
    const begun = ["moved", "opened", "overwritten"];
    expect((await view.list("")).map(({ key, attributes }) => [key, attributes.size])).toEqual(begun.map((key) => [key, 0]));
    for (const key of begun) {
      expect(await view.find(key)).toMatchObject({ state: "dropped", attributes: { size: 0 } });
      expect(await goOnBehindOld(key)).toMatchObject(refusal);
      await resume(key, 0, content(5000));
    }
    expect(await view.list("")).toEqual([]);
    expect(await readdir(path.join(directory, "state", "begun"))).not.toContainEqual(expect.stringMatching(`^${child.pid}-`));
  });

  it("leave no files behind but those the sweep takes", async () => {
    const uploads = [];
    for await (const upload of registry.volume.store.listUploads("")) uploads.push(upload);
    expect(uploads).toEqual([]);
    for (const name of await readdir(path.join(directory, "state", "tails"))) expect(name.split("-")[0]).toBe(String(child.pid));
  });
});
