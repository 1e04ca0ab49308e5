/** Turns what an old server has into a configuration to be read by a person, with what could not be judged beside it. Pure. */
import { stringify } from "yaml";
import { checkName } from "../../config/resolve.ts";
import { overlaps, parseStorageLocation, type StorageLocation } from "../../storage-location.ts";
import type { Note, OldAccount, OldServer, Place } from "./old-server.ts";
import type { S3fsMount } from "./s3fs-mounts.ts";

/** The configuration, and what a person must look at. */
export interface Proposal {
  readonly yaml: string;
  readonly notes: readonly Note[];
  /** Old mount point by user, for the comparison before the switch. */
  readonly mountPoints: ReadonlyMap<string, string>;
}

type Mount = S3fsMount & Place;
type Values = Record<string, unknown>;

/** The proposal for `server`. */
export function proposeConfig(server: OldServer): Proposal {
  const notes = [...server.notes];
  const mountPoints = new Map<string, string>();
  const users: Values = {};
  const taken: Entry[] = [];
  for (const entry of withoutOverseers(server, notes)) {
    const { account, location, values, mountPoint } = entry;
    const other = taken.find((earlier) => overlaps(earlier.location, location));
    if (other) {
      const text = `account ${account.name} uses the same files as ${other.account.name}: not taken over; write shared: true for both`;
      notes.push({ file: account.file, line: account.line, text });
      continue;
    }
    taken.push(entry);
    users[account.name] = values;
    if (mountPoint !== undefined) mountPoints.set(account.name, mountPoint);
  }
  for (const mount of server.mounts) {
    if ([...mountPoints.values()].some((point) => point === mount.mountPoint || point.startsWith(`${mount.mountPoint}/`))) continue;
    notes.push({
      file: mount.file,
      line: mount.line,
      text: `mount of s3://${mount.bucket}/${mount.path} on ${mount.mountPoint} belongs to no account`,
    });
  }
  const { regions, jobs } = syncsOf(server);
  const backups = backupsOf(server, users, jobs, notes);
  const config: Values = { server: { hostKeys: "keys/" }, ...(Object.keys(regions).length > 0 ? { regions } : {}), ...backups };
  const { timezone } = server;
  if (timezone !== undefined) for (const job of Object.values(jobs)) Object.assign(job as Values, { timezone });
  if (Object.keys(jobs).length > 0) config.jobs = jobs;
  config.users = users;
  return { yaml: `${head(server)}${stringify(config, { lineWidth: 0 })}`, notes, mountPoints };
}

function head({ hostKeys }: OldServer): string {
  const copies = hostKeys.map((file) => `#   cp ${file} keys/`);
  return [
    "# Proposed from the old server. Read it, then: sftp-s3-gateway config check --config THIS-FILE",
    ...(copies.length > 0 ? ["# So that no customer sees a changed fingerprint, copy the old host keys:", ...copies] : []),
    "",
  ]
    .map((line) => `${line}\n`)
    .join("");
}

/** An account as a user of the configuration. */
interface Entry {
  readonly account: OldAccount;
  readonly values: Values;
  readonly location: StorageLocation;
  readonly mountPoint: string | undefined;
}

/** All accounts but those whose mount holds others' files: the operators' own. */
function withoutOverseers(server: OldServer, notes: Note[]): Entry[] {
  const entries = server.accounts.flatMap((account): Entry[] => {
    const found = userOf(account, server, notes);
    return found ? [{ account, ...found }] : [];
  });
  return entries.filter((entry) => {
    const inside = entries.filter((other) => other !== entry && contains(entry.location, other.location));
    if (inside.length === 0) return true;
    const { name, file, line } = entry.account;
    const whose = inside.slice(0, 3).map(({ account }) => account.name);
    const text = `account ${name} is not taken over: its mount holds the files of ${whose.join(", ")}${inside.length > 3 ? " and others" : ""}, it seems to be an operator's`;
    notes.push({ file, line, text });
    return false;
  });
}

/** True if all of `inner` lies below `outer`, which is larger. */
function contains(outer: StorageLocation, inner: StorageLocation): boolean {
  if (outer.kind === "s3" && inner.kind === "s3")
    return outer.bucket === inner.bucket && inner.prefix !== outer.prefix && inner.prefix.startsWith(outer.prefix);
  if (outer.kind === "file" && inner.kind === "file") return inner.folder !== outer.folder && inner.folder.startsWith(outer.folder);
  return false;
}

function userOf(
  account: OldAccount,
  { mounts, commands }: OldServer,
  notes: Note[],
): { readonly values: Values; readonly location: StorageLocation; readonly mountPoint: string | undefined } | undefined {
  const { name, home, keys } = account;
  const wrong = checkName(name);
  // The home's own mount, else the operators' mount of all customers, in which each has a folder.
  const inHome = mounts.find(({ mountPoint }) => mountPoint.startsWith(`${home}/`));
  const own = inHome ?? folderInMount(account, mounts, commands);
  if (own && !inHome) {
    const text = `account ${name} has no mount of its own: its files are taken to be ${own.mountPoint}, from which it was backed up`;
    notes.push({ file: account.file, line: account.line, text });
  }
  const uri = own ? `s3://${own.bucket}/${own.path}` : `file://${home}/attachments`;
  const location = parseStorageLocation(uri);
  const reason = wrong ?? (typeof location === "string" ? location : undefined);
  if (reason !== undefined || typeof location === "string") {
    notes.push({ file: account.file, line: account.line, text: `account ${name} was not taken over: ${reason}` });
    return undefined;
  }
  if (!own)
    notes.push({ file: account.file, line: account.line, text: `account ${name} has no s3fs mount in ${home}: a folder is assumed` });
  const connection = own ? connectionOf(own, name, home, notes) : {};
  const values = {
    storage: uri,
    ...(Object.keys(connection).length > 0 ? { s3: connection } : {}),
    ...(own?.readOnly ? { readOnly: true } : {}),
    keys,
  };
  return { values, location, mountPoint: own?.mountPoint };
}

