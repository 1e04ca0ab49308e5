/** Random edits of bytes, for fuzzers. */
import type { Random } from "./random.ts";

const INTERESTING = [0x00, 0xff, 0x80, 0x7f, 0x01, 0x2e, 0x2f, 0xfe, 0x5d, 0x0a, 0x22, 0x3a];
const LENGTHS = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 65_536, 35_001];

/** `bytes` with one to `most` edits: changed, removed, repeated or added bytes, and lengths that cannot be. */
export function mutate(bytes: Uint8Array, random: Random, most = 6): Buffer {
  let result = Buffer.from(bytes);
  for (let edits = 1 + random.below(most); edits > 0 && result.length > 0; edits--) {
    const at = random.below(result.length);
    const length = 1 + random.below(8);
    switch (random.below(7)) {
      case 0:
        result[at] = random.below(256);
        break;
      case 1:
        result[at] = random.pick(INTERESTING);
        break;
      case 2:
        result = Buffer.concat([result.subarray(0, at), result.subarray(at + length)]);
        break;
      case 3:
        result = Buffer.concat([result.subarray(0, at + length), result.subarray(at)]);
        break;
      case 4:
        result = Buffer.concat([result.subarray(0, at), random.bytes(length), result.subarray(at)]);
        break;
      case 5:
        if (at + 4 <= result.length) result.writeUInt32BE(random.pick(LENGTHS), at);
        break;
      default:
        result.writeUInt8((result[at] ?? 0) ^ (1 << random.below(8)), at);
    }
  }
  return result;
}
