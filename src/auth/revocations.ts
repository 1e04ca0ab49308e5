/**
 * What may no longer log in although somebody's configuration still lets it: public keys, certificates by serial number
 * or key id, authorities. Filled from configuration or from KRL files. Knows no files and no users.
 */
import { createHash } from "node:crypto";
import { fingerprint } from "./public-key.ts";

/** What somebody logs in with, as far as it can be revoked. */
export interface Credential {
  /** The plain public key (RFC 4253 §6.6), also of a certificate. */
  readonly keyBlob: Uint8Array;
  readonly certificate: { readonly authority: Uint8Array; readonly serial: bigint; readonly keyId: string } | undefined;
}

/** Revoked certificates of one authority. Serial numbers are inclusive ranges and bitmaps. */
interface CertificateRevocations {
  readonly ranges: { readonly first: bigint; readonly last: bigint }[];
  /** Bit `n` of `bits`, counted from the end, stands for serial number `offset + n`. */
  readonly bitmaps: { readonly offset: bigint; readonly bits: Uint8Array }[];
  readonly keyIds: Set<string>;
}

const ANY_AUTHORITY = "";

/** See the head of this file. Add everything first, then ask. */
export class Revocations {
  /** `SHA256:…` of revoked keys. */
  readonly #sha256 = new Set<string>();
  /** Hex SHA-1 sums of revoked key blobs, which old KRLs have. */
  readonly #sha1 = new Set<string>();
  readonly #certificates = new Map<string, CertificateRevocations>();

  /** True if nothing is revoked. */
  get isEmpty(): boolean {
    return this.#sha256.size === 0 && this.#sha1.size === 0 && this.#certificates.size === 0;
  }

  /** Revokes a plain key; as an authority's, all of its certificates. `print`: as `ssh-keygen -l` prints it. */
  addFingerprint(print: string): void {
    this.#sha256.add(print);
  }

  /** Revokes the plain key with this SHA-1 sum (hex) of its blob. */
  addSha1(hex: string): void {
    this.#sha1.add(hex);
  }

  /** Revokes serial numbers, both ends included, of one authority's certificates or (undefined) of all. */
  addSerials(authority: Uint8Array | undefined, first: bigint, last: bigint): void {
    this.#of(authority).ranges.push({ first, last });
  }

  /** Revokes `offset` + n for every bit n that is set, counted from the end of `bits`. */
  addBitmap(authority: Uint8Array | undefined, offset: bigint, bits: Uint8Array): void {
    this.#of(authority).bitmaps.push({ offset, bits });
  }

  /** Revokes certificates by their key id. */
  addKeyId(authority: Uint8Array | undefined, keyId: string): void {
    this.#of(authority).keyIds.add(keyId);
  }

  /** Why `credential` may not be used, for the log, or undefined if it may. */
  check({ keyBlob, certificate }: Credential): string | undefined {
    if (this.isEmpty) return undefined;
    if (this.#isKeyRevoked(keyBlob)) return "the key is revoked";
    if (!certificate) return undefined;
    const { authority, serial, keyId } = certificate;
    if (this.#isKeyRevoked(authority)) return "the certificate's authority is revoked";
    for (const name of [fingerprint(authority), ANY_AUTHORITY]) {
      const revoked = this.#certificates.get(name);
      if (!revoked) continue;
      if (revoked.keyIds.has(keyId)) return "the certificate's key id is revoked";
      // Authorities that do not count give every certificate the number 0: it names nobody.
      if (serial !== 0n && isSerialRevoked(revoked, serial)) return "the certificate's serial number is revoked";
    }
    return undefined;
  }

  #isKeyRevoked(blob: Uint8Array): boolean {
    if (this.#sha256.has(fingerprint(blob))) return true;
    return this.#sha1.size > 0 && this.#sha1.has(createHash("sha1").update(blob).digest("hex"));
  }

  #of(authority: Uint8Array | undefined): CertificateRevocations {
    const name = authority ? fingerprint(authority) : ANY_AUTHORITY;
    const known = this.#certificates.get(name) ?? { ranges: [], bitmaps: [], keyIds: new Set<string>() };
    this.#certificates.set(name, known);
    return known;
  }
}

function isSerialRevoked({ ranges, bitmaps }: CertificateRevocations, serial: bigint): boolean {
  if (ranges.some(({ first, last }) => serial >= first && serial <= last)) return true;
  return bitmaps.some(({ offset, bits }) => {
    if (serial < offset || serial - offset >= BigInt(bits.length) * 8n) return false;
    const bit = Number(serial - offset);
    return ((bits[bits.length - 1 - (bit >> 3)] ?? 0) & (1 << (bit & 7))) !== 0;
  });
}
