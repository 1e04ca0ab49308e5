/** Real clients against the SSH layer alone: exec and subsystem handlers that echo. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAuthorizedKeys } from "../../../src/auth/authorized-keys.ts";
import { type Fixture, startServer } from "./server-fixture.ts";

let fixture: Fixture;
beforeAll(async () => {
  fixture = await startServer({ banner: "Welcome to the museum", limits: { rekey: { bytes: 20_000_000, ms: 3_600_000 } } });
});
afterAll(() => fixture.stop());

interface Result {
  readonly status: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

function run(command: string, args: readonly string[], input: Uint8Array = Buffer.alloc(0)): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { timeout: 50_000 });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString() }));
    child.stdin.on("error", () => undefined); // the client may leave before it has read everything
    child.stdin.end(input);
  });
}

const ssh = (args: readonly string[], input?: Uint8Array, key?: string): Promise<Result> =>
  run("ssh", [...fixture.sshArguments(key), ...args], input);

const withLogLevel = (level: string): string[] =>
  fixture.sshArguments().map((argument) => (argument === "LogLevel=ERROR" ? `LogLevel=${level}` : argument));

describe("OpenSSH", () => {
  it.each(["ed25519", "ecdsa", "rsa"])("logs in with %s and gets output, errors and exit status", async (key) => {
    const result = await ssh(["alice@127.0.0.1", "both"], undefined, key);
    expect(result).toMatchObject({ status: 7, stderr: "err\n" });
    expect(result.stdout.toString()).toBe("out\n");
  });

  it("signs with SHA-2 for RSA and logs the key", async () => {
    await ssh(["alice@127.0.0.1", "both"], undefined, "rsa");
    const login = await fixture.logged((line) => line.msg === "login" && line.keyName === "alice rsa");
    expect(login.key).toMatch(/^SHA256:/);
  });

  it("gets the exec line as bytes, valid UTF-8 or not", async () => {
    const result = await ssh(["alice@127.0.0.1", "say grüße ☃"]);
    expect(result.stdout.toString()).toBe("say grüße ☃");
  });

  it("uses AES-GCM when it could", async () => {
    await ssh(["alice@127.0.0.1", "both"]);
    expect(fixture.log.find((line) => line.msg === "keys exchanged")?.cipher).toBe("aes128-gcm@openssh.com");
  });

  it.each(["chacha20-poly1305@openssh.com", "aes128-ctr", "aes256-gcm@openssh.com"])(
    "echoes 20 MB unchanged over %s, with rekeys from both sides",
    async (cipher) => {
      const input = Buffer.alloc(20_000_000);
      for (let at = 0; at < input.length; at += 4) input.writeUInt32LE((at * 2654435761) >>> 0, at);
      const result = await ssh(["-c", cipher, "-o", "RekeyLimit=3M", "-s", "alice@127.0.0.1", "echo"], input);
      expect(result.status).toBe(0);
      expect(result.stdout.equals(input)).toBe(true);
    },
  );

  it("moves 200 MB each way", async () => {
    const down = await ssh(["alice@127.0.0.1", "source 200000000"]);
    expect(down.stdout.length).toBe(200_000_000);
    const up = await ssh(["-o", "RekeyLimit=50M", "alice@127.0.0.1", "count"], Buffer.alloc(200_000_000, 1));
    expect(up.stdout.toString()).toBe("200000000\n");
  });

  it("is refused a shell politely, with and without terminal", async () => {
    expect((await ssh(["alice@127.0.0.1"])).stdout.toString()).toBe("no shell, pty false\n");
    expect((await ssh(["-tt", "alice@127.0.0.1"])).stdout.toString()).toContain("pty true");
  });

  it("is refused unknown subsystems and forwarding", async () => {
    expect((await ssh(["-s", "alice@127.0.0.1", "netconf"])).status).not.toBe(0);
    const forward = await ssh(["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "alice@127.0.0.1", "both"]);
    expect(forward.status).toBe(255);
  });

  it("is refused with an unknown key, an unknown name and no key in the same words", async () => {
    const stranger = join(fixture.folder, "stranger");
    if (!existsSync(stranger)) spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", stranger]);
    const wrongKey = await ssh(["alice@127.0.0.1", "both"], undefined, "stranger");
    const wrongName = await ssh(["mallory@127.0.0.1", "both"]);
    expect(wrongKey.status).toBe(255);
    expect(wrongName.stderr.replace("mallory", "alice")).toBe(wrongKey.stderr);
    const failed = fixture.log.filter((line) => line.msg === "login failed").map((line) => line.reason);
    expect(failed).toContain("no such key");
    expect(failed).toContain("unknown user");
  });

  it("sees the banner", async () => {
    const result = await run("ssh", [...withLogLevel("INFO"), "alice@127.0.0.1", "both"]);
    expect(result.stderr).toContain("Welcome to the museum");
  });

  it("is announced rsa-sha2-512 and no SHA-1", async () => {
    const result = await run("ssh", [...withLogLevel("DEBUG"), "alice@127.0.0.1", "both"]);
    const algorithms = /server-sig-algs=<([^>]*)>/.exec(result.stderr)?.[1]?.split(",");
    expect(algorithms).toContain("rsa-sha2-512");
    expect(algorithms).not.toContain("ssh-rsa");
  });

  it("runs ten sessions over one connection", async () => {
    const control = join(fixture.folder, "control");
    const master = spawn("ssh", [...fixture.sshArguments(), "-M", "-S", control, "-N", "alice@127.0.0.1"]);
    while (!existsSync(control)) await new Promise((resolve) => setImmediate(resolve));
    const results = await Promise.all(
      Array.from({ length: 10 }, () => run("ssh", ["-S", control, "alice@127.0.0.1", "count"], Buffer.alloc(1_000_000))),
    );
    master.kill();
    expect(results.map((result) => result.stdout.toString())).toEqual(Array.from({ length: 10 }, () => "1000000\n"));
  });
});

describe("user certificates", () => {
  function certify(name: string, ...args: readonly string[]): void {
    const file = (part: string): string => join(fixture.folder, part);
    if (!existsSync(file("ca"))) spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file("ca")]);
    spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file(name)]);
    spawnSync("ssh-keygen", ["-q", "-s", file("ca"), "-I", `id-${name}`, ...args, file(`${name}.pub`)]);
    const authority = spawnSync("ssh-keygen", ["-y", "-f", file("ca")]).stdout.toString();
    fixture.users.set("carol", { name: "carol", keys: parseAuthorizedKeys(`cert-authority ${authority}`) });
  }

  it("lets a certificate in that names the user and is valid", async () => {
    certify("good", "-n", "carol,dave", "-V", "+1h");
    expect((await ssh(["carol@127.0.0.1", "both"], undefined, "good")).status).toBe(7);
  });

  it.each([
    ["expired", ["-n", "carol", "-V", "20200101:20200102"]],
    ["for others", ["-n", "dave"]],
    ["for another address", ["-n", "carol", "-O", "source-address=192.0.2.0/24"]],
    ["with a forced command", ["-n", "carol", "-O", "force-command=/bin/true"]],
    ["a host certificate", ["-n", "carol", "-h"]],
  ])("refuses one that is %s", async (what, args) => {
    const name = `cert-${what.replaceAll(" ", "-")}`;
    certify(name, ...args);
    expect((await ssh(["carol@127.0.0.1", "both"], undefined, name)).status).toBe(255);
  });
});
