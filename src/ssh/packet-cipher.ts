/**
 * The two ciphers nearly all clients use (AES-GCM, RFC 5647; chacha20-poly1305, OpenSSH PROTOCOL.chacha20poly1305) on
 * ssh2's compiled module, without a new buffer for each packet: received packets are decrypted where they lie or in one
 * scratch buffer, packets to send are built one behind the other in slabs. They stand in for ssh2's own classes and have
 * the members its key exchange touches. Know no messages and no sockets.
 */
import { releaseSlab, SlabPool } from "../slab-pool.ts";

/** Largest packet received, as ssh2 has it (RFC 4253 §6.1 asks for 35,000 at least). */
const MAX_PACKET = 35_000;
const TAG_BYTES = 16;
const LENGTH_BYTES = 4;
/** Packets with a smaller payload get a buffer of their own unless a slab is at hand. */
const SLAB_WORTHY = 8 * 1024;
const SEND_SLAB_BYTES = 256 * 1024;

const sendSlabs = new SlabPool(SEND_SLAB_BYTES, 4 * 1024 * 1024);
const scratches = new SlabPool(MAX_PACKET + LENGTH_BYTES + TAG_BYTES, 64 * MAX_PACKET);

/** What a receiver of payloads wants: `undefined` goes on with the next packet, `false` goes on with the next decipher, `Infinity` stops. */
export type PayloadResult = number | false | undefined;

interface NativeCipher {
  encrypt(packet: Buffer, sequence?: number): void;
  free(): void;
}
interface GcmDecipher {
  decrypt(packet: Uint8Array, length: number, tag: Uint8Array): void;
  free(): void;
}
interface ChaChaDecipher {
  decryptLen(length: Uint8Array, sequence: number): number;
  decrypt(packet: Uint8Array, tag: Uint8Array, sequence: number): void;
  free(): void;
}

/** ssh2's compiled module, as far as it is used. */
export interface NativeModule {
  readonly AESGCMCipher: new (name: string, key: Buffer, iv: Buffer) => NativeCipher;
  readonly AESGCMDecipher: new (name: string, key: Buffer, iv: Buffer) => GcmDecipher;
  readonly ChaChaPolyCipher: new (key: Buffer) => NativeCipher;
  readonly ChaChaPolyDecipher: new (key: Buffer) => ChaChaDecipher;
}

interface CipherInfo {
  readonly sslName: string;
}

/** What ssh2's key exchange makes ciphers from, as far as it is used. */
export interface CipherConfig {
  readonly inbound: {
    readonly onPayload: (payload: Buffer) => PayloadResult;
    readonly seqno: number;
    readonly decipherInfo: CipherInfo;
    readonly decipherIV: Buffer;
    readonly decipherKey: Buffer;
  };
  readonly outbound: {
    readonly onWrite: (bytes: Buffer) => void;
    readonly seqno: number;
    readonly cipherInfo: CipherInfo;
    readonly cipherIV: Buffer;
    readonly cipherKey: Buffer;
  };
}

/** Fills `size` bytes of `buffer` from `offset` on with random bytes. */
type RandomFill = (buffer: Buffer, offset: number, size: number) => void;

/** Encrypts packets; made anew after each key exchange. Packets may lie in a slab: whoever `onWrite` gives them to holds it. */
export class PacketCipher {
  outSeqno: number;
  readonly #onWrite: (bytes: Buffer) => void;
  readonly #randomFill: RandomFill;
  readonly #native: NativeCipher;
  readonly #blockBytes: number;
  #isFreed = false;
  #slab: Buffer | undefined;
  #used = 0;

  private constructor(native: NativeCipher, blockBytes: number, outbound: CipherConfig["outbound"], randomFill: RandomFill) {
    this.outSeqno = outbound.seqno;
    this.#onWrite = outbound.onWrite;
    this.#native = native;
    this.#blockBytes = blockBytes;
    this.#randomFill = randomFill;
  }

  /** Undefined for ciphers that are not done here. */
  static create(native: NativeModule, { outbound }: CipherConfig, randomFill: RandomFill): PacketCipher | undefined {
    const { cipherInfo, cipherKey, cipherIV } = outbound;
    if (isGcm(cipherInfo))
      return new PacketCipher(new native.AESGCMCipher(cipherInfo.sslName, cipherKey, cipherIV), 16, outbound, randomFill);
    if (isChaCha(cipherInfo)) return new PacketCipher(new native.ChaChaPolyCipher(cipherKey), 8, outbound, randomFill);
    return undefined;
  }

  /** A packet for a payload of `payloadBytes` from offset 5 on, padded (RFC 4253 §6). Encrypt it before asking for the next. */
  allocPacket(payloadBytes: number): Buffer {
    const unpadded = 1 + payloadBytes;
    let padding = this.#blockBytes - (unpadded & (this.#blockBytes - 1));
    if (padding < 4) padding += this.#blockBytes;
    const length = unpadded + padding;
    const packet = this.#room(LENGTH_BYTES + length + TAG_BYTES, payloadBytes);
    packet.writeUInt32BE(length, 0);
    packet[LENGTH_BYTES] = padding;
    this.#randomFill(packet, LENGTH_BYTES + unpadded, padding);
    return packet;
  }

