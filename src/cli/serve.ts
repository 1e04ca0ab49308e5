/** `serve`: see src/supervisor/serve.ts, which `main.ts` also runs without all the other commands. */
import type { Command } from "commander";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import type { Terminal } from "./terminal.ts";

/** Adds `serve` to the program; `exit` takes the exit code. */
export function registerServe(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  program
    .command("serve", { isDefault: false })
    .description(`run the gateway; without --config and without ${DEFAULT_CONFIG_FILE}, a demonstration on local disk under state/demo/`)
    .option("--config <file>", `configuration file (default: ${DEFAULT_CONFIG_FILE} if it is there)`)
    .action(async (options: { config?: string }) => {
      const { serve } = await import("../supervisor/serve.ts");
      exit(await serve(options, terminal));
    });
}
