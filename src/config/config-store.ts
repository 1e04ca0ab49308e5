/**
 * Holds the running configuration and replaces it when its files change: whole or not at all. A file that cannot be used
 * is logged with its places and the running configuration stays. Knows nothing of what depends on the configuration.
 */
import { type FSWatcher, watch } from "chokidar";
import { existsSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { Logger } from "../log.ts";
import type { GatewayConfig } from "./gateway-config.ts";
import { type LoadedConfig, type LoadOptions, loadConfig } from "./load.ts";

/** Called with each new configuration and the one it replaces. Must not throw. */
export type ConfigListener = (next: GatewayConfig, previous: GatewayConfig) => void;

/** What a store is made of. */
export interface ConfigStoreOptions extends LoadOptions {
  readonly log: Logger;
}

/**
 * Quiet time after a change before files are read. More than the 50 ms in which chokidar 5 drops a second change of the
 * same file, so that such a change is read with the first.
 */
const SETTLE_MS = 100;
/** Files are read once more this long after a change: what came in quick succession with it may have been swallowed. */
const SECOND_LOOK_MS = 1_000;

/** See the head of this file. Whoever opens one owes `close`. */
export class ConfigStore implements AsyncDisposable {
  readonly #file: string;
  readonly #options: ConfigStoreOptions;
  readonly #listeners = new Set<ConfigListener>();
  #loaded: LoadedConfig;
  #watcher: FSWatcher | undefined;
  #watched = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #reloading: Promise<boolean> = Promise.resolve(true);
  #lastFailure: string | undefined;
  #closed = false;

  private constructor(file: string, loaded: LoadedConfig, options: ConfigStoreOptions) {
    this.#file = file;
    this.#loaded = loaded;
    this.#options = options;
  }

  /** Loads `file`. Rejects with a ConfigError. Watches nothing before `watch`. */
  static async open(file: string, options: ConfigStoreOptions): Promise<ConfigStore> {
    return new ConfigStore(file, await loadConfig(file, options), options);
  }

  /** The running configuration: a frozen snapshot. */
  get current(): GatewayConfig {
    return this.#loaded.config;
  }

  /** Calls `listener` after each change. Returns the function that ends that. */
  onChange(listener: ConfigListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Begins to watch all files and folders; resolves when changes from now on will be seen. */
  async watch(): Promise<void> {
    if (this.#watcher || this.#closed) return;
    this.#watched = this.#pathsToWatch();
    const watcher = watch([...this.#watched], {
      depth: 0,
      ignoreInitial: true,
      persistent: true,
      ignored: (path) => !this.#concerns(path),
    });
    this.#watcher = watcher;
    watcher.on("all", () => this.#schedule());
    watcher.on("error", (error) => this.#options.log.warn({ error: String(error) }, "configuration watch failed"));
    await new Promise<void>((resolve) => watcher.once("ready", () => resolve()));
  }

  /** Reads the files again now. True if they could be used; the running configuration stays if not. */
  reload(): Promise<boolean> {
    this.#reloading = this.#reloading.then(() => this.#reloadOnce());
    return this.#reloading;
  }

  /** Stops watching and waits for a reload under way. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#reloading;
    await this.#watcher?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Folders besides the files: an editor's rename and a ConfigMap's symlink swap replace the file that a watch would hold
   * on to, and a drop-in or its folder may appear later.
   */
  #pathsToWatch(): Set<string> {
    const paths = new Set<string>();
    for (const path of this.#loaded.dependencies) {
      paths.add(dirname(path));
      paths.add(path);
    }
    return new Set([...paths].filter((path) => existsSync(path)));
  }

  /** Whether a change of `path` can change the configuration; a log file in the same folder must not cause reloads. */
  #concerns(path: string): boolean {
    const { dependencies } = this.#loaded;
    if (this.#watched.has(path) || dependencies.has(path)) return true;
    return dependencies.has(dirname(path)) || basename(path).startsWith("..");
  }

  #schedule(): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = setTimeout(() => this.#reloadOwned(), SECOND_LOOK_MS);
      this.#reloadOwned();
    }, SETTLE_MS);
  }

  #reloadOwned(): void {
    this.reload().catch((error: unknown) => this.#options.log.error({ error: String(error) }, "configuration reload failed"));
  }

  async #reloadOnce(): Promise<boolean> {
    if (this.#closed) return false;
    const previous = this.#loaded.config;
    try {
      const loaded = await loadConfig(this.#file, this.#options);
      this.#lastFailure = undefined;
      if (loaded.fingerprint === this.#loaded.fingerprint) return true;
      this.#loaded = loaded;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#lastFailure) this.#options.log.error({ reason }, "configuration not reloaded, the running one stays");
      this.#lastFailure = reason;
      return false;
    } finally {
      this.#watchNewPaths();
    }
    this.#options.log.info({ users: this.#loaded.config.users.size }, "configuration reloaded");
    for (const listener of [...this.#listeners]) listener(this.#loaded.config, previous);
    return true;
  }

  #watchNewPaths(): void {
    if (!this.#watcher || this.#closed) return;
    const missing = [...this.#pathsToWatch()].filter((path) => !this.#watched.has(path));
    if (missing.length === 0) return;
    for (const path of missing) this.#watched.add(path);
    this.#watcher.add(missing);
    // What came into a new folder before its watch began would otherwise be missed.
    this.#schedule();
  }
}
