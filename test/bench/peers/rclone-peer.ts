/** `rclone serve sftp` on S3, without its write cache (its default) and with it (what its manual names for other clients). */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { run } from "../../support/processes.ts";
import type { S3Backend } from "../s3-backend.ts";
import { makeBucket, makeGround, untilAccepting } from "./ground.ts";
import { Peer } from "./peer.ts";

/** `rclone serve sftp --vfs-cache-mode MODE`. */
export async function rcloneOnS3(dir: string, backend: S3Backend, program: string, cacheMode: "off" | "writes"): Promise<Peer> {
  const name = cacheMode === "off" ? "rclone" : "rclone-writes";
  const ground = await makeGround(dir, name);
  const { place, proxy, storage } = await makeBucket(backend, name);
  const env = {
    RCLONE_CONFIG: join(ground.dir, "rclone.conf"),
    RCLONE_CONFIG_STORE_TYPE: "s3",
    RCLONE_CONFIG_STORE_PROVIDER: "AWS",
    RCLONE_CONFIG_STORE_ENDPOINT: place.endpoint,
    RCLONE_CONFIG_STORE_REGION: place.region,
    RCLONE_CONFIG_STORE_FORCE_PATH_STYLE: "true",
    // Its checksum behind the body needs https; without it, it cannot PUT over http.
    RCLONE_CONFIG_STORE_USE_UNSIGNED_PAYLOAD: "true",
    RCLONE_CONFIG_STORE_ACCESS_KEY_ID: place.credentials.accessKeyId,
    RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY: place.credentials.secretAccessKey,
  };
  const source = `store:${place.bucket}/${place.prefix.replace(/\/$/, "")}`;
  const options = ["--addr", `127.0.0.1:${ground.port}`, "--authorized-keys", ground.authorizedKeys, "--key", ground.hostKey];
  const cache = ["--vfs-cache-mode", cacheMode, "--cache-dir", join(ground.dir, "cache")];
  const version = (await run(program, ["version"])).stdout.split("\n")[0] ?? "rclone";
  return new Peer({
    name,
    kind: "peer",
    storageKind: "S3",
    version: `${version}, --vfs-cache-mode ${cacheMode}`,
    login: { port: ground.port, user: "bench", keyFile: ground.keyFile },
    folder: "",
    storage,
    proxy,
    answersEarly: cacheMode === "writes",
    hasRsync: false,
    launch: async () => {
      const child = spawn(program, ["serve", "sftp", source, ...options, ...cache], { env: { ...process.env, ...env }, stdio: "ignore" });
      await untilAccepting(ground.port, "rclone");
      return [child];
    },
  });
}
