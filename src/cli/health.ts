/** `health`: asks a running gateway on this machine whether it is alive; for containers and monitoring. */
import type { Command } from "commander";
import { connect } from "node:net";
import { resolve } from "node:path";
import { loadConfig } from "../config/load.ts";
import type { ListenAddress } from "../config/schema.ts";
import { addressMatcher } from "../ssh/source-penalties.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import { EXIT_FAILURE, EXIT_OK, type Terminal } from "./terminal.ts";

const TIMEOUT_MS = 5_000;

/** An address that this machine reaches: that of all interfaces is listened on, not connected to. */
function reachable({ host, port }: ListenAddress): ListenAddress {
  if (host === "0.0.0.0") return { host: "127.0.0.1", port };
  return host === "::" ? { host: "::1", port } : { host, port };
}

/** Resolves once an SSH server has said so; rejects otherwise. `proxied`: it waits for a load balancer's header. */
function askSsh({ host, port }: ListenAddress, proxied: boolean): Promise<void> {
  return new Promise((done, fail) => {
    const socket = connect({ host, port, timeout: TIMEOUT_MS });
    if (proxied) socket.write("PROXY UNKNOWN\r\n");
    socket.once("data", (chunk) => {
      socket.destroy();
      if (chunk.toString("latin1").startsWith("SSH-2.0-")) done();
      else fail(new Error("does not speak SSH"));
    });
    socket.once("timeout", () => socket.destroy(new Error("does not answer")));
    socket.once("error", fail);
    socket.once("end", () => fail(new Error("closed the connection")));
  });
}

async function askAdmin({ host, port }: ListenAddress): Promise<void> {
  const name = host.includes(":") ? `[${host}]` : host;
  const response = await fetch(`http://${name}:${port}/healthz`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`answers ${response.status}`);
}

async function health(options: { readonly config: string }, terminal: Terminal): Promise<number> {
  const { config } = await loadConfig(resolve(options.config));
  const admin = config.admin.listen;
  const [ssh] = config.server.listen;
  const address = reachable(admin ?? ssh ?? { host: "127.0.0.1", port: 2022 });
  try {
    const isBalancer = addressMatcher(config.server.proxyProtocol);
    await (admin ? askAdmin(address) : askSsh(address, isBalancer(address.host)));
    terminal.print("ok");
    return EXIT_OK;
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    terminal.printError(`${address.host}:${address.port}: ${cause instanceof Error ? cause.message : String(cause)}`);
    return EXIT_FAILURE;
  }
}

/** Adds `health` to the program; `exit` takes the exit code. */
export function registerHealth(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  program
    .command("health")
    .description("ask the gateway that runs with this configuration whether it is alive")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE)
    .action(async (options: { config: string }) => exit(await health(options, terminal)));
}
