/** What commands print on and how they end. Knows no command. */
import { ConfigError } from "../errors.ts";

/** Exit codes of all commands. */
export const EXIT_OK = 0;
/** The command was understood and did not succeed. */
export const EXIT_FAILURE = 1;
/** The command line or the configuration cannot be used. */
export const EXIT_USAGE = 2;

/** Where a command prints; tests give their own. */
export interface Terminal {
  readonly print: (line: string) => void;
  readonly printError: (line: string) => void;
}

/** The process's own standard output and error. */
export const processTerminal: Terminal = {
  print: (line) => process.stdout.write(`${line}\n`),
  printError: (line) => process.stderr.write(`${line}\n`),
};

/** The command line was understood by its grammar but makes no sense; ends with exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Rows as columns, padded; the last column is not. */
export function formatTable(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  return rows.map((row) => row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join("  "));
}

/** Prints what went wrong and returns the exit code that says so. */
export function reportFailure(error: unknown, terminal: Terminal): number {
  terminal.printError(error instanceof Error ? error.message : String(error));
  return error instanceof ConfigError || error instanceof UsageError ? EXIT_USAGE : EXIT_FAILURE;
}
