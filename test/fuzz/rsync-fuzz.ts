/**
 * Random edits of captured client streams of rsync: every run ends by itself with an exit status, leaves no handle open,
 * gives every byte back and stays within its own files.
 */
import { ModelFileSystem } from "../support/model-file-system.ts";
import { mutate } from "../support/mutate.ts";
import { Random } from "../support/random.ts";
import * as captured from "../unit/rsync/captured-runs.ts";
import { replay } from "../unit/rsync/harness.ts";
import { demand, type FuzzTarget, within } from "./fuzz-target.ts";

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

const RUNS = [
  captured.UPLOAD_31,
  captured.DOWNLOAD_31,
  captured.DELTA_DOWNLOAD,
  captured.UPLOAD_Z,
  captured.OPENRSYNC_UPLOAD,
  captured.OPENRSYNC_DOWNLOAD,
  captured.SECLUDED_DELETE,
];

/** One run of a seed; its exit status. */
export async function fuzzRsync(seed: number): Promise<number> {
  const random = new Random(seed);
  const run = random.pick(RUNS);
  const command = run.command.replace(" . ", `${random.pick(OPTIONS)} . `);
  const fs = files();
  const chunkBytes = random.pick([1, 7, 1000]);
  const damaged = mutate(Buffer.from(run.client, "hex"), random);
  const result = await within(10_000, `seed ${seed}, ${command}`, replay(command, damaged, fs, { chunkBytes, lingerMs: 1 }));
  const context = `seed ${seed}, ${command}`;
  demand(Number.isInteger(result.status) && result.status >= 0 && result.status <= 255, `${context}: exit status ${result.status}`);
  demand(fs.openHandles === 0, `${context}: ${fs.openHandles} handles leaked`);
  demand(result.unconsumed === 0, `${context}: ${result.unconsumed} bytes not consumed`);
  // An edited secluded argument may well name the home itself as the destination of --delete.
  const secret = Buffer.from(fs.get("/secret") ?? []).toString();
  demand(run === captured.SECLUDED_DELETE || secret === "not below the destination", `${context}: wrote outside of its destination`);
  return result.status;
}

/** See the head of this file. */
export const rsyncFuzz: FuzzTarget = {
  name: "rsync",
  unit: "runs",
  open: () => Promise.resolve({ run: (seed) => fuzzRsync(seed).then(() => 1), close: () => Promise.resolve() }),
};
