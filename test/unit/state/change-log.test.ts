import fc from "../../support/fast-check.ts";
import { appendFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ChangeLog } from "../../../src/state/change-log.ts";

let directory: string;
const open: ChangeLog[] = [];

function log(number: number, all = [0, 1, 2]): ChangeLog {
  const made = new ChangeLog(directory, { number, all });
  open.push(made);
  return made;
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "changes-"));
});
afterEach(() => {
  for (const one of open.splice(0)) one.close();
  rmSync(directory, { recursive: true });
});

it("tells every follower of a volume what others wrote, once, in the order of the clock", () => {
  const [a, b, c] = [log(0), log(1), log(2)];
  const [followed, other] = [c.follow("v"), c.follow("other")];
  a.announce("v", [{ key: "1" }]);
  b.announce("v", [{ key: "ä\n\u2028" }, { key: "3" }]);
  c.announce("v", [{ key: "own" }]);
  const later = c.follow("v");
  a.announce("v", [{ key: "4" }]);
  const taken = followed.take();
  expect(taken === "unknown" ? taken : taken.map(({ key }) => key).sort()).toEqual(["1", "3", "4", "ä\n\u2028"].sort());
  expect(followed.take()).toEqual([]);
  expect(later.take()).toEqual([{ key: "4" }]);
  expect(other.take()).toEqual([]);
});

it("goes on with processes that come again, whole or killed in the middle of a line", () => {
  const follower = log(0).follow("v");
  const first = new ChangeLog(directory, { number: 1, all: [0, 1, 2] });
  first.announce("v", [{ key: "1" }]);
  first.close();
  const [file = ""] = readdirSync(directory).filter((name) => name.startsWith("1-"));
  appendFileSync(join(directory, file), "half a li");
  expect(follower.take()).toEqual([{ key: "1" }]);
  const second = log(1);
  second.announce("v", [{ key: "2" }]);
  expect(follower.take()).toEqual([{ key: "2" }]);
});

it("keeps few files however much is written, and loses nobody who listens", () => {
  const writer = log(0);
  const follower = log(1).follow("v");
  let heard = 0;
  for (let i = 0; i < 3_000; i++) {
    writer.announce("v", [{ key: `${i}`.padStart(4_000, "k") }]);
    if (i % 50 === 0) heard += follower.take().length;
  }
  heard += follower.take().length;
  expect(heard).toBe(3_000);
  expect(readdirSync(directory).filter((name) => name.startsWith("0-")).length).toBeLessThanOrEqual(2);
  const late = log(2).follow("v");
  writer.announce("v", [{ key: "x" }]);
  expect(late.take()).toEqual([{ key: "x" }]);
});

it("survives whatever stands in a file", () => {
  const follower = log(0).follow("v");
  log(1);
  const [file = ""] = readdirSync(directory).filter((name) => name.startsWith("1-"));
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (text) => {
      appendFileSync(join(directory, file), `${text.replaceAll("=", "-")}\n`);
      expect(Array.isArray(follower.take()) || follower.take() === "unknown").toBe(true);
    }),
  );
});
