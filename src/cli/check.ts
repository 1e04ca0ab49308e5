/** `check`: a storage against what the asset server expects of it. */
import { type Command, InvalidArgumentError } from "commander";
import type { OpenedArgument } from "./open-place.ts";
import { preferSmallHeap } from "./small-heap.ts";
import { optionalConfig, type StorageFlagValues, withStorageFlags } from "./storage-arguments.ts";
import { EXIT_FAILURE, type Terminal } from "./terminal.ts";

interface CheckOptions extends StorageFlagValues {
  readonly deep?: boolean;
  readonly fix?: boolean;
  readonly yes?: boolean;
  readonly json?: boolean;
  readonly layout?: string;
  readonly examples: number;
}

function wholeNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("write a whole number");
  return Number(text);
}

function layoutName(text: string): string {
  if (text !== "specify" && text !== "cas") throw new InvalidArgumentError("write specify or cas");
  return text;
}

/** A finding about the location itself, where nothing could be opened. */
function refuse(rule: "L01" | "L02", target: string, reason: string, options: CheckOptions, terminal: Terminal): number {
  if (options.json) {
    const result = { rule, severity: "error", count: 1, examples: [{ key: target, detail: reason }] };
    terminal.print(JSON.stringify({ target, exitCode: EXIT_FAILURE, rules: [result] }));
  } else terminal.print(`ERROR ${rule} ${reason}`);
  return EXIT_FAILURE;
}

async function run(target: string, opened: OpenedArgument, options: CheckOptions, terminal: Terminal): Promise<number> {
  const { checkLayout } = await import("../jobs/layout/check-layout.ts");
  const { layoutLines } = await import("../jobs/layout/layout-report.ts");
  const { layoutFixes } = await import("../jobs/layout/fix-layout.ts");
  const started = performance.now();
  const result = await checkLayout({
    store: opened.store,
    prefix: opened.prefix,
    layout: options.layout === "cas" ? "cas" : "specify",
    deep: options.deep === true,
    maxExamples: options.examples,
  });
  const { report } = result;
  const fixes = options.fix ? layoutFixes(opened.store, result) : [];
  const applied = options.fix === true && options.yes === true;
  if (applied) for (const fix of fixes) await fix.run();
  const described = fixes.map(({ description }) => description);
  const seconds = (performance.now() - started) / 1000;
  if (options.json) {
    const fixReport = options.fix ? { fixes: { applied, steps: described } } : {};
    terminal.print(JSON.stringify({ target, ...report.toJSON(), ...fixReport, seconds, requests: opened.requests }));
    return report.exitCode;
  }
  for (const line of layoutLines(report, target)) terminal.print(line);
  for (const description of described) terminal.print(`${applied ? "done" : "would"}: ${description}`);
  if (fixes.length > 0 && !applied) terminal.print("Nothing was changed: add --yes to do so.");
  if (applied && fixes.length > 0) terminal.print("Run the check again to see what is left.");
  return report.exitCode;
}

async function check(target: string, options: CheckOptions, terminal: Terminal): Promise<number> {
  preferSmallHeap();
  const { openPlace, placeOf } = await import("./open-place.ts");
  const { SyncUsageError } = await import("../jobs/sync/sync-options.ts");
  const { MissingPathError } = await import("../jobs/sync/sync-places.ts");
  const config = await optionalConfig(options.config);
  let opened: OpenedArgument | undefined;
  try {
    opened = await openPlace(await placeOf(target, config), options);
    const layout = options.layout ?? config?.users.get(target.replace(/^user:/, ""))?.layout;
    return await run(target, opened, { ...options, ...(layout === undefined ? {} : { layout }) }, terminal);
  } catch (error) {
    if (error instanceof SyncUsageError) return refuse("L01", target, error.message, options, terminal);
    if (error instanceof MissingPathError) return refuse("L02", target, error.message, options, terminal);
    throw error;
  } finally {
    await opened?.store.close();
  }
}

/** Adds `check` to the program; `exit` takes the exit code. */
export function registerCheck(program: Command, terminal: Terminal, exit: (code: number) => void): void {
  const command = program
    .command("check")
    .description("check a storage against the layout the asset server expects: 0 clean, 2 warnings only, 1 errors")
    .argument("<target>", "user, s3://bucket/path or file:///folder")
    .option("--layout <name>", "specify (flat), or cas (originals two folders deep); default: the user's, else specify", layoutName)
    .option("--deep", "also read type and first bytes of every object")
    .option("--fix", "say what can be mended: markers, useless thumbnails, wrong types")
    .option("--yes", "with --fix: do it")
    .option("--examples <n>", "examples shown for each rule", wholeNumber, 5)
    .option("--json", "as JSON");
  withStorageFlags(command).action(async (target: string, options: CheckOptions) => exit(await check(target, options, terminal)));
}
