/**
 * Requests sent without waiting must end as if each had been sent after the answer to the one before: random sequences
 * run pipelined over SFTP, on a file system of random delays, and one by one on a second one; answers and trees are equal.
 */
import fc from "../../support/fast-check.ts";
import { expect, it } from "vitest";
import { turns } from "../../support/gate.ts";
import { ModelFileSystem } from "../../support/model-file-system.ts";
import { APPEND, attrs, CREAT, EXCL, type RawReply, R, str, TRUNC, u32, u64, W } from "../../support/sftp-client.ts";
import { connect, type TestSession } from "../../support/sftp-session.ts";

type Step =
  | { readonly do: "put"; readonly path: string; readonly pflags: number; readonly data: string; readonly offset: number }
  | { readonly do: "get"; readonly path: string }
  | { readonly do: "rename" | "posix-rename"; readonly path: string; readonly to: string }
  | { readonly do: "mkdir" | "rmdir" | "remove" | "stat" | "list" | "truncate"; readonly path: string };

const segment = fc.constantFrom("a", "b");
const path = fc.array(segment, { minLength: 1, maxLength: 3 }).map((segments) => `/${segments.join("/")}`);
const pflags = fc.constantFrom(W | CREAT, W | CREAT | TRUNC, W | CREAT | EXCL, W, W | APPEND | CREAT, R | W | CREAT);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("put" as const), path, pflags, data: fc.string({ maxLength: 8 }), offset: fc.nat(4) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("get" as const), path }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("rename" as const, "posix-rename" as const), path, to: path }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom("mkdir", "mkdir", "rmdir", "remove", "stat", "list", "truncate").map((name) => name as "mkdir"),
      path,
    }),
  },
);

/** The replies' bytes without ids and handles. */
const essence = ({ type, fields }: RawReply): string => (type === 102 ? "handle" : `${type} ${fields.toString("hex")}`);

/** Sends a step's requests at once as far as they do not need a handle; returns what was answered. */
async function send({ client }: TestSession, step: Step): Promise<string[]> {
  switch (step.do) {
    case "put": {
      const opened = await client.request(3, str(step.path), u32(step.pflags), attrs());
      if (opened.type !== 102) return [essence(opened)];
      const handle = opened.fields.subarray(4);
      const half = Buffer.from(step.data.slice(0, 4));
      const rest = Buffer.from(step.data.slice(4));
      return Promise.all([
        client.request(6, str(handle), u64(step.offset), str(half)).then(essence),
        client.request(6, str(handle), u64(step.offset + half.length), str(rest)).then(essence),
        client.request(4, str(handle)).then(essence),
      ]);
    }
    case "get": {
      const opened = await client.request(3, str(step.path), u32(R), attrs());
      if (opened.type !== 102) return [essence(opened)];
      const handle = opened.fields.subarray(4);
      return Promise.all([
        client.request(5, str(handle), u64(0), u32(5)).then(essence),
        client.request(5, str(handle), u64(5), u32(100)).then(essence),
        client.request(4, str(handle)).then(essence),
      ]);
    }
    case "list": {
      const opened = await client.request(11, str(step.path));
      if (opened.type !== 102) return [essence(opened)];
      const handle = opened.fields.subarray(4);
      return Promise.all([client.request(12, str(handle)).then(essence), client.request(12, str(handle)).then(essence)]);
    }
    case "rename":
      return [essence(await client.request(18, str(step.path), str(step.to)))];
    case "posix-rename":
      return [essence(await client.extended("posix-rename@openssh.com", str(step.path), str(step.to)))];
    case "truncate":
      return [essence(await client.request(9, str(step.path), attrs({ size: 3 })))];
    case "mkdir":
      return [essence(await client.request(14, str(step.path), attrs()))];
    default:
      return [essence(await client.request({ rmdir: 15, remove: 13, stat: 17 }[step.do], str(step.path)))];
  }
}

/** A file system whose calls take between none and four turns of the event loop, as `delays` say. */
function slow(delays: readonly number[]): ModelFileSystem {
  let call = 0;
  return new ModelFileSystem({ now: () => 1_000_000, before: () => turns(delays[call++ % delays.length] ?? 0) });
}

const contents = (fs: ModelFileSystem): [string, string][] => fs.paths().map((name) => [name, Buffer.from(fs.get(name) ?? []).toString()]);

it("path requests sent ahead end as if sent one by one", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        step.filter(({ do: kind }) => kind !== "put" && kind !== "get" && kind !== "list"),
        { maxLength: 25 },
      ),
      fc.array(fc.nat(4), { minLength: 1, maxLength: 10 }),
      async (steps, delays) => {
        const pipelined = await connect({ fs: slow(delays) });
        const single = await connect({ model: { now: () => 1_000_000 } });
        for (const session of [pipelined, single]) {
          session.fs.put("/a/a/f", "deep");
          session.fs.put("/b/f", "flat");
          session.fs.put("/b/a", "file");
        }
        const answers = await Promise.all(steps.map((next) => send(pipelined, next)));
        const expected: string[][] = [];
        for (const next of steps) expected.push(await send(single, next));
        expect(answers).toEqual(expected);
        expect(contents(pipelined.fs)).toEqual(contents(single.fs));
        await Promise.all([pipelined.finish(), single.finish()]);
      },
    ),
    { numRuns: 300 },
  );
});

it("steps one by one over SFTP do what the file system itself does, on any delays", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), fc.array(fc.nat(4), { minLength: 1, maxLength: 10 }), async (steps, delays) => {
      const delayed = await connect({ fs: slow(delays), channel: { chunkBytes: 5 } });
      const prompt = await connect({ model: { now: () => 1_000_000 } });
      for (const next of steps) expect(await send(delayed, next)).toEqual(await send(prompt, next));
      expect(contents(delayed.fs)).toEqual(contents(prompt.fs));
      await Promise.all([delayed.finish(), prompt.finish()]);
      expect(delayed.fs.openHandles).toBe(0);
    }),
    { numRuns: 150 },
  );
});
