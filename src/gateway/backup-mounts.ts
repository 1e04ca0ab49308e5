/**
 * Shows each user's archives in the user's home, where backups are configured. Knows no session.
 */
import type { ByteBudget } from "../byte-budget.ts";
import type { GatewayConfig, UserConfig } from "../config/gateway-config.ts";
import { type BackupDestination, openDestination } from "../jobs/backup-destination.ts";
import { BackupFiles } from "../jobs/backup-mount.ts";
import type { Logger } from "../log.ts";
import type { Mount } from "../vfs/mount-table.ts";

interface Shown {
  readonly destination: BackupDestination;
  readonly files: BackupFiles;
}

/** See the head of this file. Whoever makes one owes `close`. */
export class BackupMounts {
  readonly #budget: ByteBudget;
  readonly #log: Logger;
  readonly #shown = new Map<string, Promise<Shown>>();
  readonly #replaced: Promise<Shown>[] = [];
  /** All that were ever shown, by user: sessions may still read from any of them. */
  readonly #files = new Map<string, BackupFiles[]>();

  constructor({ budget, log }: { readonly budget: ByteBudget; readonly log: Logger }) {
    this.#budget = budget;
    this.#log = log;
  }

  /** What `user`'s home gets; nothing where the place of the archives cannot be opened, which is logged. */
  async of(user: UserConfig, { backups }: GatewayConfig): Promise<readonly Mount[]> {
    if (!backups || !user.backup) return [];
    let shown = this.#shown.get(user.name);
    if (!shown) {
      shown = this.#show(user.name, backups.storage);
      this.#shown.set(user.name, shown);
    }
    try {
      return (await shown).files.mounts();
    } catch (error) {
      this.#shown.delete(user.name);
      this.#log.warn({ err: error, user: user.name }, "archives cannot be shown");
      return [];
    }
  }

  /** True while a session of this process reads that file among the archives of `user`. */
  isOpen(user: string, name: string): boolean {
    return this.#files.get(user)?.some((files) => files.isOpen(name)) ?? false;
  }

  /** Sessions that begin from now on see another place; running ones keep theirs. */
  reconfigure(): void {
    this.#replaced.push(...this.#shown.values());
    this.#shown.clear();
  }

  /** Releases the stores. */
  async close(): Promise<void> {
    const all = await Promise.allSettled([...this.#shown.values(), ...this.#replaced]);
    this.#shown.clear();
    await Promise.all(all.map(async (one) => one.status === "fulfilled" && (await one.value.destination.close())));
  }

  async #show(user: string, storage: Parameters<typeof openDestination>[0]): Promise<Shown> {
    const destination = await openDestination(storage, user, this.#log);
    const files = new BackupFiles({ user, destination, budget: this.#budget, log: this.#log });
    this.#files.set(user, [...(this.#files.get(user) ?? []), files]);
    return { destination, files };
  }
}
