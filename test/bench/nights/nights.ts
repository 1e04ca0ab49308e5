/**
 * `npm run bench:nights -- [--only TEXT] [--quick] [--json FILE]`: what backups, syncs and checks cost, beside `tar -cJf`
 * on an s3fs mount, aws-cli and rclone where they are installed, on the S3 test server. Prints Markdown. Each row checks
 * its result and fails if it is wrong; what it costs is measured, not judged. `--quick`: a hundredth of everything, nothing of 8 GiB.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { MAIN } from "../../support/built-gateway.ts";
import { run, stopProcess } from "../../support/processes.ts";
import { findTool } from "../../support/require-tool.ts";
import { mountS3fs } from "../peers/s3fs-mount.ts";
import { type Job, type JobFigures, PlantedServer, runJob } from "./job-run.ts";

const { values } = parseArgs({
  options: { only: { type: "string", default: "" }, quick: { type: "boolean", default: false }, json: { type: "string" } },
});
const KIB = 1024;
const GIB = 1024 ** 3;
const OLD_MS = Date.parse("2026-01-01");
/** Largest size that a tar header without extensions can say. */
const OCTAL_LIMIT = 8 * GIB - 1;

/** Objects that s3fs has not written itself have no mode for it, and its folders no rights. */
const MOUNT_OPTIONS = ["umask=0022"];

const dir = mkdtempSync(join(tmpdir(), "nights-"));
const config = join(dir, "gateway.yaml");
const part = (count: number): number => (values.quick ? Math.ceil(count / 100) : count);

interface Row extends JobFigures {
  readonly title: string;
  readonly program: string;
}

const rows: Row[] = [];

function check(holds: boolean, text: string): void {
  if (!holds) throw new Error(text);
}

function writeConfig({ address }: PlantedServer): void {
  const connection = `endpoint: "${address.endpoint}", pathStyle: true, awsRegion: ${address.region}, accessKeyId: ${address.accessKeyId}, secretAccessKey: ${address.secretAccessKey}`;
  const users = ["small", "big", "many", "huge"].map((name) => `  ${name}: { region: us, keys: [] }`);
  mkdirSync(join(dir, "archives"));
  writeFileSync(
    config,
    [
      `server: { listen: ["127.0.0.1:0"], hostKeys: ${join(dir, "keys")}, state: ${join(dir, "state")} }`,
      `regions: { us: { bucket: home, ${connection} }, copy: { bucket: copy, ${connection} } }`,
      `backups: { to: "file://${join(dir, "archives")}", keep: 1 }`,
      "users:",
      ...users,
      "",
    ].join("\n"),
  );
}

/** Runs a job as a row of the table, if the row is asked for; `judge` throws if the result is wrong. */
async function row(server: PlantedServer, title: string, program: string, job: Job, judge: (figures: JobFigures) => void): Promise<void> {
  const figures = await runJob(server, job);
  check(figures.code === 0, `${program}, ${title}: exit code ${figures.code}\n${figures.output}`);
  judge(figures);
  rows.push({ ...figures, title, program });
  process.stderr.write(
    `${title}, ${program}: ${figures.seconds.toFixed(1)} s, CPU ${figures.cpuSeconds.toFixed(1)} s, ${figures.peakRssMiB.toFixed(0)} MiB\n`,
  );
}

const gateway = (...args: string[]): Job => ({ program: process.execPath, args: [MAIN, ...args, "--config", config] });

/** The archive of a user. */
function archive(user: string): string {
  const found = readdirSync(join(dir, "archives", user)).find((name) => /-assets-\d{8}\.tar\.xz$/.test(name));
  check(found !== undefined, `no archive of ${user}`);
  return join(dir, "archives", user, found ?? "");
}

function members(file: string): number {
  return Number(execFileSync("sh", ["-c", 'xz -T0 -dc "$1" | tar -tf - | grep -cv "/$"', "sh", file]).toString());
}

async function backup(server: PlantedServer, user: string, title: string, count: number): Promise<void> {
  await row(server, title, "backup run", gateway("backup", "run", user, "--quiet"), () => undefined);
  const found = members(archive(user));
  check(found === count, `${title}: ${found} members, expected ${count}`);
}

