/**
 * W3, for programs that do not wait: one connection that has 64 small uploads under way, at 20 ms of store latency. What
 * counts beside the time is how many requests the server keeps in flight at the store.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SshSftpClient } from "../../support/ssh-sftp-client.ts";
import { measure } from "../meter.ts";
import { sftp } from "../clients.ts";
import { forAll } from "../storage.ts";
import type { Cell, Workload } from "./workload.ts";
import { checkStoredTree, outcome, untilTreeStored, withLatency } from "./workload.ts";

const FILES = 300;
/** Those that take one request after the other move fewer; their time is scaled. */
const RIVAL_FILES = 100;
const AT_ONCE = 64;
const LATENCY_MS = 20;
/** SSH_FXF_WRITE, CREAT and TRUNC. */
const PFLAGS = 2 | 8 | 16;

/** Joins W3. */
export const pipelinedFiles: Workload = (peer, { inputs }) => {
  if (!peer.proxy) return [];
  const run = async () => {
    const moved = peer.parts.kind === "peer" ? RIVAL_FILES : FILES;
    const tree = inputs.tree(moved);
    const folder = "w3-pipelined";
    await peer.storage.remove(folder);
    await peer.restart();
    await sftp(peer, [`mkdir ${peer.remote(folder)}`]);
    const client = await SshSftpClient.connect(peer.parts.login);
    try {
      const put = async (name: string): Promise<void> => {
        const handle = await client.open(peer.remote(`${folder}/${name}`), PFLAGS);
        await client.write(handle, 0, readFileSync(join(tree.path, name)));
        await client.close(handle);
      };
      const figures = await withLatency(peer, LATENCY_MS, () =>
        measure(peer, async () => {
          await forAll(tree.digests.keys(), put, AT_ONCE);
          await untilTreeStored(peer.storage, folder, tree);
        }),
      );
      await checkStoredTree(peer.storage, folder, tree);
      const factor = FILES / moved;
      const scaled = factor > 1 ? { cpuSeconds: figures.cpuSeconds * factor, note: `${moved} files, scaled` } : {};
      return outcome(figures, figures.seconds * factor, { files: moved, ...scaled });
    } finally {
      client.ssh.end();
    }
  };
  const title = `${FILES} × 10 KiB up, ${AT_ONCE} at once on one connection, ${LATENCY_MS} ms`;
  return [{ workload: "W3", title, unit: "s", run }] satisfies Cell[];
};
