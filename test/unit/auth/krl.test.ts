/** KRLs as the installed ssh-keygen makes them, and what is no KRL. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAuthorizedKeys } from "../../../src/auth/authorized-keys.ts";
import { addRevocations } from "../../../src/auth/krl.ts";
import { type Credential, Revocations } from "../../../src/auth/revocations.ts";
import { parseUserCertificate } from "../../../src/auth/user-certificate.ts";
import { Random } from "../../support/random.ts";

let folder: string;
const at = (name: string): string => join(folder, name);
const keygen = (...args: string[]): void => void execFileSync("ssh-keygen", ["-q", ...args], { cwd: folder });

/** A certificate of `ca` as it logs in. */
function certificate(ca: string, serial: number, keyId: string): Credential {
  keygen("-s", ca, "-I", keyId, "-n", "alice", "-z", String(serial), "alice.pub");
  const [type = "", base64 = ""] = readFileSync(at("alice-cert.pub"), "utf8").split(" ");
  const { keyBlob, authority, serial: number, keyId: id } = parseUserCertificate(Buffer.from(base64, "base64"), type);
  return { keyBlob, certificate: { authority, serial: number, keyId: id } };
}

const plain = (name: string): Credential => ({
  keyBlob: parseAuthorizedKeys(readFileSync(at(`${name}.pub`), "utf8"))[0]?.blob ?? Buffer.alloc(0),
  certificate: undefined,
});

/** What a KRL of these lines revokes. */
function krl(lines: string, ...options: string[]): Revocations {
  writeFileSync(at("list"), lines);
  keygen("-k", "-f", "krl", ...options, "list");
  const revocations = new Revocations();
  addRevocations(revocations, readFileSync(at("krl")));
  return revocations;
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "krl-"));
  for (const name of ["ca", "ca2", "alice", "bob"]) keygen("-t", "ed25519", "-N", "", "-C", name, "-f", name);
  keygen("-t", "rsa", "-b", "2048", "-N", "", "-C", "carol", "-f", "carol");
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("a KRL of ssh-keygen", () => {
  it("revokes whole keys, also in certificates and as authorities", () => {
    const revoked = krl(readFileSync(at("alice.pub"), "utf8"));
    expect(revoked.check(plain("alice"))).toBe("the key is revoked");
    expect(revoked.check(certificate("ca", 1, "a"))).toBe("the key is revoked");
    expect(revoked.check(plain("bob"))).toBeUndefined();
    const authority = krl(readFileSync(at("ca.pub"), "utf8"));
    expect(authority.check(certificate("ca", 1, "a"))).toBe("the certificate's authority is revoked");
    expect(authority.check(certificate("ca2", 1, "a"))).toBeUndefined();
    expect(authority.check(plain("alice"))).toBeUndefined();
  });

  it.each(["sha1", "sha256", "hash"])("revokes by %s", (kind) => {
    const print = execFileSync("ssh-keygen", ["-l", "-f", at("carol.pub")], { encoding: "utf8" }).split(" ")[1] ?? "";
    const line = kind === "hash" ? `hash: ${print}` : `${kind}: ${readFileSync(at("carol.pub"), "utf8")}`;
    const revoked = krl(`${line}\n`);
    expect(revoked.check(plain("carol"))).toBe("the key is revoked");
    expect(revoked.check(plain("bob"))).toBeUndefined();
  });

  it("revokes serial numbers one by one, in ranges and in bitmaps, of its authority only", () => {
    const random = new Random(7);
    const numbers = new Set(Array.from({ length: 300 }, () => 1 + random.below(2000)));
    const lines = [...numbers].map((serial) => `serial: ${serial}`).join("\n");
    const revoked = krl(`${lines}\nserial: 10000-20000\nserial: 18446744073709551614\n`, "-s", "ca.pub");
    const { keyBlob, certificate: own } = certificate("ca", 1, "a");
    const other = certificate("ca2", 1, "a").certificate;
    if (!own || !other) throw new Error("no certificate");
    const isRevoked = (serial: bigint, of = own): boolean => revoked.check({ keyBlob, certificate: { ...of, serial } }) !== undefined;
    for (let serial = 0; serial < 2500; serial++) expect(isRevoked(BigInt(serial)), `serial ${serial}`).toBe(numbers.has(serial));
    expect([9_999n, 10_000n, 15_000n, 20_000n, 20_001n, 2n ** 64n - 2n, 2n ** 64n - 1n].map((serial) => isRevoked(serial))).toEqual([
      ...[false, true, true, true, false, true, false],
    ]);
    for (const serial of numbers) expect(isRevoked(BigInt(serial), other)).toBe(false);
  });

  it("revokes key ids, of one authority or of all", () => {
    const own = krl("id: laptop of alice\n", "-s", "ca.pub");
    expect(own.check(certificate("ca", 0, "laptop of alice"))).toBe("the certificate's key id is revoked");
    expect(own.check(certificate("ca2", 0, "laptop of alice"))).toBeUndefined();
    expect(own.check(certificate("ca", 0, "laptop of bob"))).toBeUndefined();
    const all = krl("id: laptop of alice\n", "-s", "none");
    expect(all.check(certificate("ca2", 0, "laptop of alice"))).toBe("the certificate's key id is revoked");
  });

  it("may be signed, versioned, updated", () => {
    writeFileSync(at("list"), "serial: 5\n");
    keygen("-k", "-f", "krl2", "-z", "3", "-s", "ca.pub", "list");
    writeFileSync(at("list"), "serial: 6\n");
    keygen("-k", "-u", "-f", "krl2", "-s", "ca.pub", "list");
    const revoked = new Revocations();
    addRevocations(revoked, readFileSync(at("krl2")));
    expect([4, 5, 6, 7].map((serial) => revoked.check(certificate("ca", serial, "x")) !== undefined)).toEqual([false, true, true, false]);
  });
});

