/** An open directory whose names are all known: the home, and the read-only branches. Asks no store. */
import { FsError } from "../errors.ts";
import type { Attributes, DirectoryEntry, DirectoryHandle } from "./file-system.ts";

/** A directory handle over `entries`. */
export function openEntries(path: string, attributes: Attributes, entries: readonly DirectoryEntry[]): DirectoryHandle {
  let state: "begin" | "end" | "closed" = "begin";
  const requireOpen = (): void => {
    if (state === "closed") throw new FsError("invalid-argument", `${path}: the directory is closed`);
  };
  return {
    async next() {
      requireOpen();
      const isFirst = state === "begin";
      state = "end";
      return isFirst ? entries : [];
    },
    async stat() {
      requireOpen();
      return attributes;
    },
    async close() {
      state = "closed";
    },
  };
}
