/** Host keys: generated when missing, readable by OpenSSH, refused when loose, weak or doubled. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ConfigError } from "../../../src/errors.ts";
import { loadHostKeys } from "../../../src/ssh/host-keys.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "host-keys-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("generates keys that ssh-keygen reads, once", async () => {
  const keys = await loadHostKeys(join(folder, "new", "keys"));
  expect(keys.map((key) => key.type)).toEqual(["ssh-ed25519", "ssh-rsa"]);
  for (const key of keys) {
    expect(statSync(key.path).mode & 0o777).toBe(0o600);
    expect(execFileSync("ssh-keygen", ["-lf", key.path]).toString().split(" ")[1]).toBe(key.fingerprint);
    expect(execFileSync("ssh-keygen", ["-y", "-f", key.path]).toString()).toContain(key.publicKey);
  }
  const again = await loadHostKeys(join(folder, "new", "keys"));
  expect(again.map((key) => key.fingerprint)).toEqual(keys.map((key) => key.fingerprint));
  expect(readdirSync(join(folder, "new", "keys"))).toHaveLength(4);
});

it("takes ssh-keygen's keys of every type", async () => {
  for (const type of ["ed25519", "ecdsa", "rsa"])
    execFileSync("ssh-keygen", ["-q", "-t", type, "-N", "", "-f", join(folder, `ssh_host_${type}_key`)]);
  expect((await loadHostKeys(folder)).map((key) => key.type).sort()).toEqual(["ecdsa-sha2-nistp256", "ssh-ed25519", "ssh-rsa"]);
});

it("refuses keys that others can read, with the command to run", async () => {
  await loadHostKeys(folder);
  chmodSync(join(folder, "ssh_host_rsa_key"), 0o640);
  await expect(loadHostKeys(folder)).rejects.toThrow(/chmod 600 .*ssh_host_rsa_key/);
});

it("refuses encrypted, broken and doubled keys and a folder that is none", async () => {
  const path = join(folder, "ssh_host_ed25519_key");
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "secret phrase", "-f", path]);
  await expect(loadHostKeys(folder)).rejects.toThrow(/unencrypted/);
  rmSync(path);
  writeFileSync(path, "nonsense", { mode: 0o600 });
  await expect(loadHostKeys(folder)).rejects.toThrow(ConfigError);
  rmSync(path);
  for (const name of ["a", "b"]) execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, `ssh_host_${name}_key`)]);
  await expect(loadHostKeys(folder)).rejects.toThrow(/both ssh-ed25519/);
  writeFileSync(join(folder, "file"), "");
  await expect(loadHostKeys(join(folder, "file"))).rejects.toThrow(ConfigError);
  mkdirSync(join(folder, "locked"), { mode: 0o700 });
});
