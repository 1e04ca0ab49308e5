/**
 * Merge files of filter rules that are named with a path (`-F` is one: `: /.rsync-filter`), on our side and on the real
 * server's: those in directories above the transfer count, too. Differential, nothing is typed by hand as expected.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ByteBudget } from "../../src/byte-budget.ts";
import { createLogger } from "../../src/log.ts";
import { requireTool } from "../support/require-tool.ts";
import { createStoredFiles, MOUNT, type StoredFiles } from "../support/stored-files.ts";
import { RsyncTestServer, runRsync } from "./rsync-server.ts";
import { describeFileSystem, describeLocal, putTree, type Tree, writeTree } from "./rsync-trees.ts";

const FILES = ["keep1", "keep2", "keep3", "keep4", "nested", "included", "deeper", "x.par", "gone"];
const filled = (folder: string): Tree => Object.fromEntries(FILES.map((name) => [`${folder}/${name}`, { content: name }]));

const REMOTE: Tree = {
  "p/.f": { content: "P keep1\n- /q/t[1]/anch\n- /q/t[1]/d/g*\n- *.par\n. more\n: .nest\n" },
  "p/more": { content: "- included\n" },
  "p/.nest": { content: "- nested\n" },
  "p/q/.f": { content: "- keep2\n" },
  "p/q/t[1]/.f": { content: "- keep3\n" },
  "p/q/t[1]/d/.f": { content: "- keep4\n" },
  "p/q/t[1]/d/.nest": { content: "- deeper\n" },
  "p/q/t[1]/anch": { content: "anchored" },
  ...filled("p/q/t[1]"),
  ...filled("p/q/t[1]/d"),
  ...filled("p/q/t[1]/e"),
};
const LOCAL: Tree = { "l/d/new": { content: "new" }, "l/e/new": { content: "new" }, "l/new": { content: "new" } };

const RULES = [": .f", ": /.f", ": HERE/p/.f", ": HERE/p/q/.f", ": ../.f", ": ../../.f", ": ../../../../../../../../../.f"];
const OTHERS = [": d/.f", ":n /.f", ": /nowhere/.f", ":- /.f", ":e ../.f"];
const UPLOADS = [
  ["l/", "T/"],
  ["l/d", "T"],
  ["l/d", "l/e", "T/"],
  ["-R", "l/./d", "T/"],
  ["--delete-excluded", "l/", "T/"],
];
const DOWNLOADS = [
  ["T/", "l/"],
  ["T", "l/"],
  ["T/d", "l/"],
  ["T/d", "T/e", "l/"],
  ["-R", "T/./d", "l/"],
];

describe.skipIf(!requireTool("rsync"))("merge files named with a path", () => {
  const work = mkdtempSync(join(tmpdir(), "rsync-merge-"));
  let files: StoredFiles;
  let server: RsyncTestServer;
  let serial = 0;

  beforeAll(async () => {
    files = await createStoredFiles({ budget: new ByteBudget(64 * 1024 * 1024), log: createLogger({ level: "silent" }) });
    server = new RsyncTestServer(files.fs);
    await server.start();
  });
  afterAll(async () => {
    await server.stop();
    await files.close();
    rmSync(work, { recursive: true });
  });

  async function compare(rule: string, words: readonly string[], up: boolean): Promise<void> {
    serial++;
    const root = `${MOUNT}/${serial}`;
    const place = join(work, `remote${serial}`);
    await putTree(files.fs, root, REMOTE);
    writeTree(join(place, root), REMOTE);
    const run = async (at: string, local: string, here: string) => {
      writeTree(local, LOCAL);
      const named = words.map((word) => word.replace(/^T/, `host:.${root}/p/q/t[1]`));
      const result = await runRsync(
        at,
        ["-ai", "-s", ...(up ? ["--delete"] : []), "--filter", rule.replace("HERE", here), ...named],
        local,
      );
      const lines = result.stdout.split("\n").filter((line) => !/^\S+ +\S*\/$/.test(line));
      return { status: result.status, stderr: result.stderr, lines: lines.sort(), local: describeLocal(local, false) };
    };
    const mine = await run(server.place, join(work, `mine${serial}`), root);
    const real = await run(place, join(work, `real${serial}`), join(place, root));
    expect(mine).toEqual(real);
    expect(await describeFileSystem(files.fs, root, false)).toEqual(describeLocal(join(place, root), false));
  }

  const all = [...RULES, ...OTHERS];
  it.each(UPLOADS.map((words) => [words.join(" "), words] as const))(
    "protect what is at the destination as there: %s",
    async (_, words) => {
      for (const rule of words.length === 2 ? all : RULES) await compare(rule, words, true);
    },
  );
  it.each(DOWNLOADS.map((words) => [words.join(" "), words] as const))("leave out what is sent as there: %s", async (_, words) => {
    for (const rule of words.length === 2 ? all : RULES) await compare(rule, words, false);
  });
});
