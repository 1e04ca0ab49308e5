import { describe, expect, it } from "vitest";
import { StoreError } from "../../../src/errors.ts";
import { checkIgnoredCondition, isCephRequestId } from "../../../src/objectstore/s3/condition-check.ts";

describe("a store that ignores conditions", () => {
  const asked: string[] = [];
  const store = (etag: string | undefined, ignoresConditions = true) => ({
    ignoresConditions,
    head: async (key: string) => {
      asked.push(key);
      if (etag === undefined) throw new StoreError("not-found", "nothing there");
      return { key, size: 1, etag, lastModifiedMs: 0, metadata: {} };
    },
  });

  it("is known by its request ids", () => {
    expect(isCephRequestId("tx00000d28ae766f0940139-006b0422b3-100d-default")).toBe(true);
    for (const other of [undefined, "", "4442587FB7D0A2F9", "tx-of-somebody-else", "17A2F5B3C9D1E0AA"])
      expect(isCephRequestId(other)).toBe(false);
  });

  it("is looked at before a write", async () => {
    await expect(checkIgnoredCondition(store("a"), "k", { ifNoneMatch: "*" }, false)).rejects.toMatchObject({
      code: "precondition-failed",
    });
    await expect(checkIgnoredCondition(store("a"), "k", { ifMatch: "b" }, true)).rejects.toMatchObject({ code: "precondition-failed" });
    await expect(checkIgnoredCondition(store(undefined), "k", { ifMatch: "b" }, true)).rejects.toMatchObject({
      code: "precondition-failed",
    });
    await expect(checkIgnoredCondition(store(undefined), "k", { ifNoneMatch: "*" }, false)).resolves.toBeUndefined();
    await expect(checkIgnoredCondition(store("a"), "k", { ifMatch: "a" }, true)).resolves.toBeUndefined();
  });

  it("is not asked where the condition is honoured or there is none", async () => {
    asked.length = 0;
    await checkIgnoredCondition(store("a"), "k", {}, false);
    await checkIgnoredCondition(store("a"), "k", { ifNoneMatch: "*" }, true);
    await checkIgnoredCondition(store("a", false), "k", { ifMatch: "b" }, false);
    expect(asked).toEqual([]);
  });

  it("passes on why it could not look", async () => {
    const broken = { ignoresConditions: true, head: () => Promise.reject(new StoreError("access-denied", "no right to look")) };
    await expect(checkIgnoredCondition(broken, "k", { ifMatch: "a" }, true)).rejects.toMatchObject({ code: "access-denied" });
  });
});
