/** The command line: which commands there are and how each ends. Knows no command's inside. */
import { Command, CommanderError } from "commander";
import { readFileSync } from "node:fs";
import { registerBackup } from "./backup.ts";
import { registerCheck } from "./check.ts";
import { registerConfig } from "./config.ts";
import { registerHealth } from "./health.ts";
import { registerHostKeys } from "./host-keys.ts";
import { registerJobs } from "./jobs.ts";
import { registerManifest } from "./manifest.ts";
import { registerMigrate } from "./migrate.ts";
import { registerPolicy } from "./policy.ts";
import { registerServe } from "./serve.ts";
import { registerSettings } from "./settings.ts";
import { registerSync } from "./sync.ts";
import { EXIT_OK, EXIT_USAGE, processTerminal, reportFailure, type Terminal } from "./terminal.ts";
import { registerUsage } from "./usage.ts";
import { registerUser } from "./user.ts";

const EXIT_CODES = `
Exit codes: 0 done, 1 failed, 2 the command line or the configuration cannot be used.`;

function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  return typeof manifest === "object" && manifest !== null && "version" in manifest ? String(manifest.version) : "unknown";
}

function createProgram(terminal: Terminal, exit: (code: number) => void): Command {
  const program = new Command("sftp-s3-gateway")
    .description("SFTP, scp and rsync straight onto S3 or a local disk")
    .version(packageVersion())
    .addHelpText("after", EXIT_CODES)
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({ writeOut: (text) => terminal.print(text.trimEnd()), writeErr: (text) => terminal.printError(text.trimEnd()) })
    .showHelpAfterError("(add --help for what can be written)")
    .exitOverride();
  registerServe(program, terminal, exit);
  registerConfig(program, terminal, exit);
  registerUser(program, terminal);
  registerHostKeys(program, terminal);
  registerBackup(program, terminal, exit);
  registerJobs(program, terminal, exit);
  registerHealth(program, terminal, exit);
  registerSync(program, terminal, exit);
  registerCheck(program, terminal, exit);
  registerPolicy(program, terminal, exit);
  registerSettings(program, terminal, exit);
  registerManifest(program, terminal);
  registerUsage(program, terminal, exit);
  registerMigrate(program, terminal, exit);
  // Settings are inherited only by commands added after them; help and errors must behave the same everywhere.
  const inherit = (parent: Command): void => {
    for (const command of parent.commands) {
      command.copyInheritedSettings(parent);
      command.addHelpText("after", EXIT_CODES);
      inherit(command);
    }
  };
  inherit(program);
  return program;
}

/** Runs one command line (without `node` and the script) and returns its exit code. Never rejects. */
export async function runCommandLine(args: readonly string[], terminal: Terminal = processTerminal): Promise<number> {
  let exitCode = EXIT_OK;
  const program = createProgram(terminal, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync([...args], { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    return reportFailure(error, terminal);
  }
}
