/** `backup run`, `list`, `verify` and `restore`: archives of the users' storages, made and brought back by hand. */
import type { Command } from "commander";
import type { CommonOptions, RunOptions, RestoreCommandOptions } from "./backup-commands.ts";
import { DEFAULT_CONFIG_FILE } from "./default-config.ts";
import type { Terminal } from "./terminal.ts";

const EXIT_CODES = `
Of this command: 0 clean, 2 done with warnings, 1 failed (the previous archive stays), 130 interrupted.`;

/** The stores and what lies on them are loaded only when they are needed. */
function load(): Promise<typeof import("./backup-commands.ts")> {
  return import("./backup-commands.ts");
}

function withCommon(command: Command): Command {
  return command
    .option("--json", "JSON lines for machines")
    .option("--quiet", "only errors")
    .option("--config <file>", "configuration file", DEFAULT_CONFIG_FILE);
}

/** Adds `backup` and its commands to the program; `exit` takes the exit code. */
export function registerBackup(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  const backup = program.command("backup").description("make, list, verify and restore archives of the users' storages");
  withCommon(backup.command("run"))
    .description("make an archive of one user's storage, or of all; it appears in the user's home")
    .argument("[user]", "login name")
    .option("--all", "all users that have backups, one after the other")
    .option("--full", "a whole archive although an incremental one is due")
    .option("--allow-empty", "also of an empty storage whose last archive held files")
    .addHelpText("after", EXIT_CODES)
    .action(async (user: string | undefined, options: RunOptions) => exit(await (await load()).run(user, options, terminal)));
  withCommon(backup.command("list"))
    .description("list a user's archives")
    .argument("<user>", "login name")
    .action(async (user: string, options: CommonOptions) => exit(await (await load()).list(user, options, terminal)));
  withCommon(backup.command("verify"))
    .description("read an archive back against its manifest and checksums")
    .argument("<user>", "login name")
    .argument("[archive]", "its name; default: the newest")
    .action(async (user: string, archive: string | undefined, options: CommonOptions) =>
      exit(await (await load()).verify(user, archive, options, terminal)),
    );
  withCommon(backup.command("restore"))
    .description("bring files back: a whole archive with the incremental ones after it, or one path of them")
    .argument("<user>", "login name")
    .argument("[path]", "a file or directory, such as originals/x.jpg; default: everything")
    .requiredOption("--to <target>", "a folder, or s3://bucket/prefix")
    .option("--archive <name>", "the state of that archive; default: the newest")
    .option("--force", "replace files that are there")
    .action(async (user: string, path: string | undefined, options: RestoreCommandOptions) =>
      exit(await (await load()).restore(user, path, options, terminal)),
    );
}
