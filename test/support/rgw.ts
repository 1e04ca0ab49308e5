/**
 * A one-node Ceph with its RADOS gateway from Debian's packages (ceph-mon, ceph-osd, radosgw), in memory, on free ports
 * of 127.0.0.1: a real S3 server to check the test server and the gateway against. Takes about 12 seconds to start.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, runOk, stopProcess } from "./processes.ts";
import type { S3Credentials } from "./s3-server/s3-server.ts";

/** The programs it needs. */
export const RGW_TOOLS = ["ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "radosgw", "radosgw-admin"];

/** A running server; whoever started it stops it. */
export interface ForeignS3 {
  readonly endpoint: string;
  readonly credentials: S3Credentials;
  readonly region: string;
  /** Another account, where one was asked for, and its name in policies. */
  readonly guest?: { readonly credentials: S3Credentials; readonly arn: string };
  stop(): Promise<void>;
}

/** What is started besides the server itself. */
export interface RgwOptions {
  /** Makes a second account. */
  readonly guest?: boolean;
}

const credentials: S3Credentials = { accessKeyId: "AKIATESTRGW", secretAccessKey: "test-rgw-secret" };
const guest = { credentials: { accessKeyId: "AKIAGUESTRGW", secretAccessKey: "guest-rgw-secret" }, arn: "arn:aws:iam:::user/guest" };

/** Starts monitor, one object store daemon and the gateway, and makes a user. */
export async function startRgw(options: RgwOptions = {}): Promise<ForeignS3> {
  const dir = mkdtempSync(join(tmpdir(), "rgw-"));
  const children: ChildProcess[] = [];
  const start = (file: string, args: readonly string[]): void => {
    const log = openSync(join(dir, `${file}.out`), "a");
    children.push(spawn(file, args, { stdio: ["ignore", log, log], env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } }));
  };
  const stop = async (): Promise<void> => {
    for (const child of children.reverse()) await stopProcess(child, "SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const port = await startDaemons(dir, start, options.guest ? { test: credentials, guest: guest.credentials } : { test: credentials });
    return { endpoint: `http://127.0.0.1:${port}`, credentials, region: "us-east-1", ...(options.guest && { guest }), stop };
  } catch (error) {
    const log = readFileSync(join(dir, "radosgw.out"), { encoding: "utf8", flag: "a+" }).slice(-2000);
    await stop();
    throw new Error(`radosgw did not start: ${log}`, { cause: error });
  }
}

async function startDaemons(
  dir: string,
  start: (file: string, args: readonly string[]) => void,
  users: Readonly<Record<string, S3Credentials>>,
): Promise<number> {
  const [fsid, osdId, monPort, port] = [randomUUID(), randomUUID(), await freePort(), await freePort()];
  for (const name of ["mon", "osd", "run", "rgw"]) mkdirSync(join(dir, name));
  writeFileSync(join(dir, "ceph.conf"), configuration(dir, fsid, monPort, port));
  const conf = ["-c", join(dir, "ceph.conf")];
  const keyring = join(dir, "keyring");
  const monMap = join(dir, "monmap");
  await runOk("ceph-authtool", ["-C", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"]);
  const caps = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"];
  for (const name of ["client.admin", "client.rgw", "osd.0"]) await runOk("ceph-authtool", [keyring, "--gen-key", "-n", name, ...caps]);
  await runOk("monmaptool", ["--create", "--clobber", "--fsid", fsid, "--addv", "a", `[v2:127.0.0.1:${monPort}]`, monMap]);
  await runOk("ceph-mon", [...conf, "-i", "a", "--mkfs", "--monmap", monMap, "--keyring", keyring]);
  start("ceph-mon", [...conf, "-i", "a", "-f"]);
  await runOk("ceph", [...conf, "osd", "new", osdId]);
  await runOk("ceph-osd", [...conf, "-i", "0", "--mkfs", "--osd-uuid", osdId]);
  start("ceph-osd", [...conf, "-i", "0", "-f"]);
  for (const [name, { accessKeyId, secretAccessKey }] of Object.entries(users)) {
    const user = [
      "user",
      "create",
      `--uid=${name}`,
      `--display-name=${name}`,
      `--access-key=${accessKeyId}`,
      `--secret-key=${secretAccessKey}`,
    ];
    await runOk("radosgw-admin", [...conf, "-n", "client.rgw", ...user], { timeoutMs: 90_000 });
  }
  start("radosgw", [...conf, "-n", "client.rgw", "-f"]);
  await answering(`http://127.0.0.1:${port}/`);
  return port;
}

async function answering(url: string): Promise<void> {
  const end = Date.now() + 60_000;
  for (;;) {
    const answer = await fetch(url).catch((error: unknown) => error);
    if (answer instanceof Response) return;
    if (Date.now() > end) throw new Error(`${url} does not answer`, { cause: answer });
    await sleep(100); // another program gives no event to wait for
  }
}

function configuration(dir: string, fsid: string, monPort: number, port: number): string {
  return `[global]
fsid = ${fsid}
mon_host = v2:127.0.0.1:${monPort}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
keyring = ${dir}/keyring
run_dir = ${dir}/run
admin_socket = ${dir}/run/$name.asok
log_file = ${dir}/$name.log
osd_pool_default_size = 1
osd_pool_default_min_size = 1
mon_allow_pool_size_one = true
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_data_avail_crit = 1
mon_max_pg_per_osd = 1000
[mon.a]
mon_data = ${dir}/mon
[osd.0]
osd_data = ${dir}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
[client.rgw]
rgw_data = ${dir}/rgw
rgw_frontends = beast endpoint=127.0.0.1:${port}
rgw_enable_usage_log = false
`;
}
