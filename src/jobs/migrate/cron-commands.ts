/** Finds the old server's backups (`tar -cJf`), syncs (`aws s3 sync`) and s3fs mounts in its crontabs. */
import type { Place, Reader } from "./old-server.ts";
import { parseS3fsCommand, type S3fsMount } from "./s3fs-mounts.ts";

/** A command that a job of the gateway replaces. */
export type CronCommand = Place & { readonly schedule: string } & (
    | { readonly kind: "backup"; readonly archive: string; readonly folder: string; readonly member: string }
    | { readonly kind: "sync"; readonly source: string; readonly destination: string; readonly options: readonly string[] }
  );

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
  for (const file of files) {
    for (const { text, ...place } of await read.lines(file)) {
      if (/^\s*(?:#|$|\w+\s*=)/.test(text)) continue;
      const [, when = "", command = text] = SCHEDULE.exec(text) ?? [];
      for (const part of command.split(/\s*(?:;|&&|\|\|)\s*/)) {
        const found = understand(part, { ...place, schedule: NAMED[when] ?? when.replaceAll(/\s+/g, " ") });
        if (found?.command) commands.push(found.command);
        else if (found?.mount) mounts.push(found.mount);
        else if (/\b(?:tar|aws|s3fs|rclone|rsync)\b/.test(part)) read.note(place, `was not understood: ${part.trim().slice(0, 200)}`);
      }
    }
  }
  return { commands, mounts };
}

type Found = { readonly command: CronCommand; readonly mount?: never } | { readonly mount: S3fsMount & Place; readonly command?: never };

function understand(part: string, place: Place & { readonly schedule: string }): Found | undefined {
  // System crontabs have the account's name before the command.
  const words = shellWords(part);
  const at = words.findIndex((word) => /(?:^|\/)(?:tar|aws|s3fs)$/.test(word));
  const name = words[at]?.replace(/^.*\//, "");
  const args = words.slice(at + 1);
  if (at < 0 || at > 4) return undefined;
  if (name === "s3fs") {
    const mount = parseS3fsCommand(args);
    return mount && { mount: { ...mount, file: place.file, line: place.line } };
  }
  if (name === "tar") return backupOf(args, place);
  const sync = args[0] === "s3" && args[1] === "sync" ? args.slice(2) : undefined;
  const places = sync?.filter((word) => !word.startsWith("-")) ?? [];
  const [source, destination] = places;
  if (!sync || source === undefined || destination === undefined || places.length > 2) return undefined;
  return { command: { ...place, kind: "sync", source, destination, options: sync.filter((word) => word.startsWith("-")) } };
}

/** `tar -cJf ARCHIVE -C FOLDER MEMBER`. */
function backupOf(args: readonly string[], place: Place & { readonly schedule: string }): Found | undefined {
  let archive = "";
  let folder = "";
  const members: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const word = args[index] ?? "";
    if (/^-?[a-zA-Z]*c[a-zA-Z]*f$/.test(word) && archive === "") archive = args[++index] ?? "";
    else if (word === "-C") folder = args[++index] ?? "";
    else if (!word.startsWith("-")) members.push(word);
  }
  const [member] = members;
  if (archive === "" || member === undefined || members.length > 1) return undefined;
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
