/**
 * Gives each session its user's files: volumes are opened when somebody first needs them, shared by all sessions, and
 * closed when a new configuration has no more use for them and nobody works on them. Knows no protocol.
 */
import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { Metrics } from "../admin/metrics.ts";
import type { ByteBudget } from "../byte-budget.ts";
import type { GatewayConfig, UserConfig } from "../config/gateway-config.ts";
import { ConfigError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { SessionInfo } from "../ssh/session-registry.ts";
import { InMemoryMetadataCache, type MetadataCache, openMetadataCache } from "../state/metadata-cache.ts";
import { StateDirectory } from "../state/state-directory.ts";
import { TailStore } from "../state/tail-store.ts";
import type { FileSystem } from "../vfs/file-system.ts";
import { Vfs } from "../vfs/vfs.ts";
import { BackupMounts } from "./backup-mounts.ts";
import { defineStoreMetrics } from "./metered-store.ts";
import { type OpenVolume, openVolume, sessionName, uploadTableOf, type VolumeContext } from "./open-volume.ts";

/** Name of a user's storage in the home. */
const MOUNT_NAME = "attachments";

/** What the files are opened with. */
export interface UserFilesOptions {
  readonly config: GatewayConfig;
  readonly budget: ByteBudget;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Which of the node's processes this is. */
  readonly place: { readonly slot: number; readonly workers: number; readonly firstProcess: number };
}

/** A session's files for as long as one channel needs them; `release` is owed once. */
export interface FilesLease {
  readonly fileSystem: FileSystem;
  release(): void;
}

interface Shared {
  readonly opened: Promise<OpenVolume>;
  leases: number;
  obsolete: boolean;
}

function volumeKey(user: UserConfig, config: GatewayConfig): string {
  const parts = [user.storage, user.quota, user.layout, user.thumbnailUploads, config.uploads, config.listing];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

function openMetadata(state: StateDirectory, { place, log }: UserFilesOptions): MetadataCache {
  const { slot, workers, firstProcess } = place;
  try {
    return openMetadataCache({
      directory: state.folder("metadata"),
      ...(workers > 1 ? { place: { number: firstProcess + slot, all: Array.from({ length: workers }, (_, i) => firstProcess + i) } } : {}),
      onError: (error) => log.warn({ err: error }, "metadata cache failed"),
    });
  } catch (error) {
    log.warn({ err: error }, "metadata cache cannot be opened, times are kept in memory only");
    return new InMemoryMetadataCache();
  }
}

/** See the head of this file. Whoever opens it owes `close`. */
export class UserFiles {
  readonly #context: VolumeContext;
  /** The users' archives. */
  readonly backups: BackupMounts;
  readonly #volumes = new Map<string, Shared>();
  readonly #fileSystems = new Map<string, Promise<Vfs>>();
  readonly #closing = new Set<Promise<void>>();
  #config: GatewayConfig;

  private constructor(config: GatewayConfig, context: VolumeContext) {
    this.#config = config;
    this.#context = context;
    this.backups = new BackupMounts(context);
  }

  /** Opens the state directory. Rejects with a ConfigError if it cannot be used. */
  static async open(options: UserFilesOptions): Promise<UserFiles> {
    const { config, budget, metrics, log } = options;
    let state: StateDirectory;
    try {
      state = await StateDirectory.open(config.server.state, {
        onBroken: (error) =>
          log.error({ err: error }, "state directory was broken and is begun anew; unfinished uploads of this node are lost"),
      });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new ConfigError(`server.state: ${config.server.state} cannot be used: ${reason}`, undefined, { cause: error });
    }
    defineStoreMetrics(metrics);
    const metadata = openMetadata(state, options);
    return new UserFiles(config, { state, tails: new TailStore(state), metadata, budget, metrics, log });
  }

  /** The files of `user` for one channel of `session`. Rejects with a StoreError if the storage cannot be opened. */
  async lease(user: UserConfig, session: SessionInfo): Promise<FilesLease> {
    const shared = this.#share(user);
    shared.leases++;
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      shared.leases--;
      if (shared.obsolete) this.#closeUnused(shared);
    };
    try {
      return { fileSystem: await this.#fileSystem(user, session, shared), release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Lets `next` count for sessions that begin from now on. */
  reconfigure(next: GatewayConfig): void {
    if (!isDeepStrictEqual(next.backups, this.#config.backups)) this.backups.reconfigure();
    this.#config = next;
    const wanted = new Set([...next.users.values()].map((user) => volumeKey(user, next)));
    for (const [key, shared] of this.#volumes) {
      if (wanted.has(key)) continue;
      this.#volumes.delete(key);
      shared.obsolete = true;
      this.#closeUnused(shared);
    }
  }

  /** Discards what has expired, of every user that has unpublished uploads here. */
  async sweep(): Promise<void> {
    const seen = new Set<string>();
    for (const user of this.#config.users.values()) {
      const key = volumeKey(user, this.#config);
      if (seen.has(key) || uploadTableOf(this.#context.state, user).list("").length === 0) continue;
      seen.add(key);
      try {
        const { expired } = await (await this.#share(user).opened).uploads.sweep();
        if (expired > 0) this.#context.log.info({ user: user.name, expired }, "unfinished uploads expired");
      } catch (error) {
        this.#context.log.warn({ err: error, user: user.name }, "unfinished uploads could not be swept");
      }
    }
  }

  /** Keeps open uploads for a resume and closes everything. */
  async close(): Promise<void> {
    const open = [...this.#volumes.values()];
    this.#volumes.clear();
    await Promise.all([...this.#closing, ...open.map((shared) => this.#closeVolume(shared))]);
    await this.backups.close();
    await this.#context.metadata.close();
    await this.#context.state.close();
  }

  #share(user: UserConfig): Shared {
    const key = volumeKey(user, this.#config);
    const known = this.#volumes.get(key);
    if (known) return known;
    const opened = openVolume(user, this.#config, this.#context);
    const shared: Shared = { opened, leases: 0, obsolete: false };
    this.#volumes.set(key, shared);
    // What could not be opened is tried again by the next session.
    opened.catch(() => {
      if (this.#volumes.get(key) === shared) this.#volumes.delete(key);
    });
    return shared;
  }

  /** One file system per connection: its channels see each other's open uploads as their own. */
  #fileSystem(user: UserConfig, session: SessionInfo, shared: Shared): Promise<Vfs> {
    const known = this.#fileSystems.get(session.id);
    if (known) return known;
    const made = this.#makeFileSystem(user, session, shared);
    this.#fileSystems.set(session.id, made);
    const forget = (): void => void this.#fileSystems.delete(session.id);
    made.catch(forget);
    session.connectionSignal.addEventListener("abort", forget, { once: true });
    return made;
  }

  async #makeFileSystem(user: UserConfig, session: SessionInfo, shared: Shared): Promise<Vfs> {
    const { volume, usage } = await shared.opened;
    return new Vfs({
      user: user.name,
      session: sessionName(session.id, user.name),
      mounts: [{ kind: "volume", name: MOUNT_NAME, volume }, ...(await this.backups.of(user, this.#config))],
      readOnly: user.readOnly,
      ...(user.quota ? { quota: user.quota } : {}),
      ...(usage ? { usage: () => usage.current().catch(() => undefined) } : {}),
    });
  }

  #closeUnused(shared: Shared): void {
    if (shared.leases > 0) return;
    const closing = this.#closeVolume(shared).finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  /** Never rejects. */
  async #closeVolume(shared: Shared): Promise<void> {
    try {
      await (await shared.opened).close();
    } catch (error) {
      this.#context.log.warn({ err: error }, "storage could not be closed");
    }
  }
}
