/**
 * Reads the configuration: the main file, its drop-ins (`users.d/` beside it and `include`), merged and checked whole.
 * Every mistake comes with file, line and column and with what to write instead. Watches nothing: see `config-store.ts`.
 */
import { createHash, type Hash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { ConfigError, type ConfigLocation } from "../errors.ts";
import type { GatewayConfig } from "./gateway-config.ts";
import { explainIssue } from "./issue-text.ts";
import { configJsonSchema } from "./json-schema.ts";
import { resolveConfig } from "./resolve.ts";
import { configSchema, DROP_IN_KEYS } from "./schema.ts";
import { configErrorOf, MAX_CONFIG_FILE_BYTES, type Problem, YamlSource } from "./yaml-source.ts";

/** What loading needs besides the file. */
export interface LoadOptions {
  /** Values of `${NAME}`; default: the process's environment. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Folder that relative `hostKeys` and `state` count from; default: the process's. */
  readonly workingDirectory?: string;
  /** Text to use instead of a file's content, by absolute path: to check an edit before it is written. */
  readonly replacements?: ReadonlyMap<string, string>;
}

/** A configuration and everything it was made of. */
export interface LoadedConfig {
  readonly config: GatewayConfig;
  /** Files and folders whose change may change the configuration, absolute. */
  readonly dependencies: ReadonlySet<string>;
  /** Equal for equal content of all files. */
  readonly fingerprint: string;
}

/** A drop-in folder's files: what it holds or may hold one day. */
const DROP_IN_FOLDER = "users.d";
const NOWHERE_LINE = { line: 1, column: 1 };

type PlainMap = Record<string, unknown>;

function isPlainMap(value: unknown): value is PlainMap {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}

async function readSource(file: string, options: LoadOptions, hash: Hash): Promise<YamlSource> {
  const location = { file, ...NOWHERE_LINE };
  let text = options.replacements?.get(file);
  if (text === undefined) {
    try {
      text = await readFile(file, "utf8");
    } catch (error) {
      const reason = isMissing(error) ? "does not exist" : `cannot be read (${error instanceof Error ? error.message : String(error)})`;
      throw new ConfigError(`this configuration file ${reason}`, location, { cause: error });
    }
  }
  if (Buffer.byteLength(text) > MAX_CONFIG_FILE_BYTES)
    throw new ConfigError(`the file is larger than ${MAX_CONFIG_FILE_BYTES} bytes`, location);
  hash.update(`${file}\0${text}\0`);
  return new YamlSource(file, text, options.environment ?? process.env);
}

/** The YAML files of a folder in order of name; hidden ones (a ConfigMap's `..data`) are not drop-ins. */
async function filesOfFolder(folder: string): Promise<string[]> {
  const names = await readdir(folder);
  return names
    .filter((name) => /^[^.].*\.ya?ml$/.test(name))
    .sort()
    .map((name) => resolve(folder, name));
}

/** Merges sources and remembers which one each user and region comes from. */
class Merge {
  readonly values: PlainMap = {};
  readonly problems: Problem[] = [];
  readonly #main: YamlSource;
  readonly #origins = new Map<string, YamlSource>();

  constructor(main: YamlSource) {
    this.#main = main;
    const value = main.value() ?? {};
    if (!isPlainMap(value)) {
      throw new ConfigError("the file is not a map: begin with server: or users:", { file: main.file, ...NOWHERE_LINE });
    }
    for (const [key, section] of Object.entries(value)) {
      // A section whose entries are all commented out is null in YAML and means the same as no section.
      if (section === null) continue;
      this.values[key] = DROP_IN_KEYS.includes(key) && isPlainMap(section) ? { ...section } : section;
      this.#claim(main, key, section);
    }
  }

  add(source: YamlSource): void {
    const value = source.value() ?? {};
    if (!isPlainMap(value)) {
      this.#complain(source, [], "a drop-in is a map that begins with users:");
      return;
    }
    for (const [key, section] of Object.entries(value)) {
      if (!DROP_IN_KEYS.includes(key)) {
        const looksLikeUser = isPlainMap(section) && ("keys" in section || "region" in section || "storage" in section);
        const advice = looksLikeUser ? `write users: above it and indent "${key}"` : "move it to the main file";
        this.#complain(source, [key], `"${key.slice(0, 64)}" cannot stand in a drop-in: ${advice}`);
      } else if (isPlainMap(section)) {
        this.#addSection(source, key, section);
      } else if (section !== null) {
        this.#complain(source, [key], `${key}: write a map of names`);
      }
    }
  }

  /** Where the value at `path` stands, in whichever file it is. */
  locate(path: readonly PropertyKey[]): ConfigLocation {
    return this.#sourceOf(path).locate(path);
  }

  locateKey(path: readonly PropertyKey[]): ConfigLocation {
    return this.#sourceOf(path).locateKey(path);
  }

  #sourceOf(path: readonly PropertyKey[]): YamlSource {
    return this.#origins.get(`${String(path[0])}/${String(path[1])}`) ?? this.#main;
  }

  #addSection(source: YamlSource, key: string, section: PlainMap): void {
    const merged = isPlainMap(this.values[key]) ? this.values[key] : {};
    this.values[key] = merged;
    for (const [name, value] of Object.entries(section)) {
      const other = this.#origins.get(`${key}/${name}`);
      if (other) {
        const { file, line, column } = other.locateKey([key, name]);
        const what = key === "users" ? "user" : "region";
        this.#complain(source, [key, name], `${what} "${name}" is already defined at ${file}:${line}:${column}: keep one of the two`);
      } else {
        merged[name] = value;
        this.#checkName(source, key, name);
        this.#origins.set(`${key}/${name}`, source);
      }
    }
  }

  #claim(source: YamlSource, key: string, section: unknown): void {
    if (!DROP_IN_KEYS.includes(key) || !isPlainMap(section)) return;
    for (const name of Object.keys(section)) {
      this.#origins.set(`${key}/${name}`, source);
      this.#checkName(source, key, name);
    }
  }

  /** The one name that JavaScript objects, and so the schema, pass over; all others are checked with the users. */
  #checkName(source: YamlSource, key: string, name: string): void {
    if (name === "__proto__") this.#complain(source, [key, name], `"${name}" cannot be a name: choose another`);
  }

  #complain(source: YamlSource, path: readonly PropertyKey[], message: string): void {
    this.problems.push({ location: source.locateKey(path), message });
  }
}

