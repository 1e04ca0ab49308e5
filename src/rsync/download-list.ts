/**
 * Builds the file list of a download (rsync flist.c `send_file_list`): from the arguments or a list of names, through
 * the filters, from one recursive listing per directory argument. Entries are written while they are found. Knows no
 * wire beyond the encoder.
 */
import type { Word } from "../exec/command-line.ts";
import { expandGlob } from "../exec/glob.ts";
import type { Attributes } from "../vfs/file-system.ts";
import { listChecksum } from "./quick-check.ts";
import { isMissing, reasonText } from "./error-text.ts";
import { ExitStatus, IoError, RsyncExit } from "./exit-codes.ts";
import { EntryFlag, FileList } from "./file-list.ts";
import { FileListEncoder } from "./file-list-send.ts";
import type { FilterList } from "./filter-list.ts";
import { inOrder } from "./in-order.ts";
import { absolutePath, cleanListedName, joinPath, parentName, shownName, toWire } from "./names.ts";
import type { Run } from "./run.ts";
import { Turns } from "./turns.ts";

const FILE_TYPE = 0o100000;
const DIRECTORY_TYPE = 0o040000;
/** Checksums computed at the same time (`-c`). */
const HASHING = 8;
/** Longest name rsync takes. */
const MAX_NAME = 4095;

/** An entry found, before it is written. */
interface Found {
  readonly name: string;
  readonly path: string;
  readonly attributes: Attributes;
  readonly flags: number;
}

/** See the head of this file. */
export class DownloadListBuilder {
  readonly #run: Run;
  readonly #filtersBelow: (root: string, counts: (directory: string) => boolean) => FilterList;
  readonly #filters = new Map<string, FilterList>();
  /** The directory argument whose contents are being listed: merge files count from there on. */
  #top: string | undefined;
  readonly #encoder: FileListEncoder;
  readonly #list = new FileList();
  /** Directory each entry's name is relative to, as an index in `#roots`. */
  readonly #rootOf: number[] = [];
  readonly #roots: string[] = [];
  readonly #sent = new Set<string>();
  #pending: Found[] = [];

  /** `filtersBelow` makes the rules for names relative to a directory; `counts` tells it whose merge files count. */
  constructor(run: Run, filtersBelow: (root: string, counts: (directory: string) => boolean) => FilterList) {
    this.#run = run;
    this.#filtersBelow = filtersBelow;
    this.#encoder = new FileListEncoder(run.writer.out, run.options, run.format);
  }

