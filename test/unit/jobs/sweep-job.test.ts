import { expect, it } from "vitest";
import { createMemoryStore } from "../../../src/objectstore/memory-store.ts";
import { sweep, type SweepPlace, type Swept } from "../../../src/jobs/sweep-job.ts";
import { BackupFixture, QUIET } from "./backup-fixture.ts";

const DAY_MS = 86_400_000;

async function setUp() {
  let nowMs = Date.UTC(2026, 10, 1);
  const store = createMemoryStore({ now: () => nowMs });
  const fixture = new BackupFixture({ storage: store, archives: store });
  await fixture.put("originals/a", "a");
  await fixture.put("originals/b.filepart", "half");
  await store.createUpload("museum/alice/originals/c", {});
  await store.createUpload("museum/alicia/originals/c", {});
  await store.put("museum/alicia/originals/d.filepart", []);
  await fixture.run();
  await store.put("archives/alice/alice-assets-20200101.tar.xz", []);
  await store.put("archives/alice/alice-assets-20200102T030405Z.incr.tar.zst.sha256", []);
  await store.put("archives/alice/alice-assets-20200103.001.tar", []);
  await store.put("archives/alice/notes.txt", []);
  await store.createUpload("backups/us/big.tif", {});
  await store.put("backups/us/keep.filepart", []);
  await store.put("archives/locks/job-old.json", [Buffer.from(JSON.stringify({ expiresMs: nowMs }))]);
  nowMs += 8 * DAY_MS;
  await fixture.put("originals/new.filepart", "half");
  await store.createUpload("museum/alice/originals/new", {});
  const places: SweepPlace[] = [
    { owner: "alice", kind: "storage", store, prefix: "museum/alice/" },
    { owner: "archives of alice", kind: "archives", store, prefix: "archives/alice/" },
    { owner: "backup of us", kind: "uploads", store, prefix: "backups/us/" },
    { owner: "locks", kind: "locks", store, prefix: "archives/" },
  ];
  const swept: Swept[] = [];
  const run = (dryRun: boolean, more: readonly SweepPlace[] = []) =>
    sweep({
      places: [...more, ...places],
      expiryMs: 7 * DAY_MS,
      isTemporary: (key) => key.endsWith(".filepart"),
      dryRun,
      now: () => nowMs,
      onSwept: (one) => swept.push(one),
      signal: new AbortController().signal,
      log: QUIET,
    });
  return { run, swept, store, fixture };
}

const EXPECTED = [
  "unfinished upload museum/alice/originals/c",
  "temporary file museum/alice/originals/b.filepart",
  "archive leftover archives/alice/alice-assets-20200101.tar.xz",
  "archive leftover archives/alice/alice-assets-20200102T030405Z.incr.tar.zst.sha256",
  "archive leftover archives/alice/alice-assets-20200103.001.tar",
  "unfinished upload backups/us/big.tif",
  "stale lock archives/locks/job-old.json",
];

it("says what it would remove, and removes exactly that", async () => {
  const { run, swept, fixture } = await setUp();
  const before = await fixture.names();
  expect(await run(true)).toMatchObject({ exitCode: 0, summary: expect.stringContaining("would be removed") });
  expect(swept.map(({ kind, key }) => `${kind} ${key}`)).toEqual(EXPECTED);
  expect(await fixture.names()).toEqual(before);
  swept.length = 0;
  expect(await run(false)).toMatchObject({ exitCode: 0, details: { "unfinished upload": 2, "stale lock": 1 } });
  expect(swept.map(({ kind, key }) => `${kind} ${key}`)).toEqual(EXPECTED);
  swept.length = 0;
  expect((await run(false)).summary).toBe("nothing removed");
  expect((await fixture.catalog()).archives).toHaveLength(1);
  expect((await fixture.archive()).length).toBeGreaterThan(0);
});

it("goes on with the others when a place cannot be swept", async () => {
  const { run, swept, store } = await setUp();
  const broken = Object.assign(Object.create(store), {
    listUploads: () => {
      throw new Error("injected");
    },
  });
  const outcome = await run(false, [{ owner: "bob", kind: "storage", store: broken, prefix: "museum/bob/" }]);
  expect(outcome).toMatchObject({ exitCode: 2, details: { failed: ["bob"] } });
  expect(swept).toHaveLength(7);
});
