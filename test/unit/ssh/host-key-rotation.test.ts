/** Rotation of host keys as OpenSSH clients see it: learn the coming key, then meet it. */
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { encodeMessage, Message } from "../../../src/ssh/messages.ts";
import { completeHostKeyRotation, loadHostKeys, prepareHostKeyRotation } from "../../../src/ssh/host-keys.ts";
import { RawClient } from "./raw-client.ts";
import { startServer } from "./server-fixture.ts";

it("is learned from the announcement and needs no question afterwards", async () => {
  const fixture = await startServer();
  const folder = join(fixture.folder, "host");
  try {
    await prepareHostKeyRotation(folder);
    await fixture.server.reloadHostKeys();
    const before = fixture.server.hostKeys;
    expect(before.filter((key) => !key.active).map((key) => key.type)).toEqual(["ssh-ed25519", "ssh-rsa"]);
    const known = join(fixture.folder, "known_hosts");
    const active = before.find((key) => key.active && key.type === "ssh-ed25519");
    writeFileSync(known, `[127.0.0.1]:${fixture.port} ${active?.publicKey}\n`);
    const ssh = (): Promise<number | null> =>
      new Promise((resolve) => {
        const args = fixture.sshArguments().map((arg) => arg.replace("/dev/null", known).replace("Checking=no", "Checking=yes"));
        spawn("ssh", [...args, "-o", "UpdateHostKeys=yes", "-o", "HashKnownHosts=no", "alice@127.0.0.1", "count"], {
          stdio: ["pipe", "ignore", "inherit"],
        })
          .on("close", resolve)
          .stdin?.end();
      });
    expect(await ssh()).toBe(0);
    const learned = readFileSync(known, "utf8");
    for (const key of before) expect(learned).toContain(key.publicKey);

    await completeHostKeyRotation(folder);
    await fixture.server.reloadHostKeys();
    const after = fixture.server.hostKeys;
    expect(after.filter((key) => key.active).map((key) => key.fingerprint)).toContain(
      before.find((key) => !key.active && key.type === "ssh-ed25519")?.fingerprint,
    );
    expect((await loadHostKeys(folder)).every((key) => key.active)).toBe(true);
    expect(await ssh()).toBe(0);
  } finally {
    await fixture.stop();
  }
});

it("proves our own keys only, and no more often than there are keys", async () => {
  const fixture = await startServer();
  try {
    const client = await RawClient.login(fixture.port, join(fixture.folder, "ed25519"));
    const ours = fixture.server.hostKeys.map((key) => key.blob);
    const request = (...blobs: Buffer[]): void =>
      client.send(encodeMessage(Message.GLOBAL_REQUEST, "hostkeys-prove-00@openssh.com", true, ...blobs));
    request(...ours);
    await client.next(Message.REQUEST_SUCCESS);
    request(Buffer.from("somebody else's"));
    await client.next(Message.REQUEST_FAILURE);
    request(...Array.from({ length: 100 }, () => ours[0] ?? Buffer.alloc(0)));
    await client.next(Message.REQUEST_FAILURE);
    client.socket.destroy();
  } finally {
    await fixture.stop();
  }
});

it("refuses a second step without the first", async () => {
  const fixture = await startServer();
  await expect(completeHostKeyRotation(join(fixture.folder, "host"))).rejects.toThrow(/prepare/);
  await fixture.stop();
});
