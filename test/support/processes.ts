/** Child processes of tests: started with captured output, awaited, and always ended by their id. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";

/** What a finished program left. `code` is 128 + n if signal n ended it. */
export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How to run a program. */
export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Uint8Array;
  /** It is killed, and the promise rejects, after so long (default 60,000). */
  readonly timeoutMs?: number;
}

/** Runs a program to its end, whatever its exit code. Rejects if it cannot start or takes too long. */
export async function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const { timeoutMs = 60_000 } = options;
  const child = spawn(file, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, LC_ALL: "C.UTF-8", ...options.env },
    ...(options.cwd !== undefined && { cwd: options.cwd }),
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
  child.stdin.on("error", () => undefined); // a program may end without reading its input
  child.stdin.end(options.input ?? "");
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    child.kill("SIGKILL");
  }, timeoutMs);
  const [code] = (await once(child, "close")) as [number | null];
  clearTimeout(timer);
  const finished = { code: code ?? 128, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
  if (isLate) throw new Error(`${file} ${args.join(" ")}: no end within ${timeoutMs} ms\n${finished.stdout}\n${finished.stderr}`);
  return finished;
}

/** Runs a program and rejects, with all it printed, unless it exits with 0. */
export async function runOk(file: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const finished = await run(file, args, options);
  if (finished.code === 0) return finished;
  throw new Error(`${file} ${args.join(" ")}: exit ${finished.code}\n${finished.stdout}\n${finished.stderr}`);
}

/** Ends a process and waits for it: SIGTERM, then SIGKILL after `patienceMs`. Returns its exit code, or null. */
export async function stopProcess(child: ChildProcess, signal: NodeJS.Signals = "SIGTERM", patienceMs = 10_000): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const ended = once(child, "exit");
  child.kill(signal);
  const timer = setTimeout(() => child.kill("SIGKILL"), patienceMs);
  await ended;
  clearTimeout(timer);
  return child.exitCode;
}

/** A TCP port on 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
