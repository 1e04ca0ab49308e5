/** `pwd` and `df`: small questions that scripts and clients ask before they transfer. */
import { type Command, complain, print } from "./commands.ts";

/** Prints the directory that relative names count from. */
export const pwd: Command = async ({ channel, fileSystem }) => {
  print(channel, `${await fileSystem.realpath(".")}\n`);
  return 0;
};

const UNITS = ["B", "K", "M", "G", "T", "P", "E"];

/** Bytes with a unit as `df -h` prints them, rounded up to what fits. */
function human(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const rounded = value < 10 && unit > 0 ? Math.ceil(value * 10) / 10 : Math.ceil(value);
  return `${rounded}${UNITS[unit]}`;
}

/** Room and usage of the given paths (default: the home) in the POSIX format of `df -P`; `-k` (default) or `-h`. */
export const df: Command = async ({ words, channel, fileSystem }) => {
  const options = words.filter((w) => w.text.startsWith("-"));
  const unknown = options.find((w) => !/^-[kPh]+$/.test(w.text));
  if (unknown) {
    complain(channel, `df: the option ${unknown.text} is not available here`);
    return 1;
  }
  const readable = options.some((w) => w.text.includes("h"));
  const paths = words.filter((w) => !w.text.startsWith("-")).map((w) => w.text);
  const size = (bytes: number): string => (readable ? human(bytes) : String(Math.ceil(bytes / 1024)));
  print(channel, `Filesystem ${readable ? "Size" : "1024-blocks"} Used Available Capacity Mounted on\n`);
  for (const path of paths.length > 0 ? paths : ["."]) {
    const s = await fileSystem.statvfs(path);
    const used = s.totalBytes - s.freeBytes;
    const capacity = s.totalBytes > 0 ? Math.ceil((used / s.totalBytes) * 100) : 0;
    const where = await fileSystem.realpath(path);
    print(channel, `gateway ${size(s.totalBytes)} ${size(used)} ${size(s.freeBytes)} ${capacity}% ${where}\n`);
  }
  return 0;
};
