/** The commands that `ssh host COMMAND` serves. */
import type { ByteBudget } from "../byte-budget.ts";
import { CommandTable } from "../exec/commands.ts";
import { df, pwd } from "../exec/file-system-commands.ts";
import { hashCommand } from "../exec/hash-commands.ts";
import { ListMemory } from "../rsync/list-memory.ts";
import { rsyncCommand } from "../rsync/rsync.ts";
import { UploadNotesStore } from "../rsync/upload-notes.ts";
import { scp } from "../scp/scp.ts";

/** A table with all of them; `budget` pays for what they hold, `notesFolder` is rsync's place in the state directory. */
export function createCommands(budget: ByteBudget, notesFolder: string): CommandTable {
  const commands = new CommandTable();
  commands.register("scp", scp);
  commands.register("rsync", rsyncCommand({ budget, lists: new ListMemory(), notes: new UploadNotesStore(notesFolder) }));
  commands.register("df", df);
  commands.register("pwd", pwd);
  for (const algorithm of ["md5", "sha1", "sha256"] as const) commands.register(`${algorithm}sum`, hashCommand(algorithm));
  return commands;
}
