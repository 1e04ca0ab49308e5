/** Reads the merge files of filter rules from the file system. Knows no rules. */
import { FsError } from "../errors.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import type { MergeFileReader } from "./filter-list.ts";
import { isMissing, reasonText } from "./error-text.ts";
import { ExitStatus, RsyncExit } from "./exit-codes.ts";
import { joinPath, toText } from "./names.ts";

/** Longest merge file. Bytes. */
const MAX_MERGE_FILE = 1024 * 1024;

/**
 * A reader of merge files below `root`. What cannot be read ends the run: a rule that is not seen would delete or send
 * what it protects.
 */
export function mergeFileReader(fileSystem: FileSystem, root: string): MergeFileReader {
  return async (directory, file) => {
    const text = toText(directory === "." ? file : `${directory}/${file}`);
    if (text === undefined) return undefined;
    const path = text.startsWith("/") ? text : joinPath(root, text);
    try {
      const handle = await fileSystem.open(path, { read: true });
      try {
        const { size } = await handle.stat();
        if (size > MAX_MERGE_FILE) throw new RsyncExit(ExitStatus.unsupported, `rsync: the merge file "${path}" is too long`);
        return Buffer.concat(await handle.read(0, size)).toString("latin1");
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (isMissing(error)) return undefined;
      if (!(error instanceof FsError)) throw error;
      throw new RsyncExit(ExitStatus.fileIo, `rsync: failed to open merge file "${path}": ${reasonText(error)}`);
    }
  };
}
