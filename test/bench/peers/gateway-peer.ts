/**
 * The gateway, started as an operator starts it: the built program and a configuration file. On S3 and on a local folder.
 * `GATEWAY_WORKERS` sets `server.workers`.
 */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { MAIN } from "../../support/built-gateway.ts";
import { firstLine } from "../first-line.ts";
import type { S3Backend } from "../s3-backend.ts";
import { FolderStorage } from "../storage.ts";
import { type Ground, makeBucket, makeGround } from "./ground.ts";
import { Peer, type PeerParts } from "./peer.ts";

const USER = "bench";

/** The gateway on S3. */
export async function gatewayOnS3(dir: string, backend: S3Backend): Promise<Peer> {
  const ground = await makeGround(dir, "gateway-s3");
  const { place, proxy, storage } = await makeBucket(backend, "gateway");
  const connection = { endpoint: place.endpoint, pathStyle: true, awsRegion: place.region, ...place.credentials };
  const lines = [`storage: s3://${place.bucket}/${place.prefix}`, `s3: ${JSON.stringify(connection)}`];
  return new Peer({ ...gateway(ground, lines), name: "gateway", storageKind: "S3", kind: "gateway", storage, proxy });
}

/** The gateway on a local folder. */
export async function gatewayOnDisk(dir: string): Promise<Peer> {
  const ground = await makeGround(dir, "gateway-disk");
  const storage = new FolderStorage(join(ground.dir, "files"));
  const lines = [`storage: file://${join(ground.dir, "files")}`];
  return new Peer({ ...gateway(ground, lines), name: "gateway-disk", storageKind: "disk", kind: "gateway", storage });
}

function gateway(ground: Ground, storage: readonly string[]): Omit<PeerParts, "name" | "storageKind" | "kind" | "storage"> {
  const config = join(ground.dir, "gateway.yaml");
  const lines = [
    "server:",
    `  listen: ["127.0.0.1:${ground.port}"]`,
    `  hostKeys: ${join(ground.dir, "keys")}`,
    `  state: ${join(ground.dir, "state")}`,
    ...(process.env.GATEWAY_WORKERS ? [`  workers: ${process.env.GATEWAY_WORKERS}`] : []),
    "users:",
    `  ${USER}:`,
    ...storage.map((line) => `    ${line}`),
    "    keys:",
    `      - ${ground.publicKey}`,
  ];
  writeFileSync(config, `${lines.join("\n")}\n`);
  return {
    version: `this checkout, Node ${process.version}`,
    login: { port: ground.port, user: USER, keyFile: ground.keyFile },
    folder: "attachments",
    hasRsync: true,
    launch: async () => {
      const child = spawn(process.execPath, [MAIN, "serve", "--config", config], { cwd: ground.dir, stdio: ["ignore", "pipe", "inherit"] });
      await firstLine(child, (line) => (line.includes('"msg":"listening"') ? true : undefined));
      return [child];
    },
  };
}
