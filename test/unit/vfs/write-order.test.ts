/** Changes of one name follow each other, whoever asked for them and however long the store takes. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FsError } from "../../../src/errors.ts";
import { WriteOrder, type WritesElsewhere } from "../../../src/vfs/write-order.ts";
import { turns } from "../../support/gate.ts";
import { ManualClock } from "./fixture.ts";
import { WholeFixture } from "./whole-fixture.ts";

/** A promise and the function that resolves it. */
function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe("an order", () => {
  it("gives turns in the order of asking, for all keys that two changes share", async () => {
    const order = new WriteOrder({ clock: new ManualClock() });
    const done: string[] = [];
    const first = order.enter(["a", "b"], "/a");
    expect(first.granted).toBeUndefined();
    const both = order.run(["b", "c"], "/b", async () => void done.push("second"));
    const third = order.run(["c"], "/c", async () => void done.push("third"));
    const other = order.run(["d"], "/d", async () => void done.push("other"));
    await other;
    expect(done).toEqual(["other"]);
    first.leave();
    await Promise.all([both, third]);
    expect(done).toEqual(["other", "second", "third"]);
    expect(order.enter(["a", "b", "c", "d"], "/a").granted).toBeUndefined();
  });

  it("refuses who has waited for too long, and lets nobody pass those still at work", async () => {
    const clock = new ManualClock();
    const order = new WriteOrder({ clock });
    const slow = order.enter(["a"], "/a");
    const refused = order.run(["a"], "/a", async () => expect.unreachable());
    clock.advance(49_999);
    const last = order.enter(["a"], "/a");
    clock.advance(1);
    await expect(refused).rejects.toThrow(FsError);
    await expect(refused).rejects.toMatchObject({ code: "unavailable", message: expect.stringContaining("try again later") });
    let isGranted = false;
    const granted = last.granted?.then(() => {
      isGranted = true;
    });
    await turns();
    expect(isGranted).toBe(false);
    slow.leave();
    slow.leave();
    await granted;
    expect(isGranted).toBe(true);
  });

  it("does not make a change wait for itself that names a key twice", () => {
    const order = new WriteOrder({ clock: new ManualClock() });
    expect(order.enter(["a", "a"], "/a").granted).toBeUndefined();
  });

  it("goes on after a change that failed", async () => {
    const order = new WriteOrder({ clock: new ManualClock() });
    await expect(order.run(["a"], "/a", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await order.run(["a"], "/a", () => Promise.resolve(7))).toBe(7);
  });

  it("waits for other processes, and tells them what takes more than a moment", async () => {
    const clock = new ManualClock();
    const told: string[] = [];
    const isClear = gate();
    const elsewhere: WritesElsewhere = {
      ended: (keys) => (keys.includes("busy") ? isClear.opened : undefined),
      tell: (keys) => {
        told.push(`begin ${keys.join()}`);
        return () => told.push(`end ${keys.join()}`);
      },
    };
    const order = new WriteOrder({ clock, elsewhere });
    const quick = order.enter(["quick"], "/quick");
    quick.leave();
    const slow = order.enter(["slow"], "/slow");
    const waiting = order.enter(["busy"], "/busy");
    clock.advance(60);
    expect(told).toEqual(["begin slow"]);
    slow.leave();
    expect(told).toEqual(["begin slow", "end slow"]);
    isClear.open();
    await waiting.granted;
    clock.advance(60);
    expect(told).toEqual(["begin slow", "end slow", "begin busy"]);
    waiting.leave();
    expect(told).toHaveLength(4);
  });
});

/** Without an order `change` would be done by then. */
function hasTime(change: Promise<unknown>): Promise<unknown> {
  return Promise.race([change, new Promise((resolve) => setTimeout(resolve, 100))]);
}

describe("what a client asked for before it went", () => {
  let fixture: WholeFixture;
  beforeEach(async () => {
    fixture = await WholeFixture.create();
  });
  afterEach(() => fixture.close());

  /** The store takes its time with the first request of a kind. */
  function holdFirst(kind: string): { readonly began: Promise<void>; readonly release: () => void } {
    const [began, release] = [gate(), gate()];
    let isFirst = true;
    fixture.store.before = async (which) => {
      if (which !== kind || !isFirst) return;
      isFirst = false;
      began.open();
      await release.opened;
    };
    return { began: began.opened, release: release.open };
  }

  it.each(["remove", "rename"] as const)("does not take away what came later: %s", async (what) => {
    await fixture.write("/attachments/a", "old");
    const held = holdFirst(what === "remove" ? "delete" : "copy");
    const asked =
      what === "remove" ? fixture.vfs.remove("/attachments/a") : fixture.vfs.rename("/attachments/a", "/attachments/b", { replace: true });
    await held.began;
    const later = fixture.login("later");
    const written = fixture.write("/attachments/a", "new", {}, later);
    await hasTime(written);
    held.release();
    await Promise.all([asked, written]);
    expect((await fixture.read("/attachments/a", later)).toString()).toBe("new");
  });

  it("does not write over what came later", async () => {
    const held = holdFirst("put");
    const first = fixture.write("/attachments/a", "first");
    await held.began;
    const second = fixture.write("/attachments/a", "second", {}, fixture.login("later"));
    await hasTime(second);
    held.release();
    await Promise.all([first, second]);
    fixture.volume.tree.clear();
    expect((await fixture.read("/attachments/a")).toString()).toBe("second");
  });

  it("does not take away with its directory what was written there after it was copied", async () => {
    await fixture.vfs.mkdir("/attachments/old");
    for (const name of ["a", "b"]) await fixture.write(`/attachments/old/${name}`, "first");
    const held = holdFirst("delete");
    const renamed = fixture.vfs.rename("/attachments/old", "/attachments/new", { replace: false });
    // Both have been copied, and are being deleted.
    await held.began;
    const written = fixture.write("/attachments/old/a", "second", {}, fixture.login("later"));
    await hasTime(written);
    held.release();
    await Promise.all([renamed, written]);
    expect((await fixture.read("/attachments/new/a")).toString()).toBe("first");
    expect((await fixture.read("/attachments/old/a")).toString()).toBe("second");
  });
});
