/** Conformance of listings: order, prefixes, paging, encoding. */
import { ListObjectsV2Command, type ListObjectsV2CommandOutput } from "@aws-sdk/client-s3";
import { expect } from "vitest";
import { ODD_KEYS } from "./object-checks.ts";
import type { Check } from "./s3-conformance.ts";
import type { TargetBucket } from "./s3-target.ts";

function namesOf(page: ListObjectsV2CommandOutput): string[] {
  return [...(page.Contents ?? []).map((one) => one.Key ?? ""), ...(page.CommonPrefixes ?? []).map((one) => one.Prefix ?? "")];
}

/** Some servers ignore the wish for URL-encoding, and say so by not naming it in the answer. */
function decoded(page: ListObjectsV2CommandOutput): string[] {
  const names = namesOf(page);
  return (page.EncodingType === "url" ? names.map((key) => decodeURIComponent(key.replaceAll("+", " "))) : names).sort();
}

async function list(on: TargetBucket, input: object): Promise<ListObjectsV2CommandOutput> {
  return on.client.send(new ListObjectsV2Command({ Bucket: on.bucket, ...input }));
}

async function listAll(on: TargetBucket, input: object): Promise<string[][]> {
  const pages: string[][] = [];
  let token: string | undefined;
  do {
    const page = await list(on, { ...input, ...(token !== undefined && { ContinuationToken: token }) });
    pages.push(namesOf(page));
    token = page.NextContinuationToken;
    expect(page.IsTruncated ?? false).toBe(token !== undefined);
  } while (token !== undefined);
  return pages;
}

async function fill(on: TargetBucket, keys: readonly string[]): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (;;) {
      const key = keys[next++];
      if (key === undefined) return;
      await on.put(key, key.endsWith("/") ? "" : "v");
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}

/** The checks. */
export const listingChecks: readonly Check[] = [
  {
    name: "fold keys at the delimiter, in order, at any page size",
    run: async (on) => {
      await fill(on, ["l/a", "l/b/1", "l/b/2", "l/b-x", "l/b.x", "l/c/d/e", "l/z", "m"]);
      const first = await list(on, { Prefix: "l/", Delimiter: "/" });
      expect(first.Contents?.map((one) => one.Key)).toEqual(["l/a", "l/b-x", "l/b.x", "l/z"]);
      expect(first.CommonPrefixes?.map((one) => one.Prefix)).toEqual(["l/b/", "l/c/"]);
      expect(first.KeyCount).toBe(6);
      for (const MaxKeys of [1, 2, 5]) {
        const pages = await listAll(on, { Prefix: "l/", Delimiter: "/", MaxKeys });
        expect(pages.flat()).toHaveLength(6);
        expect(pages.flat().sort()).toEqual(["l/a", "l/b-x", "l/b.x", "l/b/", "l/c/", "l/z"]);
        for (const page of pages) expect(page.length).toBeLessThanOrEqual(MaxKeys);
      }
    },
  },
  {
    name: "start after a key",
    run: async (on) => {
      await fill(on, ["s/a", "s/b", "s/c/d", "s/e"]);
      expect(namesOf(await list(on, { Prefix: "s/", StartAfter: "s/b" }))).toEqual(["s/c/d", "s/e"]);
      expect(namesOf(await list(on, { Prefix: "s/", StartAfter: "s/" }))).toEqual(["s/a", "s/b", "s/c/d", "s/e"]);
      expect(namesOf(await list(on, { Prefix: "s/", StartAfter: "t" }))).toEqual([]);
    },
  },
  {
    name: "list a directory marker as a key, and as a prefix from above",
    run: async (on) => {
      await fill(on, ["d/", "d/x"]);
      expect(namesOf(await list(on, { Prefix: "d/", Delimiter: "/" }))).toEqual(["d/", "d/x"]);
      expect(namesOf(await list(on, { Prefix: "d", Delimiter: "/" }))).toEqual(["d/"]);
    },
  },
  {
    name: "order by UTF-8 bytes",
    run: async (on) => {
      const keys = ["o/A", "o/Z", "o/a", "o/a b", "o/a!", "o/a0", "o/z", "o/é", "o/日", "o/\uff5e", "o/😀"];
      await fill(on, [...keys].reverse());
      const expected = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      expect(namesOf(await list(on, { Prefix: "o/" }))).toEqual(expected);
    },
  },
  {
    name: "list odd keys, plain and URL-encoded",
    run: async (on) => {
      const keys = ODD_KEYS.map((key) => `odd-list/${key}`);
      await fill(on, keys);
      expect(namesOf(await list(on, { Prefix: "odd-list/" })).sort()).toEqual([...keys].sort());
      expect(decoded(await list(on, { Prefix: "odd-list/", EncodingType: "url" }))).toEqual([...keys].sort());
    },
  },
  {
    name: "list control characters URL-encoded",
    needs: "control characters",
    run: async (on) => {
      const keys = ["ctl/a\nb", "ctl/a\tb", "ctl/a\u0001b"];
      await fill(on, keys);
      expect(decoded(await list(on, { Prefix: "ctl/", EncodingType: "url" }))).toEqual([...keys].sort());
    },
  },
  {
    name: "keep empty segments and dots in keys",
    needs: "empty segments",
    run: async (on) => {
      const keys = ["seg/a//b", "seg/./x", "seg/../y"];
      await fill(on, keys);
      expect(namesOf(await list(on, { Prefix: "seg/" })).sort()).toEqual([...keys].sort());
    },
  },
  {
    name: "page through more than 1,000 keys",
    run: async (on) => {
      const keys = Array.from({ length: 1100 }, (_, n) => `many/${String(n).padStart(5, "0")}`);
      await fill(on, keys);
      const pages = await listAll(on, { Prefix: "many/" });
      expect(pages.map((page) => page.length)).toEqual([1000, 100]);
      expect(pages.flat()).toEqual(keys);
    },
  },
];
