/** Random operations on the file system and on a model of one: same outcomes, same tree, on every store. */
import fc from "../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { ModelFileSystem } from "../../support/model-file-system.ts";
import type { FileSystem } from "../../../src/vfs/file-system.ts";
import { type StoreKind, WholeFixture } from "./whole-fixture.ts";

type Step = { readonly kind: string; readonly path: string; readonly to: string; readonly content: string; readonly replace: boolean };

const name = fc.constantFrom("a", "b", "c d", "é", "a.b");
const somePath = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => `/attachments/${names.join("/")}`);
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(
    "write",
    "write",
    "mkdir",
    "mkdir",
    "remove",
    "rmdir",
    "rename",
    "rename",
    "copy",
    "stat",
    "list",
    "read",
    "resize",
    "forget",
  ),
  path: somePath,
  to: somePath,
  content: fc.string({ maxLength: 20 }),
  replace: fc.boolean(),
});

/** What clients cannot tell apart. */
const statusOf: Readonly<Record<string, string>> = { "not-a-directory": "not-found" };
for (const code of ["exists", "is-a-directory", "not-empty", "stale"]) Object.assign(statusOf, { [code]: "failure" });

async function outcome(run: () => Promise<unknown>): Promise<unknown> {
  try {
    return await run();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    return `error ${statusOf[code] ?? code}`;
  }
}

async function write(fs: FileSystem, { path, content }: Step): Promise<void> {
  const handle = await fs.open(path, { write: true, create: true, truncate: true });
  if (content !== "") await handle.write(0, [Buffer.from(content)]);
  await handle.close();
}

async function list(fs: FileSystem, path: string): Promise<string[]> {
  const handle = await fs.opendir(path);
  const names: string[] = [];
  for (let batch = await handle.next(); batch.length > 0; batch = await handle.next()) {
    names.push(...batch.map((entry) => `${entry.name} ${entry.attributes.type} ${entry.attributes.size}`));
  }
  await handle.close();
  return names.sort();
}

async function read(fs: FileSystem, path: string): Promise<string> {
  const handle = await fs.open(path, { read: true });
  const content = Buffer.concat(await handle.read(0, 1_000)).toString();
  await handle.close();
  return content;
}

function perform(fs: FileSystem, step: Step): Promise<unknown> {
  const { kind, path, to, replace } = step;
  switch (kind) {
    case "write":
      return write(fs, step);
    case "mkdir":
      return fs.mkdir(path);
    case "remove":
      return fs.remove(path);
    case "rmdir":
      return fs.rmdir(path);
    case "rename":
      // Onto itself succeeds here and is refused there; a file into itself fails with different codes.
      return path === to || to.startsWith(`${path}/`) ? Promise.resolve(undefined) : fs.rename(path, to, { replace });
    case "copy":
      return path === to ? Promise.resolve(undefined) : fs.copy(path, to);
    case "stat":
      return fs.stat(path).then(({ type, size }) => (type === "file" ? size : type));
    case "list":
      return list(fs, path);
    case "read":
      return read(fs, path);
    default:
      return fs.setstat(path, { size: 3 });
  }
}

async function tree(fs: FileSystem): Promise<string[]> {
  const found: string[] = [];
  for await (const batch of fs.walk("/attachments")) {
    for (const { path, attributes } of batch) {
      found.push(attributes.type === "file" ? `${path} ${await read(fs, `/attachments/${path}`)}` : `${path}/`);
    }
  }
  return found.sort();
}

describe.each<[StoreKind, number]>([
  ["memory", 60],
  ["local", 25],
])("against the model, over the %s store", (kind, numRuns) => {
  it("does what a file system does", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        const fixture = await WholeFixture.create(kind);
        const model = new ModelFileSystem();
        for (const path of ["/attachments", "/attachments/originals", "/attachments/thumbnails"]) await model.mkdir(path);
        try {
          for (const one of steps) {
            if (one.kind === "forget") {
              fixture.volume.tree.clear();
              continue;
            }
            const [ours, expected] = [await outcome(() => perform(fixture.vfs, one)), await outcome(() => perform(model, one))];
            expect({ step: one, result: ours }).toEqual({ step: one, result: expected });
          }
          fixture.volume.tree.clear();
          expect(await tree(fixture.vfs)).toEqual(await tree(model));
        } finally {
          await fixture.close();
        }
      }),
      { numRuns, interruptAfterTimeLimit: 40_000 },
    );
  });
});
