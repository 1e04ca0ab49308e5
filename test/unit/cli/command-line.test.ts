import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { generateEd25519KeyPair } from "../../../src/cli/openssh-key.ts";
import { runCommandLine } from "../../../src/cli/program.ts";

let folder: string;
let file: string;
const { publicKey: KEY } = generateEd25519KeyPair("alice@laptop");

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cli-"));
  file = join(folder, "gateway.yaml");
  writeFileSync(file, "# ours\nregions:\n  us: { bucket: sp-assets-us } # Ohio\n\nusers:\n  # first\n  zoe: { region: us, keys: [] }\n", {
    mode: 0o640,
  });
  writeFileSync(join(folder, "alice.pub"), `${KEY}\n`);
});
afterEach(() => rmSync(folder, { recursive: true }));

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await runCommandLine(args, { print: (line) => out.push(line), printError: (line) => err.push(line) });
  return { code, out: out.join("\n"), err: err.join("\n").replaceAll(`${folder}/`, "") };
}

describe("help and exit codes", () => {
  it.each([
    [],
    ["serve"],
    ["config", "check"],
    ["config", "schema"],
    ["user"],
    ["user", "add"],
    ["user", "list"],
    ["user", "remove"],
    ["host-keys"],
    ["health"],
  ])("--help of %s", async (...command) => {
    const { code, out } = await run(...command, "--help");
    expect(code).toBe(0);
    expect(out).toContain("Usage: sftp-s3-gateway");
    expect(out).toContain("Exit codes: 0 done, 1 failed, 2 the command line or the configuration cannot be used.");
  });

  it("--version is the package's", async () => {
    const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as { version: string };
    expect(await run("--version")).toMatchObject({ code: 0, out: version });
  });

  it.each([
    [["nonsense"]],
    [["user", "add", "bob"]],
    [["user", "add", "--key", "x"]],
    [["config", "check", "--nonsense"]],
    [["host-keys", "too", "many"]],
  ])("%s is a usage error", async (args) => {
    const { code, err } = await run(...args);
    expect(code).toBe(2);
    expect(err).toContain("error:");
  });

  it("a configuration that cannot be used ends with 2 and its places", async () => {
    writeFileSync(file, "users:\n  a: { storag: x, keys: [] }\n");
    for (const args of [["config", "check"], ["user", "list"], ["user", "remove", "a"], ["serve"], ["health"]]) {
      const { code, err } = await run(...args, "--config", file);
      expect(code).toBe(2);
      expect(err).toContain('gateway.yaml:2:8: unknown key "storag": did you mean "storage"?');
    }
  });
});

