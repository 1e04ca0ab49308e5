/** Decisions on public-key logins: every key type, options, FIDO signatures, certificates, and never an exception. */
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import fc from "../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { Authenticator, type AuthUser } from "../../../src/auth/authenticator.ts";
import { type AuthorizedKey, parseAuthorizedKeys } from "../../../src/auth/authorized-keys.ts";
import { wireString } from "../../../src/auth/wire-reader.ts";

const DATA = Buffer.from("what the client signed");
const NOW = Date.UTC(2026, 10, 23);
const ADDRESS = "192.0.2.7";

interface TestKey {
  readonly type: string;
  readonly blob: Buffer;
  readonly sign: (data: Buffer, algorithm: string) => Buffer;
}

function mpint(bytes: Buffer): Buffer {
  let start = 0;
  while (bytes[start] === 0) start++;
  const rest = bytes.subarray(start);
  return wireString(((rest[0] ?? 0) & 0x80) !== 0 ? Buffer.concat([Buffer.alloc(1), rest]) : rest);
}

const raw = (key: KeyObject, field: "x" | "y" | "n" | "e"): Buffer =>
  Buffer.from(createPublicKey(key).export({ format: "jwk" })[field] ?? "", "base64url");

function ed25519(type = "ssh-ed25519", application?: string): TestKey & { privateKey: KeyObject } {
  const { privateKey } = generateKeyPairSync("ed25519");
  const blob = Buffer.concat([
    wireString(type),
    wireString(raw(privateKey, "x")),
    ...(application === undefined ? [] : [wireString(application)]),
  ]);
  return {
    type,
    blob,
    privateKey,
    sign: (data, algorithm) => Buffer.concat([wireString(algorithm), wireString(sign(null, data, privateKey))]),
  };
}

function ecdsa(bits: 256 | 384 | 521): TestKey {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: `P-${bits}` });
  const type = `ecdsa-sha2-nistp${bits}`;
  const point = Buffer.concat([Buffer.of(4), raw(privateKey, "x"), raw(privateKey, "y")]);
  const hash = bits === 256 ? "sha256" : bits === 384 ? "sha384" : "sha512";
  return {
    type,
    blob: Buffer.concat([wireString(type), wireString(`nistp${bits}`), wireString(point)]),
    sign: (data, algorithm) => {
      const both = sign(hash, data, { key: privateKey, dsaEncoding: "ieee-p1363" });
      const half = both.length / 2;
      return Buffer.concat([wireString(algorithm), wireString(Buffer.concat([mpint(both.subarray(0, half)), mpint(both.subarray(half))]))]);
    },
  };
}

function rsa(): TestKey {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const hashes: Record<string, string> = { "rsa-sha2-256": "sha256", "rsa-sha2-512": "sha512", "ssh-rsa": "sha1" };
  return {
    type: "ssh-rsa",
    blob: Buffer.concat([wireString("ssh-rsa"), mpint(raw(privateKey, "e")), mpint(raw(privateKey, "n"))]),
    sign: (data, algorithm) => Buffer.concat([wireString(algorithm), wireString(sign(hashes[algorithm] ?? "sha256", data, privateKey))]),
  };
}

const line = (key: TestKey, options = ""): AuthorizedKey[] =>
  parseAuthorizedKeys(`${options}${key.type} ${key.blob.toString("base64")} test`);

function authenticator(users: readonly AuthUser[]): Authenticator {
  return new Authenticator({ find: (name) => users.find((user) => user.name === name) }, () => NOW);
}

function attempt(
  keys: readonly AuthorizedKey[],
  key: TestKey,
  more: { algorithm?: string; signature?: Buffer; address?: string; user?: string; sha1?: boolean } = {},
) {
  const algorithm = more.algorithm ?? (key.type === "ssh-rsa" ? "rsa-sha2-512" : key.type);
  const signature = more.signature ?? key.sign(DATA, algorithm);
  return authenticator([{ name: "alice", keys, allowSha1Signatures: more.sha1 ?? false }]).attempt({
    user: more.user ?? "alice",
    algorithm,
    blob: key.blob,
    address: more.address ?? ADDRESS,
    signature: { bytes: signature, data: DATA },
  });
}

