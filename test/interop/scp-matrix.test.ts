/**
 * `scp -O` against the gateway and against the real sshd with the real scp at its other end: trees on both sides, exit codes
 * and what it prints must be the same. Nothing here is typed by hand as expected.
 */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { run } from "../support/processes.ts";
import { type RealSshd, startRealSshd } from "../support/real-sshd.ts";
import { requireTool } from "../support/require-tool.ts";
import { REMOTE, STORED } from "./on-stores.ts";

const TREE: Readonly<Record<string, string>> = {
  "a.txt": "a",
  "b.txt": "bb",
  "sp ace.txt": "s",
  "q'u\"o.txt": "q",
  "st*r.txt": "*",
  "ü.txt": "u",
  "-dash": "d",
  "d/x.txt": "x",
  "d/empty.txt": "",
  "d/e/y.txt": "y",
};

/**
 * What follows `scp -O`; `R` is the folder on the server. Different on purpose: braces, which some shells expand, are plain
 * characters, and `R/.` comes under the folder's name, where the real one is refused by its client.
 */
const UPLOADS: readonly (readonly string[])[] = [
  ["a.txt", "R/"],
  ["a.txt", "R/new.txt"],
  ["a.txt", "R/d"],
  ["-p", "b.txt", "R/a.txt"],
  ["a.txt", "b.txt", "R/d/"],
  ["a.txt", "b.txt", "R/b.txt"],
  ["a.txt", "b.txt", "R/none"],
  ["-r", "d", "R/"],
  ["-rp", "d", "R/new"],
  ["-r", "d", "R/a.txt"],
  ["-r", "d", "a.txt", "R/leer"],
  ["-r", "./d/", "R/slash/"],
  ["-r", "leer", "R/leer2"],
  ["d", "R/"],
  ["nix", "a.txt", "R/"],
  ["a.txt", "R/no/such/x"],
  ["a.txt", "R/d/x.txt/z"],
  ["a.txt", "R/new/"],
  ["a.txt", "R/leer/../up.txt"],
  ["sp ace.txt", "R/s\\ 2.txt"],
  ["./st*r.txt", "R/"],
  ["./-dash", "R/"],
];
const DOWNLOADS: readonly (readonly string[])[] = [
  ["R/a.txt", "out"],
  ["-p", "R/b.txt", "."],
  ["R/*.txt", "got/"],
  ["R/a?txt", "got"],
  ["R/[ab].txt", "got"],
  ["-r", "R/*", "got"],
  ["-rp", "R/d", "pout"],
  ["-r", "R/d", "got"],
  ["-r", "R/d/", "got"],
  ["-r", "R/d/*", "got"],
  ["-r", "R/leer", "got"],
  ["R/d", "got"],
  ["R/nix", "got"],
  ["R/nix*", "got"],
  ["R/nix", "R/a.txt", "got"],
  ["R/a.txt", "R/b.txt", "nodir"],
  ["R/d/../a.txt", "got"],
  ["R/sp\\ ace.txt", "got"],
  ["R/'sp ace.txt'", "got"],
  ["R/st\\*r.txt", "got"],
  ["-T", "R/q\\'u\\\"o.txt", "got"],
  ["R/ü.txt", "got"],
  ["R/-dash", "got"],
  ["-3", "R/a.txt", "R/three.txt"],
  ["-3", "-r", "R/d", "R/threed"],
  ["-3", "-p", "R/b.txt", "R/d/"],
];

interface Server {
  readonly port: number;
  readonly user: string;
  readonly sshOptions: readonly string[];
}

function plant(root: string): void {
  for (const [name, content] of Object.entries(TREE)) {
    const path = join(root, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    utimesSync(path, 1_500_000_000, 1_500_000_000);
    chmodSync(path, name === "b.txt" ? 0o755 : 0o640);
  }
  for (const folder of ["leer", "got"]) mkdirSync(join(root, folder));
}

/** Names with contents, and with times where they are kept. */
function show(root: string, times: boolean): string[] {
  return readdirSync(root, { withFileTypes: true, recursive: true })
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      const name = path.slice(root.length + 1);
      if (entry.isDirectory()) return `${name}/`;
      const { mtimeMs } = statSync(path);
      return `${name} ${readFileSync(path, "utf8")} ${times ? Math.floor(mtimeMs / 1000) : ""}`;
    })
    .sort();
}

describe.skipIf(!requireTool("ssh", "scp", "sshd", "ssh-keygen"))("scp -O as with the real server", () => {
  const work = mkdtempSync(join(tmpdir(), "scp-matrix-"));
  let gateway: TestGateway;
  let sshd: RealSshd;
  let serial = 0;

  beforeAll(async () => {
    [gateway, sshd] = await Promise.all([startGateway(), startRealSshd()]);
  });
  afterAll(async () => {
    await sshd.stop();
    await gateway.dispose();
    rmSync(work, { recursive: true });
  });

  async function scp(server: Server, words: readonly string[], remote: string, disk: string, local: string): Promise<unknown> {
    plant(local);
    plant(disk);
    const places = words.map((word) => word.replace(/^R/, `${server.user}@127.0.0.1:${remote}`));
    const result = await run("scp", ["-O", "-P", String(server.port), ...server.sshOptions, ...places], { cwd: local });
    const times = words.some((word) => /^-\w*p$/.test(word));
    const lines = result.stderr.replaceAll(remote, "R").replaceAll(`${server.user}@127.0.0.1`, "HOST").split("\n");
    return { code: result.code, stderr: lines.sort(), local: show(local, times), remote: show(disk, times) };
  }

  it.each([...UPLOADS, ...DOWNLOADS].map((words) => [words.join(" "), words] as const))("%s", async (_, words) => {
    serial++;
    const disk = join(gateway.dir, "files", STORED, String(serial));
    const place = join(work, `remote${serial}`);
    const mine = await scp(gateway, words, `${REMOTE}/${serial}`, disk, join(work, `mine${serial}`));
    expect(mine).toEqual(await scp(sshd, words, place, place, join(work, `real${serial}`)));
  });
});
