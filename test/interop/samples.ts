/** Files that transfers are tried with. */
import { randomBytes } from "node:crypto";
import type { Tree } from "./on-stores.ts";

/** Sizes around the edges of packets, and one that takes several parts on S3. */
export const SIZES = [0, 1, 32_768, 32_769, 261_120, 1_000_003, 21 * 1024 * 1024 + 7];

const cache = new Map<number, Buffer>();

/** Random bytes, the same for the same size within one run. */
export function sample(size: number): Buffer {
  let bytes = cache.get(size);
  if (!bytes) {
    bytes = randomBytes(size);
    cache.set(size, bytes);
  }
  return bytes;
}

/** A small collection with the kinds of names that people use. */
export const TREE: Tree = {
  "plain.txt": "plain",
  "empty.dat": "",
  "Herbarium Sheet 12.jpg": sample(70_000),
  "Käfer & Größe.pdf": sample(3),
  "標本/写真.tif": sample(40_000),
  "deep/er/still/leaf#1.csv": "a,b\n1,2\n",
  "deep/100%+1.txt": "percent and plus",
};
