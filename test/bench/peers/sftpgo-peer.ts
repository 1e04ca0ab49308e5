/** SFTPGo with one user on S3, part sizes at their defaults. */
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../support/processes.ts";
import type { S3Backend } from "../s3-backend.ts";
import type { BucketPlace } from "../storage.ts";
import { type Ground, makeBucket, makeGround, untilAccepting } from "./ground.ts";
import { Peer } from "./peer.ts";

const USER = "bench";

/** SFTPGo on S3. */
export async function sftpgoOnS3(dir: string, backend: S3Backend, program: string): Promise<Peer> {
  const ground = await makeGround(dir, "sftpgo");
  const { place, proxy, storage } = await makeBucket(backend, "sftpgo");
  const { conf, users } = configure(ground, place);
  const version = (await run(program, ["-v"], { cwd: conf })).stdout.trim();
  return new Peer({
    name: "sftpgo",
    kind: "peer",
    storageKind: "S3",
    version,
    login: { port: ground.port, user: USER, keyFile: ground.keyFile },
    folder: "",
    storage,
    proxy,
    hasRsync: false,
    launch: async () => {
      const args = ["serve", "-c", conf, "-l", "", "--log-level", "warn", "--loaddata-from", users];
      const child = spawn(program, args, { cwd: conf, env: { ...process.env, TMPDIR: join(ground.dir, "tmp") }, stdio: "ignore" });
      await untilAccepting(ground.port, "sftpgo");
      return [child];
    },
  });
}

function configure(ground: Ground, place: BucketPlace): { conf: string; users: string } {
  const conf = join(ground.dir, "conf");
  for (const folder of [conf, join(ground.dir, "home"), join(ground.dir, "tmp")]) mkdirSync(folder);
  const users = join(conf, "users.json");
  const s3config = {
    bucket: place.bucket,
    key_prefix: place.prefix,
    region: place.region,
    endpoint: place.endpoint,
    force_path_style: true,
    access_key: place.credentials.accessKeyId,
    access_secret: { status: "Plain", payload: place.credentials.secretAccessKey },
  };
  const user = {
    username: USER,
    status: 1,
    home_dir: join(ground.dir, "home"),
    permissions: { "/": ["*"] },
    public_keys: [ground.publicKey],
    filesystem: { provider: 1, s3config },
  };
  writeFileSync(users, JSON.stringify({ version: 17, users: [user] }));
  const off = { bindings: [{ port: 0 }] };
  const config = {
    // Ignore times and modes, which it cannot keep on S3, instead of failing; rename directories that are not empty.
    common: { idle_timeout: 0, max_per_host_connections: 0, setstat_mode: 2, rename_mode: 1 },
    sftpd: { bindings: [{ port: ground.port, address: "127.0.0.1" }], host_keys: [ground.hostKey] },
    ftpd: off,
    webdavd: off,
    httpd: off,
    data_provider: { driver: "memory", name: "", track_quota: 0 },
  };
  writeFileSync(join(conf, "sftpgo.json"), JSON.stringify(config));
  return { conf, users };
}
