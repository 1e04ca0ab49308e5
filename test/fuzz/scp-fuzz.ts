/**
 * scp dialogues of both directions, damaged and cut into pieces: every run ends by itself with an exit status, leaves no
 * handle open and stays within its destination.
 */
import { pino } from "pino";
import { splitCommandLine } from "../../src/exec/command-line.ts";
import { scp } from "../../src/scp/scp.ts";
import { loopbackPair } from "../support/loopback-channel.ts";
import { ModelFileSystem } from "../support/model-file-system.ts";
import { mutate } from "../support/mutate.ts";
import { Random } from "../support/random.ts";
import { demand, type FuzzTarget, within } from "./fuzz-target.ts";

const LINES = [
  "-t /dst",
  "-r -t /dst",
  "-p -r -d -t /dst",
  "-p -t /dst/a.txt",
  "-f /dst/a.txt",
  "-r -f /dst",
  "-p -r -f /dst",
  "-f /dst/*",
  "-r -f /",
];
const DIALOGUES = [
  "C0644 5 a.txt\nhello\0",
  "T1600000000 0 1600000000 0\nC0600 0 empty\n\0",
  "D0755 0 sub\nC0644 3 b\nxyz\0D0700 0 deep\nE\nE\n",
  "C0644 5 ../../secret\nhello\0",
  "D0755 0 ..\nC0644 5 secret\nhello\0E\n",
  "C0644 9223372036854775807 huge\nx",
  "\0\0\0\0\0\0\0\0\0\0\0\0",
  "\0\0\x01error\n\0\0",
];
const log = pino({ level: "silent" });

async function runOne(seed: number): Promise<number> {
  const random = new Random(seed);
  const fileSystem = new ModelFileSystem();
  fileSystem.put("/secret", "not below the destination");
  fileSystem.put("/dst/a.txt", "hello");
  fileSystem.put("/dst/sub/b.txt", "second");
  const { client, server } = loopbackPair({ chunkBytes: random.pick([1, 7, 1000]), windowBytes: 300_000 });
  client.receive({ data: (chunk) => client.consume(chunk.length), end: () => undefined });
  const line = random.pick(LINES);
  const status = scp({ words: splitCommandLine(line), channel: server, fileSystem, user: "alice", log });
  const wire = Array.from({ length: 1 + random.below(3) }, () => random.pick(DIALOGUES)).join("");
  client.write(random.chance(0.9) ? mutate(Buffer.from(wire, "latin1"), random) : Buffer.from(wire, "latin1"));
  for (let turns = random.below(4); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
  if (random.chance(0.2)) client.destroy("cut");
  else client.sendEof();
  const code = await within(
    10_000,
    `scp ${line}`,
    status.catch((error: unknown) => (error instanceof Error && /Scp|Protocol|Fs/.test(error.name) ? 1 : Promise.reject(error))),
  );
  demand(Number.isInteger(code) && code >= 0 && code <= 255, `exit status ${code}`);
  demand(fileSystem.openHandles === 0, `${fileSystem.openHandles} handles leaked`);
  demand(Buffer.from(fileSystem.get("/secret") ?? []).toString() === "not below the destination", "wrote outside of its destination");
  return 1;
}

/** See the head of this file. */
export const scpFuzz: FuzzTarget = {
  name: "scp",
  unit: "dialogues",
  open: () => Promise.resolve({ run: runOne, close: () => Promise.resolve() }),
};