/** The operators' mount of all customers, in which the account has a folder: its backup was made from there. */
function folderInMount({ name }: OldAccount, mounts: readonly Mount[], commands: OldServer["commands"]): Mount | undefined {
  for (const command of commands) {
    if (command.kind !== "backup" || command.member.replaceAll(/^\.?\/|\/+$/g, "") !== name) continue;
    const mount = mounts.find(({ mountPoint }) => mountPoint === command.folder.replace(/\/+$/, ""));
    if (mount) return { ...mount, path: mount.path === "" ? name : `${mount.path}/${name}`, mountPoint: `${mount.mountPoint}/${name}` };
  }
  return undefined;
}

/** Secrets stay where they are: the proposal refers to the environment and says which file has them. */
function connectionOf(mount: Mount, name: string, home: string, notes: Note[]): Values {
  const { endpointUrl, region, pathStyle, passwordFile, role } = mount;
  const isAmazon = endpointUrl === undefined || /(?:^|[./])amazonaws\.com(?:\.cn)?$/.test(endpointUrl);
  const named = region ?? /s3[.-]([a-z]{2}-[a-z]+-\d)\.amazonaws\.com/.exec(endpointUrl ?? "")?.[1];
  const reach = { ...(named === undefined ? {} : { awsRegion: named }), ...(isAmazon ? {} : { endpoint: endpointUrl, pathStyle: true }) };
  const style = pathStyle && isAmazon ? { pathStyle: true } : {};
  if (role) return { ...reach, ...style };
  const variable = name.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_");
  const where = passwordFile ?? `${home}/.passwd-s3fs or /etc/passwd-s3fs`;
  notes.push({ file: mount.file, line: mount.line, text: `set ${variable}_KEY_ID and ${variable}_SECRET from ${where} for ${name}` });
  return { ...reach, ...style, accessKeyId: `\${${variable}_KEY_ID}`, secretAccessKey: `\${${variable}_SECRET}` };
}

/** Whole buckets that are copied become regions; the rest, jobs of their own. */
function syncsOf({ commands }: OldServer): { readonly regions: Values; readonly jobs: Values } {
  const regions: Values = {};
  const jobs: Values = {};
  const nightly = new Map<string, string[]>();
  for (const command of commands) {
    if (command.kind !== "sync") continue;
    const { source, destination, options, schedule } = command;
    const bucket = /^s3:\/\/([^/]+)\/?$/.exec(source)?.[1];
    const timing = schedule === "" ? {} : { schedule };
    if (bucket === undefined) {
      jobs[`sync-${Object.keys(jobs).length + 1}`] = { kind: "sync", source, destination, options, ...timing };
      continue;
    }
    const short = bucket.slice(bucket.lastIndexOf("-") + 1);
    const name = Object.hasOwn(regions, short) || short.length > 4 ? bucket : short;
    regions[name] = { bucket, backup: destination };
    const key = JSON.stringify({ options, timing });
    nightly.set(key, [...(nightly.get(key) ?? []), name]);
  }
  let number = 0;
  for (const [key, names] of nightly) {
    const { options, timing } = JSON.parse(key) as { options: string[]; timing: Values };
    jobs[number++ === 0 ? "nightly-sync" : `nightly-sync-${number}`] = { kind: "sync", regions: names, options, ...timing };
  }
  return { regions, jobs };
}

/** Whose home the folder that is archived whole, or the archive, lies in. */
function ownerOf({ folder, archive }: { readonly folder: string; readonly archive: string }, { accounts }: OldServer): string {
  const owner = (path: string): string | undefined => accounts.find(({ home }) => path.startsWith(`${home}/`))?.name;
  return owner(folder) ?? owner(archive) ?? "";
}

function backupsOf(server: OldServer, users: Values, jobs: Values, notes: Note[]): Values {
  const bySchedule = new Map<string, string[]>();
  for (const command of server.commands) {
    if (command.kind !== "backup") continue;
    const isWhole = /^\.?\/?\*?$/.test(command.member);
    const name = isWhole ? ownerOf(command, server) : command.member.replaceAll(/^.*\/|\/+$/g, "");
    if (/[$*]/.test(name)) {
      notes.push({ file: command.file, line: command.line, text: `backup of ${command.member} is taken to mean all users` });
      bySchedule.set(command.schedule, Object.keys(users));
      continue;
    }
    if (!Object.hasOwn(users, name)) {
      notes.push({ file: command.file, line: command.line, text: `backup of ${command.member} to ${command.archive} belongs to no user` });
      continue;
    }
    bySchedule.set(command.schedule, [...(bySchedule.get(command.schedule) ?? []), name]);
  }
  if (bySchedule.size === 0) return {};
  let number = 0;
  for (const [schedule, names] of bySchedule) {
    const timing = schedule === "" ? {} : { schedule };
    jobs[number++ === 0 ? "backups" : `backups-${number}`] = { kind: "backup", users: [...new Set(names)], ...timing };
  }
  return { backups: { to: "file:///srv/backups" } };
}
