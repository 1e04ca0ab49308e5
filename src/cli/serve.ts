/** `serve`: runs the gateway until a signal ends it; without a configuration, the demonstration. */
import type { Command } from "commander";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { ConfigStore } from "../config/config-store.ts";
import { loadConfig } from "../config/load.ts";
import { createLogger, type Logger } from "../log.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import { type Demo, prepareDemo, printDemo } from "./demo.ts";
import { EXIT_FAILURE, EXIT_OK, type Terminal } from "./terminal.ts";

interface ServeOptions {
  readonly config?: string;
}

/** Resolves with the first signal that asks for the end; a second one ends the process at once. */
function untilStopped(log: Logger): Promise<NodeJS.Signals> {
  return new Promise((stop) => {
    let stopping = false;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (stopping) {
        log.warn({ signal }, "stopped at once");
        process.exit(EXIT_FAILURE);
      }
      stopping = true;
      stop(signal);
    };
    process.on("SIGINT", onSignal);
    process.on("SIGTERM", onSignal);
  });
}

/** A bug that one session meets must not end the sessions of all others: it is logged to be mended. */
function keepServing(log: Logger): void {
  process.on("uncaughtException", (error, origin) => log.error({ err: error, origin }, "unexpected error, please report it"));
}

async function run(file: string, demo: Demo | undefined, terminal: Terminal): Promise<number> {
  const log = createLogger((await loadConfig(file)).config.log);
  await using store = await ConfigStore.open(file, { log });
  const stopped = untilStopped(log);
  keepServing(log);
  // Loaded here, not at the top: the other commands need none of it and start in half the time.
  const { Gateway } = await import("../gateway.ts");
  let gateway: Awaited<ReturnType<typeof Gateway.start>> | undefined;
  // What changes from here on is seen, whether it comes before or after the first connection.
  process.on("SIGHUP", () => {
    log.info("reload asked for by SIGHUP");
    Promise.all([store.reload(), gateway?.reloadHostKeys()]).catch((error: unknown) => log.error({ err: error }, "reload failed"));
  });
  store.onChange((next, previous) => {
    log.level = next.log.level;
    gateway?.reconfigure(next, previous);
  });
  await store.watch();
  await store.reload();
  const started = store.current;
  gateway = await Gateway.start({ config: started, log, portFallback: demo !== undefined });
  if (store.current !== started) gateway.reconfigure(store.current, started);
  if (demo) await printDemo(demo, gateway, terminal);
  const signal = await stopped;
  log.info({ signal, sessions: gateway.sessionCount }, "draining");
  await gateway.drain();
  log.info("stopped");
  return EXIT_OK;
}

async function serve(options: ServeOptions, terminal: Terminal): Promise<number> {
  if (options.config !== undefined) return run(resolve(options.config), undefined, terminal);
  if (existsSync(DEFAULT_CONFIG_FILE)) return run(resolve(DEFAULT_CONFIG_FILE), undefined, terminal);
  const demo = await prepareDemo();
  return run(demo.configFile, demo, terminal);
}

/** Adds `serve` to the program; `exit` takes the exit code. */
export function registerServe(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  program
    .command("serve", { isDefault: false })
    .description(`run the gateway; without --config and without ${DEFAULT_CONFIG_FILE}, a demonstration on local disk under state/demo/`)
    .option("--config <file>", `configuration file (default: ${DEFAULT_CONFIG_FILE} if it is there)`)
    .action(async (options: ServeOptions) => exit(await serve(options, terminal)));
}
