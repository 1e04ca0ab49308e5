import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { expect, it } from "vitest";
import { checkStateMode } from "../../../src/gateway/file-modes.ts";

it("warns of a state directory that others can enter, and of no other", async () => {
  const folder = mkdtempSync(join(tmpdir(), "modes-"));
  const lines: string[] = [];
  const log = pino({ level: "info" }, { write: (line: string) => void lines.push(line) });
  await checkStateMode(folder, log);
  await checkStateMode(join(folder, "missing"), log);
  expect(lines).toEqual([]);
  chmodSync(folder, 0o750);
  await checkStateMode(folder, log);
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? "{}")).toMatchObject({ mode: "750", path: folder, audit: true });
  rmSync(folder, { recursive: true });
});
