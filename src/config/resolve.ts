/**
 * Turns checked values into the configuration: looks up regions, reads key files, parses keys, refuses storages that
 * overlap. Collects problems instead of stopping at the first. Knows no YAML; places come from `locate`.
 */
import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, resolve } from "node:path";
import { type AuthorizedKey, parseAuthorizedKeys } from "../auth/authorized-keys.ts";
import type { GatewayConfig, RegionConfig, UserConfig, UserStorage } from "./gateway-config.ts";
import { checkConnection, connectionOf, type ResolveContext } from "./resolve-connection.ts";
import { backupSettings, resolveBackups, resolveJobs } from "./resolve-jobs.ts";
import { resolveRevoked } from "./resolve-revoked.ts";
import { nearestName } from "./nearest-name.ts";
import type { ConfigValues, UserValues } from "./schema.ts";
import { formatStorageLocation, overlaps, parseStorageLocation } from "../storage-location.ts";

const MAX_KEY_FILE_BYTES = 1024 * 1024;

/** Says why `name` cannot be a user's or region's name, or undefined. Names become path and key segments. */
export function checkName(name: string): string | undefined {
  if (/^[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}$/.test(name) && name !== "__proto__") return undefined;
  return `"${name.slice(0, 80)}" cannot be a name: write 1 to 64 letters, digits, . _ @ + -, not beginning with . or -`;
}

function resolveStorage(name: string, user: UserValues, values: ConfigValues, context: ResolveContext): UserStorage | undefined {
  const path = ["users", name];
  const region = user.region === undefined ? undefined : values.regions[user.region];
  if (user.region !== undefined && !region) {
    const names = Object.keys(values.regions);
    const meant = nearestName(user.region, names);
    const advice = `${meant ? `did you mean "${meant}"? ` : ""}${names.length > 0 ? `known regions: ${names.join(", ")}` : "no region is defined under regions:"}`;
    context.report({ location: context.locate([...path, "region"]), message: `region "${user.region}" is not defined: ${advice}` });
    return undefined;
  }
  if (user.storage === undefined && !region) {
    context.report({
      location: context.locate(path),
      message: `user "${name}" has no storage: write region: NAME or storage: s3://bucket/path`,
    });
    return undefined;
  }
  const location = parseStorageLocation(user.storage ?? `s3://${region?.bucket ?? ""}/${name}/`);
  if (typeof location === "string") {
    context.report({ location: context.locate([...path, "storage"]), message: location });
    return undefined;
  }
  const uri = formatStorageLocation(location);
  if (location.kind === "s3") return { uri, location, connection: connectionOf(user, region) };
  if (region || user.s3) {
    const key = region ? "region" : "s3";
    context.report({ location: context.locate([...path, key]), message: `${key}: a file:// storage has none, remove it` });
  }
  return { uri, location, connection: undefined };
}

async function readKeyFile(file: string, context: ResolveContext): Promise<string> {
  context.readsFile(file);
  const text = await readFile(file, "utf8");
  if (text.length > MAX_KEY_FILE_BYTES) throw new Error(`is larger than ${MAX_KEY_FILE_BYTES} bytes`);
  context.readsFile(file, text);
  return text;
}

async function resolveKeys(name: string, user: UserValues, context: ResolveContext): Promise<AuthorizedKey[]> {
  const entries = typeof user.keys === "string" ? [user.keys] : user.keys;
  const keys: AuthorizedKey[] = [];
  for (const [index, entry] of entries.entries()) {
    const location = context.locate(["users", name, "keys", ...(typeof user.keys === "string" ? [] : [index])]);
    const file = typeof entry === "object" ? entry.file : /^file:(.+)$/s.exec(entry.trim())?.[1]?.trim();
    try {
      if (file === undefined) {
        keys.push(...parseAuthorizedKeys(String(entry)));
      } else {
        const localPath = resolve(dirname(location.file), file.replace(/^\/\/(?=\/)/, ""));
        keys.push(...parseAuthorizedKeys(await readKeyFile(localPath, context)));
      }
    } catch (error) {
      const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
      const reason = missing ? "does not exist" : error instanceof Error ? error.message : String(error);
      context.report({ location, message: `user "${name}": ${file === undefined ? "" : `key file ${file}: `}${reason}` });
    }
  }
  return keys;
}

