/** mlkem768x25519-sha256: the arithmetic against an independent client, and what happens with wrong keys. */
import { createHash, createPublicKey, diffieHellman, generateKeyPairSync } from "node:crypto";
import { ml_kem768 } from "@noble/post-quantum/ml-kem.js";
import { describe, expect, it } from "vitest";
import { handleWithHybrid, MLKEM768_X25519 } from "../../../src/ssh/hybrid-kex.ts";
import { encodeMessage, Message } from "../../../src/ssh/messages.ts";
import type { Ssh2KeyExchange, Ssh2Protocol } from "../../../src/ssh/ssh2-adapter.ts";

function kexInit(kex: string): Buffer {
  const body = encodeMessage(Message.KEXINIT, kex, "ssh-ed25519", "c", "c", "m", "m", "none", "none", "", "", false, 0);
  return Buffer.concat([body.subarray(0, 1), Buffer.alloc(16), body.subarray(1)]);
}

/** Runs the hook over a stand-in for ssh2; returns the exchange it prepared and the payload ssh2 was shown. */
function negotiate(theirs: string) {
  const payload = kexInit(theirs);
  const exchange = {
    sessionID: undefined,
    negotiated: { kex: "curve25519-sha256", serverHostKey: "ssh-ed25519", cs: { cipher: "", mac: "" }, sc: { cipher: "", mac: "" } },
    remoteExtInfoEnabled: false,
    _remoteKexinit: undefined as Buffer | undefined,
    hashName: "",
    type: "25519",
    generateKeys: () => undefined,
    convertPublicKey: (key: Buffer) => key,
    getPublicKey: (): Buffer | undefined => undefined,
    computeSecret: (): Buffer => Buffer.alloc(0),
  };
  const protocol = {
    _offer: { lists: { kex: { array: [MLKEM768_X25519, "curve25519-sha256"] }, serverHostKey: { array: ["ssh-ed25519"] } } },
    _kex: exchange,
  };
  let shown = Buffer.alloc(0);
  // the stand-ins have what the hook touches; ssh2's real objects run in the tests with real clients
  handleWithHybrid(protocol as unknown as Ssh2Protocol, payload, theirs.split(","), (other) => {
    shown = other as Buffer<ArrayBuffer>;
    exchange._remoteKexinit = other;
    return undefined;
  });
  return { payload, shown, exchange: exchange as Ssh2KeyExchange };
}

const list = (payload: Buffer): string => payload.subarray(21, 21 + payload.readUInt32BE(17)).toString();

describe("negotiation", () => {
  it("shows ssh2 the stand-in and hashes what was sent", () => {
    const { payload, shown, exchange } = negotiate(`${MLKEM768_X25519},curve25519-sha256,ext-info-c,kex-strict-c-v00@openssh.com`);
    expect(list(shown)).toBe("curve25519-sha256,ext-info-c,kex-strict-c-v00@openssh.com");
    expect(shown.subarray(-40)).toEqual(payload.subarray(-40));
    expect(exchange._remoteKexinit).toBe(payload);
    expect(exchange.negotiated.kex).toBe(MLKEM768_X25519);
  });

  it("leaves alone what the client prefers otherwise", () => {
    const { payload, shown, exchange } = negotiate(`curve25519-sha256,${MLKEM768_X25519}`);
    expect(shown).toBe(payload);
    expect(exchange.negotiated.kex).toBe("curve25519-sha256");
  });
});

describe("the secret", () => {
  it("is the one the client computes", () => {
    const { exchange } = negotiate(MLKEM768_X25519);
    const lattice = ml_kem768.keygen();
    const classical = generateKeyPairSync("x25519");
    const raw = classical.publicKey.export({ type: "spki", format: "der" }).subarray(-32);
    const secret = exchange.computeSecret(Buffer.concat([lattice.publicKey, raw]));
    const reply = exchange.getPublicKey() ?? Buffer.alloc(0);
    expect(reply).toHaveLength(1088 + 32);
    const spki = Buffer.concat([Buffer.from("302a300506032b656e032100", "hex"), reply.subarray(1088)]);
    const server = createPublicKey({ key: spki, type: "spki", format: "der" });
    const expected = createHash("sha256")
      .update(ml_kem768.decapsulate(Uint8Array.from(reply.subarray(0, 1088)), lattice.secretKey))
      .update(diffieHellman({ privateKey: classical.privateKey, publicKey: server }))
      .digest();
    expect(secret).toEqual(expected);
  });

  it.each([
    ["too short", Buffer.alloc(1215)],
    ["too long", Buffer.alloc(1217)],
    ["not canonical", Buffer.alloc(1216, 0xff)],
    ["a zero point", Buffer.concat([ml_kem768.keygen().publicKey, Buffer.alloc(32)])],
  ])("is refused for keys that are %s", (_what, init) => {
    expect(negotiate(MLKEM768_X25519).exchange.computeSecret(init)).toBeInstanceOf(Error);
  });
});
