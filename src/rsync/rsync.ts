/** The `rsync` command for the table of exec commands. */
import type { Command } from "../exec/commands.ts";
import { serveRsync, type RsyncServerOptions } from "./session.ts";

/** The command that serves `rsync --server …`. */
export function rsyncCommand(options: Omit<RsyncServerOptions, "log" | "user"> = {}): Command {
  return ({ words, channel, fileSystem, log, user }) => serveRsync(words, channel, fileSystem, { ...options, log, user });
}
