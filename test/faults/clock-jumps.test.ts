/** The machine's clock jumps by hours while the gateway works (libfaketime; Debian package of that name). Monotonic clocks go on. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, onTestFinished } from "vitest";
import { REMOTE, STORED } from "../interop/on-stores.ts";
import { sample } from "../interop/samples.ts";
import { startGateway } from "../support/gateway.ts";
import { startS3Server } from "../support/s3-server/s3-server.ts";
import { SshSftpClient } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";

const LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
if (!existsSync(LIBRARY)) process.stdout.write("libfaketime is not installed, tests skipped: clock jumps\n");

const folder = mkdtempSync(join(tmpdir(), "clock-"));
const clock = join(folder, "clock");
const jump = (hours: number): void => writeFileSync(clock, `${hours >= 0 ? "+" : ""}${hours}h\n`);
const launcher = [
  "env",
  `LD_PRELOAD=${LIBRARY}`,
  `FAKETIME_TIMESTAMP_FILE=${clock}`,
  "FAKETIME_NO_CACHE=1",
  "FAKETIME_DONT_FAKE_MONOTONIC=1",
];
const LOGIN_MS = 3_000;

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(!existsSync(LIBRARY)).each(["local", "s3"] as const)("clock jumps by hours, on %s", (kind) => {
  it("end no session, lose no upload, lock nobody out", async () => {
    jump(0);
    const s3 = kind === "s3" ? await startS3Server({ buckets: ["museum"] }) : undefined;
    onTestFinished(() => s3?.close());
    const serverYaml = ["workers: 2", "limits: { idleTimeout: 1h, maxSessionTime: 20h }"];
    const gateway = await startGateway({ ...(s3 && { s3 }), launcher, serverYaml });
    onTestFinished(() => gateway.dispose());
    const { port, keyFile } = gateway;
    const stayed = await SshSftpClient.connect(gateway);
    const data = sample(9_000_000);
    let times = 0;
    for (const hours of [6, -12, 48, -48, 0]) {
      const path = `${REMOTE}/jump${times++}`;
      const handle = await stayed.open(path, 0x1a);
      await stayed.writeAll(handle, 0, data.subarray(0, 4_000_000));
      jump(hours);
      // Failed logins are counted by time too.
      await expect(SshSftpClient.connect({ port, keyFile, user: "nobody", localAddress: "127.0.0.9" })).rejects.toThrow();
      await stayed.writeAll(handle, 4_000_000, data.subarray(4_000_000));
      await stayed.close(handle);
      expect(gateway.store.sha256(`${STORED}/jump${times - 1}`)).toBe(sha256(data));
      expect(sha256(await stayed.getFile(path))).toBe(sha256(data));
      const began = performance.now();
      const fresh = await SshSftpClient.connect(gateway);
      expect(performance.now() - began).toBeLessThan(LOGIN_MS);
      expect((await fresh.stat(path)).size).toBe(data.length);
      await fresh.end();
      expect(stayed.isClosed).toBe(false);
    }
    await stayed.end();
    expect(gateway.log.filter(({ msg }) => /unexpected|unhandled|does not answer/i.test(String(msg)))).toEqual([]);
    expect(gateway.log.filter(({ msg }) => msg === "worker ended, another is started")).toEqual([]);
  });
});
