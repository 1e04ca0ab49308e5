/** Other SSH clients than OpenSSH against the SSH layer alone; those that are not installed are skipped. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Client } from "ssh2";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Fixture, startServer } from "../unit/ssh/server-fixture.ts";

let fixture: Fixture;
beforeAll(async () => {
  fixture = await startServer({ limits: { rekey: { bytes: 3_000_000, ms: 3_600_000 } } });
});
afterAll(() => fixture.stop());

const installed = (command: string, ...args: string[]): boolean => spawnSync(command, args).error === undefined;
const hasParamiko = spawnSync("/usr/bin/python3", ["-c", "import paramiko"]).status === 0;

function run(
  command: string,
  args: readonly string[],
  input: Uint8Array = Buffer.alloc(0),
): Promise<{ status: number | null; stdout: Buffer; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { timeout: 50_000 });
    const out: Buffer[] = [];
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, stdout: Buffer.concat(out), stderr }));
    child.stdin.on("error", () => undefined); // the client may leave first
    child.stdin.end(input);
  });
}

const PARAMIKO = `
import sys, paramiko
for kind in (paramiko.Ed25519Key, paramiko.RSAKey, paramiko.ECDSAKey):
    name = {"Ed25519Key": "ed25519", "RSAKey": "rsa", "ECDSAKey": "ecdsa"}[kind.__name__]
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect("127.0.0.1", int(sys.argv[1]), "alice", key_filename=sys.argv[2] + "/" + name, allow_agent=False, look_for_keys=False)
    i, o, e = client.exec_command("both")
    assert (o.read(), e.read(), o.channel.recv_exit_status()) == (b"out\\n", b"err\\n", 7)
    i, o, e = client.exec_command("count")
    i.write(b"x" * 5000000)
    i.channel.shutdown_write()
    assert o.read() == b"5000000\\n"
    i, o, e = client.exec_command("source 5000000")
    assert len(o.read()) == 5000000
    client.close()
print("fine")
`;

it.skipIf(!hasParamiko)("paramiko: three key types, both directions, rekeys", async () => {
  const result = await run("/usr/bin/python3", ["-c", PARAMIKO, String(fixture.port), fixture.folder]);
  expect(result.stdout.toString()).toBe("fine\n");
});

it.skipIf(!installed("plink", "-V") || !installed("puttygen", "--version")).each(["ed25519", "rsa"])(
  "PuTTY's plink with %s",
  async (key) => {
    const file = join(fixture.folder, `${key}.ppk`);
    execFileSync("puttygen", [join(fixture.folder, key), "-O", "private", "-o", file]);
    const hostKey = fixture.server.hostKeys.find(({ type }) => type === "ssh-ed25519")?.fingerprint ?? "";
    const plink = (command: string, input?: Uint8Array) =>
      run("plink", ["-batch", "-ssh", "-hostkey", hostKey, "-P", String(fixture.port), "-i", file, "alice@127.0.0.1", command], input);
    expect((await plink("count", Buffer.alloc(3_000_000))).stdout.toString()).toBe("3000000\n");
    expect((await plink("source 8000000")).stdout.length).toBe(8_000_000);
    expect((await plink("both")).status).toBe(7);
  },
);

it.skipIf(!installed("dbclient", "-V") || !installed("dropbearconvert"))("dropbear signs with SHA-2", async () => {
  const file = join(fixture.folder, "dropbear_rsa");
  execFileSync("dropbearconvert", ["openssh", "dropbear", join(fixture.folder, "rsa"), file], { stdio: "ignore" });
  const result = await run(
    "dbclient",
    ["-y", "-y", "-p", String(fixture.port), "-i", file, "alice@127.0.0.1", "count"],
    Buffer.alloc(3_000_000),
  );
  expect(result.stdout.toString()).toBe("3000000\n");
  expect(fixture.log.some((line) => String(line.reason).includes("SHA-1"))).toBe(false);
});

it.skipIf(!installed("rclone", "version"))("rclone (Go) logs in with RSA", async () => {
  const remote = `:sftp,host=127.0.0.1,port=${fixture.port},user=alice,key_file=${join(fixture.folder, "rsa")}:`;
  const result = await run("rclone", ["--config", "", "--retries", "1", "--low-level-retries", "1", "lsf", remote]);
  expect(result.stderr).toContain("subsystem request failed"); // there is none here: the login is what counts
  const login = fixture.log.find((line) => line.msg === "login" && String(line.clientIdent).includes("rclone"));
  expect(login?.keyName).toBe("alice rsa");
});

it("ssh2's own client", async () => {
  const client = new Client();
  const output = await new Promise<string>((resolve, reject) => {
    client.on("error", reject);
    client.on("ready", () => {
      client.exec("source 1000000", (error, channel) => {
        if (error) return reject(error);
        let bytes = 0;
        channel.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
        });
        channel.on("close", (code: number) => resolve(`${bytes} bytes, exit ${code}`));
        return undefined;
      });
    });
    client.connect({ host: "127.0.0.1", port: fixture.port, username: "alice", privateKey: readFileSync(join(fixture.folder, "rsa")) });
  });
  client.end();
  expect(output).toBe("1000000 bytes, exit 0");
});

const hasSshAudit = installed("ssh-audit", "--help");

/** What ssh-audit warns of, or worse. */
async function auditFindings(port: number): Promise<string[]> {
  const result = await run("ssh-audit", ["--skip-rate-test", "-n", "-l", "warn", "-p", String(port), "127.0.0.1"]);
  expect(result.stderr).toBe("");
  return result.stdout
    .toString()
    .split("\n")
    .filter((line) => /\[(warn|fail)\]/.test(line));
}

it.skipIf(!hasSshAudit)("ssh-audit finds no fail, and warns of nothing but classical key exchanges", async () => {
  const findings = await auditFindings(fixture.port);
  // Offered beside ML-KEM as long as most clients have nothing newer.
  expect(findings.filter((line) => !/\(kex\) .*does not provide protection against post-quantum attacks/.test(line))).toEqual([]);
});

it.skipIf(!hasSshAudit)("ssh-audit finds nothing where only ML-KEM and Ed25519 are offered", async () => {
  const strict = await startServer({ algorithms: { kex: ["mlkem768x25519-sha256"], hostKeys: ["ssh-ed25519"] } });
  try {
    expect(await auditFindings(strict.port)).toEqual([]);
  } finally {
    await strict.stop();
  }
});
