/** `manifest`: the list of a customer's files, for databases and as a proof of arrival. */
import type { Command } from "commander";
import type { OpenedArgument } from "./open-place.ts";
import { optionalConfig, type StorageFlagValues, withStorageFlags } from "./storage-arguments.ts";
import type { Terminal } from "./terminal.ts";

interface ManifestOptions extends StorageFlagValues {
  readonly json?: boolean;
  readonly all?: boolean;
  readonly sha256?: boolean;
  readonly times?: boolean;
}

async function manifest(target: string, options: ManifestOptions, terminal: Terminal): Promise<void> {
  const { openPlace, placeOf } = await import("./open-place.ts");
  const { MANIFEST_HEADER, manifestCsv, manifestLines } = await import("../jobs/layout/manifest-lines.ts");
  const opened: OpenedArgument = await openPlace(await placeOf(target, await optionalConfig(options.config)), options);
  try {
    if (!options.json) terminal.print(MANIFEST_HEADER);
    const lines = manifestLines({
      store: opened.store,
      prefix: opened.prefix,
      folder: options.all ? "" : "originals/",
      sha256: options.sha256 === true,
      times: options.times === true,
    });
    for await (const line of lines) terminal.print(options.json ? JSON.stringify(line) : manifestCsv(line));
  } finally {
    await opened.store.close();
  }
}

/** Adds `manifest` to the program. */
export function registerManifest(program: Command, terminal: Terminal): void {
  const command = program
    .command("manifest")
    .description("list names, sizes, times and checksums of the originals as CSV")
    .argument("<target>", "user, s3://bucket/path or file:///folder")
    .option("--json", "one JSON object a line")
    .option("--all", "everything, not only originals/")
    .option("--sha256", "read every file and add its SHA-256")
    .option("--times", "ask for each file's own time (one request a file) instead of when it was stored");
  withStorageFlags(command).action((target: string, options: ManifestOptions) => manifest(target, options, terminal));
}
