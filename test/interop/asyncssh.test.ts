import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { run, runOk } from "../support/processes.ts";
import { requireTool } from "../support/require-tool.ts";
import { expectFiles, expectStored, onEachStore, STORED, writeTree } from "./on-stores.ts";
import { sample, TREE } from "./samples.ts";

const PYTHON = "/usr/bin/python3";
const script = fileURLToPath(new URL("asyncssh-session.py", import.meta.url));
const hasAsyncssh = requireTool("python3") && (await run(PYTHON, ["-c", "import asyncssh"])).code === 0;
if (!hasAsyncssh) requireTool("asyncssh, a module of python3");

onEachStore("asyncssh", ["python3"], {}, (at) => {
  it.skipIf(!hasAsyncssh)("does all it can do", { timeout: 120_000 }, async () => {
    const { gateway, work, store } = at();
    const data = sample(9_000_000);
    writeTree(work, { data });
    writeTree(join(work, "tree"), TREE);
    const args = [script, String(gateway.port), gateway.user, gateway.keyFile, gateway.knownHosts, work];
    const { stderr } = await runOk(PYTHON, ["-W", "ignore", ...args], { timeoutMs: 110_000 });
    expect(stderr).toBe("");
    const many = Object.fromEntries([0, 1, 2].map((n) => [`many-${n}`, data]));
    const tree = Object.fromEntries(Object.entries(TREE).map(([name, bytes]) => [`tree/${name}`, bytes]));
    expectStored(store, `${STORED}/asyncssh`, { put: data, "small-blocks": data, scp: data, ...many, ...tree });
    expectFiles(join(work, "back"), TREE);
  });
});
