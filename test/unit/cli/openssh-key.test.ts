import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { parseAuthorizedKeys } from "../../../src/auth/authorized-keys.ts";
import { generateEd25519KeyPair } from "../../../src/cli/openssh-key.ts";

const folder = mkdtempSync(join(tmpdir(), "openssh-key-"));
afterAll(() => rmSync(folder, { recursive: true }));

it("writes a key pair that ssh-keygen reads and that fits together", () => {
  const { privateKey, publicKey } = generateEd25519KeyPair("demo@test");
  const file = join(folder, "key");
  writeFileSync(file, privateKey, { mode: 0o600 });
  expect(execFileSync("ssh-keygen", ["-y", "-f", file], { encoding: "utf8" }).trim()).toBe(publicKey);
  expect(parseAuthorizedKeys(publicKey)[0]).toMatchObject({ algorithm: "ssh-ed25519", comment: "demo@test" });
});
