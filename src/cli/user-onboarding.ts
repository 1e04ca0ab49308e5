/**
 * What `user add --check` does beyond writing a line: tries the rights and the layout of the new storage before anybody is
 * let in, makes the two folders when told to, and prints what to send to the customer. Undoes what it did.
 */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import type { GatewayConfig, UserConfig } from "../config/gateway-config.ts";
import type { Terminal } from "./terminal.ts";

/** How to go about it. */
export interface OnboardingOptions {
  /** Make `originals/` and `thumbnails/` where they are missing. */
  readonly createFolders: boolean;
}

/** A storage that passed. */
export interface Onboarding {
  /** Removes what was made. */
  readonly undo: () => Promise<void>;
}

/** Checks the storage of a user who is not in the configuration yet. Rejects, with everything undone, where a step fails. */
export async function checkNewUser(user: UserConfig, options: OnboardingOptions, terminal: Terminal): Promise<Onboarding> {
  const steps: (() => Promise<void>)[] = [];
  const undo = async (): Promise<void> => {
    for (const step of steps.splice(0).reverse()) await step();
  };
  const { location } = user.storage;
  // Opening a folder makes it.
  if (location.kind === "file" && !existsSync(location.folder)) {
    steps.push(() => rm(location.folder, { recursive: true, force: true }));
  }
  try {
    await checkRights(user, terminal);
    await checkFolders(user, options, terminal, steps);
    return { undo };
  } catch (error) {
    await undo();
    throw error;
  }
}

async function checkRights({ storage, readOnly }: UserConfig, terminal: Terminal): Promise<void> {
  const { location, connection, uri } = storage;
  if (location.kind === "s3" && connection && !readOnly) {
    const { checkPolicy } = await import("../jobs/policy/check-policy.ts");
    const awsRegion = connection.awsRegion ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION;
    const { probes, exitCode } = await checkPolicy({ ...connection, awsRegion, bucket: location.bucket }, location.prefix);
    for (const advice of new Set(probes.map((probe) => probe.advice).filter((text) => text !== ""))) terminal.printError(`- ${advice}`);
    if (exitCode === 1) throw new Error(`the rights on ${uri} are not enough: nothing was added`);
    terminal.print(`ok  rights on ${uri}`);
    return;
  }
  const { openUserStorage } = await import("../gateway/storages.ts");
  const { probeStorage } = await import("./storage-probe.ts");
  await using opened = await openUserStorage(storage);
  const { failures } = await probeStorage(opened.store, opened.prefix, { readOnly });
  for (const { step, reason } of failures) terminal.printError(`- ${step}: ${reason}`);
  if (failures.length > 0) throw new Error(`${uri} does not work: nothing was added`);
  terminal.print(`ok  ${readOnly ? "reading" : "reading and writing"} ${uri}`);
}

async function checkFolders(
  { storage, layout }: UserConfig,
  { createFolders }: OnboardingOptions,
  terminal: Terminal,
  steps: (() => Promise<void>)[],
): Promise<void> {
  const { checkLayout } = await import("../jobs/layout/check-layout.ts");
  const { layoutLines } = await import("../jobs/layout/layout-report.ts");
  const { openUserStorage } = await import("../gateway/storages.ts");
  await using opened = await openUserStorage(storage);
  const { store, prefix } = opened;
  const check = () => checkLayout({ store, prefix, layout: layout === "cas" ? "cas" : "specify", deep: false, maxExamples: 3 });
  let result = await check();
  if (createFolders && result.missingMarkers.length > 0) {
    const { DIRECTORY_CONTENT_TYPE } = await import("../vfs/content-type.ts");
    const made: string[] = [];
    steps.push(async () => {
      await using again = await openUserStorage(storage);
      await again.store.delete(made);
    });
    for (const key of result.missingMarkers) {
      await store.put(key, [], { contentType: DIRECTORY_CONTENT_TYPE });
      made.push(key);
      terminal.print(`ok  made ${key}`);
    }
    result = await check();
  }
  const { report, missingMarkers } = result;
  if (report.exitCode !== 0) for (const line of layoutLines(report, storage.uri)) terminal.printError(line);
  if (report.exitCode !== 1) {
    terminal.print(`ok  layout of ${storage.uri}`);
    return;
  }
  const hint = missingMarkers.length > 0 && !createFolders ? " (--create-folders makes the missing folders)" : "";
  throw new Error(`the layout of ${storage.uri} is not what the asset server expects${hint}: nothing was added`);
}

/**
 * What to send to the customer, and the line for the asset server. `host` is the name customers know. Rejects if the host
 * keys cannot be read, or if the asset server would misread the storage.
 */
export async function welcomeLines(user: UserConfig, config: GatewayConfig, host: string): Promise<string[]> {
  const { loadHostKeys } = await import("../ssh/host-keys.ts");
  const { settingsLine } = await import("../jobs/layout/asset-settings.ts");
  const port = config.server.listen[0]?.port ?? 22;
  const remote = `${user.name}@${host}`;
  const keys = await loadHostKeys(config.server.hostKeys);
  const settings =
    user.storage.location.kind === "file"
      ? []
      : ["", "For the asset server's settings.py (COLLECTION_S3_PATHS):", settingsLine(user.name, user.storage.location)];
  return [
    "",
    "For the customer:",
    `  host         ${host}`,
    `  port         ${port}`,
    `  user         ${user.name}`,
    ...keys.map(({ fingerprint, type }) => `  fingerprint  ${fingerprint} ${type}`),
    `  sftp   sftp -P ${port} ${remote}`,
    `  scp    scp -P ${port} *.jpg ${remote}:attachments/originals/`,
    `  rsync  rsync -av -e "ssh -p ${port}" folder/ ${remote}:attachments/originals/`,
    ...settings,
  ];
}
