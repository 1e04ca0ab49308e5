/**
 * Small file trees for the rsync interop tests: written to a local directory or into the model, read back from both in
 * one form. Knows no protocol.
 */
import { lstatSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync, chmodSync, existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { FileSystem } from "../../src/vfs/file-system.ts";

/** A file; a name ending in `/` is a directory. */
export interface TreeFile {
  readonly content?: string | Uint8Array;
  readonly mtime?: number;
  readonly mode?: number;
}
export type Tree = Readonly<Record<string, TreeFile>>;

/** The time of everything that has none of its own. */
export const TIME = 1_600_000_000;

const bytesOf = (file: TreeFile): Uint8Array =>
  typeof file.content === "string" ? Buffer.from(file.content) : (file.content ?? Buffer.alloc(0));

/** Writes `tree` below a directory of the local disk. */
export function writeTree(root: string, tree: Tree): void {
  mkdirSync(root, { recursive: true });
  for (const [name, file] of Object.entries(tree)) {
    const path = join(root, name);
    mkdirSync(name.endsWith("/") ? path : dirname(path), { recursive: true });
    if (name.endsWith("/")) continue;
    writeFileSync(path, bytesOf(file));
    chmodSync(path, file.mode ?? 0o644);
    utimesSync(path, file.mtime ?? TIME, file.mtime ?? TIME);
  }
  for (const directory of directoriesOf(root)) utimesSync(directory, TIME, TIME);
}

function directoriesOf(root: string): string[] {
  const below = readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...below.flatMap((entry) => directoriesOf(join(root, entry.name))), root];
}

async function makeDirectories(fileSystem: FileSystem, path: string): Promise<void> {
  if (path === "") return;
  await makeDirectories(fileSystem, path.slice(0, path.lastIndexOf("/")));
  await fileSystem.mkdir(path).catch(() => undefined);
}

/** Puts `tree` below `root` of a file system. */
export async function putTree(fileSystem: FileSystem, root: string, tree: Tree): Promise<void> {
  await makeDirectories(fileSystem, root);
  for (const [name, file] of Object.entries(tree)) {
    const path = `${root}/${name}`;
    await makeDirectories(fileSystem, path.slice(0, path.lastIndexOf("/")));
    if (name.endsWith("/")) continue;
    const attributes = { mtime: file.mtime ?? TIME, mode: file.mode ?? 0o644 };
    const handle = await fileSystem.open(path, { write: true, create: true, truncate: true }, attributes);
    await handle.setstat(attributes);
    await handle.write(0, [bytesOf(file)]);
    await handle.close();
  }
}

/** A local tree as lines: name, permissions, time and content of files, names of directories. `times`: file times count. */
export function describeLocal(root: string, times: boolean): string[] {
  const lines: string[] = [];
  const visit = (directory: string, prefix: string): void => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) {
        lines.push(`${prefix}${entry.name}/`);
        visit(path, `${prefix}${entry.name}/`);
      } else if (entry.isFile()) lines.push(line(prefix + entry.name, readFileSync(path), lstatSync(path), times));
      else lines.push(`${prefix}${entry.name} (no file)`);
    }
  };
  if (existsSync(root)) visit(root, "");
  return lines.sort();
}

/** Time in milliseconds or seconds, and mode, of a file. */
type TimeAndMode = { readonly mtimeMs: number; readonly mode: number } | { readonly mtime: number; readonly mode: number };

function line(name: string, content: Uint8Array, stats: TimeAndMode, times: boolean): string {
  const mtime = "mtimeMs" in stats ? Math.floor(stats.mtimeMs / 1000) : stats.mtime;
  const text =
    content.length > 60 ? `${content.length}:${Buffer.from(content).toString("base64").slice(-40)}` : Buffer.from(content).toString();
  return `${name} ${(stats.mode & 0o777).toString(8)} ${times ? mtime : ""} ${JSON.stringify(text)}`;
}

/** The same of a file system. */
export async function describeFileSystem(fileSystem: FileSystem, root: string, times: boolean): Promise<string[]> {
  const lines: string[] = [];
  for await (const batch of fileSystem.walk(root)) {
    for (const entry of batch) {
      if (entry.attributes.type === "directory") lines.push(`${entry.path}/`);
      else {
        const handle = await fileSystem.open(`${root}/${entry.path}`, { read: true });
        const chunks = await handle.read(0, entry.attributes.size);
        await handle.close();
        lines.push(line(entry.path, Buffer.concat(chunks), entry.attributes, times));
      }
    }
  }
  return lines.sort();
}
