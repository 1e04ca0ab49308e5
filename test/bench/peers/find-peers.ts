/** Which peers this machine can run. What is missing is named and left out. */
import { findTool } from "../../support/require-tool.ts";
import type { S3Backend } from "../s3-backend.ts";
import { gatewayOnDisk, gatewayOnS3 } from "./gateway-peer.ts";
import type { Peer } from "./peer.ts";
import { rcloneOnS3 } from "./rclone-peer.ts";
import { sftpgoOnS3 } from "./sftpgo-peer.ts";
import { sshdOnDisk, sshdOnS3fs } from "./sshd-peer.ts";

/** The names `--peers` takes, in the order of the report. */
export const PEER_NAMES = ["gateway", "gateway-disk", "sshd", "sshd-s3fs", "sftpgo", "rclone", "rclone-writes"] as const;

/** Without `rclone-writes`, which says "done" before the store has the data and so is no rival. */
export const DEFAULT_PEERS = PEER_NAMES.filter((name) => name !== "rclone-writes");

/** The programs peers are made of; those that are not here are undefined. */
export interface Programs {
  readonly sshd: string | undefined;
  readonly s3fs: string | undefined;
  readonly rclone: string | undefined;
  readonly sftpgo: string | undefined;
}

/** Looks at `$RCLONE_BIN`, `$SFTPGO_BIN`, `$S3FS_BIN`, `$SSHD_BIN` and the PATH. */
export function findPrograms(): Programs {
  const find = (name: string): string | undefined => process.env[`${name.toUpperCase()}_BIN`] ?? findTool(name);
  return { sshd: find("sshd"), s3fs: find("s3fs"), rclone: find("rclone"), sftpgo: find("sftpgo") };
}

/** Builds (does not start) the peer of a name; undefined, after saying why, if it cannot run here. */
export async function makePeer(name: string, dir: string, backend: S3Backend, programs: Programs): Promise<Peer | undefined> {
  const { sshd, s3fs, rclone, sftpgo } = programs;
  switch (name) {
    case "gateway":
      return gatewayOnS3(dir, backend);
    case "gateway-disk":
      return gatewayOnDisk(dir);
    case "sshd":
      return sshd ? sshdOnDisk(dir, sshd) : skipped(name, "sshd");
    case "sshd-s3fs":
      return sshd && s3fs ? sshdOnS3fs(dir, backend, sshd, s3fs) : skipped(name, "sshd and s3fs");
    case "sftpgo":
      return sftpgo ? sftpgoOnS3(dir, backend, sftpgo) : skipped(name, "SFTPGO_BIN");
    case "rclone":
    case "rclone-writes":
      return rclone ? rcloneOnS3(dir, backend, rclone, name === "rclone" ? "off" : "writes") : skipped(name, "rclone or RCLONE_BIN");
    default:
      throw new Error(`no such peer: ${name}; there are ${PEER_NAMES.join(", ")}`);
  }
}

function skipped(name: string, needs: string): undefined {
  process.stderr.write(`${name} is left out: it needs ${needs}\n`);
}
