/**
 * The start of a worker process, which a supervisor forks: serves the sessions that are handed to it until the supervisor
 * wants it to end; should that be gone, it ends at once.
 */
import { ConfigStore } from "./config/config-store.ts";
import { loadConfig } from "./config/load.ts";
import { ConfigError } from "./errors.ts";
import type { Gateway } from "./gateway.ts";
import { type Channel, SupervisorLink } from "./gateway/supervisor-link.ts";
import { createLogger, type Logger } from "./log.ts";
import { MemoryTidy } from "./memory-tidy.ts";
import type { WorkerStart } from "./supervisor/messages.ts";
import { workerCount } from "./supervisor/worker-count.ts";

/** After all is closed, something left open may keep the process alive no longer than this. */
const LINGER_MS = 3_000;

// Node cuts small buffers from blocks of 8 KiB, and each login would keep one of those alive for its few keys and names.
Buffer.poolSize = 1024;
// The AWS SDK warns of its own next versions on Node 20; the version that runs is pinned in package.json.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";
// Whoever read our output may be gone before us; that is no reason to end.
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);
// Terminals and service managers signal every process of the group; the supervisor says what follows from it.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);

/** A bug that one session meets must not end the sessions of all others: it is logged to be mended. */
function keepServing(log: Logger): void {
  process.on("uncaughtException", (error, origin) => log.error({ err: error, origin }, "unexpected error, please report it"));
}

/** So long uploads may be written to this node's disk when the supervisor is gone: the next gateway may be there soon. */
const ABANDON_MS = 1_000;

/** The channel is closed by us. */
let isEnding = false;

/** Serves until the end. Rejects with a ConfigError if something cannot be had. */
async function serve({ configFile, slot, workers, firstProcess }: WorkerStart, link: SupervisorLink): Promise<void> {
  const isLeader = slot === 0;
  const log = createLogger((await loadConfig(configFile)).config.log).child({ worker: slot });
  await using store = await ConfigStore.open(configFile, { log });
  keepServing(log);
  // In two steps: the module loader opens all files of a step at once, and descriptors may be few.
  const { Gateway: ServingGateway } = await import("./gateway.ts");
  let gateway: Gateway | undefined;
  link.handle({
    reload: () => {
      Promise.all([store.reload(), gateway?.reloadHostKeys()]).catch((error: unknown) => log.error({ err: error }, "reload failed"));
    },
  });
  // What changes from here on is seen, whether it comes before or after the first connection.
  store.onChange((next, previous) => {
    log.level = next.log.level;
    gateway?.reconfigure(next, previous);
    if (isLeader) link.send({ type: "reloaded" });
  });
  if (isLeader) await store.watch();
  await store.reload();
  const started = store.current;
  const place = { slot, workers: workers ?? workerCount(started.server), firstProcess };
  gateway = await ServingGateway.start({ config: started, log, link, place });
  if (store.current !== started) gateway.reconfigure(store.current, started);
  const { server, admin, log: logging } = started;
  const hostKeys = gateway.hostKeys.map(({ publicKey }) => publicKey);
  link.send({ type: "ready", settings: { server, admin, log: logging, workers: place.workers }, hostKeys });
  const timeoutMs = await drained;
  if (timeoutMs !== "supervisor gone") return gateway.drain(timeoutMs);
  await gateway.abandon();
  process.exit(1);
}

async function run(start: WorkerStart, link: SupervisorLink): Promise<void> {
  try {
    await serve(start, link);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    link.send({ type: "failed", message, isUsage: error instanceof ConfigError });
    process.exitCode = 1;
  }
  isEnding = true;
  if (process.connected) process.disconnect();
  setTimeout(() => process.exit(), LINGER_MS).unref();
}

/** Resolves with the time in milliseconds that sessions have to finish, once this process is to end. */
function untilDrained(link: SupervisorLink): Promise<number | "supervisor gone"> {
  return new Promise((resolve) => {
    link.handle({ drain: ({ timeoutMs }) => resolve(timeoutMs), ping: () => link.send({ type: "pong" }) });
    process.once("disconnect", () => {
      if (isEnding) return;
      process.stderr.write("the supervisor is gone, ending\n");
      setTimeout(() => process.exit(1), ABANDON_MS);
      resolve("supervisor gone");
    });
  });
}

// Where the engine needs it: the flags of workers say so.
if (globalThis.gc) new MemoryTidy({ collect: globalThis.gc });

const link = new SupervisorLink(process as Channel);
const drained = untilDrained(link);
link.handle({
  start: ({ start }) => {
    run(start, link).catch((error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    });
  },
});
