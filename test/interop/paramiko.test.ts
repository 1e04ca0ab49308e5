import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { run, runOk } from "../support/processes.ts";
import { requireTool } from "../support/require-tool.ts";
import { expectStored, onEachStore, STORED, writeTree } from "./on-stores.ts";
import { sample } from "./samples.ts";

const PYTHON = "/usr/bin/python3";
const script = fileURLToPath(new URL("paramiko-session.py", import.meta.url));
const hasParamiko = requireTool("python3") && (await run(PYTHON, ["-c", "import paramiko"])).code === 0;
if (!hasParamiko) requireTool("paramiko, a module of python3");

onEachStore("paramiko", ["python3"], {}, (at) => {
  it.skipIf(!hasParamiko)("does all it can do", async () => {
    const { gateway, work, store } = at();
    writeTree(work, { data: sample(9_000_000) });
    const args = [script, String(gateway.port), gateway.user, gateway.keyFile, gateway.knownHosts, work];
    const { stderr } = await runOk(PYTHON, ["-W", "ignore", ...args], { timeoutMs: 60_000 });
    expect(stderr).toBe("");
    expectStored(store, `${STORED}/paramiko`, { putfo: sample(9_000_000), renamed: sample(9_000_000) });
  });
});
