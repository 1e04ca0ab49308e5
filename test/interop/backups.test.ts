/** Archives in the customer's home, made by the command while the gateway runs, fetched by real clients. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MAIN } from "../support/built-gateway.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { run, runOk } from "../support/processes.ts";
import { requireTool } from "../support/require-tool.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";
import { sha256 } from "../support/test-store.ts";

const hasTools = requireTool("sftp", "scp", "rsync", "tar", "xz", "sha256sum");

for (const kind of ["local", "s3"] as const) {
  describe.skipIf(!hasTools)(`archives on the ${kind} store`, () => {
    let server: S3Server | undefined;
    let gateway: TestGateway;
    let work: string;
    let archives: string;

    const backup = (...args: string[]) =>
      run(process.execPath, [MAIN, ...args, "--config", gateway.configFile], { cwd: gateway.dir, env: { NODE_NO_WARNINGS: "1" } });
    const scp = (from: string, to: string) =>
      runOk("scp", ["-q", "-P", String(gateway.port), ...gateway.sshOptions, `${gateway.user}@127.0.0.1:${from}`, to]);
    const sftp = async (...commands: string[]): Promise<string> => {
      const args = ["-q", "-P", String(gateway.port), ...gateway.sshOptions, "-b", "-", `${gateway.user}@127.0.0.1`];
      const { stdout, stderr } = await run("sftp", args, { input: `${commands.join("\n")}\n` });
      return stdout + stderr;
    };

    beforeAll(async () => {
      server = kind === "s3" ? await startS3Server({ buckets: ["museum", "archives"] }) : undefined;
      archives = mkdtempSync(join(tmpdir(), "archives-"));
      const connection = server && { endpoint: server.endpoint, pathStyle: true, awsRegion: server.region, ...server.credentials };
      const to = connection
        ? `{ to: "s3://archives/nightly", s3: ${JSON.stringify(connection)}, fullEvery: 2 }`
        : `{ to: "file://${archives}", fullEvery: 2 }`;
      gateway = await startGateway({ ...(server ? { s3: server } : {}), topYaml: [`backups: ${to}`] });
      work = join(gateway.dir, "work");
      mkdirSync(work);
      gateway.store.put("originals/a.jpg", randomBytes(1_200_000));
      gateway.store.put("originals/b.tif", Buffer.alloc(1_000_000, "tiff"));
    });
    afterAll(async () => {
      await gateway.dispose();
      await server?.close();
      rmSync(archives, { recursive: true, force: true });
    });

    it("are not there before the first run", async () => {
      expect(await sftp("ls -1 /")).toBe("sftp> ls -1 /\n/attachments\n");
    });

    it("are fetched by scp, sftp and rsync, whole and resumed, and are good", async () => {
      expect(await backup("backup", "run", "alice")).toMatchObject({ code: 0, stdout: expect.stringContaining("published with 2 files") });
      expect((await sftp("ls -1 /")).split("\n").slice(1)).toEqual([
        "/alice-assets.tar.xz",
        "/alice-assets.tar.xz.manifest.jsonl",
        "/alice-assets.tar.xz.sha256",
        "/attachments",
        "",
      ]);
      await scp("/alice-assets.tar.xz*", work);
      await runOk("sha256sum", ["-c", "alice-assets.tar.xz.sha256"], { cwd: work });
      await runOk("tar", ["-xJf", "alice-assets.tar.xz"], { cwd: work });
      expect(sha256(readFileSync(join(work, "alice/originals/a.jpg")))).toBe(gateway.store.sha256("originals/a.jpg"));

      const whole = readFileSync(join(work, "alice-assets.tar.xz"));
      const resumed = join(work, "resumed.tar.xz");
      await runOk("dd", [`if=${join(work, "alice-assets.tar.xz")}`, `of=${resumed}`, "bs=500000", "count=1", "status=none"]);
      await sftp(`reget /alice-assets.tar.xz ${resumed}`);
      expect(readFileSync(resumed).equals(whole)).toBe(true);
      const ssh = `ssh -p ${gateway.port} ${gateway.sshOptions.map((option) => `'${option}'`).join(" ")}`;
      await runOk("rsync", ["-a", "-e", ssh, `${gateway.user}@127.0.0.1:/alice-assets.tar.xz`, join(work, "rsynced.tar.xz")]);
      expect(readFileSync(join(work, "rsynced.tar.xz")).equals(whole)).toBe(true);
    });

    it("cannot be changed", async () => {
      const said = await sftp(
        "-rm /alice-assets.tar.xz",
        `-put ${gateway.configFile} /alice-assets.tar.xz`,
        "-rename /alice-assets.tar.xz /x",
      );
      expect(said.match(/denied/gi)?.length).toBe(3);
    });

    it("are read to their end in the version that was opened while the next ones are published", async () => {
      const before = readFileSync(join(work, "alice-assets.tar.xz"));
      const target = join(work, "slow.tar.xz");
      // Stopped in the middle by the window that nobody empties, and let go when the next archives are there.
      const child = spawn(
        "sftp",
        ["-q", "-l", "4000", "-P", String(gateway.port), ...gateway.sshOptions, `${gateway.user}@127.0.0.1:/alice-assets.tar.xz`, target],
        {
          stdio: "ignore",
        },
      );
      const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
      await expect.poll(() => existsSync(target) && statSync(target).size > 0, { timeout: 10_000 }).toBe(true);
      gateway.store.put("originals/c.jpg", randomBytes(100_000));
      expect((await backup("backup", "run", "alice")).code).toBe(0);
      gateway.store.put("originals/d.jpg", randomBytes(100_000));
      expect((await backup("backup", "run", "alice")).code).toBe(0);
      expect(await ended).toBe(0);
      expect(readFileSync(target).equals(before)).toBe(true);
      await expect
        .poll(async () => (await sftp("ls -1 /backups")).split("\n").filter((line) => line.endsWith(".tar.xz")).length, { timeout: 10_000 })
        .toBe(2);
      expect(await sftp("ls -1 /backups")).toMatch(/\/backups\/alice-assets-\d{8}\.tar\.xz\n/);
      expect(await sftp("ls -1 /backups")).toMatch(/\/backups\/alice-assets-[0-9TZ]+\.incr\.tar\.xz\n/);
      await scp("/alice-assets.tar.xz", join(work, "new.tar.xz"));
      expect((await runOk("tar", ["-tJf", join(work, "new.tar.xz")])).stdout).toContain("alice/originals/d.jpg");
    });

    it("are verified and restored by command", async () => {
      expect(await backup("backup", "verify", "alice")).toMatchObject({ code: 0 });
      const target = kind === "s3" ? "s3://archives/restored" : join(work, "restored");
      expect(await backup("backup", "restore", "alice", "--to", target)).toMatchObject({
        code: 0,
        stdout: expect.stringContaining("4 files"),
      });
      const a = server
        ? server.contents.object("archives", "restored/originals/a.jpg")?.sha256()
        : sha256(readFileSync(join(target, "originals/a.jpg")));
      expect(a).toBe(gateway.store.sha256("originals/a.jpg"));
      expect(await backup("backup", "restore", "alice", "originals/a.jpg", "--to", target)).toMatchObject({ code: 1 });
      expect(await backup("backup", "restore", "alice", "originals/a.jpg", "--to", target, "--force")).toMatchObject({ code: 0 });
    });

    it("survive runs that are killed anywhere, and the next run completes", async () => {
      gateway.store.put("originals/big.tif", randomBytes(8_000_000));
      const before = (await backup("backup", "list", "alice", "--json")).stdout;
      for (const ms of [250, 500, 800]) {
        const args = [MAIN, "backup", "run", "alice", "--full", "--config", gateway.configFile];
        const child = spawn(process.execPath, args, { cwd: gateway.dir, stdio: "ignore" });
        const ended = new Promise((resolve) => child.once("exit", resolve));
        setTimeout(() => child.kill("SIGKILL"), ms + Math.random() * 200);
        await ended;
        // Either nothing has changed, or the new archive is whole.
        const after = (await backup("backup", "list", "alice", "--json")).stdout;
        if (after !== before) expect(JSON.parse(after).length).toBeGreaterThan(0);
        expect(await backup("backup", "verify", "alice")).toMatchObject({ code: 0 });
        expect(await sftp("ls -1 /")).toContain("/alice-assets.tar.xz\n");
      }
      expect(await backup("backup", "run", "alice", "--full")).toMatchObject({ code: 0 });
      await scp("/alice-assets.tar.xz", join(work, "last.tar.xz"));
      expect((await runOk("tar", ["-tJf", join(work, "last.tar.xz")])).stdout).toContain("alice/originals/big.tif");
    });
  });
}
