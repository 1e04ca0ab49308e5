/** Looks at start whether others on the machine can read what they should not. Host keys check themselves. */
import { stat } from "node:fs/promises";
import type { Logger } from "../log.ts";

/**
 * Warns if others than the owner may enter the state directory: it holds the last bytes of unfinished uploads. Only a
 * warning, because volumes of container platforms often come with a group. A folder that is missing is made with 0700 later.
 */
export async function checkStateMode(state: string, log: Logger): Promise<void> {
  const mode = await stat(state).then(
    (found) => found.mode & 0o777,
    () => 0o700,
  );
  if ((mode & 0o077) === 0) return;
  log.warn(
    { audit: true, path: state, mode: mode.toString(8), reason: "others can enter it" },
    "state directory is open to others: chmod 700",
  );
}