describe("plain keys", () => {
  const all: [string, TestKey][] = [
    ["ed25519", ed25519()],
    ["ecdsa 256", ecdsa(256)],
    ["ecdsa 384", ecdsa(384)],
    ["ecdsa 521", ecdsa(521)],
    ["rsa", rsa()],
  ];

  it.each(all)("%s: the right signature, no other", (_name, key) => {
    expect(attempt(line(key), key)).toMatchObject({ outcome: "accepted", keyName: "test", sha1: false });
    const wrong = key.sign(Buffer.from("something else"), key.type === "ssh-rsa" ? "rsa-sha2-512" : key.type);
    expect(attempt(line(key), key, { signature: wrong })).toMatchObject({ outcome: "refused", reason: "wrong signature" });
    expect(attempt(line(ed25519()), key)).toMatchObject({ outcome: "refused", reason: "no such key" });
    expect(attempt(line(key), key, { user: "bob" })).toMatchObject({ outcome: "refused", reason: "unknown user" });
  });

  it("many ECDSA signatures, whatever their leading zeros", () => {
    const key = ecdsa(521);
    const keys = line(key);
    for (let at = 0; at < 50; at++) expect(attempt(keys, key).outcome).toBe("accepted");
  });

  it("RSA signatures whose leading zeros are cut", () => {
    const key = rsa();
    for (let at = 0; at < 2000; at++) {
      const data = Buffer.from(`try ${at}`);
      const signature = key.sign(data, "rsa-sha2-256");
      const start = 4 + 12 + 4;
      if (signature[start] !== 0) continue;
      const cut = Buffer.concat([wireString("rsa-sha2-256"), wireString(signature.subarray(start + 1))]);
      const decision = authenticator([{ name: "alice", keys: line(key) }]).attempt({
        user: "alice",
        algorithm: "rsa-sha2-256",
        blob: key.blob,
        address: ADDRESS,
        signature: { bytes: cut, data },
      });
      expect(decision.outcome).toBe("accepted");
      return;
    }
    throw new Error("no signature with a leading zero in 2,000");
  });

  it("SHA-1 only where it is allowed", () => {
    const key = rsa();
    expect(attempt(line(key), key, { algorithm: "ssh-rsa" })).toMatchObject({ outcome: "refused" });
    expect(attempt(line(key), key, { algorithm: "ssh-rsa", sha1: true })).toMatchObject({ outcome: "accepted", sha1: true });
  });

  it("no signature algorithm but the one asked for", () => {
    const key = rsa();
    expect(attempt(line(key), key, { algorithm: "rsa-sha2-512", signature: key.sign(DATA, "rsa-sha2-256") }).outcome).toBe("refused");
    expect(attempt(line(key), key, { algorithm: "ssh-ed25519" }).outcome).toBe("refused");
  });

  it("probes: usable or refused, alike for unknown users", () => {
    const key = ed25519();
    const server = authenticator([{ name: "alice", keys: line(key) }]);
    const probe = { algorithm: key.type, blob: key.blob, address: ADDRESS, signature: undefined };
    expect(server.attempt({ ...probe, user: "alice" })).toEqual({ outcome: "usable" });
    expect(server.attempt({ ...probe, user: "nobody" }).outcome).toBe("refused");
    expect(server.attempt({ ...probe, user: "alice", blob: ed25519().blob }).outcome).toBe("refused");
  });
});

describe("key options", () => {
  const key = ed25519();
  it.each([
    ['from="192.0.2.0/24" ', ADDRESS, "accepted"],
    ['from="198.51.100.0/24" ', ADDRESS, "refused"],
    ['expiry-time="20261122Z" ', ADDRESS, "refused"],
    ['expiry-time="20261124Z" ', ADDRESS, "accepted"],
    ["cert-authority ", ADDRESS, "refused"],
  ])("%s", (options, address, outcome) => {
    expect(attempt(line(key, options), key, { address }).outcome).toBe(outcome);
  });

  it("takes the second line of one key when the first does not allow", () => {
    const keys = [...line(key, 'from="198.51.100.1" '), ...line(key, 'from="192.0.2.7" ')];
    expect(attempt(keys, key).outcome).toBe("accepted");
  });
});

describe("FIDO keys", () => {
  const key = ed25519("sk-ssh-ed25519@openssh.com", "ssh:");
  function token(flags: number): Buffer {
    const counter = Buffer.from([flags, 0, 0, 0, 9]);
    const sha = (bytes: Buffer): Buffer => createHash("sha256").update(bytes).digest();
    const signature = sign(null, Buffer.concat([sha(Buffer.from("ssh:")), counter, sha(DATA)]), key.privateKey);
    return Buffer.concat([wireString(key.type), wireString(signature), counter]);
  }

  it.each([
    ["", 1, "accepted"],
    ["", 0, "refused"],
    ["no-touch-required ", 0, "accepted"],
    ["verify-required ", 1, "refused"],
    ["verify-required ", 5, "accepted"],
  ])("options %j with flags %i: %s", (options, flags, outcome) => {
    expect(attempt(line(key, options), key, { signature: token(flags) }).outcome).toBe(outcome);
  });

  it("without the token's part", () => {
    expect(attempt(line(key), key, { signature: key.sign(DATA, key.type) }).outcome).toBe("refused");
  });
});

