/** CRC-32 of parts and of what they make together. */
import fc from "../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { combineCrc32, crc32Of, decodeCrc32, encodeCrc32 } from "../../../src/objectstore/s3/crc32.ts";

describe("crc32", () => {
  it("has the check value of the standard", () => {
    expect(crc32Of([Buffer.from("123456789")])).toBe(0xcbf43926);
    expect(encodeCrc32(0xcbf43926)).toBe("y/Q5Jg==");
  });

  it("combines to that of the whole", () => {
    const bytes = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(bytes, bytes, bytes, (a, b, c) => {
        const two = combineCrc32(crc32Of([a]), crc32Of([b]), b.length);
        expect(combineCrc32(two, crc32Of([c]), c.length)).toBe(crc32Of([a, b, c]));
      }),
      { numRuns: 1_000 },
    );
  });

  it("is not reset by empty chunks", () => {
    const text = Buffer.from("text");
    expect(crc32Of([text, Buffer.alloc(0), new Uint8Array(0), Buffer.from([])])).toBe(crc32Of([text]));
  });

  it("takes lengths of gigabytes", () => {
    const zeros = Buffer.alloc(1 << 20);
    let whole = crc32Of([zeros]);
    let length = zeros.length;
    for (; length < 2 ** 30; length *= 2) whole = combineCrc32(whole, whole, length);
    let expected = 0;
    for (let done = 0; done < length; done += zeros.length) expected = crc32Of([zeros], expected);
    expect(whole).toBe(expected);
  });

  it("reads only what S3 writes for whole objects", () => {
    expect(decodeCrc32("y/Q5Jg==")).toBe(0xcbf43926);
    for (const text of [undefined, "", "y/Q5Jg==-3", "y/Q5Jg", "AAAAAAAA"]) expect(decodeCrc32(text)).toBeUndefined();
  });
});
