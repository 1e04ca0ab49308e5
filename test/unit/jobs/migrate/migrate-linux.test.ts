import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { parse } from "yaml";
import { generateEd25519KeyPair } from "../../../../src/cli/openssh-key.ts";
import { loadConfig } from "../../../../src/config/load.ts";
import { parseFstabLine, parseS3fsCommand } from "../../../../src/jobs/migrate/s3fs-mounts.ts";
import { runCommand } from "../sync/sync-fixture.ts";

let root: string;
const key = (name: string): string => generateEd25519KeyPair(name).publicKey;
const ALICE = key("alice@herbarium");
const BOB = key("bob@museum");

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "old-server-"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

function write(file: string, text: string): void {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
}

/** A server as the operators' notes describe it. */
function plantServer(): void {
  write(
    "etc/passwd",
    `root:x:0:0:root:/root:/bin/bash
ubuntu:x:1000:1000::/home/ubuntu:/bin/bash
alice:x:1001:1001::/home/alice:/bin/bash
bob:x:1002:1002::/home/bob:/usr/sbin/nologin
gone:x:1003:1003::/home/gone:/bin/bash
broken line
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
`,
  );
  write("home/alice/.ssh/authorized_keys", `# office\nfrom="192.0.2.0/24" ${ALICE}\n\nssh-ed25519 AAAAnonsense broken\n`);
  write("home/bob/.ssh/authorized_keys", `${BOB}\n`);
  write(
    "etc/fstab",
    `UUID=1 / ext4 defaults 0 1
s3fs#sp-assets-us:/alice /home/alice/attachments fuse _netdev,allow_other,iam_role=auto,url=https://s3.us-east-1.amazonaws.com 0 0
sp-assets-us:/ /home/ubuntu/attachments fuse.s3fs _netdev,passwd_file=/etc/passwd-s3fs 0 0
s3fs#broken
`,
  );
  write(
    "proc/417/cmdline",
    [
      "s3fs",
      "bobs-museum:/specify/assets",
      "/home/bob/attachments",
      "-o",
      "passwd_file=/home/bob/.passwd-s3fs",
      "-o",
      "url=https://sos-ch-gva-2.exo.io,use_path_request_style",
      "",
    ].join("\0"),
  );
  write("proc/1/cmdline", "/sbin/init\0");
  write(
    "var/spool/cron/crontabs/root",
    `# m h dom mon dow command
MAILTO=ops@example.org
0 3 * * 0 tar -cJf /home/alice/alice-assets.tar.xz -C /home/ubuntu/attachments alice && chown alice:alice /home/alice/alice-assets.tar.xz
0 3 * * 0 tar -cJf /home/zoe/zoe-assets.tar.xz -C /home/ubuntu/attachments zoe && chown zoe:zoe /home/zoe/zoe-assets.tar.xz
0 1 * * * aws s3 sync s3://sp-assets-us s3://sp-assets-na-snapshots --size-only --only-show-errors; aws s3 sync s3://sp-assets-ca s3://sp-assets-ca-snapshot --size-only --only-show-errors
30 2 * * * rsync -a /etc backup:/etc
`,
  );
  write("etc/ssh/ssh_host_ed25519_key", "PRIVATE");
  write("etc/ssh/ssh_host_ed25519_key.pub", "PUBLIC");
  write("etc/ssh/sshd_config", "Port 22\n");
}

/** A server as it has grown over ten years: an operator's mount of all, scripts, redirections, forced commands. */
function plantGrownServer(): void {
  const accounts = ["ubuntu", "kubio", "nhmd", "calvert", "geneva", "lund"];
  write(
    "etc/passwd",
    ["root:x:0:0::/root:/bin/bash", ...accounts.map((name, at) => `${name}:x:${1000 + at}:${1000 + at}::/home/${name}:/bin/bash`), ""].join(
      "\n",
    ),
  );
  for (const name of accounts) write(`home/${name}/.ssh/authorized_keys`, `${ALICE}\n`);
  write(
    "home/nhmd/.ssh/authorized_keys",
    `restrict,command="internal-sftp -f AUTH",from="198.51.100.0/24" ${BOB}\ncommand="internal-sftp" ${ALICE}\ncommand="/root/do" ${ALICE}\n`,
  );
  write(
    "etc/fstab",
    `sp-assets-us /home/ubuntu/attachments fuse.s3fs _netdev,allow_other,iam_role=auto,url=https://s3.us-east-1.amazonaws.com 0 0
sp-assets-us:/kubio /home/kubio/attachments fuse.s3fs _netdev,allow_other,uid=1001,iam_role=auto 0 0
s3fs#sp-assets-eu:/nhmd /home/nhmd/attachments fuse _netdev,passwd_file=/etc/passwd-s3fs,endpoint=eu-central-1 0 0
#s3fs#old:/x /mnt/x fuse _netdev 0 0
`,
  );
  write("proc/813/cmdline", "/usr/bin/s3fs\0sp-assets-us:/kubio\0/home/kubio/attachments\0-o\0rw,iam_role=auto\0");
  write(
    "var/spool/cron/crontabs/root",
    `0 3 * * 0 tar -cJf /home/kubio/kubio-assets.tar.xz -C /home/ubuntu/attachments kubio && chown kubio:kubio /home/kubio/kubio-assets.tar.xz
15 3 * * 0 nice -n 19 ionice -c 3 tar cJf /home/calvert/calvert-assets.tar.xz -C /home/ubuntu/attachments calvert >> /var/log/tar.log 2>&1
30 3 * * 6 /usr/local/sbin/nhmd-backup.sh > /dev/null 2>&1
0 5 * * * certbot renew
`,
  );
  write(
    "usr/local/sbin/nhmd-backup.sh",
    "#!/bin/bash\nset -e\n# weekly\ntar --create --xz --file=/home/nhmd/nhmd-assets.tar.xz \\\n  --directory=/home/nhmd/attachments .\nrclone copy a b\n",
  );
  write(
    "etc/cron.d/sync-assets",
    `0 1 * * * ubuntu aws s3 sync s3://sp-assets-us s3://sp-assets-na-snapshots --size-only >> /var/log/sync.log 2>&1 ; aws s3 sync s3://sp-assets-eu/ s3://sp-assets-eu-snapshot --size-only
20 1 * * * ubuntu aws --profile il s3 sync s3://sp-assets-il s3://rds-backups-il/asset-backups --exclude "*.tmp" 2>/dev/null
`,
  );
  write("etc/ssh/ssh_host_rsa_key", "PRIVATE");
  write("etc/timezone", "America/Chicago\n");
}