function checkOverlaps(users: readonly UserConfig[], context: ResolveContext): void {
  const endpointOf = ({ storage }: UserConfig): string => (storage.location.kind === "s3" ? (storage.connection?.endpoint ?? "aws") : "");
  const sortKey = (user: UserConfig): string => `${endpointOf(user)} ${user.storage.uri}`;
  const sorted = users.map((user) => ({ user, key: sortKey(user) })).sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  // Sorted, a location that contains others stands before all of them, so a stack of open ones finds every overlap.
  const open: UserConfig[] = [];
  for (const { user } of sorted) {
    const contains = (outer: UserConfig): boolean =>
      endpointOf(outer) === endpointOf(user) && overlaps(outer.storage.location, user.storage.location);
    while (open.length > 0 && !contains(open[open.length - 1] ?? user)) open.pop();
    const other = open.find((outer) => !(outer.shared && user.shared));
    if (other) {
      const { file, line, column } = other.definedAt;
      const places = `${user.storage.uri} of user "${user.name}" overlaps ${other.storage.uri} of user "${other.name}" (${file}:${line}:${column})`;
      context.report({ location: user.definedAt, message: `${places}: choose another storage, or write shared: true for both` });
    }
    open.push(user);
  }
}

function resolveRegions(values: ConfigValues, context: ResolveContext): Map<string, RegionConfig> {
  const regions = new Map<string, RegionConfig>();
  for (const [name, region] of Object.entries(values.regions)) {
    const wrong = checkName(name);
    const definedAt = context.locate(["regions", name]);
    if (wrong) context.report({ location: definedAt, message: wrong });
    checkConnection(["regions", name], region, context);
    regions.set(name, Object.freeze({ ...region, name, definedAt }));
  }
  return regions;
}

async function resolveUser(name: string, values: ConfigValues, context: ResolveContext): Promise<UserConfig | undefined> {
  const user = values.users[name];
  if (!user) return undefined;
  const definedAt = context.locate(["users", name]);
  const wrong = checkName(name);
  if (wrong) context.report({ location: definedAt, message: wrong });
  if (user.s3) checkConnection(["users", name, "s3"], user.s3, context);
  const keys = await resolveKeys(name, user, context);
  const storage = wrong ? undefined : resolveStorage(name, user, values, context);
  if (!storage) return undefined;
  const { region, readOnly, bandwidth, shared, layout, thumbnailUploads } = user;
  const quota = user.quota && quotaOf(user.quota);
  return Object.freeze({
    name,
    region,
    storage: Object.freeze(storage),
    keys: Object.freeze(keys),
    readOnly,
    quota,
    bandwidth,
    shared,
    layout,
    thumbnailUploads,
    backup: backupSettings(user, values),
    definedAt,
  });
}

function quotaOf({ bytes, files }: NonNullable<UserValues["quota"]>): NonNullable<UserConfig["quota"]> {
  return Object.freeze({ ...(bytes === undefined ? {} : { bytes }), ...(files === undefined ? {} : { files }) });
}

/** The configuration of `values`; usable only if nothing was reported. */
export async function resolveConfig(values: ConfigValues, context: ResolveContext): Promise<GatewayConfig> {
  const absolute = (path: string): string => (isAbsolute(path) ? path : resolve(context.workingDirectory, path));
  const regions = resolveRegions(values, context);
  const users = new Map<string, UserConfig>();
  for (const name of Object.keys(values.users)) {
    const user = await resolveUser(name, values, context);
    if (user) users.set(name, user);
  }
  checkOverlaps([...users.values()], context);
  const backups = resolveBackups(values, users, context);
  const jobs = resolveJobs(values, context);
  const revoked = await resolveRevoked(values, context);
  const { admin, log, uploads, listing, server } = values;
  const paths = { hostKeys: absolute(server.hostKeys), state: absolute(server.state) };
  return Object.freeze({
    file: context.file,
    server: Object.freeze({ ...server, ...paths, revoked }),
    admin,
    log,
    uploads,
    listing,
    regions,
    users,
    backups,
    jobs,
  });
}