  /** Encrypts in place and passes on. */
  encrypt(packet: Buffer): void {
    if (this.#isFreed) return;
    this.#native.encrypt(packet, this.outSeqno);
    this.outSeqno = (this.outSeqno + 1) >>> 0;
    if (packet.buffer === this.#slab?.buffer) this.#used += packet.length;
    this.#onWrite(packet);
  }

  /** Everything passed on has left: the slab can serve others. */
  rest(): void {
    if (this.#slab) releaseSlab(this.#slab);
    this.#slab = undefined;
  }

  free(): void {
    if (this.#isFreed) return;
    this.#isFreed = true;
    this.rest();
    this.#native.free();
  }

  #room(bytes: number, payloadBytes: number): Buffer {
    if (this.#slab && this.#used + bytes > this.#slab.length) this.rest();
    if (!this.#slab) {
      if (payloadBytes < SLAB_WORTHY || bytes > SEND_SLAB_BYTES) return Buffer.allocUnsafe(bytes);
      this.#slab = sendSlabs.take();
      this.#used = 0;
    }
    return this.#slab.subarray(this.#used, this.#used + bytes);
  }
}

/**
 * Decrypts packets; made anew after each key exchange. A payload is lent: it may lie in the bytes that were handed in, or
 * in the scratch buffer, and is overwritten soon after the call that delivers it.
 */
export class PacketDecipher {
  inSeqno: number;
  _onPayload: (payload: Buffer) => PayloadResult;
  readonly #gcm: GcmDecipher | undefined;
  readonly #chacha: ChaChaDecipher | undefined;
  readonly #lengthField = Buffer.alloc(LENGTH_BYTES);
  #lengthHeld = 0;
  /** Bytes of the packet without length field and tag; -1 before it is known. */
  #length = -1;
  /** Where a packet that came in pieces is put together, and how much of it is there. */
  #scratch: Buffer | undefined;
  #held = 0;

  private constructor(inbound: CipherConfig["inbound"], gcm: GcmDecipher | undefined, chacha: ChaChaDecipher | undefined) {
    this.inSeqno = inbound.seqno;
    this._onPayload = inbound.onPayload;
    this.#gcm = gcm;
    this.#chacha = chacha;
  }

  /** Undefined for ciphers that are not done here. */
  static create(native: NativeModule, { inbound }: CipherConfig): PacketDecipher | undefined {
    const { decipherInfo, decipherKey, decipherIV } = inbound;
    if (isGcm(decipherInfo))
      return new PacketDecipher(inbound, new native.AESGCMDecipher(decipherInfo.sslName, decipherKey, decipherIV), undefined);
    if (isChaCha(decipherInfo)) return new PacketDecipher(inbound, undefined, new native.ChaChaPolyDecipher(decipherKey));
    return undefined;
  }

  /**
   * Decrypts what is whole in `data` from `start` to `end` and keeps the rest. Returns where to go on if a payload's
   * receiver wants another decipher for what follows. Throws for what is not authentic.
   */
  decrypt(data: Buffer, start: number, end: number): number | undefined {
    let at = start;
    while (at < end) {
      if (this.#length < 0) {
        at += this.#takeLength(data, at, end);
        if (this.#length < 0) return undefined;
      }
      const needed = this.#length + TAG_BYTES;
      let packet: Buffer;
      if (this.#held === 0 && end - at >= needed) {
        packet = data.subarray(at, at + needed);
        at += needed;
      } else {
        this.#scratch ??= scratches.take();
        const taken = Math.min(needed - this.#held, end - at);
        this.#scratch.set(data.subarray(at, at + taken), this.#held);
        this.#held += taken;
        at += taken;
        if (this.#held < needed) return undefined;
        packet = this.#scratch.subarray(0, needed);
      }
      const result = this.#deliver(packet);
      if (result !== undefined) return result === false ? at : result;
    }
    return undefined;
  }

  /** A packet under way is put together by its receiver itself, so nothing but the scratch is freed; ssh2 frees GCM's by collection, too. */
  free(): void {
    this.#chacha?.free();
    this.#dropScratch();
  }

  #takeLength(data: Buffer, at: number, end: number): number {
    const taken = Math.min(LENGTH_BYTES - this.#lengthHeld, end - at);
    for (let index = 0; index < taken; index++) this.#lengthField[this.#lengthHeld++] = data[at + index] as number;
    if (this.#lengthHeld < LENGTH_BYTES) return taken;
    const length = this.#chacha ? this.#chacha.decryptLen(this.#lengthField, this.inSeqno) : this.#lengthField.readUInt32BE(0);
    const block = this.#chacha ? 8 : 16;
    if (length < block || length % block !== 0 || length + LENGTH_BYTES + TAG_BYTES > MAX_PACKET) throw new Error("bad packet length");
    this.#length = length;
    return taken;
  }

  #deliver(packet: Buffer): PayloadResult {
    const length = this.#length;
    const body = packet.subarray(0, length);
    const tag = packet.subarray(length);
    if (this.#chacha) this.#chacha.decrypt(body, tag, this.inSeqno);
    else this.#gcm?.decrypt(body, length, tag);
    this.inSeqno = (this.inSeqno + 1) >>> 0;
    this.#length = -1;
    this.#lengthHeld = 0;
    this.#held = 0;
    const padding = body[0] ?? 0;
    if (padding + 1 > length) throw new Error("bad padding length");
    const scratch = this.#scratch;
    this.#scratch = undefined;
    const result = this._onPayload(body.subarray(1, length - padding));
    if (scratch) releaseSlab(scratch);
    return result;
  }

  #dropScratch(): void {
    if (this.#scratch) releaseSlab(this.#scratch);
    this.#scratch = undefined;
    this.#held = 0;
  }
}

function isGcm({ sslName }: CipherInfo): boolean {
  return sslName === "aes-128-gcm" || sslName === "aes-256-gcm";
}

function isChaCha({ sslName }: CipherInfo): boolean {
  return sslName === "chacha20";
}
