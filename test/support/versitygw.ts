/** versitygw (`go install github.com/versity/versitygw/cmd/versitygw@latest`) on a temporary folder, if it is here. */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, stopProcess } from "./processes.ts";
import { findTool } from "./require-tool.ts";
import type { ForeignS3 } from "./rgw.ts";

/** Where it is: `$VERSITYGW` or on the PATH. Prints that tests are skipped without it. */
export function findVersitygw(): string | undefined {
  const found = process.env.VERSITYGW ?? findTool("versitygw");
  if (found === undefined) process.stdout.write("not installed, tests skipped: versitygw (optional)\n");
  return found;
}

/** Starts it on a folder that `stop` removes. */
export async function startVersitygw(program: string): Promise<ForeignS3> {
  const dir = mkdtempSync(join(tmpdir(), "versitygw-"));
  mkdirSync(join(dir, "data"));
  const credentials = { accessKeyId: "AKIATESTVGW", secretAccessKey: "test-versitygw-secret" };
  const port = await freePort();
  const { accessKeyId, secretAccessKey } = credentials;
  const args = ["--port", `127.0.0.1:${port}`, "--access", accessKeyId, "--secret", secretAccessKey, "--region", "us-east-1", "--quiet"];
  const child = spawn(program, [...args, "posix", join(dir, "data")], { stdio: "ignore" });
  const stop = async (): Promise<void> => {
    await stopProcess(child, "SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  };
  const endpoint = `http://127.0.0.1:${port}`;
  for (let tries = 0; tries < 200; tries++) {
    const answer = await fetch(endpoint).catch((error: unknown) => error);
    if (answer instanceof Response) return { endpoint, credentials, region: "us-east-1", stop };
    await sleep(50); // another program gives no event to wait for
  }
  await stop();
  throw new Error(`${program} does not answer`);
}
