/** What customers do all day, a round at a time, each with the client they use; what comes back is compared. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sample } from "../interop/samples.ts";
import { BUCKET, PREFIX, type TestGateway } from "../support/gateway.ts";
import { runOk } from "../support/processes.ts";
import type { Random } from "../support/random.ts";
import type { S3Server } from "../support/s3-server/s3-server.ts";
import { SshSftpClient } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";

/** Where a round happens. */
export interface Round {
  readonly gateway: TestGateway;
  readonly s3: S3Server;
  readonly random: Random;
  readonly round: number;
  /** A folder of this lane's own. */
  readonly name: string;
}

/** One customer's habit. A round rejects if something failed, with WRONG BYTES if something was accepted and is not right. */
export interface Lane {
  readonly name: string;
  round(at: Round): Promise<void>;
}

const TIMEOUT_MS = 120_000;

function check(what: string, got: string | undefined, wanted: Buffer): void {
  if (got !== sha256(wanted)) throw new Error(`WRONG BYTES: ${what} is ${got}, not ${sha256(wanted)}`);
}

const stored = ({ s3, name }: Round, file: string) => s3.contents.object(BUCKET, `${PREFIX}originals/${name}/${file}`)?.sha256();

/** A local folder for the round's files, removed afterwards. */
async function inFolder(act: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "soak-"));
  try {
    await act(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const destination = ({ gateway }: Round) => `${gateway.user}@127.0.0.1`;
const sftpArguments = (at: Round) => [...at.gateway.sshOptions, "-P", String(at.gateway.port)];
const scpArguments = sftpArguments;

function batch(at: Round, ...lines: readonly string[]): Promise<unknown> {
  return runOk("sftp", [...sftpArguments(at), "-b", "-", destination(at)], { input: `${lines.join("\n")}\n`, timeoutMs: TIMEOUT_MS });
}

/** Ends a client somewhere in the middle, as a laptop that is closed does. */
async function killSoon(child: ChildProcess, random: Random): Promise<void> {
  const ended = once(child, "exit");
  const timer = setTimeout(() => child.kill("SIGKILL"), 100 + random.below(1_500));
  await ended;
  clearTimeout(timer);
}

const library: Lane = {
  name: "ssh2 client",
  round: async (at) => {
    const client = await SshSftpClient.connect(at.gateway);
    const folder = `attachments/originals/${at.name}`;
    await client.mkdir(folder).catch(() => undefined); // there since the first round
    for (let n = 0; n < 20; n++) {
      const data = sample(1 + at.random.below(200_000));
      await client.putFile(`${folder}/f${n}`, data, 32_768);
      check(`f${n}`, stored(at, `f${n}`), data);
      check(`f${n} read`, sha256(await client.getFile(`${folder}/f${n}`)), data);
      await client.posixRename(`${folder}/f${n}`, `${folder}/g${n}`);
      if (n % 2 === 0) await client.remove(`${folder}/g${n}`);
    }
    await client.list(folder);
    await client.end();
  },
};

const openssh: Lane = {
  name: "sftp",
  round: (at) =>
    inFolder(async (folder) => {
      const data = sample(9_000_000 + at.random.below(100));
      writeFileSync(join(folder, "large"), data);
      const remote = `attachments/originals/${at.name}`;
      await batch(at, `-mkdir ${remote}`, `put ${folder}/large ${remote}/large`, `get ${remote}/large ${folder}/back`);
      check("large", stored(at, "large"), data);
      check("large read", sha256(readFileSync(join(folder, "back"))), data);
    }),
};

const interrupted: Lane = {
  name: "sftp, killed and resumed",
  round: (at) =>
    inFolder(async (folder) => {
      const data = sample(30_000_000 + at.random.below(100));
      writeFileSync(join(folder, "large"), data);
      const remote = `attachments/originals/${at.name}`;
      await batch(at, `-mkdir ${remote}`, `-rm ${remote}/large`);
      const child = spawn("sftp", [...sftpArguments(at), "-b", "-", destination(at)], { stdio: ["pipe", "ignore", "ignore"] });
      child.stdin.on("error", () => undefined); // it is killed while it is told what to do
      child.stdin.end(`put ${folder}/large ${remote}/large\n`);
      await killSoon(child, at.random);
      const resumed = await batch(at, `reput ${folder}/large ${remote}/large`).catch((error: unknown) => error);
      // Killed before the first byte arrived, there is nothing to continue; after the last one, nothing to do, or only CLOSE.
      const isWhole = stored(at, "large") === sha256(data);
      if (resumed instanceof Error && !isWhole && /stat remote: No such file|same size or larger/.test(resumed.message))
        await batch(at, `put ${folder}/large ${remote}/large`);
      else if (resumed instanceof Error && !isWhole) throw resumed;
      check("resumed", stored(at, "large"), data);
    }),
};

const scp: Lane = {
  name: "scp",
  round: (at) =>
    inFolder(async (folder) => {
      const legacy = at.round % 2 === 0 ? ["-O"] : [];
      mkdirSync(join(folder, "tree"));
      for (let n = 0; n < 10; n++) writeFileSync(join(folder, "tree", `n${n}`), sample(1 + at.random.below(100_000)));
      const remote = `${destination(at)}:attachments/originals/${at.name}`;
      await batch(at, `-mkdir attachments/originals/${at.name}`);
      await runOk("scp", [...legacy, ...scpArguments(at), "-r", join(folder, "tree"), remote], { timeoutMs: TIMEOUT_MS });
      await runOk("scp", [...legacy, ...scpArguments(at), "-r", `${remote}/tree`, join(folder, "back")], { timeoutMs: TIMEOUT_MS });
      for (const file of readdirSync(join(folder, "tree"))) {
        const data = readFileSync(join(folder, "tree", file));
        check(file, stored(at, `tree/${file}`), data);
        check(`${file} read`, sha256(readFileSync(join(folder, "back", file))), data);
      }
    }),
};

const rsync: Lane = {
  name: "rsync",
  round: (at) =>
    inFolder(async (folder) => {
      for (let n = 0; n < 15; n++) writeFileSync(join(folder, `r${(at.round + n) % 40}`), sample(1 + at.random.below(150_000)));
      const shell = `ssh -p ${at.gateway.port} ${at.gateway.sshOptions.map((option) => `'${option}'`).join(" ")}`;
      const remote = `${destination(at)}:attachments/originals/${at.name}/`;
      await runOk("rsync", ["-a", "--delete", "-e", shell, `${folder}/`, remote], { timeoutMs: TIMEOUT_MS });
      for (const file of readdirSync(folder)) check(file, stored(at, file), readFileSync(join(folder, file)));
      const again = await runOk("rsync", ["-ai", "--delete", "-e", shell, `${folder}/`, remote], { timeoutMs: TIMEOUT_MS });
      if (/^<f/m.test(again.stdout)) throw new Error(`the second run sent files:\n${again.stdout}`);
    }),
};

/** All habits, side by side; the first twice. */
export const LANES: readonly Lane[] = [library, library, openssh, interrupted, scp, rsync];
