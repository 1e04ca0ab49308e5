/** Key text in all the forms people have it, and the answers to mistakes. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "../../support/fast-check.ts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KeyFormatError, parseAuthorizedKeys } from "../../../src/auth/authorized-keys.ts";
import { addressAllowed } from "../../../src/auth/key-options.ts";
import { parsePublicKey } from "../../../src/auth/public-key.ts";

let folder: string;
const file = (name: string): string => join(folder, name);
const text = (name: string): string => readFileSync(file(name), "utf8");

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "keys-test-"));
  for (const [name, ...args] of [
    ["ed25519", "-t", "ed25519"],
    ["p256", "-t", "ecdsa", "-b", "256"],
    ["p384", "-t", "ecdsa", "-b", "384"],
    ["p521", "-t", "ecdsa", "-b", "521"],
    ["rsa", "-t", "rsa", "-b", "2048"],
    ["weak", "-t", "rsa", "-b", "1024"],
    ["pem", "-t", "rsa", "-b", "2048", "-m", "PEM"],
  ]) {
    execFileSync("ssh-keygen", ["-q", "-N", "", "-C", `${name} of alice`, "-f", file(name ?? ""), ...args]);
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("what is accepted", () => {
  it.each(["ed25519", "p256", "p384", "p521", "rsa"])("%s with the fingerprint ssh-keygen shows", (name) => {
    const [key] = parseAuthorizedKeys(text(`${name}.pub`));
    const shown = execFileSync("ssh-keygen", ["-lf", file(`${name}.pub`)])
      .toString()
      .split(" ")[1];
    expect(key).toMatchObject({ fingerprint: shown, comment: `${name} of alice` });
  });

  it("RFC 4716 blocks, with continued comments", () => {
    const block = execFileSync("ssh-keygen", ["-e", "-f", file("rsa.pub")]).toString();
    const continued = block.replace(/Comment: .*/, 'Comment: "a comment that goes\\\n on"\nX-Private: something');
    const plain = parseAuthorizedKeys(text("rsa.pub"))[0]?.fingerprint;
    expect(parseAuthorizedKeys(block)[0]?.fingerprint).toBe(plain);
    expect(parseAuthorizedKeys(continued)[0]).toMatchObject({ fingerprint: plain, comment: "a comment that goes on" });
  });

  it("several keys, comments, blank lines, CR LF and a byte order mark in one text", () => {
    const block = execFileSync("ssh-keygen", ["-e", "-f", file("rsa.pub")]).toString();
    const all = `\uFEFF# ours\n\n${text("ed25519.pub")}\n  ${text("p256.pub")}${block}\n# end`;
    expect(parseAuthorizedKeys(all.replaceAll("\n", "\r\n")).map((key) => key.algorithm)).toEqual([
      "ssh-ed25519",
      "ecdsa-sha2-nistp256",
      "ssh-rsa",
    ]);
  });

  it("a key without comment", () => {
    expect(parseAuthorizedKeys(text("ed25519.pub").split(" ").slice(0, 2).join(" "))[0]?.comment).toBe("");
  });

  it("options that hold by themselves", () => {
    const line = `restrict,no-pty,NO-X11-FORWARDING,no-agent-forwarding ${text("ed25519.pub")}`;
    expect(parseAuthorizedKeys(line)[0]?.options.from).toBeUndefined();
  });
});

