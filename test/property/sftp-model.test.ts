/**
 * Random operations over SFTP on the real file system on each store, and on the model: same answers, same contents.
 */
import fc from "../support/fast-check.ts";
import { pino } from "pino";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ByteBudget } from "../../src/byte-budget.ts";
import { openLocalStore } from "../../src/objectstore/local-store.ts";
import { createS3Store } from "../../src/objectstore/s3/s3-store.ts";
import { serveSftp } from "../../src/sftp/sftp-server.ts";
import type { FileSystem } from "../../src/vfs/file-system.ts";
import { loopbackPair } from "../support/loopback-channel.ts";
import { ModelFileSystem } from "../support/model-file-system.ts";
import { APPEND, attrs, CREAT, EXCL, R, SftpClient, StatusError, str, TRUNC, W } from "../support/sftp-client.ts";
import { startS3Server } from "../support/s3-server/s3-server.ts";
import { createStoredFiles, MOUNT, SMALL_PARTS, type StoredFilesOptions } from "../support/stored-files.ts";

const MIB = 1024 * 1024;

type Step =
  | {
      readonly do: "put";
      readonly path: string;
      readonly pflags: number;
      readonly writes: readonly (readonly [offset: number, length: number])[];
    }
  | { readonly do: "get"; readonly path: string; readonly offset: number; readonly length: number }
  | { readonly do: "rename" | "posix-rename"; readonly path: string; readonly to: string }
  | { readonly do: "truncate"; readonly path: string; readonly size: number }
  | { readonly do: "mkdir" | "rmdir" | "remove" | "stat" | "list" | "touch" | "chmod"; readonly path: string };

const segment = fc.constantFrom("a", "b", "\u00e9", "e\u0301");
const path = fc.array(segment, { minLength: 1, maxLength: 3 }).map((segments) => `${MOUNT}/${segments.join("/")}`);
const length = fc.oneof(fc.nat(20), fc.nat(5000), fc.constantFrom(65_536, 70_000, 131_072, 261_120));
const position = fc.oneof(fc.constant(0), fc.nat(30), fc.nat(200_000));
const pflags = fc.constantFrom(
  W | CREAT | TRUNC,
  W | CREAT | TRUNC,
  W | CREAT,
  W | CREAT | EXCL,
  W,
  W | APPEND | CREAT,
  R | W | CREAT,
  R | W,
);
/** Never onto itself: systems differ in whether that is an error. */
const rename = fc
  .record({ do: fc.constantFrom("rename" as const, "posix-rename" as const), path, to: path })
  .filter(({ path: from, to }) => from !== to);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("put" as const), path, pflags, writes: fc.array(fc.tuple(position, length), { maxLength: 4 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("get" as const), path, offset: position, length }) },
  { weight: 2, arbitrary: rename },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("truncate" as const), path, size: fc.oneof(fc.nat(10), fc.nat(300_000)) }) },
  {
    weight: 7,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "mkdir" as const,
        "mkdir" as const,
        "rmdir" as const,
        "remove" as const,
        "stat" as const,
        "list" as const,
        "touch" as const,
        "chmod" as const,
      ),
      path,
    }),
  },
);

/** Bytes that differ from place to place. */
const content = (bytes: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + seed * 7 + (i >> 8)) & 0xff));