describe("what is no whole KRL", () => {
  it("a list of public keys revokes them; comments alone revoke nothing", () => {
    const revoked = new Revocations();
    addRevocations(revoked, Buffer.from(`# gone\n\n${readFileSync(at("bob.pub"), "utf8")}`));
    expect(revoked.check(plain("bob"))).toBe("the key is revoked");
    const none = new Revocations();
    addRevocations(none, Buffer.from("# nothing yet\n"));
    expect(none.isEmpty).toBe(true);
  });

  it("cut anywhere or changed: refused or read, never an exception of another kind", () => {
    krl(`serial: 1\nserial: 5-9\nid: x\nhash: SHA256:${"A".repeat(43)}\n${readFileSync(at("bob.pub"), "utf8")}`, "-s", "ca.pub");
    const whole = readFileSync(at("krl"));
    const random = new Random(1);
    let refused = 0;
    for (let run = 0; run < 4000; run++) {
      let bytes = Buffer.from(whole);
      if (run < whole.length) bytes = bytes.subarray(0, run);
      else for (let edits = random.below(4); edits >= 0; edits--) bytes[random.below(bytes.length)] = random.below(256);
      try {
        addRevocations(new Revocations(), bytes);
      } catch (error) {
        expect((error as Error).name).toBe("KeyFormatError");
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(whole.length / 2);
  });

  it("says what it does not understand", () => {
    const header = Buffer.concat([Buffer.from("SSHKRL\n\0", "latin1"), Buffer.from([0, 0, 0, 1]), Buffer.alloc(24 + 8)]);
    const read = (bytes: Buffer): void => addRevocations(new Revocations(), bytes);
    expect(() => read(header)).not.toThrow();
    expect(() => read(Buffer.concat([header, Buffer.from([9, 0, 0, 0, 0])]))).toThrow("section of type 9");
    const critical = Buffer.concat([Buffer.from([0, 0, 0, 1, 0x78, 1]), Buffer.from([0, 0, 0, 0])]);
    expect(() => read(Buffer.concat([header, Buffer.from([255, 0, 0, 0, critical.length]), critical]))).toThrow('needs the extension "x"');
    expect(() => read(Buffer.concat([header.subarray(0, 8), Buffer.from([0, 0, 0, 2])]))).toThrow("format 2");
  });
});