describe("certificates", () => {
  const authority = ed25519();
  const subject = ed25519();
  const TYPE = "ssh-ed25519-cert-v01@openssh.com";

  interface Fields {
    readonly kind?: number;
    readonly principals?: readonly string[];
    readonly before?: bigint;
    readonly critical?: readonly (readonly [string, string])[];
    readonly signer?: TestKey;
  }
  function certificate(fields: Fields = {}): TestKey {
    const number = Buffer.alloc(12);
    number.writeUInt32BE(fields.kind ?? 1, 8);
    const time = Buffer.alloc(16);
    time.writeBigUInt64BE(fields.before ?? 0xffff_ffff_ffff_ffffn, 8);
    const critical = Buffer.concat(
      (fields.critical ?? []).flatMap(([name, value]) => [wireString(name), wireString(value === "" ? "" : wireString(value))]),
    );
    const body = Buffer.concat([
      ...[wireString(TYPE), wireString("nonce"), wireString(raw(subject.privateKey, "x")), number, wireString("key id")],
      ...[wireString(Buffer.concat((fields.principals ?? ["alice"]).map((name) => wireString(name)))), time],
      ...[wireString(critical), wireString(""), wireString(""), wireString(authority.blob)],
    ]);
    const signature = (fields.signer ?? authority).sign(body, "ssh-ed25519");
    return { type: TYPE, blob: Buffer.concat([body, wireString(signature)]), sign: (data) => subject.sign(data, "ssh-ed25519") };
  }
  const trusted = (options = ""): AuthorizedKey[] => line(authority, `cert-authority${options} `);

  it.each<[string, Fields, string]>([
    ["good", {}, "accepted"],
    ["with a permitted address", { critical: [["source-address", "192.0.2.0/24"]] }, "accepted"],
    ["with internal-sftp forced", { critical: [["force-command", "internal-sftp"]] }, "accepted"],
    ["for nobody", { principals: [] }, "refused"],
    ["for others", { principals: ["bob"] }, "refused"],
    ["expired", { before: 1n }, "refused"],
    ["of a host", { kind: 2 }, "refused"],
    ["signed by a stranger", { signer: ed25519() }, "refused"],
    ["with another address", { critical: [["source-address", "198.51.100.1"]] }, "refused"],
    ["with an unknown critical option", { critical: [["moon-phase", "full"]] }, "refused"],
    ["with a command", { critical: [["force-command", "rm -rf /"]] }, "refused"],
  ])("%s: %#", (_what, fields, outcome) => {
    expect(attempt(trusted(), certificate(fields)).outcome).toBe(outcome);
  });

  it("with principals= instead of the user's name", () => {
    expect(attempt(trusted(',principals="museum"'), certificate({ principals: ["museum"] })).outcome).toBe("accepted");
    expect(attempt(trusted(',principals="museum"'), certificate()).outcome).toBe("refused");
  });

  it("reports the authority's fingerprint, so that removing it ends sessions", () => {
    expect(attempt(trusted(), certificate())).toMatchObject({ fingerprint: trusted()[0]?.fingerprint, keyName: "certificate key id" });
  });

  it("changed in any byte: never accepted, never an exception", () => {
    const good = certificate();
    fc.assert(
      fc.property(fc.nat(good.blob.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const blob = Buffer.from(good.blob);
        blob[at] = (blob[at] ?? 0) ^ change;
        expect(attempt(trusted(), { ...good, blob }).outcome).toBe("refused");
      }),
      { numRuns: 500 },
    );
  });
});

it("never throws, whatever comes", () => {
  const key = ed25519();
  const server = authenticator([{ name: "alice", keys: line(key) }]);
  const algorithm = fc.constantFrom(
    "ssh-ed25519",
    "ssh-rsa",
    "rsa-sha2-512",
    "ssh-ed25519-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "x",
  );
  const bytes = fc.uint8Array({ maxLength: 100 });
  fc.assert(
    fc.property(algorithm, fc.oneof(bytes, fc.constant(key.blob)), bytes, (name, blob, signature) => {
      const decision = server.attempt({
        user: "alice",
        algorithm: name,
        blob,
        address: ADDRESS,
        signature: { bytes: signature, data: DATA },
      });
      expect(decision.outcome).toBe("refused");
    }),
    { numRuns: 1000 },
  );
});
