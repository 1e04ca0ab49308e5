import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ProcessNotes } from "../../../src/state/process-notes.ts";

let folder: string;
let living: Set<string>;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "notes-"));
  living = new Set();
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function notesOf(processId: string): ProcessNotes<string> {
  living.add(processId);
  return new ProcessNotes({ folder, processId, isAlive: (id) => living.has(id) });
}

const read = (notes: ProcessNotes<string>): unknown =>
  notes.ofOthers().map(({ processId, isAlive, notes: all }) => [processId, isAlive, [...all]]);

it("shows others what is noted and not taken back, and says who has died", () => {
  const [one, two] = [notesOf("1:10"), notesOf("2:20")];
  one.put("a", "first");
  one.put("b", "second\nline");
  one.put("a", "third");
  one.remove("b");
  one.remove("never there");
  expect(read(two)).toEqual([["1:10", true, [["a", "third"]]]]);
  expect(read(one)).toEqual([]);
  expect(two.ofDead()).toEqual([]);
  living.delete("1:10");
  expect(read(two)).toEqual([["1:10", false, [["a", "third"]]]]);
  // Deaths are looked for every 50 ms.
  expect(two.ofDead()).toEqual([]);
  const later = notesOf("3:30");
  expect(later.ofDead()).toMatchObject([{ processId: "1:10", isAlive: false }]);
  later.forget("1:10");
  expect(read(later)).toEqual([]);
  for (const notes of [one, two, later]) notes.close();
});

it("loses one line at most to a process that is killed in the middle of it", () => {
  const one = notesOf("1:10");
  one.put("a", "kept");
  appendFileSync(path.join(folder, "1-10"), '\n["b","ha');
  one.put("c", "behind it");
  expect(read(notesOf("2:20"))).toEqual([
    [
      "1:10",
      true,
      [
        ["a", "kept"],
        ["c", "behind it"],
      ],
    ],
  ]);
  one.close();
});

it("stays small however much is noted, and keeps what counts", () => {
  const one = notesOf("1:10");
  const text = "x".repeat(1000);
  for (let round = 0; round < 2000; round++) {
    one.put(`round ${round}`, text);
    one.remove(`round ${round}`);
  }
  expect(statSync(path.join(folder, "1-10")).size).toBeLessThan(300_000);
  one.put("kept", text);
  for (let round = 0; round < 2000; round++) {
    one.put(`round ${round}`, text);
    one.remove(`round ${round}`);
  }
  expect(statSync(path.join(folder, "1-10")).size).toBeLessThan(300_000);
  expect(read(notesOf("2:20"))).toEqual([["1:10", true, [["kept", text]]]]);
  one.remove("kept");
  one.close();
  expect(readdirSync(folder)).toEqual([]);
});
