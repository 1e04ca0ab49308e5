import { describe, expect, it } from "vitest";
import { REMOTE, STORED } from "../interop/on-stores.ts";
import { sample } from "../interop/samples.ts";
import { BUCKET, PREFIX } from "../support/gateway.ts";
import { gatewayOnS3 } from "../support/gateway-on-s3.ts";
import type { FaultAction } from "../support/s3-server/faults.ts";
import type { Operation, S3Request } from "../support/s3-server/s3-request.ts";
import { SftpStatusError, SshSftpClient } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";

/** A client, and whoever looks at its screen, gives up after about this long. */
const PATIENCE_MS = 60_000;
const small = sample(70_000);
const large = sample(18 * 1024 * 1024);

interface Case {
  readonly operation: Operation;
  readonly action: FaultAction;
  /** It hangs once and then works, or for ever. */
  readonly once: boolean;
  act(client: SshSftpClient, path: string): Promise<unknown>;
}

const hang: FaultAction = { kind: "hang" };
const stall: FaultAction = { kind: "stall", afterBytes: 1_000_000 };
const put = (data: Buffer) => (client: SshSftpClient, path: string) => client.putFile(`${path}/new`, data, 255 * 1024);
const get = async (client: SshSftpClient, path: string) =>
  expect(sha256(await client.getFile(`${path}/seed`, 255 * 1024))).toBe(sha256(large));
const list = (client: SshSftpClient, path: string) => client.list(path);
const stat = (client: SshSftpClient, path: string) => client.stat(`${path}/seed`);
const rename = async (client: SshSftpClient, path: string) => {
  await client.rename(`${path}/seed`, `${path}/other`);
  await client.rename(`${path}/other`, `${path}/seed`);
};

const cases: readonly Case[] = [
  { operation: "PutObject", action: hang, once: true, act: put(small) },
  { operation: "PutObject", action: hang, once: false, act: put(small) },
  { operation: "CreateMultipartUpload", action: hang, once: false, act: put(large) },
  { operation: "UploadPart", action: hang, once: true, act: put(large) },
  { operation: "UploadPart", action: stall, once: true, act: put(large) },
  { operation: "UploadPart", action: hang, once: false, act: put(large) },
  { operation: "GetObject", action: hang, once: true, act: get },
  { operation: "GetObject", action: stall, once: true, act: get },
  { operation: "GetObject", action: hang, once: false, act: get },
  { operation: "CompleteMultipartUpload", action: hang, once: true, act: put(large) },
  { operation: "CopyObject", action: hang, once: true, act: rename },
  { operation: "ListObjectsV2", action: hang, once: true, act: list },
  { operation: "ListObjectsV2", action: hang, once: false, act: list },
  { operation: "HeadObject", action: hang, once: false, act: stat },
];

describe("a store that hangs", () => {
  const at = gatewayOnS3();

  const concerns = (request: S3Request, name: string) => request.key.includes(name) || (request.query.get("prefix") ?? "").includes(name);

  // All at once: what hangs for one user must not hold up another.
  cases.forEach(({ operation, action, once, act }, index) => {
    const what = `${operation} ${action.kind}s ${once ? "once: it works" : "for ever: the client is told"}`;
    it.concurrent(`${what} within ${PATIENCE_MS / 1000} s`, { timeout: PATIENCE_MS + 30_000 }, async () => {
      const { gateway, s3 } = at();
      const name = `hang-${index}`;
      s3.contents.put(BUCKET, `${PREFIX}${STORED}/${name}/seed`, large);
      const times = once ? 1 : Number.POSITIVE_INFINITY;
      const fault = s3.fault({ operation, action, times, when: (request) => concerns(request, `${name}/`) });
      const client = await SshSftpClient.connect(gateway);
      const started = Date.now();
      const outcome = await act(client, `${REMOTE}/${name}`).then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(Date.now() - started).toBeLessThan(PATIENCE_MS);
      expect(fault.hits).toBeGreaterThan(0);
      if (once) expect(outcome).toBeUndefined();
      else expect(outcome).toBeInstanceOf(SftpStatusError);
      fault.remove();
      await act(client, `${REMOTE}/${name}`);
      await client.end();
    });
  });
});