async function tarOnMount(server: PlantedServer, user: string, title: string, count: number): Promise<void> {
  const s3fs = findTool("s3fs");
  if (!s3fs) return void process.stderr.write(`skipped: ${title} by tar: s3fs is not here\n`);
  const { endpoint, region, accessKeyId, secretAccessKey } = server.address;
  const home = join(dir, "mount");
  mkdirSync(home, { recursive: true });
  const credentials = { accessKeyId: String(accessKeyId), secretAccessKey: String(secretAccessKey) };
  const place = { endpoint: String(endpoint), region: String(region), credentials, bucket: "home", prefix: "" };
  const mount = await mountS3fs(s3fs, dir, place, home, MOUNT_OPTIONS);
  const target = join(dir, "mount.tar.xz");
  try {
    const job = { program: "tar", args: ["-cJf", target, user], cwd: home, with: [mount.pid ?? 0] };
    await row(server, title, "tar -cJf on s3fs", job, () => check(members(target) === count, `${title}: members are missing`));
  } finally {
    await run("fusermount", ["-u", home]);
    await stopProcess(mount);
    rmSync(target, { force: true });
  }
}

async function backups(server: PlantedServer): Promise<void> {
  const [small, big] = [part(20_000), values.quick ? 1 : 4];
  await server.plant({ bucket: "home", prefix: "small/originals/", suffix: ".jpg", count: small, size: 100 * KIB });
  await backup(server, "small", `backup of ${small} × 100 KiB`, small);
  await server.plant({ bucket: "home", prefix: "tar/originals/", suffix: ".jpg", count: part(2000), size: 100 * KIB });
  for (const marker of ["tar/", "tar/originals/"]) await server.ask({ marker }); // without them s3fs shows no folder
  await tarOnMount(server, "tar", `backup of ${part(2000)} × 100 KiB`, part(2000));
  await server.plant({ bucket: "home", prefix: "big/originals/", suffix: ".tif", count: big, size: GIB });
  await backup(server, "big", `backup of ${big} × 1 GiB`, big);
}

/** Members at the limit of the tar header, and a great many of them. */
async function extremes(server: PlantedServer): Promise<void> {
  if (!values.quick) await huge(server);
  const many = part(1_000_000);
  await server.plant({ bucket: "home", prefix: "many/originals/", suffix: ".txt", count: many, size: 64, same: true });
  await backup(server, "many", `backup of ${many} × 64 B`, many);
}

async function huge(server: PlantedServer): Promise<void> {
  for (const size of [OCTAL_LIMIT, OCTAL_LIMIT + 1, 9 * GIB]) {
    await server.plant({ bucket: "home", prefix: `huge/originals/${size}-`, suffix: ".tif", count: 1, size });
  }
  await backup(server, "huge", "backup of 8 GiB - 1, 8 GiB and 9 GiB", 3);
  const listed = execFileSync("sh", ["-c", 'xz -T0 -dc "$1" | tar -tvf -', "sh", archive("huge")]).toString();
  const sizes = [...listed.matchAll(/^-\S+ +\S+ +(\d+) .*\/(\d+)-0000000\.tif$/gm)];
  check(sizes.length === 3 && sizes.every(([, size, name]) => size === name), `sizes are wrong:\n${listed}`);
  rmSync(archive("huge"));
}

async function checks(server: PlantedServer): Promise<void> {
  const many = part(1_000_000);
  await server.plant({ bucket: "home", prefix: "many/originals/", suffix: ".txt", count: many, size: 64, same: true });
  const limit = Math.ceil(many / 1000) * 1.1;
  const job = gateway("check", "many", "--json");
  const figures = await runJob(server, job);
  const lists = Number(figures.requests.ListObjectsV2 ?? 0);
  const all = Object.values(figures.requests).reduce((sum: number, count) => sum + Number(count), 0);
  check(figures.code <= 2, `check: exit code ${figures.code}\n${figures.output}`);
  check(lists <= limit && all === lists, `check: ${JSON.stringify(figures.requests)}`);
  rows.push({ ...figures, title: `check of ${many} keys`, program: "check" });
}

