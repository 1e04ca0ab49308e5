/** The layout rules with real clients on S3: what they cost, what clients see, and `rsync -a --delete` of a whole tree. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { BUCKET, PREFIX, startGateway, type TestGateway } from "../support/gateway.ts";
import { type Finished, run } from "../support/processes.ts";
import { requireTool } from "../support/require-tool.ts";
import { type S3Server, startS3Server } from "../support/s3-server/s3-server.ts";

describe.skipIf(!requireTool("sftp", "scp", "rsync"))("layout rules", () => {
  let s3: S3Server;
  let gateway: TestGateway;
  let work: string;

  const sftp = (...commands: string[]): Promise<Finished> => {
    const args = ["-q", "-P", String(gateway.port), ...gateway.sshOptions, "-b", "-", `${gateway.user}@127.0.0.1`];
    return run("sftp", args, { input: `${commands.join("\n")}\n` });
  };
  const scp = (from: string, to: string, ...options: string[]): Promise<Finished> =>
    run("scp", ["-q", ...options, "-P", String(gateway.port), ...gateway.sshOptions, from, `${gateway.user}@127.0.0.1:${to}`]);
  const rsync = (...args: string[]): Promise<Finished> => {
    const ssh = `ssh -p ${gateway.port} ${gateway.sshOptions.map((option) => `'${option}'`).join(" ")}`;
    return run("rsync", ["-e", ssh, ...args, `${gateway.user}@127.0.0.1:/attachments/`]);
  };
  const plant = (...names: string[]): void => {
    for (const name of names) s3.contents.put(BUCKET, PREFIX + name, "planted");
  };

  beforeAll(async () => {
    s3 = await startS3Server({ buckets: [BUCKET] });
    gateway = await startGateway({ s3 });
    work = join(gateway.dir, "work");
    mkdirSync(join(work, "originals"), { recursive: true });
    writeFileSync(join(work, "a.jpg"), "a new picture");
    writeFileSync(join(work, "originals/a.jpg"), "a new picture");
  });
  beforeEach(() => {
    for (const name of gateway.store.names()) gateway.store.delete(name);
    s3.requests.clear();
  });
  afterAll(async () => {
    await gateway.dispose();
    await s3.close();
  });

  it.each([
    ["sftp", () => sftp(`put ${join(work, "a.jpg")} /attachments/originals/a.jpg`)],
    ["scp", () => scp(join(work, "a.jpg"), "/attachments/originals/a.jpg")],
    ["scp -O", () => scp(join(work, "a.jpg"), "/attachments/originals/a.jpg", "-O")],
    ["rsync", () => rsync("-a", join(work, "originals"))],
  ])("%s over an original removes its thumbnails and no others", async (_name, upload) => {
    plant("originals/a.jpg", "thumbnails/a_123.jpg", "thumbnails/a_2000.jpg", "thumbnails/a_123.png", "thumbnails/ab_123.jpg");
    await upload();
    expect(gateway.store.names().filter((name) => name.startsWith("thumbnails/"))).toEqual([
      "thumbnails/a_123.png",
      "thumbnails/ab_123.jpg",
    ]);
    expect(gateway.store.size("originals/a.jpg")).toBe(13);
  });

  it("a new original costs no request more than without the rules", async () => {
    await sftp(`put ${join(work, "a.jpg")} /attachments/originals/new.jpg`);
    expect(s3.requests.count("PutObject")).toBe(1);
    expect(s3.requests.count(undefined, ({ request }) => `${request.rawPath}${request.rawQuery}`.includes("thumbnails"))).toBe(0);
  });

  it("a removed and a renamed original take their thumbnails along", async () => {
    plant("originals/a.jpg", "originals/b.tif", "thumbnails/a_123.jpg", "thumbnails/b_123.png", "thumbnails/c_123.png");
    await sftp("rm /attachments/originals/a.jpg", "rename /attachments/originals/b.tif /attachments/originals/d.tif");
    expect(gateway.store.names()).toEqual(["originals/d.tif", "thumbnails/c_123.png"]);
  });

  it("rsync -a --delete of a tree with thumbnails removes those that are too many and says why others cannot come", async () => {
    plant("originals/old.jpg", "thumbnails/old_123.jpg", "thumbnails/mine_123.jpg");
    const tree = join(work, "tree");
    mkdirSync(join(tree, "originals"), { recursive: true });
    mkdirSync(join(tree, "thumbnails"), { recursive: true });
    writeFileSync(join(tree, "originals/mine.jpg"), "mine");
    writeFileSync(join(tree, "thumbnails/new_123.jpg"), "made at home");
    const { code, stderr } = await rsync("-a", "--delete", `${tree}/`);
    expect(code).toBe(23);
    expect(stderr).toContain("the asset server makes the thumbnails by itself");
    expect(stderr).toContain("/attachments/originals/");
    expect(gateway.store.names()).toEqual(["originals/mine.jpg"]);
  });

  it("an upload into thumbnails/ is refused with the reason, by sftp and scp", async () => {
    const refused = await sftp(`put ${join(work, "a.jpg")} /attachments/thumbnails/a_123.jpg`);
    expect(refused.code).not.toBe(0);
    const copied = await scp(join(work, "a.jpg"), "/attachments/thumbnails/a_123.jpg", "-O");
    expect(copied.code).not.toBe(0);
    expect(copied.stderr).toContain("the asset server makes the thumbnails by itself");
    expect(gateway.store.names()).toEqual([]);
  });

  it("layout: free warns in the log; specify, after a reload, refuses and says where to put it", async () => {
    await sftp(`put ${join(work, "a.jpg")} /attachments/a.jpg`);
    const warnings = () => gateway.log.filter(({ msg }) => msg?.startsWith("upload outside of originals/"));
    await expect.poll(warnings, { timeout: 5_000 }).toEqual([expect.objectContaining({ level: 40, folder: "/", name: "a.jpg" })]);
    gateway.writeConfig({ s3, userYaml: ["layout: specify"] });
    process.kill(gateway.pid, "SIGHUP");
    await expect
      .poll(() => gateway.log.some(({ msg }) => msg === "configuration loaded" || msg === "configuration reloaded"), { timeout: 5_000 })
      .toBe(true);
    const { code, stderr } = await scp(join(work, "a.jpg"), "/attachments/b.jpg", "-O");
    expect(code).not.toBe(0);
    expect(stderr).toContain("Put your files into /attachments/originals/");
    expect(gateway.store.names()).toEqual(["a.jpg"]);
  });
});