describe("user add, list, remove", () => {
  it("adds to the end of users, lists, and removes without a trace", async () => {
    const before = readFileSync(file, "utf8");
    const added = await run("user", "add", "alice", "--key", join(folder, "alice.pub"), "--config", file);
    expect(added).toMatchObject({ code: 0, err: "" });
    expect(added.out).toContain("s3://sp-assets-us/alice/");
    expect(readFileSync(file, "utf8")).toBe(`${before}  alice:\n    region: us\n    keys:\n      - ${KEY}\n`);
    expect(statSync(file).mode & 0o777).toBe(0o640);
    const listed = await run("user", "list", "--json", "--config", file);
    expect(JSON.parse(listed.out)).toMatchObject([
      { name: "zoe", keys: [] },
      { name: "alice", keys: [{ comment: "alice@laptop" }] },
    ]);
    expect((await run("user", "list", "--config", file)).out).toMatch(
      /^NAME +STORAGE +KEYS\nzoe .*no key\nalice +s3:\/\/sp-assets-us\/alice\/ +SHA256:\S+ alice@laptop$/,
    );
    expect((await run("user", "remove", "alice", "--config", file)).code).toBe(0);
    expect(readFileSync(file, "utf8")).toBe(before);
  });

  it("takes keys as people have them: options, PuTTYgen's format, several", async () => {
    const rfc4716 = execFileSync("ssh-keygen", ["-e", "-f", join(folder, "alice.pub")], { encoding: "utf8" });
    writeFileSync(join(folder, "putty.pub"), rfc4716.replaceAll("\n", "\r\n"));
    writeFileSync(join(folder, "many"), `# office\nfrom="192.0.2.0/24" ${KEY}\n`);
    const { code } = await run(
      "user",
      "add",
      "bob",
      "--key",
      join(folder, "putty.pub"),
      join(folder, "many"),
      "--storage",
      "file:///srv/bob",
      "--config",
      file,
    );
    expect(code).toBe(0);
    const [, , , , , , , ...entry] = readFileSync(file, "utf8").trimEnd().split("\n");
    expect(entry.slice(0, 3)).toEqual(["  bob:", "    storage: file:///srv/bob", "    keys:"]);
    expect(entry[3]).toMatch(/^ {6}- ssh-ed25519 AAAA\S+ /);
    expect(entry[4]).toBe(`      - from="192.0.2.0/24" ${KEY}`);
  });

  it.each([
    ["a name that is there", ["zoe", "--key", "alice.pub"], /gateway\.yaml:7:3: user "zoe" is already defined/],
    ["a name that cannot be", ["../x", "--key", "alice.pub"], /cannot be a name/],
    ["no key file", ["bob", "--key", "none.pub"], /--key .*none\.pub: ENOENT/],
    ["a key file without key", ["bob", "--key", "empty.pub"], /there is no key/],
    ["an unknown region", ["bob", "--key", "alice.pub", "--region", "eu"], /region "eu" is not defined/],
    [
      "an overlapping storage",
      ["bob", "--key", "alice.pub", "--storage", "s3://sp-assets-us/zoe/x"],
      /overlaps s3:\/\/sp-assets-us\/zoe\//,
    ],
  ])("refuses %s and leaves the file alone", async (_name, [name = "", ...args], message) => {
    const before = readFileSync(file, "utf8");
    writeFileSync(join(folder, "empty.pub"), "# nothing\n");
    const { code, err } = await run(
      "user",
      "add",
      name,
      ...args.map((arg) => (arg.endsWith(".pub") ? join(folder, arg) : arg)),
      "--config",
      file,
    );
    expect(code).toBe(2);
    expect(err).toMatch(message);
    expect(readFileSync(file, "utf8")).toBe(before);
  });

  it("removes a user where he is defined: in a drop-in", async () => {
    mkdirSync(join(folder, "users.d"));
    const dropIn = join(folder, "users.d", "bob.yaml");
    writeFileSync(dropIn, "users:\n  bob: { storage: s3://museum/b, keys: [] }\n  eve: { storage: s3://museum/e, keys: [] }\n");
    const before = readFileSync(file, "utf8");
    expect((await run("user", "remove", "bob", "--config", file)).code).toBe(0);
    expect(readFileSync(dropIn, "utf8")).toBe("users:\n  eve: { storage: s3://museum/e, keys: [] }\n");
    expect(readFileSync(file, "utf8")).toBe(before);
    expect((await run("user", "remove", "nobody", "--config", file)).err).toContain("there are zoe, eve");
  });

  it("many at once lose nothing, also through a symbolic link", async () => {
    symlinkSync(file, join(folder, "link.yaml"));
    const names = Array.from({ length: 12 }, (_, index) => `user${index}`);
    const results = await Promise.all(
      names.map((name, index) =>
        run(
          "user",
          "add",
          name,
          "--key",
          join(folder, "alice.pub"),
          "--region",
          "us",
          "--config",
          index % 2 === 0 ? file : join(folder, "link.yaml"),
        ),
      ),
    );
    expect(results.map(({ code, err }) => [code, err])).toEqual(names.map(() => [0, ""]));
    const { out } = await run("user", "list", "--json", "--config", file);
    expect((JSON.parse(out) as { name: string }[]).map(({ name }) => name).sort()).toEqual([...names, "zoe"].sort());
    expect(readFileSync(file, "utf8")).toContain("# Ohio");
  });

  it("takes over the lock of a process that is gone", async () => {
    writeFileSync(`${file}.lock`, "999999999");
    expect((await run("user", "remove", "zoe", "--config", file)).code).toBe(0);
  });
});

describe("config check, config schema", () => {
  it("--offline checks the file only", async () => {
    const { code, out } = await run("config", "check", "--offline", "--config", file);
    expect(code).toBe(0);
    expect(out).toContain("1 users, 1 regions");
    expect(out).toContain("user zoe  has no key and cannot log in");
  });

  it("tries every user's storage and names what fails", async () => {
    const blocked = join(folder, "blocked");
    writeFileSync(blocked, "a file where the folder should be");
    writeFileSync(
      file,
      `users:\n  good: { storage: "file://${folder}/good", keys: [] }\n  bad: { storage: "file://${blocked}/x", keys: [] }\n  reader: { storage: "file://${folder}/r", readOnly: true, keys: [] }\n`,
    );
    const { code, out, err } = await run("config", "check", "--config", file);
    expect(code).toBe(1);
    expect(out).toMatch(/^ok +user good .* list, put, read, delete, multipart$/m);
    expect(out).toMatch(/^ok +user reader .* list$/m);
    expect(out).toMatch(/^FAILED +user bad .*open: /m);
    expect(err).toContain("the storage of 1 of 3 users does not work: bad");
  });

  it("prints the schema", async () => {
    const { out } = await run("config", "schema");
    expect(JSON.parse(out)).toMatchObject({ type: "object", properties: { server: {}, regions: {}, users: {} } });
  });
});

describe("host-keys", () => {
  it("makes keys, then lists the same ones, as ssh-keygen does", async () => {
    const keys = join(folder, "keys");
    const { code, out } = await run("host-keys", "--folder", keys);
    expect(code).toBe(0);
    const fingerprint = execFileSync("ssh-keygen", ["-lf", join(keys, "ssh_host_ed25519_key.pub")], { encoding: "utf8" }).split(" ")[1];
    expect(out).toContain(`${fingerprint}  ssh-ed25519`);
    expect((await run("host-keys", "--folder", keys)).out).toBe(out);
    expect(statSync(join(keys, "ssh_host_ed25519_key")).mode & 0o777).toBe(0o600);
    const known = await run("host-keys", "--folder", keys, "--known-hosts", "[h]:2022");
    expect(known.out).toMatch(/^\[h\]:2022 ssh-ed25519 AAAA/m);
  });
});
