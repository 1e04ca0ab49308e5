import { defineConfig } from "vitest/config";
import { ClosingLineReporter } from "./support/closing-line-reporter.ts";

export default defineConfig({
  test: {
    root: new URL(".", import.meta.url).pathname,
    include: ["**/*.test.ts"],
    pool: "forks",
    testTimeout: 60_000,
    hookTimeout: 120_000,
    maxConcurrency: 16,
    // Much of the time is spent waiting for stores that hang and clients that were cut: two files at once on two cores.
    maxWorkers: 2,
    reporters: ["default", new ClosingLineReporter()],
  },
});
