/** What is offered to whom. */
import { describe, expect, it } from "vitest";
import { configSchema } from "../../../src/config/schema.ts";
import { fitLists, kexInitPatienceMs, KNOWN_ALGORITHMS, presetLists, readKexInit, weakAlgorithms } from "../../../src/ssh/algorithms.ts";
import { encodeMessage, Message } from "../../../src/ssh/messages.ts";

const HOST_KEYS = new Set(["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"]);
const MODERN = presetLists("modern", HOST_KEYS);

function kexInit(lists: { kex?: string; hostKey?: string; cipher?: string; mac?: string }): Buffer {
  const { kex = "curve25519-sha256", hostKey = "ssh-ed25519", cipher = "aes128-ctr", mac = "hmac-sha2-256-etm@openssh.com" } = lists;
  const body = encodeMessage(Message.KEXINIT, kex, hostKey, cipher, cipher, mac, mac, "none", "none", "", "", false, 0);
  return Buffer.concat([body.subarray(0, 1), Buffer.alloc(16), body.subarray(1)]);
}

describe("the modern preset", () => {
  it("has nothing weak, nothing compressed and nothing that ssh2 cannot do as a server", () => {
    expect(weakAlgorithms([...MODERN.kex, ...MODERN.mac, ...MODERN.cipher, ...MODERN.serverHostKey])).toEqual([]);
    expect(MODERN.kex.some((name) => name.includes("group-exchange"))).toBe(false);
    expect(MODERN.serverHostKey).toEqual(["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"]);
  });

  it("is widened in the compatible one", () => {
    const lists = presetLists("compatible", HOST_KEYS);
    expect(weakAlgorithms([...lists.kex, ...lists.mac, ...lists.serverHostKey])).toContain("ssh-rsa");
  });
});

describe("lists of one's own", () => {
  it("replace those of the modern preset, one by one", () => {
    const lists = presetLists({ ciphers: ["aes256-ctr"], hostKeys: ["ssh-rsa", "ecdsa-sha2-nistp256"] }, HOST_KEYS);
    expect(lists).toEqual({ ...MODERN, cipher: ["aes256-ctr"], serverHostKey: ["ssh-rsa"] });
  });

  it("can name everything there is, in the configuration too", () => {
    const kex = configSchema.parse({ server: { algorithms: { kex: KNOWN_ALGORITHMS.kex, hostKeys: KNOWN_ALGORITHMS.serverHostKey } } });
    expect(kex.server.algorithms).toMatchObject({ kex: KNOWN_ALGORITHMS.kex });
    const rest = configSchema.parse({ server: { algorithms: { ciphers: KNOWN_ALGORITHMS.cipher, macs: KNOWN_ALGORITHMS.mac } } });
    expect(rest.server.algorithms).toMatchObject({ macs: KNOWN_ALGORITHMS.mac });
    expect(() => configSchema.parse({ server: { algorithms: { ciphers: ["3des-cbc"] } } })).toThrow();
  });
});

describe("one client", () => {
  it("gets AES-GCM alone if it has it, and what it has if it has not", () => {
    const openssh = fitLists(MODERN, "OpenSSH_9.2", kexInit({ cipher: "chacha20-poly1305@openssh.com,aes128-ctr,aes256-gcm@openssh.com" }));
    expect(openssh.cipher).toEqual(["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"]);
    expect(fitLists(MODERN, "x", kexInit({ cipher: "chacha20-poly1305@openssh.com" })).cipher).toEqual(MODERN.cipher);
  });

  it("gets second-choice MACs only when it needs one and has no better", () => {
    const plain = { mac: "hmac-sha2-256,hmac-sha1" };
    expect(fitLists(MODERN, "libssh2_1.10.0", kexInit(plain)).mac).toContain("hmac-sha2-256");
    expect(fitLists(MODERN, "x", kexInit({ ...plain, cipher: "aes128-gcm@openssh.com" })).mac).toEqual(MODERN.mac);
    expect(fitLists(MODERN, "x", kexInit({ ...plain, cipher: "chacha20-poly1305@openssh.com,aes128-ctr" })).mac).toEqual(MODERN.mac);
    expect(fitLists(MODERN, "x", kexInit({ ...plain, cipher: "aes128-ctr,chacha20-poly1305@openssh.com" })).mac).toContain("hmac-sha2-256");
    expect(fitLists(MODERN, "x", kexInit({ mac: "hmac-sha1" })).mac).not.toContain("hmac-sha1");
  });

  it("gets second-choice key exchanges only when it has no better", () => {
    expect(fitLists(MODERN, "Ruby/Net::SSH_7", kexInit({ kex: "ecdh-sha2-nistp521,diffie-hellman-group14-sha1" })).kex).toContain(
      "ecdh-sha2-nistp521",
    );
    expect(fitLists(MODERN, "x", kexInit({ kex: "ecdh-sha2-nistp256,curve25519-sha256" })).kex).toEqual(MODERN.kex);
  });

  it("gets an ECDSA host key only if it prefers one or has nothing else", () => {
    const lists = presetLists("modern", new Set([...HOST_KEYS, "ecdsa-sha2-nistp256"]));
    const offered = (hostKey: string): readonly string[] => fitLists(lists, "x", kexInit({ hostKey })).serverHostKey;
    expect(offered("rsa-sha2-256,ecdsa-sha2-nistp256")).not.toContain("ecdsa-sha2-nistp256");
    expect(offered("ecdsa-sha2-nistp256,ssh-ed25519")).toContain("ecdsa-sha2-nistp256");
    expect(offered("x,ecdsa-sha2-nistp256")).toContain("ecdsa-sha2-nistp256");
  });

  it("that waits for us gets both at once", () => {
    expect(kexInitPatienceMs("JSCH-0.1.54")).toBe(0);
    const jsch = fitLists(MODERN, "JSCH-0.1.54", undefined);
    expect(jsch.kex).toContain("ecdh-sha2-nistp256");
    expect(jsch.mac).toContain("hmac-sha2-256");
    expect(fitLists(MODERN, "unknown", undefined)).toEqual(MODERN);
  });
});

it("a KEXINIT cut at any place is a ProtocolError", () => {
  const whole = kexInit({});
  for (let length = 0; length < whole.length - 4; length++) {
    expect(() => readKexInit(whole.subarray(0, length))).toThrow("shorter");
  }
});
