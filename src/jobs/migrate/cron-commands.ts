/**
 * Finds the old server's backups (`tar -cJf`), syncs (`aws s3 sync`) and s3fs mounts in its crontabs and in the shell scripts
 * that these call. Expands nothing.
 */
import { parseSyncArguments, SyncUsageError } from "../sync/sync-options.ts";
import type { Place, Reader } from "./old-server.ts";
import { parseS3fsCommand, type S3fsMount } from "./s3fs-mounts.ts";

/** A command that a job of the gateway replaces. */
export type CronCommand = Place & { readonly schedule: string } & (
    | { readonly kind: "backup"; readonly archive: string; readonly folder: string; readonly member: string }
    | { readonly kind: "sync"; readonly source: string; readonly destination: string; readonly options: readonly string[] }
  );

/** Words before a command that run it as somebody else, later or with less. */
const MAX_WORDS_BEFORE = 8;
const RELEVANT = /(?:^|[\s/])(?:tar|aws|s3fs|rclone|rsync)(?=\s|$)/;
const SCHEDULE = /^\s*(@\w+|(?:\S+\s+){4}\S+)\s+(.*)$/;
const NAMED: Readonly<Record<string, string>> = {
  "@hourly": "0 * * * *",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@weekly": "0 0 * * 0",
  "@monthly": "0 0 1 * *",
  "@yearly": "0 0 1 1 *",
};

/** The commands of all crontabs. Lines that mention tar, aws or s3fs and are not understood become notes. */
export async function readCronCommands(read: Reader): Promise<{ commands: CronCommand[]; mounts: (S3fsMount & Place)[] }> {
  const files = ["/etc/crontab"];
  for (const folder of ["/etc/cron.d", "/var/spool/cron/crontabs", "/var/spool/cron"]) {
    for (const name of await read.names(folder)) if (name !== "crontabs") files.push(`${folder}/${name}`);
  }
  const commands: CronCommand[] = [];
  const mounts: (S3fsMount & Place)[] = [];
  const scripts = new Set<string>();
  const take = async (text: string, place: Place & { readonly schedule: string }, isScript: boolean): Promise<void> => {
    for (const part of text.split(/\s*(?:;|&&|\|\|)\s*/)) {
      const found = understand(part, place);
      if (found?.command) commands.push(found.command);
      else if (found?.mount) mounts.push(found.mount);
      else if (RELEVANT.test(part)) read.note(place, `was not understood: ${part.trim().slice(0, 200)}`);
      else if (!isScript) await follow(part, place.schedule);
    }
  };
  /** A crontab often calls a script that has the commands. */
  const follow = async (part: string, schedule: string): Promise<void> => {
    for (const word of shellWords(part)) {
      if (!/^\/(?!dev\/|bin\/|usr\/bin\/)[\w./-]+$/.test(word) || scripts.has(word)) continue;
      scripts.add(word);
      const lines = await read.lines(word);
      if (!/^#!.*sh\b/.test(lines[0]?.text ?? "") && !word.endsWith(".sh")) continue;
      for (const { text, ...place } of joinedLines(lines)) if (!/^\s*(?:#|$)/.test(text)) await take(text, { ...place, schedule }, true);
    }
  };
  for (const file of files) {
    for (const { text, ...place } of await read.lines(file)) {
      if (/^\s*(?:#|$|\w+\s*=)/.test(text)) continue;
      const [, when = "", command = text] = SCHEDULE.exec(text) ?? [];
      await take(command, { ...place, schedule: NAMED[when] ?? when.replaceAll(/\s+/g, " ") }, false);
    }
  }
  return { commands, mounts };
}

/** Lines that end with a backslash go on in the next one. */
function joinedLines(lines: readonly (Place & { readonly text: string })[]): (Place & { readonly text: string })[] {
  const joined: (Place & { readonly text: string })[] = [];
  let isOpen = false;
  for (const line of lines) {
    const text = line.text.replace(/\\$/, "");
    const last = joined.at(-1);
    if (isOpen && last) joined[joined.length - 1] = { ...last, text: last.text + text };
    else joined.push({ ...line, text });
    isOpen = line.text.endsWith("\\");
  }
  return joined;
}

type Found = { readonly command: CronCommand; readonly mount?: never } | { readonly mount: S3fsMount & Place; readonly command?: never };

function understand(part: string, place: Place & { readonly schedule: string }): Found | undefined {
  // System crontabs have the account's name before the command.
  const words = withoutRedirections(shellWords(part));
  const at = words.findIndex((word) => /(?:^|\/)(?:tar|aws|s3fs)$/.test(word));
  const name = words[at]?.replace(/^.*\//, "");
  const args = words.slice(at + 1);
  if (at < 0 || at > MAX_WORDS_BEFORE) return undefined;
  if (name === "s3fs") {
    const mount = parseS3fsCommand(args);
    return mount && { mount: { ...mount, file: place.file, line: place.line } };
  }
  if (name === "tar") return backupOf(args, place);
  return syncOf(args, place);
}

/** `aws [--profile P] s3 sync SOURCE DESTINATION [options]`. */
function syncOf(args: readonly string[], place: Place & { readonly schedule: string }): Found | undefined {
  const at = args.findIndex((word, index) => word === "s3" && args[index + 1] === "sync");
  if (at < 0) return undefined;
  const words = [...args.slice(at + 2), ...args.slice(0, at)];
  try {
    const [source, destination] = parseSyncArguments(words).places;
    if (source === undefined || destination === undefined) return undefined;
    const options = words.filter((word) => word !== source && word !== destination);
    return { command: { ...place, kind: "sync", source, destination, options } };
  } catch (error) {
    if (error instanceof SyncUsageError) return undefined;
    throw error;
  }
}

/** Without `> /dev/null`, `2>&1`, `>> log` and the like. */
function withoutRedirections(words: readonly string[]): string[] {
  const kept: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    if (/^(?:\d|&)?(?:>>?|<)$/.test(word)) index++;
    else if (!/^(?:\d|&)?(?:>>?|<)\S/.test(word) && word !== "&") kept.push(word);
  }
  return kept;
}

/** `tar -cJf ARCHIVE -C FOLDER MEMBER`. */
function backupOf(args: readonly string[], place: Place & { readonly schedule: string }): Found | undefined {
  let archive = "";
  let folder = "";
  const members: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const word = args[index] ?? "";
    if (/^(?:-[a-zA-Z]*f|[a-zA-Z]*c[a-zA-Z]*f)$/.test(word) && archive === "") archive = args[++index] ?? "";
    else if (word.startsWith("--file=")) archive = word.slice("--file=".length);
    else if (word === "-C") folder = args[++index] ?? "";
    else if (word.startsWith("--directory=")) folder = word.slice("--directory=".length);
    else if (!word.startsWith("-")) members.push(word);
  }
  const [member] = members;
  const isCreation = args.some((word) => word === "--create" || /^-?[a-zA-Z]*c[a-zA-Z]*$/.test(word));
  if (!isCreation || archive === "" || member === undefined || members.length > 1) return undefined;
  return { command: { ...place, kind: "backup", archive, folder, member } };
}

/** Words as a shell splits them, without expansions. */
function shellWords(text: string): string[] {
  return [...text.matchAll(/(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+/g)].map(([word]) =>
    word.replaceAll(/"((?:[^"\\]|\\.)*)"|'([^']*)'|\\(.)/g, (_, double?: string, single?: string, escaped?: string) => {
      return double ?? single ?? escaped ?? "";
    }),
  );
}
