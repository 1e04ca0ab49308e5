/** `jobs list`, `run`, `history`, and `sweep`: the scheduled jobs seen and run by hand. */
import type { Command } from "commander";
import type { JobsOptions, SweepCommandOptions } from "./jobs-commands.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import type { Terminal } from "./terminal.ts";

const EXIT_CODES = `
Of this command: 0 clean, 2 done with warnings, 1 failed or already running, 130 interrupted.`;

/** The stores and what lies on them are loaded only when they are needed. */
function load(): Promise<typeof import("./jobs-commands.ts")> {
  return import("./jobs-commands.ts");
}

function withCommon(command: Command): Command {
  return command
    .option("--json", "JSON lines for machines")
    .option("--quiet", "only errors")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE);
}

/** Adds `jobs` with its commands and `sweep` to the program; `exit` takes the exit code. */
export function registerJobs(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  const jobs = program.command("jobs").description("list the scheduled jobs, run one now, or show its last runs");
  withCommon(jobs.command("list"))
    .description("list the jobs with their last and next runs")
    .action(async (options: JobsOptions) => exit(await (await load()).list(options, terminal)));
  withCommon(jobs.command("run"))
    .description("run a job now, under its lock")
    .argument("<name>", "as in the configuration")
    .addHelpText("after", EXIT_CODES)
    .action(async (name: string, options: JobsOptions) => exit(await (await load()).run(name, options, terminal)));
  withCommon(jobs.command("history"))
    .description("show the last runs on this node")
    .argument("<name>", "as in the configuration")
    .action(async (name: string, options: JobsOptions) => exit(await (await load()).showHistory(name, options, terminal)));
  withCommon(program.command("sweep"))
    .description("remove unfinished uploads, old temporary files, leftovers of archives and stale locks; without --yes only say what")
    .option("--yes", "remove them")
    .addHelpText("after", EXIT_CODES)
    .action(async (options: SweepCommandOptions) => exit(await (await load()).sweep(options, terminal)));
}
