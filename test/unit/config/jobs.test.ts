import { expect, it } from "vitest";
import { loadConfig, type LoadedConfig } from "../../../src/config/load.ts";

const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2nVbMqaVqrdsOtV4LFqUo1wB6ymiWSrgDpKZGjfdlO alice";

function load(...lines: string[]): Promise<LoadedConfig> {
  const text = lines.join("\n");
  return loadConfig("/nowhere/gateway.yaml", { replacements: new Map([["/nowhere/gateway.yaml", text]]) });
}

const USERS = [
  "users:",
  `  alice: { storage: "file:///srv/files/alice", keys: "${KEY}" }`,
  `  bob: { storage: "file:///srv/files/bob", keys: [], backup: { keep: 5, thumbnails: false } }`,
  `  eve: { storage: "file:///srv/files/eve", keys: [], backup: false }`,
];

it("gives each user the settings of backups: with the own ones over them", async () => {
  const { config } = await load("backups: { to: file:///srv/archives, fullEvery: 4, volumeSize: 4GiB }", ...USERS);
  expect(config.backups).toMatchObject({ storage: { uri: "file:///srv/archives/" }, graceMs: 86_400_000 });
  expect(config.users.get("alice")?.backup).toEqual({
    compression: "auto",
    keep: 2,
    fullEvery: 4,
    thumbnails: true,
    volumeSize: 4 * 1024 ** 3,
  });
  expect(config.users.get("bob")?.backup).toMatchObject({ keep: 5, fullEvery: 4, thumbnails: false });
  expect(config.users.get("eve")?.backup).toBeUndefined();
  expect((await load(...USERS)).config.users.get("alice")?.backup).toBeUndefined();
});

it("reads jobs of every kind", async () => {
  const jobs = [
    '  weekly: { kind: backup, schedule: "0 3 * * 0", timezone: America/Chicago, jitter: 10m, users: [alice] }',
    "  tidy: { kind: sweep, runOnStart: true }",
  ];
  const { config } = await load("backups: { to: file:///srv/archives }", "jobs:", ...jobs, ...USERS);
  expect([...config.jobs.values()]).toMatchObject([
    {
      name: "weekly",
      kind: "backup",
      schedule: "0 3 * * 0",
      timezone: "America/Chicago",
      jitter: 600_000,
      catchUp: true,
      users: ["alice"],
    },
    { name: "tidy", kind: "sweep", runOnStart: true },
  ]);
});

it.each([
  [["jobs: { a: { kind: backup } }"], '1:9: job "a" makes backups, but backups: does not say where to'],
  [["backups: { to: file:///srv/files/alice/x }"], '1:12: to: overlaps the storage of user "alice"'],
  [["backups: { to: file:///srv }"], '1:12: to: overlaps the storage of user "alice"'],
  [["backups: { to: s3://archives, region: us }"], '1:31: region "us" is not defined'],
  [["backups: { to: file:///srv/x, s3: { awsRegion: us-east-1 } }"], "s3: a file:// storage has none, remove it"],
  [["backups: { to: file:///srv/x, compression: gzip }"], "compression: write auto, store, xz:0 to xz:9, zst:1 to zst:19, or tar"],
  [['jobs: { a: { kind: sweep, schedule: "0 25 * * *" } }'], "1:37: schedule: Invalid value for hour: 25"],
  [['jobs: { a: { kind: sweep, schedule: "0 0 30 2 *" } }'], "schedule: this schedule never comes"],
  [["jobs: { a: { kind: sweep, timezone: Mars/Base } }"], "timezone: is no time zone"],
  [["jobs: { a: { kind: bakup } }"], "kind: write backup, sweep or sync"],
  [["jobs: { a: { kind: sweep, schedul: x } }"], 'unknown key "schedul": did you mean "schedule"?'],
  [
    ["backups: { to: file:///srv/x }", "jobs: { a: { kind: backup, users: [alic] } }"],
    '2:36: user "alic" is not defined: did you mean "alice"?',
  ],
  [["jobs: { a: { kind: sync, regions: [us] } }"], 'region "us" is not defined'],
  [["jobs: { a: { kind: sync, source: s3://x-y } }"], "write both source and destination, or neither"],
])("says what is wrong with %s", async (lines, message) => {
  await expect(load(...lines, ...USERS)).rejects.toThrow(message);
});
