/**
 * Random edits of captured client streams: every run ends by itself with an exit status, leaves no handle open, gives
 * every byte back and stays within its own files. `FUZZ_RUNS` sets the number of runs, `FUZZ_SEED` the first seed.
 */
import { describe, expect, it } from "vitest";
import { ModelFileSystem } from "../support/model-file-system.ts";
import { Random } from "../support/random.ts";
import * as captured from "../unit/rsync/captured-runs.ts";
import { replay } from "../unit/rsync/harness.ts";

const RUNS = Number(process.env.FUZZ_RUNS ?? 2000);
const FIRST_SEED = Number(process.env.FUZZ_SEED ?? 1);

const INTERESTING = [0x00, 0xff, 0x80, 0x7f, 0x01, 0x2e, 0x2f, 0xfe, 0x5d];

/** Changes, removes, repeats or adds some bytes. */
function mutate(bytes: Buffer, random: Random): Buffer {
  let result = Buffer.from(bytes);
  for (let edits = 1 + random.below(6); edits > 0 && result.length > 0; edits--) {
    const at = random.below(result.length);
    const length = 1 + random.below(8);
    switch (random.below(5)) {
      case 0:
        result[at] = random.below(256);
        break;
      case 1:
        result[at] = INTERESTING[random.below(INTERESTING.length)] ?? 0;
        break;
      case 2:
        result = Buffer.concat([result.subarray(0, at), result.subarray(at + length)]);
        break;
      case 3:
        result = Buffer.concat([result.subarray(0, at + length), result.subarray(at)]);
        break;
      default:
        result.writeUInt8((result[at] ?? 0) ^ (1 << random.below(8)), at);
    }
  }
  return result;
}

const OPTIONS = ["", " --delete", " -z", " -c", " -n", " --append", " -b", " --inplace", " -m", " --remove-source-files", " --iconv=utf-8"];

function files(): ModelFileSystem {
  const fs = new ModelFileSystem();
  fs.put("/secret", "not below the destination");
  fs.put("/dst/a.txt", "hello");
  fs.put("/dst/sub/b.txt", "second file", { mtime: 1_600_000_000 });
  fs.put("/ap/a.txt", "hello world\n", { mtime: 1_700_000_000 });
  fs.put("/ap/extra.txt", "extra");
  fs.put("/x/sub/b.txt", "b");
  fs.put("/d.bin", "AAAAAAAAxxBBBBBBBBCCCCCC");
  return fs;
}

describe("hostile rsync clients", () => {
  const runs = [
    captured.UPLOAD_31,
    captured.DOWNLOAD_31,
    captured.DELTA_DOWNLOAD,
    captured.UPLOAD_Z,
    captured.OPENRSYNC_UPLOAD,
    captured.OPENRSYNC_DOWNLOAD,
    captured.SECLUDED_DELETE,
  ];

  /** One run; what it came to. */
  async function fuzz(seed: number): Promise<number> {
    const random = new Random(seed);
    const run = random.pick(runs);
    const command = run.command.replace(" . ", `${random.pick(OPTIONS)} . `);
    const fs = files();
    const chunkBytes = random.pick([1, 7, 1000]);
    const result = await replay(command, mutate(Buffer.from(run.client, "hex"), random), fs, { chunkBytes, lingerMs: 1 });
    const context = `seed ${seed}, ${command}`;
    expect(Number.isInteger(result.status) && result.status >= 0 && result.status <= 255, context).toBe(true);
    expect(fs.openHandles, context).toBe(0);
    expect(result.unconsumed, context).toBe(0);
    // An edited secluded argument may well name the home itself as the destination of --delete.
    if (run !== captured.SECLUDED_DELETE)
      expect(Buffer.from(fs.get("/secret") ?? []).toString(), context).toBe("not below the destination");
    return result.status;
  }

  it(`end by themselves (${RUNS} runs)`, async () => {
    const statuses = new Map<number, number>();
    for (let seed = FIRST_SEED; seed < FIRST_SEED + RUNS; seed++) {
      let timer: NodeJS.Timeout | undefined;
      const hang = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`seed ${seed} does not end`)), 10_000);
      });
      const status = await Promise.race([fuzz(seed), hang]);
      clearTimeout(timer);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    // The edits reach all stages: some runs succeed, most break the protocol.
    expect(statuses.get(0) ?? 0).toBeGreaterThan(0);
    expect(statuses.get(12) ?? 0).toBeGreaterThan(0);
  }, 3_600_000);
});