  /** Sends the list for the arguments of the command line. */
  async fromArguments(words: readonly Word[]): Promise<FileList> {
    for (const word of words) {
      for (const argument of await this.#expand(word)) {
        if (this.#run.options.relative) await this.#relative(argument);
        else await this.#argument(argument);
      }
    }
    return this.#finish();
  }

  /** Sends the list for names relative to `directory` (`--files-from`). */
  async fromNames(directory: string, names: readonly string[]): Promise<FileList> {
    for (const name of names.map(cleanListedName)) {
      // A name may say itself where the part begins that is kept.
      if (this.#run.options.relative) await this.#relative(name.includes("/./") ? `${directory}/${name}` : `${directory}/./${name}`);
      else await this.#argument(`${directory}/${name}`);
    }
    return this.#finish();
  }

  /** The virtual path an entry was found under; entries in the order they were sent. */
  root(sentPosition: number): string {
    return this.#roots[this.#rootOf[sentPosition] ?? 0] ?? "/";
  }

  async #expand(word: Word): Promise<string[]> {
    if (word.pattern === undefined) return [word.text];
    const marker = this.#run.options.relative ? word.pattern.indexOf("/./") : -1;
    const matches = await expandGlob(this.#run.fileSystem, marker < 0 ? word.pattern : word.pattern.replace("/./", "/"));
    if (matches.length === 0) return [word.text];
    const slash = word.text.endsWith("/") ? "/" : "";
    if (marker < 0) return matches.map((match) => match.replace(/\/$/, "") + slash);
    const depth = word.text.slice(0, word.text.indexOf("/./")).split("/").length;
    return matches.map((match) => {
      const segments = match.split("/");
      return `${segments.slice(0, depth).join("/")}/./${segments.slice(depth).join("/")}${slash}`;
    });
  }

  async #stat(path: string): Promise<Attributes | undefined> {
    try {
      return await this.#run.fileSystem.lstat(path);
    } catch (error) {
      if (isMissing(error) && this.#run.options.ignoreMissingArgs) return undefined;
      this.#run.problem(`rsync: [sender] link_stat "${path}" failed: ${reasonText(error)}`);
      this.#run.ioError |= IoError.general;
      return undefined;
    }
  }

  /** One argument without -R: the name is its last component, or the contents are meant. */
  async #argument(argument: string): Promise<void> {
    const { options } = this.#run;
    const path = absolutePath(argument);
    const attributes = await this.#stat(path);
    if (!attributes) return;
    const contents = /(^|\/)(\.{0,2})$/.test(argument);
    if (attributes.type !== "directory") {
      const name = path.slice(path.lastIndexOf("/") + 1);
      await this.#add(absolutePath(`${path}/..`), toWire(name), path, attributes, 0);
      return;
    }
    if (!options.recurse && !options.dirs) {
      this.#run.info(`skipping directory ${contents ? "." : path.slice(path.lastIndexOf("/") + 1)}`);
      return;
    }
    const root = contents ? path : absolutePath(`${path}/..`);
    const name = contents ? "." : toWire(path.slice(path.lastIndexOf("/") + 1));
    await this.#directory(root, name, path, attributes, options.recurse || contents);
  }

  /** One argument with -R: the name is all of it after `/./`, or all of it; its parents are sent, too. */
  async #relative(argument: string): Promise<void> {
    const { options } = this.#run;
    const marker = argument.indexOf("/./");
    const root = marker < 0 ? "/" : absolutePath(argument.slice(0, marker));
    const rest = marker < 0 ? argument : argument.slice(marker + 3);
    const segments = rest.split("/").filter((segment) => segment !== "" && segment !== ".");
    if (segments.includes("..")) throw new RsyncExit(ExitStatus.usage, `rsync: found ".." dir in relative path: ${argument}`);
    const path = joinPath(root, segments.join("/"));
    const attributes = await this.#stat(path);
    if (!attributes) return;
    const contents = /(^|\/)\.?$/.test(rest);
    if (attributes.type === "directory" && !options.recurse && !options.dirs) {
      this.#run.info(`skipping directory ${segments.join("/") || "."}`);
      return;
    }
    // From protocol 30 on implied directories are always sent, with a flag that says what they are.
    if (options.impliedDirs || this.#run.protocol >= 30) await this.#implied(root, segments);
    const name = toWire(segments.join("/")) || ".";
    if (attributes.type === "directory") await this.#directory(root, name, path, attributes, options.recurse || contents);
    else await this.#add(root, name, path, attributes, 0);
  }

  async #implied(root: string, segments: readonly string[]): Promise<void> {
    for (let depth = 1; depth < segments.length; depth++) {
      const name = toWire(segments.slice(0, depth).join("/"));
      const path = joinPath(root, segments.slice(0, depth).join("/"));
      if (this.#sent.has(name)) continue;
      const attributes = await this.#stat(path);
      if (attributes) await this.#add(root, name, path, attributes, EntryFlag.top);
    }
  }

  /** A directory argument and, if its contents are sent, what is below it. */
  async #directory(root: string, name: string, path: string, attributes: Attributes, contents: boolean): Promise<void> {
    // `top` without `content` marks the implied parents of -R.
    const flags = contents ? EntryFlag.top | EntryFlag.content : 0;
    if (!(await this.#add(root, name, path, attributes, flags))) return;
    if (!contents) return;
    const prefix = name === "." ? "" : `${name}/`;
    this.#top = name;
    try {
      if (this.#run.options.recurse) await this.#walk(root, prefix, path);
      else await this.#listLevel(root, prefix, path);
    } catch (error) {
      this.#run.failure("sender", "opendir", path, error);
      this.#run.noteIoError();
    } finally {
      this.#top = undefined;
    }
  }

  #excludes(root: string, name: string, isDirectory: boolean): boolean | Promise<boolean> {
    let filters = this.#filters.get(root);
    if (!filters) {
      filters = this.#filtersBelow(root, (directory) => {
        const top = this.#top;
        return top === "." || directory === top || (top !== undefined && directory.startsWith(`${top}/`));
      });
      this.#filters.set(root, filters);
    }
    if (filters.empty) return false;
    const rules = filters;
    const entered = rules.enter(parentName(name));
    return entered ? entered.then(() => rules.excludes(name, isDirectory)) : rules.excludes(name, isDirectory);
  }

