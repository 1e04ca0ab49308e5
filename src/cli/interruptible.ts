/** Lets a person end a command with Ctrl-C: first cleanly, a second time at once. Knows no command. */
import type { Terminal } from "./terminal.ts";

/** Exit code of a command that was interrupted: 128 + SIGINT. */
export const EXIT_INTERRUPTED = 130;

/**
 * Runs `work` with a signal that aborts on Ctrl-C or SIGTERM. An interrupted run that rejects becomes `EXIT_INTERRUPTED`,
 * and `onInterrupt` says what was done; other rejections pass.
 */
export async function interruptible(
  terminal: Terminal,
  work: (signal: AbortSignal) => Promise<number>,
  onInterrupt: () => string,
): Promise<number> {
  const stop = new AbortController();
  const onSignal = (): void => {
    if (stop.signal.aborted) process.exit(EXIT_INTERRUPTED);
    terminal.printError("stopping; press Ctrl-C again to stop at once");
    stop.abort(new Error("interrupted"));
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    const code = await work(stop.signal);
    if (!stop.signal.aborted) return code;
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
  terminal.printError(onInterrupt());
  return EXIT_INTERRUPTED;
}
