/** Files that are renamed, removed or asked for while they are open: as their owner's sessions see them. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Fixture, KIB } from "./upload-fixture.ts";

const NEW = { replace: false, path: "/a/new.bin" };

describe("a file that is open for writing", () => {
  let on: Fixture;
  beforeEach(async () => {
    on = await Fixture.create();
  });
  afterEach(() => on.close());

  it("is published under its new name if it is renamed meanwhile, by one put", async () => {
    const handle = await on.open();
    await handle.write(0, [Buffer.from("one ")]);
    expect(await on.view("two").rename("a/file.bin", "a/new.bin", NEW)).toBe(true);
    await handle.write(4, [Buffer.from("two")]);
    expect(await on.view().find("a/file.bin")).toBeUndefined();
    expect(await on.view().find("a/new.bin")).toMatchObject({ state: "live-here", attributes: { size: 7 } });
    on.takeRequests();
    await handle.close();
    expect(on.takeRequests()).toEqual(["put"]);
    expect(String(await on.read("a/new.bin"))).toBe("one two");
    expect(await on.read()).toBeUndefined();
  });

  it("is copied to its new name if the store had parts of it", async () => {
    const bytes = Buffer.alloc(300 * KIB, "x");
    const handle = await on.open();
    await handle.write(0, [bytes]);
    await on.view().rename("a/file.bin", "a/new.bin", NEW);
    await handle.close();
    expect(await on.read("a/new.bin")).toEqual(bytes);
    expect(await on.read()).toBeUndefined();
  });

  it("has nothing to do with what comes to be under its old name", async () => {
    const handle = await on.open({ flags: { write: true, create: true } });
    await on.view().rename("a/file.bin", "a/new.bin", NEW);
    const other = await on.open();
    await other.write(0, [Buffer.from("other")]);
    await other.close();
    await handle.write(0, [Buffer.from("first")]);
    await handle.close();
    expect(String(await on.read("a/new.bin"))).toBe("first");
    expect(String(await on.read())).toBe("other");
  });

  it("is not renamed onto a published one unless that is asked for", async () => {
    await on.inner.put("a/new.bin", [Buffer.from("old")]);
    const handle = await on.open();
    await handle.write(0, [Buffer.from("new")]);
    await expect(on.view().rename("a/file.bin", "a/new.bin", NEW)).rejects.toMatchObject({ code: "exists" });
    expect(await on.view().rename("a/file.bin", "a/new.bin", { ...NEW, replace: true })).toBe(true);
    expect(String(await on.read("a/new.bin"))).toBe("old");
    await handle.close();
    expect(String(await on.read("a/new.bin"))).toBe("new");
  });

  it("leaves nothing behind if it was removed, also before its first byte", async () => {
    const handle = await on.open({ flags: { write: true, create: true, read: true } });
    expect(await on.view().discard("a/file.bin")).toBe(true);
    expect(await on.view().find("a/file.bin")).toBeUndefined();
    await handle.write(0, [Buffer.from("gone")]);
    expect(String(Buffer.concat([...(await handle.read(0, 10))]))).toBe("gone");
    await handle.close();
    expect(await on.read()).toBeUndefined();
  });

  it("is there for the owner's other sessions before its first byte, and for nobody else", async () => {
    const handle = await on.open();
    expect(await on.view("two").find("a/file.bin")).toMatchObject({ state: "live-elsewhere", attributes: { size: 0 } });
    expect((await on.view("two").list("a/")).map(({ key }) => key)).toEqual(["a/file.bin"]);
    expect(await on.view("two", "bob").find("a/file.bin")).toBeUndefined();
    const exclusive = on.open({ flags: { write: true, create: true, exclusive: true } }, on.view("two"));
    await expect(exclusive).rejects.toMatchObject({ code: "exists" });
    await handle.close();
  });

  it("is waited for by the owner's other sessions while it is being closed, or a moment if nothing is under way", async () => {
    const handle = await on.open();
    expect(on.view().settling("a/file.bin")).toBeUndefined();
    expect(on.view("two", "bob").settling("a/file.bin")).toBeUndefined();
    expect(on.view("two").settling("other")).toBeUndefined();
    await on.view("two").settling("a");
    const waiting = on.view("two").settling("a/file.bin");
    await handle.close();
    await waiting;
    expect(await on.read()).toEqual(Buffer.alloc(0));
    expect(on.view("two").settling("a/file.bin")).toBeUndefined();
  });
});
