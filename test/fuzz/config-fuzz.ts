/** Configuration files, damaged: read, or refused with a ConfigError that says where. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../src/config/load.ts";
import { ConfigError } from "../../src/errors.ts";
import { mutate } from "../support/mutate.ts";
import { Random } from "../support/random.ts";
import { demand, type FuzzTarget, within } from "./fuzz-target.ts";

const EXAMPLE = new URL("../../config/gateway.example.yaml", import.meta.url);
const PIECES = [
  "&a ",
  "*a",
  "!!binary ",
  "{}",
  "[]",
  "[[[[",
  "{{{{",
  "- ",
  "? ",
  "<<: *a",
  "|\n",
  "\t",
  "2e308",
  ".nan",
  "0x1",
  "~",
  "''",
  "x: ",
  "\u0000",
  "\ufeff",
];

/** See the head of this file. */
export const configFuzz: FuzzTarget = {
  name: "config",
  unit: "files",
  open: async () => {
    const folder = mkdtempSync(join(tmpdir(), "config-fuzz-"));
    const example = await readFile(EXAMPLE);
    const file = join(folder, "gateway.yaml");
    return {
      run: async (seed) => {
        const random = new Random(seed);
        let bytes = mutate(example, random, 12);
        for (let pieces = random.below(4); pieces > 0; pieces--) {
          const at = random.below(bytes.length + 1);
          bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from(random.pick(PIECES)), bytes.subarray(at)]);
        }
        writeFileSync(file, bytes);
        try {
          await within(10_000, "the configuration", loadConfig(file, { workingDirectory: folder }));
        } catch (error) {
          demand(error instanceof ConfigError, String(error instanceof Error ? error.stack : error));
        }
        return 1;
      },
      close: () => Promise.resolve(rmSync(folder, { recursive: true })),
    };
  },
};
