/** Names and patterns whose cost is out of all proportion to their bytes. */
import { expect, it } from "vitest";
import { ProtocolError } from "../../../src/errors.ts";
import { FileList } from "../../../src/rsync/file-list.ts";
import { sortFileList } from "../../../src/rsync/file-list-sort.ts";
import { FilterList } from "../../../src/rsync/filter-list.ts";
import { parseRule } from "../../../src/rsync/filter-rules.ts";
import { ListMemory } from "../../../src/rsync/list-memory.ts";

const DEPTH = 1000;

function deepNames(count: number): FileList {
  const list = new FileList();
  for (let at = 0; at < count; at++) {
    list.add({ name: `${count - at}/${"a/".repeat(DEPTH)}f`, size: 1, mtime: 1, mode: 0o100644, flags: 0 });
  }
  return list;
}

it("sorts names of a thousand directories each, which count as memory of the list", async () => {
  const list = deepNames(5);
  let held = 0;
  await sortFileList(list, false, () => held++);
  expect(held).toBe(5 * (DEPTH + 1) - list.length);
  expect(Array.from({ length: 5 }, (_, at) => list.name(at)[0])).toEqual(["1", "2", "3", "4", "5"]);
});

it("ends a run whose names have more directories than there is room for", async () => {
  const share = new ListMemory(1024 * 1024).open("alice");
  await expect(sortFileList(deepNames(30), false, (bytes) => share.entry(bytes))).rejects.toThrow("no room for so long a list");
  share.release();
});

it("gives up patterns that take too long together, however they are made", () => {
  const name = `${"d/".repeat(2000)}e`;
  const rules = (text: (at: number) => string): FilterList =>
    new FilterList(
      Array.from({ length: 1000 }, (_, at) => parseRule(text(at), false)).flatMap((rule) => (rule === "clear" ? [] : rule)),
      "receiver",
      "",
    );
  expect(() => rules((at) => `- ${"x/".repeat(2000)}*${at}`).excludes(name, true)).toThrow(ProtocolError);
  expect(() => rules((at) => `- ${"x/".repeat(2000)}**${at}`).excludes(name, true)).toThrow(ProtocolError);
  expect(rules((at) => `- ${"x/".repeat(2000)}${at}`).excludes(name, true)).toBe(false);
  expect(rules((at) => `- /d/d/*/${at}`).excludes("d/d/d/999", false)).toBe(true);
});