/** The drop-in files in the order they are read; adds the folders they come from to `dependencies`. */
async function findDropIns(main: string, include: unknown, merge: Merge, dependencies: Set<string>): Promise<string[]> {
  const found: string[] = [];
  const standard = resolve(dirname(main), DROP_IN_FOLDER);
  dependencies.add(standard);
  try {
    found.push(...(await filesOfFolder(standard)));
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  for (const [index, entry] of (Array.isArray(include) ? include : []).entries()) {
    if (typeof entry !== "string") continue;
    const path = resolve(dirname(main), entry.replace(/\/?\*\.ya?ml$/, ""));
    dependencies.add(path);
    try {
      found.push(...((await stat(path)).isDirectory() ? await filesOfFolder(path) : [path]));
    } catch (error) {
      if (!isMissing(error)) throw error;
      const message = `include: ${entry} does not exist: write a file or folder relative to this file`;
      merge.problems.push({ location: merge.locate(["include", index]), message });
    }
  }
  return [...new Set(found)].filter((file) => file !== main);
}

function compareProblems(a: Problem, b: Problem): number {
  if (a.location.file !== b.location.file) return a.location.file < b.location.file ? -1 : 1;
  return a.location.line - b.location.line || a.location.column - b.location.column;
}

/**
 * Loads and checks the configuration in `file`. Rejects with a ConfigError whose message lists every mistake, a line
 * each.
 */
export async function loadConfig(file: string, options: LoadOptions = {}): Promise<LoadedConfig> {
  const main = resolve(file);
  const dependencies = new Set([main]);
  const hash = createHash("sha256");
  const merge = new Merge(await readSource(main, options, hash));
  const problems: Problem[] = merge.problems;
  for (const dropIn of await findDropIns(main, merge.values.include, merge, dependencies)) {
    dependencies.add(dropIn);
    merge.add(await readSource(dropIn, options, hash));
  }
  const parsed = configSchema.safeParse(merge.values, { reportInput: true });
  if (!parsed.success) {
    const schema = configJsonSchema();
    for (const complaint of parsed.error.issues.flatMap((issue) => explainIssue(schema, issue))) {
      const location = complaint.aboutKey ? merge.locateKey(complaint.path) : merge.locate(complaint.path);
      problems.push({ location, message: complaint.message });
    }
    throw configErrorOf(problems.sort(compareProblems));
  }
  const config = await resolveConfig(parsed.data, {
    file: main,
    workingDirectory: options.workingDirectory ?? process.cwd(),
    // The name, not the value behind it, is where people look for a user or region.
    locate: (path) => (path.length === 2 ? merge.locateKey(path) : merge.locate(path)),
    report: (problem) => problems.push(problem),
    readsFile: (keyFile, text) => {
      dependencies.add(keyFile);
      if (text !== undefined) hash.update(`${keyFile}\0${text}\0`);
    },
  });
  if (problems.length > 0) throw configErrorOf(problems.sort(compareProblems));
  return { config, dependencies, fingerprint: hash.digest("hex") };
}
