/**
 * The demonstration that `serve` runs when there is no configuration: everything below `state/demo/`, made at the first
 * start and kept. A newcomer can edit its configuration file like any other.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { RunningGateway } from "../supervisor/messages.ts";
import { generateEd25519KeyPair } from "./openssh-key.ts";
import type { Terminal } from "./terminal.ts";

const DEMO_FOLDER = "state/demo";
const DEMO_USER = "demo";

/** What was made or found. */
export interface Demo {
  readonly configFile: string;
  readonly keyFile: string;
  readonly knownHostsFile: string;
}

/** Writes `text` unless the file is there; true if it was written. */
async function writeNew(file: string, text: string, mode: number): Promise<boolean> {
  try {
    await writeFile(file, text, { flag: "wx", mode });
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

function demoConfig(folder: string, publicKey: string): string {
  return `# yaml-language-server: $schema=../../config/gateway.schema.json
# The demonstration's configuration, written at its first start. Edit it: changes count at once.
server:
  listen: ["127.0.0.1:2022"]
  hostKeys: ${JSON.stringify(join(folder, "keys"))}
  state: ${JSON.stringify(join(folder, "state"))}
admin:
  listen: "127.0.0.1:9022"      # /healthz, /readyz, /metrics
users:
  ${DEMO_USER}:
    storage: ${JSON.stringify(`file://${join(folder, "files", DEMO_USER)}`)}
    keys:
      - ${publicKey}
`;
}

/** Makes what is missing of the demonstration in the working directory. */
export async function prepareDemo(): Promise<Demo> {
  const folder = resolve(DEMO_FOLDER);
  await mkdir(join(folder, "files", DEMO_USER), { recursive: true, mode: 0o700 });
  const keyFile = join(folder, "demo_ed25519");
  const { privateKey, publicKey } = generateEd25519KeyPair("demo@sftp-s3-gateway");
  if (await writeNew(keyFile, privateKey, 0o600)) await writeFile(`${keyFile}.pub`, `${publicKey}\n`, { mode: 0o644 });
  const keptPublicKey = (await readFile(`${keyFile}.pub`, "utf8")).trim();
  const configFile = join(folder, "gateway.yaml");
  await writeNew(configFile, demoConfig(folder, keptPublicKey), 0o600);
  return { configFile, keyFile, knownHostsFile: join(folder, "known_hosts") };
}

function shellWord(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A file name in an option of OpenSSH, which splits its values at blanks. */
function sshWord(text: string): string {
  return /\s/.test(text) ? `"${text}"` : text;
}

/** Writes the lines of `name`; those of other ports stay, since another demonstration may run on one. */
async function addKnownHosts(file: string, name: string, gateway: RunningGateway): Promise<void> {
  const before = await readFile(file, "utf8").catch(() => "");
  const others = before.split("\n").filter((line) => line !== "" && !line.startsWith(`${name} `));
  const own = gateway.hostKeys.map((publicKey) => `${name} ${publicKey}`);
  await writeFile(file, `${[...others, ...own].join("\n")}\n`, { mode: 0o644 });
}

/** Writes the known_hosts file of the running gateway and prints the lines to paste. */
export async function printDemo(demo: Demo, gateway: RunningGateway, terminal: Terminal): Promise<void> {
  const [address] = gateway.addresses;
  if (!address) return;
  const { host, port } = address;
  await addKnownHosts(demo.knownHostsFile, `[${host}]:${port}`, gateway);
  // Each word is quoted for the shell; rsync splits its -e text again by itself, so that gets its own quotes.
  const options = [
    "-i",
    demo.keyFile,
    "-o",
    "IdentitiesOnly=yes",
    "-o",
    `UserKnownHostsFile=${sshWord(demo.knownHostsFile)}`,
    "-o",
    "StrictHostKeyChecking=yes",
  ];
  const words = options.map(shellWord).join(" ");
  const remote = `${DEMO_USER}@${host}`;
  const originals = `${remote}:attachments/originals/`;
  const rsyncShell = shellWord(`ssh -p ${port} ${words}`);
  for (const line of [
    "",
    `The demonstration runs. Files lie in ${join(resolve(DEMO_FOLDER), "files", DEMO_USER)}, the configuration is ${demo.configFile}.`,
    "Paste into another terminal:",
    "",
    `  sftp -P ${port} ${words} ${remote}`,
    "",
    `  scp -P ${port} ${words} README.md ${originals}`,
    "",
    `  rsync -av -e ${rsyncShell} README.md ${originals}`,
    "",
    ...(gateway.adminAddress === undefined ? [] : [`  curl http://${gateway.adminAddress}/readyz`, ""]),
    "Ctrl-C stops it; the next start keeps keys and files.",
    "",
  ]) {
    terminal.print(line);
  }
}
