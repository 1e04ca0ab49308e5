/**
 * Prints the names of skipped tests and, as the very last line of a run, `N passed, N failed` or
 * `N passed, N failed, N skipped`. Files that do not load and unhandled errors count as failed.
 */
import { writeSync } from "node:fs";
import type { Reporter, SerializedError, TestModule } from "vitest/node";

/** The reporter: see the head of this file. */
export class ClosingLineReporter implements Reporter {
  #closingLine = "0 passed, 1 failed";

  /** The last thing a run does is leave the process, so the line is printed there. */
  onInit(): void {
    process.once("exit", () => writeSync(1, `${this.#closingLine}\n`));
  }

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    const skipped: string[] = [];
    let passed = 0;
    let failed = unhandledErrors.length;
    for (const module of modules) {
      failed += module.errors().length;
      for (const suite of module.children.allSuites()) failed += suite.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed") passed++;
        else if (state === "failed") failed++;
        else skipped.push(`${module.relativeModuleId} > ${test.fullName}`);
      }
    }
    for (const name of skipped) writeSync(1, `skipped: ${name}\n`);
    this.#closingLine = `${passed} passed, ${failed} failed${skipped.length > 0 ? `, ${skipped.length} skipped` : ""}`;
  }
}
