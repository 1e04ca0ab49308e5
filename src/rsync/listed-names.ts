/**
 * The names of `--files-from`, whichever side has the file: from the client's stream, from a file here, or from a file
 * here to a client that sends (rsync io.c `forward_filesfrom_data`). Knows nothing of what the names mean.
 */
import { FsError, ProtocolError } from "../errors.ts";
import type { FileHandle } from "../vfs/file-system.ts";
import { reasonText } from "./error-text.ts";
import { ExitStatus, RsyncExit } from "./exit-codes.ts";
import { absolutePath, toText } from "./names.ts";
import type { Run } from "./run.ts";
import { Turns } from "./turns.ts";

/** Longest list of names on the server, and most names. */
const MAX_NAMES_FILE = 64 * 1024 * 1024;
const MAX_NAMES = 2_000_000;
const MAX_NAME = 4095;
/** Bytes of the file read at once. */
const PIECE = 128 * 1024;
const NEWLINE = 0x0a;
const RETURN = 0x0d;

/** Names from the client; at protocol 30 they are not cut in frames. */
export async function receiveNames(run: Run): Promise<string[]> {
  const { reader } = run;
  if (run.protocol === 30) reader.setDemultiplexing(false);
  const names: string[] = [];
  for (;;) {
    const name = await reader.decode((cursor) => {
      let length = 0;
      const mark = cursor.position;
      while (cursor.u8() !== 0) {
        if (++length > MAX_NAME) throw new ProtocolError("overlong name in the list of files");
      }
      cursor.position = mark;
      const text = cursor.latin1(length);
      cursor.u8();
      return text;
    });
    if (name === "") break;
    run.hold(name.length);
    const text = toText(name);
    if (text === undefined) run.problem(`rsync: [sender] "${name}": name is not valid UTF-8 or too long`);
    else names.push(text);
    if (names.length > MAX_NAMES) throw new RsyncExit(ExitStatus.outOfMemory, "rsync: too many names in the list of files");
  }
  if (run.protocol === 30) reader.setDemultiplexing(true);
  return names;
}

/** Names from a file on the server. */
export async function readNames(run: Run, path: string): Promise<string[]> {
  const handle = await openNames(run, path);
  try {
    const { size } = await handle.stat();
    if (size > MAX_NAMES_FILE) throw new RsyncExit(ExitStatus.outOfMemory, "rsync: the list of files is too long");
    return await splitNames(run, Buffer.concat(await handle.read(0, size)));
  } finally {
    await handle.close();
  }
}

/** The lines of a list, without empty ones and comments; a list may consist of line ends only. */
async function splitNames(run: Run, list: Buffer): Promise<string[]> {
  const { from0 } = run.options;
  const names: string[] = [];
  const turns = new Turns();
  for (let from = 0; from < list.length; ) {
    let end = from;
    while (end < list.length && (from0 ? list[end] !== 0 : list[end] !== NEWLINE && list[end] !== RETURN)) end++;
    if (end > from) {
      const name = list.toString("utf8", from, end);
      if (from0 || !/^[#;]/.test(name)) names.push(name);
      run.hold(end - from);
      if (names.length > MAX_NAMES) throw new RsyncExit(ExitStatus.outOfMemory, "rsync: too many names in the list of files");
      await turns.due();
    }
    from = end + 1;
  }
  return names;
}

/** Hands the names in a file on the server to the client that sends; below protocol 31 they are not cut in frames. */
export async function forwardNames(run: Run, path: string): Promise<void> {
  const { writer } = run;
  const handle = await openNames(run, path);
  try {
    if (run.protocol < 31) writer.setMultiplexing(false);
    let last = 0;
    for (let offset = 0; ; ) {
      const chunks = await handle.read(offset, PIECE);
      if (chunks.length === 0) break;
      for (const chunk of chunks) {
        offset += chunk.length;
        const names = withoutEmptyLines(chunk, last, run.options.from0);
        last = names.at(-1) ?? last;
        writer.out.bytes(names);
      }
      writer.written();
      await writer.ready();
    }
    writer.out.bytes(new Uint8Array(last === 0 ? 1 : 2));
    writer.flush();
    if (run.protocol < 31) writer.setMultiplexing(true);
  } finally {
    await handle.close();
  }
}

/** A piece of the file with NUL in place of line ends and never two of them in a row. `last`: the byte before it. */
function withoutEmptyLines(piece: Uint8Array, last: number, from0: boolean): Uint8Array {
  const names = new Uint8Array(piece.length);
  let length = 0;
  for (const byte of piece) {
    const value = !from0 && (byte === NEWLINE || byte === RETURN) ? 0 : byte;
    if (value !== 0 || last !== 0) names[length++] = value;
    last = value;
  }
  return names.subarray(0, length);
}

async function openNames(run: Run, path: string): Promise<FileHandle> {
  try {
    return await run.fileSystem.open(absolutePath(path), { read: true });
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    throw new RsyncExit(ExitStatus.usage, `rsync: failed to open files-from file ${path}: ${reasonText(error)}`);
  }
}
