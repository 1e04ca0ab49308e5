/** An upload as a list of packets that a test can cut anywhere. */
import type { SshSftpClient } from "../support/ssh-sftp-client.ts";
import { FXF } from "../support/sftp-packets.ts";

/** One packet of an upload. */
export interface Step {
  readonly name: string;
  send(client: SshSftpClient): Promise<void>;
}

/** OPEN, a WRITE for each block, FSETSTAT, CLOSE: as scp and OpenSSH's sftp send them. */
export function uploadSteps(path: string, data: Buffer, block: number): Step[] {
  let handle: Buffer = Buffer.alloc(0);
  const open: Step = {
    name: "OPEN",
    send: async (client) => {
      handle = await client.open(path, FXF.WRITE | FXF.CREAT | FXF.TRUNC, { permissions: 0o100644 });
    },
  };
  const writes: Step[] = [];
  for (let at = 0; at < data.length; at += block) {
    writes.push({ name: `WRITE at ${at}`, send: (client) => client.write(handle, at, data.subarray(at, at + block)) });
  }
  const times: Step = { name: "FSETSTAT", send: (client) => client.fsetstat(handle, { atime: 1_500_000_000, mtime: 1_500_000_000 }) };
  const close: Step = { name: "CLOSE", send: (client) => client.close(handle) };
  return [open, ...writes, times, close];
}
