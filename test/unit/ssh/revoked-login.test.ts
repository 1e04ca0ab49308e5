/** Certificates and their limits, FIDO options and revocation, with the real ssh against the server. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseAuthorizedKeys } from "../../../src/auth/authorized-keys.ts";
import { addRevocations } from "../../../src/auth/krl.ts";
import { Revocations } from "../../../src/auth/revocations.ts";
import { run } from "../../support/processes.ts";
import { type Fixture, startServer } from "./server-fixture.ts";

let fixture: Fixture;
let revoked = new Revocations();
const at = (name: string): string => join(fixture.folder, name);

beforeAll(async () => {
  const users = { find: (name: string) => fixture.users.get(name), revocations: () => revoked };
  fixture = await startServer({ users });
  for (const name of ["ca", "key"]) execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", at(name)]);
  const authority = parseAuthorizedKeys(`cert-authority ${readFileSync(at("ca.pub"), "utf8")}`);
  fixture.users.set("carol", { name: "carol", keys: authority });
});
afterAll(() => fixture.stop());

/** Logs in as carol with a certificate made so; what the server logged as the reason if it was refused. */
async function login(...options: string[]): Promise<string> {
  execFileSync("ssh-keygen", ["-q", "-s", at("ca"), "-I", "laptop", "-n", "carol", ...options, at("key.pub")]);
  fixture.log.length = 0;
  const { code: status } = await run("ssh", [
    ...fixture.sshArguments("key"),
    "-o",
    `CertificateFile=${at("key-cert.pub")}`,
    "carol@127.0.0.1",
    "x",
  ]);
  if (status === 0) return "accepted";
  return String(fixture.log.find(({ msg, reason }) => msg === "login failed" && reason !== "no such key")?.reason);
}

function revoke(lines: string, ...options: string[]): void {
  writeFileSync(at("list"), lines);
  execFileSync("ssh-keygen", ["-q", "-k", "-f", at("krl"), ...options, at("list")]);
  revoked = new Revocations();
  addRevocations(revoked, readFileSync(at("krl")));
}

it("certificates log in, within their limits", async () => {
  expect(await login()).toBe("accepted");
  expect(await login("-O", "source-address=127.0.0.0/8")).toBe("accepted");
  expect(await login("-O", "source-address=192.0.2.0/24")).toBe("the certificate does not allow this address");
  expect(await login("-O", "force-command=internal-sftp")).toBe("accepted");
  expect(await login("-O", "force-command=/bin/sh")).toContain("critical option force-command");
  expect(await login("-O", "critical:x@example.org=1")).toContain("critical option x@example.org");
  expect(await login("-n", "dave")).toBe("the certificate is for other users");
  expect(await login("-V", "-2d:-1d")).toBe("the certificate is not valid now");
  expect(await login("-V", "+1d:+2d")).toBe("the certificate is not valid now");
});

it("a KRL ends it, by serial number, key id, key or authority", async () => {
  expect(await login("-z", "7")).toBe("accepted");
  revoke("serial: 7\n", "-s", at("ca.pub"));
  expect(await login("-z", "7")).toBe("the certificate's serial number is revoked");
  expect(await login("-z", "8")).toBe("accepted");
  revoke("id: laptop\n", "-s", at("ca.pub"));
  expect(await login("-z", "8")).toBe("the certificate's key id is revoked");
  revoke(readFileSync(at("key.pub"), "utf8"));
  expect(await login("-z", "8")).toBe("the key is revoked");
  revoke(readFileSync(at("ca.pub"), "utf8"));
  expect(await login("-z", "8")).toBe("the certificate's authority is revoked");
  revoked = new Revocations();
  expect(await login("-z", "8")).toBe("accepted");
});

it("plain keys too, told to nobody but the log; sessions of revoked keys can be ended", async () => {
  const alice = ["-v", ...fixture.sshArguments("ed25519"), "alice@127.0.0.1", "x"];
  expect((await run("ssh", alice)).code).toBe(0);
  revoke(readFileSync(at("ed25519.pub"), "utf8"));
  fixture.log.length = 0;
  const { code: status, stderr } = await run("ssh", alice);
  expect(status).not.toBe(0);
  expect(stderr).not.toContain("revoked");
  expect(fixture.log.find(({ msg }) => msg === "login failed")).toMatchObject({ reason: "the key is revoked" });

  revoked = new Revocations();
  const held = run("ssh", [...fixture.sshArguments("ed25519"), "alice@127.0.0.1", "hold"]);
  await fixture.logged(({ msg }) => msg === "login");
  revoke(readFileSync(at("ed25519.pub"), "utf8"));
  expect(fixture.server.registry.endRevoked((credential) => revoked.check(credential) !== undefined, "revoked")).toBe(1);
  expect((await held).code).not.toBe(0);
});