async function syncs(server: PlantedServer): Promise<void> {
  const [equal, changed] = [part(100_000), part(2000)];
  const both = { prefix: "sync/", suffix: ".jpg", same: true };
  const put = (bucket: string, first: number, count: number, size: number, lastModifiedMs: number): Promise<void> =>
    server.plant({ ...both, bucket, first, count, size, lastModifiedMs });
  await put("home", 0, equal + changed, 200, OLD_MS);
  await put("copy", 0, equal, 200, OLD_MS + 1000);
  const { endpoint, region, accessKeyId, secretAccessKey } = server.address;
  const env = {
    AWS_ACCESS_KEY_ID: String(accessKeyId),
    AWS_SECRET_ACCESS_KEY: String(secretAccessKey),
    AWS_DEFAULT_REGION: String(region),
    AWS_ENDPOINT_URL: String(endpoint),
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_CA_BUNDLE: "", // rclone 1.60 fails with one, and nothing here needs it
    RCLONE_CONFIG_S3_TYPE: "s3",
    RCLONE_CONFIG_S3_PROVIDER: "Other",
    RCLONE_CONFIG_S3_ENV_AUTH: "true",
    RCLONE_CONFIG_S3_ENDPOINT: String(endpoint),
    RCLONE_CONFIG_S3_REGION: String(region),
    RCLONE_CONFIG: join(dir, "rclone.conf"),
  };
  const from = ["s3://home/sync", "s3://copy/sync"];
  const rclone = process.env.RCLONE_BIN ?? findTool("rclone");
  const aws = findTool("aws");
  const jobs: readonly (readonly [string, Job | undefined])[] = [
    ["sync", gateway("sync", ...from, "--only-show-errors")],
    ["aws s3 sync", aws ? { program: aws, args: ["s3", "sync", ...from, "--only-show-errors"], env } : undefined],
    ["rclone sync --checksum", rclone ? { program: rclone, args: ["sync", "--checksum", "s3:home/sync", "s3:copy/sync"], env } : undefined],
  ];
  for (const [program, job] of jobs) {
    if (!job) {
      process.stderr.write(`skipped: ${program} is not here\n`);
      continue;
    }
    await put("copy", equal, changed, 100, OLD_MS - 1000);
    await row(server, `sync of ${equal} equal and ${changed} changed`, program, job, ({ requests }) =>
      check(requests.CopyObject === changed, `${program} copied ${requests.CopyObject}`),
    );
    await row(server, "again, all equal", program, job, ({ requests }) =>
      check(!requests.CopyObject, `${program} copied ${requests.CopyObject}`),
    );
  }
  const many = part(1_000_000);
  await server.plant({ ...both, prefix: "many/", bucket: "home", count: many, size: 64, lastModifiedMs: OLD_MS });
  await server.plant({ ...both, prefix: "many/", bucket: "copy", count: many, size: 64, lastModifiedMs: OLD_MS + 1000 });
  await row(
    server,
    `sync of ${many} equal`,
    "sync",
    gateway("sync", "s3://home/many", "s3://copy/many", "--only-show-errors"),
    ({ requests }) =>
      check(Number(requests.ListObjectsV2) <= (2 * many) / 1000 + 2 && Object.keys(requests).length === 1, JSON.stringify(requests)),
  );
}

function table(): string {
  const requestsOf = ({ requests }: Row): string =>
    Object.entries(requests)
      .map(([operation, count]) => `${count} ${operation}`)
      .join(", ");
  const line = (one: Row): string =>
    `| ${one.title} | ${one.program} | ${one.seconds.toFixed(1)} | ${one.cpuSeconds.toFixed(1)} | ${one.peakRssMiB.toFixed(0)} | ${requestsOf(one)} |`;
  return ["| | | seconds | CPU seconds | peak RSS, MiB | requests |", "|---|---|---|---|---|---|", ...rows.map(line), ""].join("\n");
}

const parts = { backup: backups, extremes, check: checks, sync: syncs };
try {
  for (const [name, measure] of Object.entries(parts)) {
    if (!name.includes(values.only)) continue;
    const server = await PlantedServer.start();
    try {
      rmSync(join(dir, "archives"), { recursive: true, force: true });
      writeConfig(server);
      await measure(server);
    } finally {
      await server.stop();
    }
  }
  process.stdout.write(table());
  if (values.json) writeFileSync(values.json, JSON.stringify(rows, undefined, 2));
} finally {
  rmSync(dir, { recursive: true, force: true });
}
