/**
 * `serve`: runs the gateway until a signal ends it; without a configuration, the demonstration. Loads as little as
 * possible: this process stays for as long as the gateway runs.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { DEFAULT_CONFIG_FILE } from "../cli/default-config.ts";
import type { Demo } from "../cli/demo.ts";
import { EXIT_FAILURE, EXIT_OK, processTerminal, reportFailure, type Terminal } from "../cli/terminal.ts";
import { Supervisor } from "./supervisor.ts";

/** Calls `stop` with the first signal that asks for the end; a second one ends everything at once. */
function onStopSignals(stop: (signal: NodeJS.Signals) => void, stopAtOnce: (signal: NodeJS.Signals) => void): void {
  let stopping = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stopping) stopAtOnce(signal);
    else stop(signal);
    stopping = true;
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
}

async function run(configFile: string, demo: Demo | undefined, terminal: Terminal): Promise<number> {
  let supervisor: Supervisor | undefined;
  const stopped = new Promise<NodeJS.Signals>((stop) => {
    onStopSignals(stop, (signal) => {
      supervisor?.log?.warn({ signal }, "stopped at once");
      supervisor?.kill();
      process.exit(EXIT_FAILURE);
    });
  });
  process.on("SIGHUP", () => {
    supervisor?.log?.info("reload asked for by SIGHUP");
    supervisor?.reload();
  });
  supervisor = await Supervisor.start({ configFile, portFallback: demo !== undefined });
  process.on("uncaughtException", (error, origin) => supervisor?.log?.error({ err: error, origin }, "unexpected error, please report it"));
  if (demo) {
    const { printDemo } = await import("../cli/demo.ts");
    await printDemo(demo, supervisor.running, terminal);
  }
  const signal = await stopped;
  supervisor.log?.info({ signal, connections: supervisor.connectionCount }, "draining");
  await supervisor.drain();
  supervisor.log?.info("stopped");
  return EXIT_OK;
}

/** Runs the gateway of a configuration file, or of the usual one, or the demonstration; resolves with the exit code. */
export async function serve(options: { readonly config?: string | undefined }, terminal: Terminal): Promise<number> {
  if (options.config !== undefined) return run(resolve(options.config), undefined, terminal);
  if (existsSync(DEFAULT_CONFIG_FILE)) return run(resolve(DEFAULT_CONFIG_FILE), undefined, terminal);
  const { prepareDemo } = await import("../cli/demo.ts");
  const demo = await prepareDemo();
  return run(demo.configFile, demo, terminal);
}

/** As `serve`, but never rejects: what goes wrong is printed. */
export async function runServe(options: { readonly config?: string | undefined }): Promise<number> {
  try {
    return await serve(options, processTerminal);
  } catch (error) {
    return reportFailure(error, processTerminal);
  }
}
