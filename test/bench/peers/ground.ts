/** What peers are built on: a folder with keys of their own, a port, and for those that need it a bucket behind a proxy. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, runOk } from "../../support/processes.ts";
import { ProxyProcess } from "../proxies/start-proxy.ts";
import type { S3Backend } from "../s3-backend.ts";
import { type BucketPlace, BucketStorage, type Storage } from "../storage.ts";

/** A folder with keys, and a port. */
export interface Ground {
  readonly dir: string;
  readonly port: number;
  readonly keyFile: string;
  readonly publicKey: string;
  readonly hostKey: string;
  readonly authorizedKeys: string;
}

/** A bucket as the peer shall see it: through its own proxy. */
export interface CountedBucket {
  readonly place: BucketPlace;
  readonly proxy: ProxyProcess;
  readonly storage: Storage;
}

/** Makes the folder of a peer below `parent`. */
export async function makeGround(parent: string, name: string): Promise<Ground> {
  const dir = join(parent, name);
  mkdirSync(join(dir, "keys"), { recursive: true });
  const [keyFile, hostKey, authorizedKeys] = [
    join(dir, "id_ed25519"),
    join(dir, "keys/ssh_host_ed25519_key"),
    join(dir, "authorized_keys"),
  ];
  for (const file of [keyFile, hostKey]) {
    await runOk("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", file]);
    chmodSync(file, 0o600);
  }
  const publicKey = readFileSync(`${keyFile}.pub`, "utf8").trim();
  writeFileSync(authorizedKeys, `${publicKey}\n`);
  return { dir, port: await freePort(), keyFile, publicKey, hostKey, authorizedKeys };
}

/** A bucket of its own behind a counting proxy of its own. */
export async function makeBucket(backend: S3Backend, name: string): Promise<CountedBucket> {
  const direct = await backend.makeBucket(name);
  const proxy = await ProxyProcess.counting(backend.port);
  return { place: { ...direct, endpoint: `http://127.0.0.1:${proxy.port}` }, proxy, storage: new BucketStorage(direct) };
}

/** Resolves when the port accepts a connection; rejects after 20 seconds. */
export async function untilAccepting(port: number, what: string): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect({ port, host: "127.0.0.1" });
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    if (isOpen) return;
    await sleep(50); // another program gives no event to wait for
  }
  throw new Error(`${what} does not listen`);
}