describe("from=", () => {
  const allowed = (list: string, address: string): boolean =>
    addressAllowed(parseAuthorizedKeys(`from="${list}" ${text("ed25519.pub")}`)[0]?.options ?? { from: [] }, address);

  it.each([
    ["192.0.2.0/24", "192.0.2.77", true],
    ["192.0.2.0/24", "::ffff:192.0.2.77", true],
    ["192.0.2.0/24", "192.0.3.1", false],
    ["192.0.2.*", "192.0.2.9", true],
    ["192.0.2.?", "192.0.2.99", false],
    ["192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "192.0.2.11", false],
    ["2001:db8::/32", "2001:db8:1::5", true],
    ["2001:db8:0::1", "2001:db8::1", true],
    ["192.0.2.0/24,!192.0.2.13", "192.0.2.13", false],
    ["!192.0.2.13,192.0.2.0/24", "192.0.2.14", true],
    ["!192.0.2.13", "192.0.2.14", false],
    ["*", "198.51.100.1", true],
  ])("%s and %s: %s", (list, address, result) => {
    expect(allowed(list, address)).toBe(result);
  });

  it.each(["", "192.0.2.0/33", "192.0.2.0/x", "museum.example", "a,,b", "192.0.2.0/24/1"])("refuses %j", (list) => {
    expect(() => allowed(list, "192.0.2.1")).toThrow(KeyFormatError);
  });
});

describe("expiry-time=", () => {
  const expiry = (value: string): number | undefined =>
    parseAuthorizedKeys(`expiry-time="${value}" ${text("ed25519.pub")}`)[0]?.options.expiresAt;

  it("is local time, or UTC with Z", () => {
    expect(expiry("20271231")).toBe(new Date(2027, 11, 31).getTime());
    expect(expiry("202712311830")).toBe(new Date(2027, 11, 31, 18, 30).getTime());
    expect(expiry("20271231183059Z")).toBe(Date.UTC(2027, 11, 31, 18, 30, 59));
  });

  it.each(["2027", "20271301", "20270229", "202701011", "tomorrow", "202701012500"])("refuses %s", (value) => {
    expect(() => expiry(value)).toThrow(/YYYYMMDD/);
  });
});

describe("what is refused, and what to do instead", () => {
  const problem = (input: string): string => {
    try {
      parseAuthorizedKeys(input);
    } catch (error) {
      if (error instanceof KeyFormatError) return error.message;
      throw error;
    }
    return "accepted";
  };

  it("private keys of every kind", () => {
    for (const input of [
      text("ed25519"),
      text("pem"),
      "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none",
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\nx",
    ]) {
      expect(problem(input)).toMatch(/PRIVATE key.*\.pub/);
    }
  });

  it("broken base64: cut, wrapped, changed", () => {
    const key = text("rsa.pub");
    expect(problem(key.slice(0, 100))).toMatch(/cut/);
    expect(problem(`${key.slice(0, 100)}\n${key.slice(100)}`)).toMatch(/^line 1: .*wrapped/);
    expect(problem(key.replace("AAAA", "AA!A"))).toMatch(/base64/);
    expect(problem(key.replace("AAAAB3NzaC1yc2EAAAADAQABAAABAQ", "AAAAB3NzaC1yc2EAAAADAQABAAAB"))).not.toBe("accepted");
  });

  it.each([
    ["weak RSA", () => text("weak.pub"), /1024 bits.*2048/],
    [
      "DSA",
      () => `ssh-dss ${Buffer.concat([Buffer.from([0, 0, 0, 7]), Buffer.from("ssh-dss")]).toString("base64")}AAAA`,
      /DSA.*ed25519|base64/,
    ],
    ["a type that is not the key's", () => text("rsa.pub").replace("ssh-rsa", "ssh-ed25519"), /says ssh-ed25519 but the key is ssh-rsa/],
    ["no type", () => text("ed25519.pub").split(" ")[1] ?? "", /type/],
    ["nothing", () => "# only a comment\n", /no key/],
    ["PEM public keys", () => execFileSync("ssh-keygen", ["-e", "-m", "PKCS8", "-f", file("rsa.pub")]).toString(), /convert/],
    ["commands", () => `command="ls" ${text("ed25519.pub")}`, /option "command"/],
    ["environment", () => `restrict,environment="A=b" ${text("ed25519.pub")}`, /option "environment"/],
    ["an open quote", () => `from="192.0.2.1 ${text("ed25519.pub")}`, /quote|cannot read/],
    ["SSH 1 keys", () => "1024 35 12345678901234567890", /protocol 1/],
    ["a block without end", () => "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", /END SSH2/],
    ["prose", () => "please use the key I sent you", /ssh-ed25519 AAAA/],
  ])("%s", (_what, input, message) => {
    expect(problem(input())).toMatch(message);
  });

  it("names the line", () => {
    expect(problem(`${text("ed25519.pub")}\nssh-ed25519 AAAA`)).toMatch(/^line 3: /);
  });
});

describe("any input", () => {
  it("gives keys or a KeyFormatError", () => {
    const pieces = fc.constantFrom(
      'from="',
      '"',
      ",",
      "=",
      " ",
      "\n",
      "ssh-ed25519 ",
      "AAAAC3NzaC1lZDI1NTE5",
      "---- BEGIN SSH2 PUBLIC KEY ----\n",
      "\\",
      "restrict",
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(pieces, fc.string()), { maxLength: 12 }), (parts) => {
        try {
          parseAuthorizedKeys(parts.join(""));
        } catch (error) {
          expect(error).toBeInstanceOf(KeyFormatError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("as a blob gives a key or a KeyFormatError, also when one byte of a good one is changed", () => {
    const good = parseAuthorizedKeys(text("p256.pub"))[0]?.blob ?? Buffer.alloc(0);
    const blob = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.record({ at: fc.nat(good.length - 1), value: fc.nat(255) }).map(({ at, value }) => {
        const changed = Buffer.from(good);
        changed[at] = value;
        return changed;
      }),
    );
    fc.assert(
      fc.property(blob, (bytes) => {
        try {
          parsePublicKey(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(KeyFormatError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
