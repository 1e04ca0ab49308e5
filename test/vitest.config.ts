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
    reporters: ["default", new ClosingLineReporter()],
  },
});
