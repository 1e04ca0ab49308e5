/**
 * Runs a client's tests against a gateway on local disk, against one on the S3 test server, and against one on versitygw if
 * that is here; `INTEROP_STORES` names others by commas: `local`, `s3`, `versitygw`, `rgw`.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from "vitest";
import { type ForeignTestStore, foreignTestStore } from "../support/foreign-test-store.ts";
import { BUCKET, type GatewayOptions, PREFIX, startGateway, type TestGateway } from "../support/gateway.ts";
import { requireTool } from "../support/require-tool.ts";
import { type ForeignS3, startRgw } from "../support/rgw.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";
import { SshSftpClient } from "../support/ssh-sftp-client.ts";
import { sha256, type TestStore } from "../support/test-store.ts";
import { findVersitygw, startVersitygw } from "../support/versitygw.ts";

/** What a test works with. */
export interface Interop {
  readonly gateway: TestGateway;
  readonly store: TestStore;
  /** The S3 test server behind it; undefined on local disk and on a real server. */
  readonly s3: S3Server | undefined;
  /** An empty folder of this test. */
  readonly work: string;
}

/** Where the tests put their files: the customers' upload folder as they see it, and as the store sees it. */
export const REMOTE = "attachments/originals";
export const STORED = "originals";

/** Defines the same tests on both stores; skipped, by name, where a tool is missing. */
export function onEachStore(client: string, tools: readonly string[], options: GatewayOptions, define: (at: () => Interop) => void): void {
  const isHere = requireTool("ssh-keygen", ...tools);
  for (const kind of stores()) {
    describe.skipIf(!isHere)(`${client} on ${kind}`, () => {
      let gateway: TestGateway;
      let s3: S3Server | undefined;
      let real: RealStore | undefined;
      let work: string;
      beforeAll(async () => {
        s3 = kind === "s3" ? await startS3Server({ buckets: [BUCKET] }) : undefined;
        real = await startReal(kind);
        gateway = await startGateway({ ...options, ...(s3 && { s3 }), ...(real && { foreign: real }) });
      });
      beforeEach(() => {
        work = mkdtempSync(join(tmpdir(), "interop-"));
      });
      afterEach(({ task }) => {
        if (task.result?.state === "fail") process.stderr.write(`gateway's log (${task.name}):\n${gateway.logText()}\n`);
        rmSync(work, { recursive: true, force: true });
      });
      afterAll(async () => {
        await gateway?.dispose();
        await s3?.close();
        await real?.close();
        await real?.server.stop();
      });
      define(() => ({ gateway, store: gateway.store, s3, work }));
    });
  }
}

/** A real server and a view of what it has. */
type RealStore = ForeignTestStore & { readonly server: ForeignS3 };

function stores(): readonly string[] {
  const asked = process.env.INTEROP_STORES?.split(",");
  return asked ?? ["local", "s3", ...(findVersitygw() === undefined ? [] : ["versitygw"])];
}

async function startReal(kind: string): Promise<RealStore | undefined> {
  if (kind === "local" || kind === "s3") return undefined;
  const program = kind === "versitygw" ? findVersitygw() : undefined;
  if (kind !== "rgw" && program === undefined) throw new Error(`INTEROP_STORES: ${kind} is not here`);
  const server = program === undefined ? await startRgw() : await startVersitygw(program);
  return { ...(await foreignTestStore(server, BUCKET, PREFIX)), server };
}

/**
 * Publishes a file behind the gateway's back, as another program would, and waits until the gateway shows it: what it
 * has seen of a folder it may trust for some seconds.
 */
export async function plant({ gateway, store }: Interop, name: string, bytes: Uint8Array | string): Promise<void> {
  store.put(`${STORED}/${name}`, bytes);
  const client = await SshSftpClient.connect(gateway);
  const path = `${REMOTE}/${name}`;
  const size = (of: string) =>
    client.stat(of).then(
      (attributes) => attributes.size ?? 0,
      () => undefined,
    );
  await expect.poll(() => size(path), { timeout: 15_000, interval: 100 }).toBe(Buffer.byteLength(bytes));
  await expect.poll(() => size(dirname(path)), { timeout: 15_000, interval: 100 }).toBeDefined();
  await client.end();
}

/** Files by relative name. */
export type Tree = Readonly<Record<string, Uint8Array | string>>;

/** Writes files below a folder, with an old modification time so that times can be compared. */
export function writeTree(root: string, tree: Tree, mtime = 1_500_000_000): void {
  for (const [name, bytes] of Object.entries(tree)) {
    const path = join(root, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
    utimesSync(path, mtime, mtime);
  }
}

/** Expects the store to hold exactly these files below `prefix`, byte for byte. */
export function expectStored(store: TestStore, prefix: string, tree: Tree): void {
  const found = store.names().filter((name) => name.startsWith(`${prefix}/`));
  const stored = Object.fromEntries(found.map((name) => [name.slice(prefix.length + 1), store.sha256(name)]));
  const expected = Object.fromEntries(Object.entries(tree).map(([name, bytes]) => [name, sha256(bytes)]));
  expect(stored).toEqual(expected);
}

/** Expects a folder on disk to hold these files, byte for byte. */
export function expectFiles(root: string, tree: Tree): void {
  for (const [name, bytes] of Object.entries(tree)) expect(sha256(readFileSync(join(root, name))), name).toBe(sha256(bytes));
}
