/** The `rsync` command for the table of exec commands. */
import type { ByteBudget } from "../byte-budget.ts";
import type { Command } from "../exec/commands.ts";
import { serveRsync } from "./session.ts";

/** The command that serves `rsync --server …`; `budget`: the process's byte budget. */
export function rsyncCommand(budget?: ByteBudget): Command {
  return ({ words, channel, fileSystem, log }) => serveRsync(words, channel, fileSystem, budget ? { log, budget } : { log });
}
