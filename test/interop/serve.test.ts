import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ensureBuilt, MAIN } from "../support/built-gateway.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { run, runOk, stopProcess } from "../support/processes.ts";

/** A program whose lines are looked at while it runs. */
class Watched {
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  readonly closed: Promise<unknown>;
  readonly #waiting = new Set<() => void>();

  constructor(file: string, args: readonly string[], cwd: string) {
    this.child = spawn(file, args, { cwd, stdio: ["pipe", "pipe", "pipe"] });
    this.closed = once(this.child, "close");
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (!stream) continue;
      createInterface({ input: stream }).on("line", (line) => {
        this.lines.push(line);
        for (const look of [...this.#waiting]) look();
      });
    }
  }

  /** Resolves with the first line that matches. */
  line(pattern: RegExp): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const found = this.lines.find((line) => pattern.test(line));
        if (found === undefined) return;
        this.#waiting.delete(look);
        resolve(found);
      };
      this.#waiting.add(look);
      this.child.once("close", () => reject(new Error(`ended without ${pattern}:\n${this.lines.join("\n")}`)));
      look();
    });
  }
}

describe("the demonstration", () => {
  let folder: string;
  let running: Watched | undefined;
  beforeEach(async () => {
    await ensureBuilt();
    folder = mkdtempSync(join(tmpdir(), "demo with space-"));
    writeFileSync(join(folder, "README.md"), "read me\n");
  });
  afterEach(async () => {
    if (running) await stopProcess(running.child, "SIGKILL");
    rmSync(folder, { recursive: true });
  });

  async function start(): Promise<Watched> {
    running = new Watched(process.execPath, [MAIN, "serve"], folder);
    await running.line(/^Ctrl-C stops it/);
    return running;
  }
  const pasted = async (demo: Watched, program: string, input = ""): Promise<string> =>
    (await runOk("sh", ["-c", (await demo.line(new RegExp(`^ {2}${program} `))).trim()], { cwd: folder, input })).stdout;

  it("prints lines that work when pasted, stops on Ctrl-C, and keeps keys and files", async () => {
    const first = await start();
    await pasted(first, "sftp", "mkdir attachments/originals/box\nput README.md attachments/originals/box/r.md\n");
    await pasted(first, "scp");
    await pasted(first, "rsync");
    expect(await pasted(first, "curl")).toBe("ready\n");
    const keyFile = join(folder, "state/demo/demo_ed25519");
    const key = readFileSync(keyFile, "utf8");
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    const hostKey = readFileSync(join(folder, "state/demo/keys/ssh_host_ed25519_key"), "utf8");
    expect(await stopProcess(first.child, "SIGINT")).toBe(0);

    const second = await start();
    expect(await pasted(second, "sftp", "ls attachments/originals/box\nls attachments/originals\n")).toMatch(/r\.md[\s\S]*README\.md/);
    expect(readFileSync(keyFile, "utf8")).toBe(key);
    expect(readFileSync(join(folder, "state/demo/keys/ssh_host_ed25519_key"), "utf8")).toBe(hostKey);
    expect(await stopProcess(second.child, "SIGTERM")).toBe(0);
  });

  it("takes a free port where its own is taken, and everything lies below state/", async () => {
    const first = await start();
    const other = new Watched(process.execPath, [MAIN, "serve"], folder);
    try {
      await other.line(/^Ctrl-C stops it/);
      await pasted(other, "scp");
      await pasted(first, "scp");
      expect(existsSync(join(folder, "keys"))).toBe(false);
    } finally {
      await stopProcess(other.child);
    }
  });
});

describe("a running gateway", () => {
  let gateway: TestGateway;
  beforeEach(async () => {
    gateway = await startGateway({ serverYaml: ["limits: { drain: 20s }"] });
  });
  afterEach(() => gateway.dispose());

  const sftp = (): Watched =>
    new Watched("sftp", [...gateway.sshOptions, "-P", String(gateway.port), `${gateway.user}@127.0.0.1`], gateway.dir);
  const logged = (message: string, times = 1): Promise<void> =>
    vi.waitFor(() => expect(gateway.log.filter(({ msg }) => msg === message).length).toBeGreaterThanOrEqual(times), {
      timeout: 20_000,
      interval: 20,
    });

  /** Writes the configuration, and waits until every worker that serves by then has read it. */
  async function reconfigure(text: string): Promise<void> {
    const workers = new Set(gateway.log.filter(({ msg }) => msg === "worker ready").map(({ worker }) => worker));
    const seen = gateway.log.length;
    writeFileSync(gateway.configFile, text);
    const reloaded = () => gateway.log.slice(seen).filter(({ msg }) => msg === "configuration reloaded");
    const all = [...workers].sort();
    await vi.waitFor(() => expect([...new Set(reloaded().map(({ worker }) => worker))].sort()).toEqual(expect.arrayContaining(all)), {
      timeout: 20_000,
      interval: 20,
    });
  }

  it("ends the session of a removed key, keeps serving after a bad file, lets a new user in", async () => {
    const session = sftp();
    await session.line(/^Connected/);
    const config = readFileSync(gateway.configFile, "utf8");
    writeFileSync(gateway.configFile, `${config}nonsense: 1\n`);
    await logged("configuration not reloaded, the running one stays");
    session.child.stdin?.write("pwd\n");
    await session.line(/Remote working directory: \//);
    await reconfigure(config.replace(/- ssh-ed25519.*/, "[]").replace(/keys:\n\s+\[\]/, "keys: []"));
    await session.line(/your key was removed/);
    session.child.stdin?.end();
    await session.closed;
    const { code } = await run("sftp", [...gateway.sshOptions, "-P", String(gateway.port), "-b", "-", `${gateway.user}@127.0.0.1`], {
      input: "ls\n",
    });
    expect(code).not.toBe(0);
    const publicKey = readFileSync(`${gateway.keyFile}.pub`, "utf8");
    await reconfigure(config.replace(`${gateway.user}:`, "dora:"));
    await runOk("sftp", [...gateway.sshOptions, "-P", String(gateway.port), "-b", "-", "dora@127.0.0.1"], { input: "ls\n" });
    expect(publicKey).toContain("ssh-ed25519");
  });

  it("lets a transfer finish when it is told to stop, refuses new ones, and ends with 0", async () => {
    writeFileSync(join(gateway.dir, "big"), Buffer.alloc(24 * 1024 * 1024, "x"));
    const session = sftp();
    await session.line(/^Connected/);
    const upload = run("scp", [
      ...gateway.sshOptions,
      "-l",
      "100000",
      "-P",
      String(gateway.port),
      join(gateway.dir, "big"),
      `${gateway.user}@127.0.0.1:attachments/big`,
    ]);
    await logged("login", 2);
    const stopped = gateway.stop("SIGTERM");
    await logged("draining");
    const refused = await run("ssh", [...gateway.sshOptions, "-p", String(gateway.port), `${gateway.user}@127.0.0.1`, "pwd"]);
    expect(refused.code).not.toBe(0);
    expect((await upload).code).toBe(0);
    session.child.stdin?.end("bye\n");
    expect(await stopped).toBe(0);
    expect(gateway.store.names()).toEqual(["big"]);
  });

  it("ends at once on the second signal", async () => {
    const session = sftp();
    await session.line(/^Connected/);
    process.kill(gateway.pid, "SIGINT");
    await logged("draining");
    process.kill(gateway.pid, "SIGINT");
    await gateway.ended();
    session.child.stdin?.end();
    await session.closed;
  });
});