describe("migrate linux", () => {
  it("understands a server that has grown: operators' mounts, scripts, redirections, forced commands", async () => {
    plantGrownServer();
    const { out, err } = await runCommand("migrate", "linux", "--root", root);
    const nightly = { kind: "sync", options: ["--size-only"], schedule: "0 1 * * *", timezone: "America/Chicago" };
    expect(parse(out.join("\n"))).toMatchObject({
      regions: { il: { bucket: "sp-assets-il", backup: "s3://rds-backups-il/asset-backups" } },
      jobs: {
        "nightly-sync": { ...nightly, regions: ["us", "eu"] },
        "nightly-sync-2": { kind: "sync", regions: ["il"], options: ["--exclude", "*.tmp", "--profile", "il"], schedule: "20 1 * * *" },
        backups: { users: ["kubio"], schedule: "0 3 * * 0" },
        "backups-2": { users: ["calvert"], schedule: "15 3 * * 0" },
        "backups-3": { users: ["nhmd"], schedule: "30 3 * * 6" },
      },
      users: {
        kubio: { storage: "s3://sp-assets-us/kubio" },
        nhmd: {
          storage: "s3://sp-assets-eu/nhmd",
          s3: { awsRegion: "eu-central-1", accessKeyId: `\${NHMD_KEY_ID}` },
          keys: [`restrict,from="198.51.100.0/24" ${BOB}`, ALICE],
        },
        calvert: { storage: "s3://sp-assets-us/calvert", s3: { awsRegion: "us-east-1" } },
        lund: { storage: "file:///home/lund/attachments" },
      },
    });
    expect(Object.keys((parse(out.join("\n")) as { users: object }).users)).toEqual(["kubio", "nhmd", "calvert", "geneva", "lund"]);
    const notes = err.filter((line) => !line.startsWith("compare before") && !line.includes("a folder is assumed"));
    expect(notes).toEqual([
      "/home/nhmd/.ssh/authorized_keys:1: its command= was left out: sftp, scp and rsync are all that the gateway serves",
      "/home/nhmd/.ssh/authorized_keys:2: its command= was left out: sftp, scp and rsync are all that the gateway serves",
      expect.stringMatching(/^\/home\/nhmd\/.ssh\/authorized_keys:3: the key option "command" is not supported/),
      "/usr/local/sbin/nhmd-backup.sh:6: was not understood: rclone copy a b",
      "/etc/fstab:3: set NHMD_KEY_ID and NHMD_SECRET from /etc/passwd-s3fs for nhmd",
      expect.stringMatching(
        /^\/etc\/passwd:5: account calvert has no mount of its own: its files are taken to be \/home\/ubuntu\/attachments\/calvert/,
      ),
      expect.stringMatching(/^\/etc\/passwd:2: account ubuntu is not taken over: its mount holds the files of kubio, calvert/),
    ]);
    expect(err).toContain("compare before the switch: migrate compare calvert --mount /home/ubuntu/attachments/calvert");
  });

  it("proposes a configuration that loads, and lists what a person must look at", async () => {
    plantServer();
    const { code, out, err } = await runCommand("migrate", "linux", "--root", root);
    expect(code).toBe(0);
    const yaml = out.join("\n");
    expect(parse(yaml)).toMatchObject({
      regions: {
        us: { bucket: "sp-assets-us", backup: "s3://sp-assets-na-snapshots" },
        ca: { bucket: "sp-assets-ca", backup: "s3://sp-assets-ca-snapshot" },
      },
      jobs: {
        "nightly-sync": { kind: "sync", regions: ["us", "ca"], options: ["--size-only", "--only-show-errors"], schedule: "0 1 * * *" },
        backups: { kind: "backup", users: ["alice"], schedule: "0 3 * * 0" },
      },
      users: {
        alice: { storage: "s3://sp-assets-us/alice", s3: { awsRegion: "us-east-1" }, keys: [`from="192.0.2.0/24" ${ALICE}`] },
        bob: {
          storage: "s3://bobs-museum/specify/assets",
          s3: {
            endpoint: "https://sos-ch-gva-2.exo.io",
            pathStyle: true,
            accessKeyId: `\${BOB_KEY_ID}`,
            secretAccessKey: `\${BOB_SECRET}`,
          },
          keys: [BOB],
        },
      },
    });
    expect(yaml).toContain("#   cp /etc/ssh/ssh_host_ed25519_key keys/");
    for (const note of [
      "/etc/passwd:6: is no line of passwd",
      "/etc/passwd:5: account gone has no usable key",
      "/etc/passwd:4: account bob cannot log in on the old server",
      "/home/alice/.ssh/authorized_keys:4:",
      "/etc/fstab:4: is an s3fs line that was not understood",
      "/etc/fstab:3: mount of s3://sp-assets-us/ on /home/ubuntu/attachments belongs to no account",
      "/var/spool/cron/crontabs/root:4: backup of zoe to /home/zoe/zoe-assets.tar.xz belongs to no user",
      "/var/spool/cron/crontabs/root:6: was not understood: rsync -a /etc backup:/etc",
      "/proc/417/cmdline:1: set BOB_KEY_ID and BOB_SECRET from /home/bob/.passwd-s3fs for bob",
    ]) {
      expect(
        err.some((line) => line.startsWith(note)),
        note,
      ).toBe(true);
    }
    vi.stubEnv("BOB_KEY_ID", "AKIAEXAMPLE");
    vi.stubEnv("BOB_SECRET", "secret");
    const file = join(root, "gateway.yaml");
    writeFileSync(file, yaml);
    const { config } = await loadConfig(file);
    expect([...config.users.keys()]).toEqual(["alice", "bob"]);
    expect(config.users.get("bob")?.storage.connection?.accessKeyId).toBe("AKIAEXAMPLE");
  });

  it("an empty server is no error; --output does not overwrite", async () => {
    const empty = await runCommand("migrate", "linux", "--root", root);
    expect([empty.code, parse(empty.out.join("\n"))]).toEqual([0, { server: { hostKeys: "keys/" }, users: {} }]);
    const file = join(root, "out.yaml");
    await runCommand("migrate", "linux", "--root", root, "--output", file);
    expect(readFileSync(file, "utf8")).toContain("users: {}");
    expect((await runCommand("migrate", "linux", "--root", root, "--output", file)).code).toBe(1);
  });

  it("compares an old mount with the new storage", async () => {
    const at = (name: string, seconds: number): void => utimesSync(join(root, name), seconds, seconds);
    for (const name of ["same.jpg", "longer.jpg", "time.jpg", "lost.jpg"]) write(`mount/originals/${name}`, "x");
    for (const name of ["same.jpg", "time.jpg", "new.jpg"]) write(`files/originals/${name}`, "x");
    write("files/originals/longer.jpg", "xx");
    for (const name of ["mount/originals/same.jpg", "files/originals/same.jpg", "mount/originals/time.jpg"]) at(name, 1_000_000);
    at("files/originals/time.jpg", 2_000_000);
    const config = join(root, "gateway.yaml");
    writeFileSync(config, `users:\n  alice: { storage: "file://${root}/files", keys: [] }\n`);
    const { code, out } = await runCommand(
      "migrate",
      "compare",
      "alice",
      "--mount",
      join(root, "mount"),
      "--times",
      "--json",
      "--config",
      config,
    );
    expect(code).toBe(1);
    expect(JSON.parse(out.join("\n"))).toMatchObject({
      same: 1,
      differences: {
        "only-old": { examples: ["originals/lost.jpg"] },
        "only-new": { examples: ["originals/new.jpg"] },
        size: { examples: ["originals/longer.jpg"] },
        time: { examples: ["originals/time.jpg"] },
      },
    });
  });
});

describe("s3fs mounts", () => {
  it.each([
    ["b /mnt fuse.s3fs ro 0 0", { bucket: "b", path: "", mountPoint: "/mnt", readOnly: true }],
    [
      "s3fs#b:/a\\040b/ /mnt/x fuse url=http://h:9000/,endpoint=eu-central-1",
      { path: "a b", endpointUrl: "http://h:9000", region: "eu-central-1" },
    ],
    ["/dev/sda1 / ext4 defaults", undefined],
  ])("%s", (line, expected) => {
    const mount = parseFstabLine(line);
    if (expected === undefined) expect(mount).toBeUndefined();
    else expect(mount).toMatchObject(expected);
  });

  it("options may be glued to -o, and the bucket may be one", () => {
    expect(parseS3fsCommand(["b:/p", "/mnt", "-oro", "-f"])).toMatchObject({ bucket: "b", path: "p", readOnly: true });
    expect(parseS3fsCommand(["b"])).toBeUndefined();
  });
});