/** Carries a step out; says what came of it in words that do not depend on texts and clocks. */
async function carryOut(client: SftpClient, next: Step, seed: number): Promise<unknown> {
  switch (next.do) {
    case "put": {
      const handle = await client.open(next.path, next.pflags);
      const codes: number[] = [];
      for (const [wanted, bytes] of next.writes) {
        // An append that says it goes on behind a place where the file does not end is refused, so that versions never mix.
        const offset = next.pflags & APPEND ? 0 : wanted;
        codes.push((await client.write(handle, offset, content(bytes, seed))).code);
      }
      // Without TRUNC a file is still as long as before, or as long as what was written: the gateway cannot tell an overwrite yet.
      const size = next.pflags & (TRUNC | EXCL) ? (await client.stat(8, handle)).size : undefined;
      return { codes, size, closed: (await client.close(handle)).code };
    }
    case "get": {
      const handle = await client.open(next.path, R);
      const data = await client.read(handle, next.offset, next.length);
      await client.close(handle);
      return data?.toString("base64");
    }
    case "rename":
      return (await client.status(18, str(next.path), str(next.to))).code;
    case "posix-rename":
      return (await client.status(200, str("posix-rename@openssh.com"), str(next.path), str(next.to))).code;
    case "truncate":
      return (await client.status(9, str(next.path), attrs({ size: next.size }))).code;
    case "touch": {
      const { code } = await client.status(9, str(next.path), attrs({ times: [1_000_000_000 + seed, 1_200_000_000 + seed] }));
      return [code, (await client.stat(17, next.path)).mtime];
    }
    case "chmod": {
      const { code } = await client.status(9, str(next.path), attrs({ permissions: 0o640 }));
      return [code, (await client.stat(17, next.path)).permissions];
    }
    case "stat": {
      const { size, permissions } = await client.stat(7, next.path);
      return permissions & 0o040000 ? "directory" : size;
    }
    case "list": {
      const names = (await client.list(next.path)).filter(({ name }) => !name.startsWith("."));
      return names.map(({ name, attributes }) => `${name} ${attributes.readUInt32BE(20) & 0o040000 ? "/" : attributes.readBigUInt64BE(4)}`);
    }
    case "mkdir":
      return (await client.status(14, str(next.path), attrs())).code;
    default:
      return (await client.status(next.do === "rmdir" ? 15 : 13, str(next.path))).code;
  }
}

async function outcome(client: SftpClient, next: Step, seed: number): Promise<unknown> {
  try {
    return await carryOut(client, next, seed);
  } catch (error) {
    if (error instanceof StatusError) return { failed: error.status.code };
    throw error;
  }
}

/** Every path below `path` with its content. */
async function tree(client: SftpClient, directory: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const { name, attributes } of await client.list(directory)) {
    if (name === "." || name === "..") continue;
    const full = `${directory}/${name}`;
    if (attributes.readUInt32BE(20) & 0o040000) Object.assign(found, { [`${full}/`]: "" }, await tree(client, full));
    else found[full] = (await client.get(full)).toString("base64");
  }
  return found;
}

async function serve(fs: FileSystem, budget: ByteBudget): Promise<{ client: SftpClient; finish: () => Promise<void> }> {
  const { client: near, server } = loopbackPair();
  const done = serveSftp(server, fs, { budget, log: pino({ level: "silent" }), user: "alice" });
  const client = new SftpClient(near);
  await client.init();
  return {
    client,
    finish: async () => {
      near.sendEof();
      await done;
    },
  };
}

/** Runs random sequences, each below a prefix of its own. */
async function compare(runs: number, storeOptions: Pick<StoredFilesOptions, "store" | "isLocal">): Promise<void> {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 30 }), async (steps) => {
      const budget = new ByteBudget(64 * MIB);
      const stored = await createStoredFiles({ ...storeOptions, budget, log: pino({ level: "silent" }), prefix: `run-${run++}/` });
      const model = new ModelFileSystem();
      await model.mkdir(MOUNT);
      const [real, ideal] = await Promise.all([serve(stored.fs, budget), serve(model, budget)]);
      try {
        for (const [seed, next] of steps.entries()) {
          const [got, wanted] = await Promise.all([outcome(real.client, next, seed), outcome(ideal.client, next, seed)]);
          expect(got, JSON.stringify(next)).toEqual(wanted);
        }
        expect(await tree(real.client, MOUNT)).toEqual(await tree(ideal.client, MOUNT));
      } finally {
        await Promise.all([real.finish(), ideal.finish()]);
        await stored.close();
      }
      expect(budget.used).toBe(0);
    }),
    { numRuns: Number(process.env.PROPERTY_RUNS ?? runs) },
  );
}

describe("over SFTP the real file system answers as the model does", () => {
  it("on a memory store", () => compare(40, {}));

  it("on a local disk", async () => {
    const root = await mkdtemp(join(tmpdir(), "sftp-model-"));
    const store = await openLocalStore({ root });
    try {
      await compare(25, { store, isLocal: true });
    } finally {
      await store.close();
      await rm(root, { recursive: true, force: true });
    }
  });

  it("on S3", async () => {
    const server = await startS3Server({ buckets: ["museum"], minPartSize: 64 * 1024 });
    const store = createS3Store({
      bucket: "museum",
      endpoint: server.endpoint,
      pathStyle: true,
      ...server.credentials,
      limits: SMALL_PARTS,
    });
    try {
      await compare(25, { store });
    } finally {
      await store.close();
      await server.close();
    }
  });
});
