import fc from "../support/fast-check.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import { onEachStore, REMOTE } from "../interop/on-stores.ts";
import { FX, FXF } from "../support/sftp-packets.ts";
import { SftpStatusError, SshSftpClient } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";
import { ModelError, TreeModel } from "./tree-model.ts";

const RUNS = Number(process.env.PROPERTY_RUNS ?? 40);

/** One operation, against the gateway and against the model. Both give something to compare. */
interface Operation {
  readonly text: string;
  /** Where several things are wrong at once, systems differ in which one they name: only the failure counts. */
  readonly anyStatus?: boolean;
  real(client: SshSftpClient, base: string): Promise<unknown>;
  model(tree: TreeModel): unknown;
}

const path = fc.constantFrom("a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "ü x", "d/e/f/g");
const size = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 100 }) },
  { weight: 3, arbitrary: fc.integer({ min: 30_000, max: 140_000 }) },
  { weight: 1, arbitrary: fc.constantFrom(5 * 1024 * 1024, 6_000_001) },
);
const bytes = fc
  .tuple(size, fc.integer({ min: 1, max: 255 }))
  .map(([length, fill]) => Buffer.alloc(length, Buffer.from([fill, fill ^ 0x5a, 7])));

async function change(client: SshSftpClient, target: string, flags: number, offset: number, data: Buffer): Promise<void> {
  const handle = await client.open(target, flags);
  await client.writeAll(handle, offset, data);
  await client.close(handle);
}

const anyOperation: fc.Arbitrary<Operation> = fc.oneof(
  fc.tuple(path, bytes).map(([p, data]) => ({
    text: `write ${p} ${data.length}`,
    real: (client: SshSftpClient, base: string) => client.putFile(`${base}/${p}`, data),
    model: (tree: TreeModel) => tree.write(p, data),
  })),
  fc.tuple(path, bytes).map(([p, data]) => ({
    text: `append ${p} ${data.length}`,
    real: (client: SshSftpClient, base: string) => change(client, `${base}/${p}`, FXF.WRITE | FXF.APPEND, 0, data),
    model: (tree: TreeModel) => tree.append(p, data),
  })),
  fc.tuple(path, fc.integer({ min: 0, max: 50_000 }), bytes).map(([p, offset, data]) => ({
    text: `patch ${p} at ${offset} with ${data.length}`,
    real: (client: SshSftpClient, base: string) => change(client, `${base}/${p}`, FXF.READ | FXF.WRITE, offset, data),
    model: (tree: TreeModel) => (data.length > 0 ? tree.patch(p, offset, data) : void tree.read(p)),
  })),
  fc.tuple(path, size).map(([p, length]) => ({
    text: `truncate ${p} to ${length}`,
    real: (client: SshSftpClient, base: string) => client.setstat(`${base}/${p}`, { size: length }),
    model: (tree: TreeModel) => tree.truncate(p, length),
  })),
  // Renaming a file to itself without replacing is left out: link(2) and rename(2) do not agree on it.
  fc
    .tuple(path, path, fc.boolean())
    .filter(([from, to, replaces]) => replaces || from !== to)
    .map(([from, to, replaces]) => ({
      text: `${replaces ? "posix-rename" : "rename"} ${from} to ${to}`,
      anyStatus: true,
      real: (client: SshSftpClient, base: string) =>
        replaces ? client.posixRename(`${base}/${from}`, `${base}/${to}`) : client.rename(`${base}/${from}`, `${base}/${to}`),
      model: (tree: TreeModel) => tree.rename(from, to, replaces),
    })),
  path.map((p) => ({
    text: `mkdir ${p}`,
    real: (client: SshSftpClient, base: string) => client.mkdir(`${base}/${p}`),
    model: (tree: TreeModel) => tree.mkdir(p),
  })),
  path.map((p) => ({
    text: `rmdir ${p}`,
    real: (client: SshSftpClient, base: string) => client.rmdir(`${base}/${p}`),
    model: (tree: TreeModel) => tree.rmdir(p),
  })),
  path.map((p) => ({
    text: `remove ${p}`,
    real: (client: SshSftpClient, base: string) => client.remove(`${base}/${p}`),
    model: (tree: TreeModel) => tree.remove(p),
  })),
  path.map((p) => ({
    text: `read ${p}`,
    real: async (client: SshSftpClient, base: string) => sha256(await client.getFile(`${base}/${p}`, 255 * 1024)),
    model: (tree: TreeModel) => sha256(tree.read(p)),
  })),
  path.map((p) => ({
    text: `stat ${p}`,
    real: async (client: SshSftpClient, base: string) => {
      const attributes = await client.stat(`${base}/${p}`);
      return ((attributes.permissions ?? 0) & 0o170000) === 0o040000 ? undefined : attributes.size;
    },
    model: (tree: TreeModel) => tree.stat(p),
  })),
  fc.constantFrom("", "/d", "/d/e").map((p) => ({
    text: `list ${p}`,
    real: async (client: SshSftpClient, base: string) => (await client.list(base + p)).map(({ filename }) => filename).sort(),
    model: (tree: TreeModel) => tree.list(p.slice(1)),
  })),
);

/** Operations that fast-check prints by their text. */
const operation = anyOperation.map((one) => ({ ...one, [fc.toStringMethod]: () => one.text }));

/** What an operation led to: its result, or the status it failed with. */
async function outcomeOf({ anyStatus = false }: Operation, action: () => unknown): Promise<unknown> {
  try {
    return { result: await action() };
  } catch (error) {
    if (error instanceof SftpStatusError || error instanceof ModelError)
      return { status: error.code === FX.NO_SUCH_FILE && !anyStatus ? error.code : FX.FAILURE };
    throw error;
  }
}

/** All files with their hashes and all folders below `base`. */
async function walk(client: SshSftpClient, base: string, below = ""): Promise<[string, string][]> {
  const found: [string, string][] = [];
  for (const { filename, attributes } of await client.list(base + below)) {
    const name = `${below}/${filename}`;
    if (((attributes.permissions ?? 0) & 0o170000) === 0o040000) found.push([name, "folder"], ...(await walk(client, base, name)));
    else found.push([name, sha256(await client.getFile(base + name, 255 * 1024))]);
  }
  return found;
}

onEachStore("random operations", [], {}, (at) => {
  let client: SshSftpClient;
  let run = 0;
  beforeAll(async () => {
    client = await SshSftpClient.connect(at().gateway);
  });
  afterAll(() => client?.end());

  it("leave what they would on a POSIX file system", { timeout: 5_000 * RUNS + 60_000 }, async () => {
    const property = fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 30 }), async (operations) => {
      const base = `${REMOTE}/run-${run++}`;
      const tree = new TreeModel();
      await client.mkdir(base);
      const done: string[] = [];
      for (const one of operations) {
        done.push(one.text);
        const expected = await outcomeOf(one, () => one.model(tree));
        const real = await outcomeOf(one, () => one.real(client, base));
        expect(real, done.join("; ")).toEqual(expected);
      }
      const expected: [string, string][] = [
        ...tree.folders.map((name): [string, string] => [`/${name}`, "folder"]),
        ...[...tree.files].map(([name, data]): [string, string] => [`/${name}`, sha256(data)]),
      ];
      expect((await walk(client, base)).sort(), done.join("; ")).toEqual(expected.sort());
    });
    await fc.assert(property, { numRuns: RUNS });
  });
});
