/** The operators' nights with the built program: jobs that run by themselves, by command, and stopped in the middle. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MAIN } from "../support/built-gateway.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { type Finished, run } from "../support/processes.ts";
import { requireTool } from "../support/require-tool.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";

describe.skipIf(!requireTool("sftp"))("nightly jobs", () => {
  let server: S3Server;
  let gateway: TestGateway;
  const command = (...args: string[]): Promise<Finished> =>
    run(process.execPath, [MAIN, ...args, "--config", gateway.configFile], { cwd: gateway.dir, env: { NODE_NO_WARNINGS: "1" } });
  const list = async (user: string): Promise<string[]> => {
    const args = ["-q", "-P", String(gateway.port), ...gateway.sshOptions, "-b", "-", `${user}@127.0.0.1`];
    const { stdout } = await run("sftp", args, { input: "ls -1 /\n" });
    return stdout.split("\n").slice(1, -1);
  };
  const jobEnds = (name: string): number => gateway.log.filter(({ msg, job }) => msg === "job ended" && job === name).length;

  beforeAll(async () => {
    server = await startS3Server({ buckets: ["museum", "archives"] });
    const connection = JSON.stringify({ endpoint: server.endpoint, pathStyle: true, awsRegion: server.region, ...server.credentials });
    server.contents.put("museum", "collections/alice/originals/a.jpg", randomBytes(10_000));
    gateway = await startGateway({
      s3: server,
      topYaml: [
        `backups: { to: "s3://archives/nightly", s3: ${connection} }`,
        "admin: { listen: 127.0.0.1:0 }",
        "jobs:",
        '  weekly: { kind: backup, schedule: "0 3 * * 0", timezone: America/Chicago, users: [alice], runOnStart: true }',
        '  tidy: { kind: sweep, schedule: "30 4 * * *" }',
      ],
    });
    const drop = join(gateway.dir, "users.d");
    mkdirSync(drop);
    const key = readFileSync(`${gateway.keyFile}.pub`, "utf8").trim();
    writeFileSync(join(drop, "bob.yaml"), `users:\n  bob: { storage: "file://${join(gateway.dir, "bob")}", keys: ["${key}"] }\n`);
    process.kill(gateway.pid, "SIGHUP");
  });
  afterAll(async () => {
    await gateway.dispose();
    await server.close();
  });

  it("run by themselves, are remembered and counted", async () => {
    await expect.poll(() => jobEnds("weekly"), { timeout: 20_000 }).toBe(1);
    expect(await list("alice")).toContain("/alice-assets.tar.xz");
    const { stdout } = await command("jobs", "list", "--json");
    const [weekly, tidy] = JSON.parse(stdout) as Record<string, { trigger?: string; exitCode?: number }>[];
    expect(weekly).toMatchObject({
      name: "weekly",
      lastRun: { trigger: "start", exitCode: 0 },
      lastSuccessMs: expect.any(Number),
      nextRunMs: expect.any(Number),
    });
    expect(tidy).toMatchObject({ name: "tidy", nextRunMs: expect.any(Number) });
    expect((await command("jobs", "list")).stdout).toMatch(/^weekly +backup +0 3 \* \* 0 America\/Chicago +.* UTC clean/m);
    const address = gateway.log.find(({ msg }) => msg === "admin server listening")?.address;
    const metrics = await (await fetch(`http://${String(address)}/metrics`)).text();
    expect(metrics).toContain('gateway_job_runs_total{job="weekly",result="clean"} 1');
    expect(metrics).toMatch(/gateway_job_last_success_seconds\{job="weekly"\} \d{10}/);
  });

  it("run by command, once at a time", async () => {
    let letGo: () => void = () => undefined;
    const until = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const held = server.fault({
      operation: "GetObject",
      when: ({ key }) => key?.endsWith("a.jpg") === true,
      action: { kind: "hold", until },
    });
    const first = command("jobs", "run", "weekly");
    await held.firstHit;
    const second = await command("jobs", "run", "weekly");
    expect(second).toMatchObject({ code: 1, stderr: expect.stringContaining("already running on") });
    expect(await command("backup", "run", "alice")).toMatchObject({ code: 1, stderr: expect.stringContaining("already running on") });
    letGo();
    expect(await first).toMatchObject({ code: 0 });
    const { stdout } = await command("jobs", "history", "weekly");
    expect(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => /(start|command) +(clean|skipped)/.exec(line)?.[0].replace(/ +/, " "))
        .toSorted(),
    ).toEqual(["command clean", "command skipped", "start clean"]);
  });

  it("show one customer's archives to nobody else", async () => {
    await expect.poll(() => list("bob"), { timeout: 20_000 }).toEqual(["/attachments"]);
    expect(await command("backup", "run", "bob")).toMatchObject({ code: 0 });
    await expect.poll(() => list("bob"), { timeout: 10_000 }).toContain("/bob-assets.tar.xz");
    expect((await list("bob")).filter((name) => name.includes("alice"))).toEqual([]);
    expect((await list("alice")).filter((name) => name.includes("bob"))).toEqual([]);
  });

  it("end with the worst exit code of all users, each for itself", async () => {
    server.contents.put("museum", "collections/alice/originals/x/../y", "unsafe");
    server.fault({
      operation: "ListObjectsV2",
      when: ({ bucket }) => bucket === "museum",
      times: 1000,
      action: { kind: "status", status: 403, code: "AccessDenied" },
    });
    const all = await command("backup", "run", "--all");
    expect(all).toMatchObject({ code: 1, stderr: expect.stringContaining("alice: not published, the previous archive stays") });
    expect(all.stdout).toMatch(/bob: bob-assets-.* published/);
    server.clearFaults();
    expect(await command("backup", "run", "alice", "--quiet")).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringContaining("skipped"),
    });
    const json = await command("backup", "run", "--all", "--json");
    expect(
      json.stdout
        .trimEnd()
        .split("\n")
        .map((line) => (JSON.parse(line) as { exitCode: number }).exitCode),
    ).toEqual([2, 0, 2]);
    server.contents.delete("museum", "collections/alice/originals/x/../y");
  });

  it("stop cleanly on Ctrl-C, and say what was done", async () => {
    const before = server.contents.keys("archives").filter((key) => key.includes("/alice/"));
    const held = server.fault({ operation: "GetObject", when: ({ key }) => key?.endsWith("a.jpg") === true, action: { kind: "hang" } });
    const child = spawn(process.execPath, [MAIN, "backup", "run", "alice", "--config", gateway.configFile], {
      cwd: gateway.dir,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
    await held.firstHit;
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    child.kill("SIGINT");
    expect(await ended).toBe(130);
    expect(said).toContain("interrupted: nothing was published; earlier archives stay");
    expect(server.contents.keys("archives").filter((key) => key.includes("/alice/"))).toEqual(before);
    expect(server.contents.keys("archives").filter((key) => key.includes("locks/"))).toEqual([]);
    expect(await command("backup", "run", "alice")).toMatchObject({ code: 0 });
  });

  it("sweep only when told to", async () => {
    const { openStorage } = await import("../../src/objectstore/open-store.ts");
    const { store } = await openStorage("s3://museum", { endpoint: server.endpoint, pathStyle: true, ...server.credentials });
    await store.createUpload("collections/alice/originals/half.jpg", {});
    await store.close();
    writeFileSync(gateway.configFile, readFileSync(gateway.configFile, "utf8").replace("\nusers:", "\nuploads: { expiry: 60s }\nusers:"));
    expect((await command("sweep")).stdout).toBe("nothing would be removed; write --yes to remove\n");
    expect(await command("sweep", "--yes", "--json")).toMatchObject({ code: 0, stdout: expect.stringContaining('"dryRun":false') });
  });

  it("explain themselves", async () => {
    for (const args of [["backup", "run"], ["jobs", "run"], ["sweep"]]) {
      const { stdout } = await run(process.execPath, [MAIN, ...args, "--help"], { env: { NODE_NO_WARNINGS: "1" } });
      expect(stdout).toContain("130 interrupted");
    }
  });
});