  async #walk(root: string, prefix: string, path: string): Promise<void> {
    const excluded = new Set<string>();
    const turns = new Turns();
    for await (const batch of this.#run.fileSystem.walk(path)) {
      for (const entry of batch) {
        await turns.due();
        const name = prefix + toWire(entry.path);
        const isDirectory = entry.attributes.type === "directory";
        if (excluded.has(parentName(name)) || (await this.#excludes(root, name, isDirectory))) {
          if (isDirectory) excluded.add(name);
          continue;
        }
        await this.#add(root, name, joinPath(path, entry.path), entry.attributes, isDirectory ? EntryFlag.content : 0, true);
      }
    }
  }

  async #listLevel(root: string, prefix: string, path: string): Promise<void> {
    const handle = await this.#run.fileSystem.opendir(path);
    const turns = new Turns();
    try {
      for (let batch = await handle.next(); batch.length > 0; batch = await handle.next()) {
        for (const entry of batch) {
          await turns.due();
          const name = prefix + toWire(entry.name);
          const child = joinPath(path, entry.name);
          if (!(await this.#excludes(root, name, entry.attributes.type === "directory"))) {
            await this.#add(root, name, child, entry.attributes, 0, true);
          }
        }
      }
    } finally {
      await handle.close();
    }
  }

  /** Adds an entry; false if it is left out. `checked`: the filters were asked. */
  async #add(root: string, name: string, path: string, attributes: Attributes, flags: number, checked = false): Promise<boolean> {
    const isDirectory = attributes.type === "directory";
    if (!checked && name !== "." && (await this.#excludes(root, name, isDirectory))) return false;
    if (this.#sent.has(name)) return true;
    if (attributes.type === "symlink") {
      if (this.#run.levels.nonreg > 0) this.#run.info(`skipping non-regular file "${shownName(name)}"`);
      return false;
    }
    if (name.length > MAX_NAME) {
      this.#run.problem(`rsync: [sender] "${path}": name is too long`);
      return false;
    }
    this.#run.hold(name.length);
    this.#sent.add(name);
    if (this.#roots.at(-1) !== root) this.#roots.push(root);
    this.#pending.push({ name, path, attributes, flags });
    this.#rootOf.push(this.#roots.length - 1);
    if (this.#pending.length >= 256) await this.#flush();
    return true;
  }

  /** Writes what was found. */
  async #flush(): Promise<void> {
    const found = this.#pending;
    this.#pending = [];
    await inOrder(
      found.length,
      HASHING,
      (index) => this.#checksum(found[index]),
      (index, checksum) => this.#write(found[index], checksum),
    );
    await this.#run.writer.ready();
  }

  #checksum(found: Found | undefined): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    if (!this.#run.options.checksum || !found || found.attributes.type !== "file") return undefined;
    return listChecksum(this.#run.fileSystem, this.#run.checksums, found.path).catch((error: unknown) => {
      this.#run.failure("sender", "read errors mapping", found.path, error);
      return new Uint8Array(16);
    });
  }

  #write(found: Found | undefined, checksum: Uint8Array | undefined): void {
    if (!found) return;
    const { attributes, name, flags } = found;
    const isDirectory = attributes.type === "directory";
    const entry = {
      name,
      size: isDirectory ? 0 : attributes.size,
      mtime: attributes.mtime,
      mode: (attributes.mode & 0o7777) | (isDirectory ? DIRECTORY_TYPE : FILE_TYPE),
      flags,
      checksum,
    };
    this.#list.add(entry);
    this.#encoder.entry(entry);
    this.#run.writer.written();
  }

  async #finish(): Promise<FileList> {
    await this.#flush();
    const told = this.#encoder.end(this.#run.ioError);
    this.#run.writer.written();
    if (!told) this.#run.tellIoError();
    return this.#list;
  }
}
