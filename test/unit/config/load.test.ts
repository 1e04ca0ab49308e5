import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type LoadOptions, loadConfig } from "../../../src/config/load.ts";
import { parseAuthorizedKeys } from "../../../src/auth/authorized-keys.ts";
import { ConfigError } from "../../../src/errors.ts";
import { generateEd25519KeyPair } from "../../../src/cli/openssh-key.ts";

const { publicKey: KEY } = generateEd25519KeyPair("alice@laptop");
const { publicKey: OTHER_KEY } = generateEd25519KeyPair("old");
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "config-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const file = join(folder, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
}

async function errorsOf(text: string, options: LoadOptions = {}): Promise<string[]> {
  const file = write("gateway.yaml", text);
  const error: unknown = await loadConfig(file, options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ConfigError)) throw new Error(`expected a ConfigError, got ${String(error)}`);
  return error.message.replaceAll(`${folder}/`, "").split("\n");
}

const USERS = `users:\n  alice:\n    storage: s3://museum/a\n    keys:\n      - ${KEY}\n`;

describe("a good configuration", () => {
  it("is read as the issue writes it", async () => {
    write("bob.pub", `${KEY}\n${OTHER_KEY}\n`);
    const rfc4716 = execFileSync("ssh-keygen", ["-e", "-f", join(folder, "bob.pub")], { encoding: "utf8" });
    const file = write(
      "gateway.yaml",
      `server:
  listen: ["0.0.0.0:2022", "[::1]:2023"]
  hostKeys: keys/
  state: state/
regions:
  us: { bucket: sp-assets-us, awsRegion: us-east-1, backup: "s3://sp-assets-na-snapshots/" }
  lab: { bucket: lab, endpoint: "http://127.0.0.1:7070", pathStyle: true, awsRegion: us-east-1 }
users:
  alice:
    region: us                       # storage becomes s3://sp-assets-us/alice/
    keys:
      - ${KEY}
      - from="192.0.2.0/24",expiry-time="20271231" ${OTHER_KEY}
  bob:
    storage: s3://bobs-museum/specify/assets      # the customer's own bucket, only this path
    s3: { awsRegion: eu-central-1, expectedBucketOwner: "123456789012", roleArn: "arn:aws:iam::123456789012:role/gw", externalId: "x1" }
    keys: [ "file:bob.pub" ]
    quota: { bytes: 1.5TiB, files: 1000000 }
    sse: { algorithm: aws:kms, kmsKeyId: k }
    bandwidth: { up: 10MiB/s }
  carol:
    storage: file:///srv/attachments/carol
    readOnly: true
    keys: |
${rfc4716.replaceAll(/^/gm, "      ")}
`,
    );
    const { config, dependencies } = await loadConfig(file, { workingDirectory: "/work-dir" });
    expect(config.server).toMatchObject({
      listen: [
        { host: "0.0.0.0", port: 2022 },
        { host: "::1", port: 2023 },
      ],
      hostKeys: "/work-dir/keys",
      state: "/work-dir/state",
      memoryBudget: 256 * 1024 * 1024,
      algorithms: "modern",
    });
    expect(config.users.get("alice")?.storage).toMatchObject({ uri: "s3://sp-assets-us/alice/", connection: { awsRegion: "us-east-1" } });
    expect(config.users.get("alice")?.keys.map(({ comment }) => comment)).toEqual(["alice@laptop", "old"]);
    expect(config.users.get("bob")).toMatchObject({
      storage: { uri: "s3://bobs-museum/specify/assets/", connection: { externalId: "x1", expectedBucketOwner: "123456789012" } },
      quota: { bytes: 1.5 * 1024 ** 4, files: 1_000_000 },
      bandwidth: { up: 10 * 1024 * 1024 },
    });
    expect(config.users.get("bob")?.keys).toHaveLength(2);
    expect(config.users.get("carol")).toMatchObject({
      readOnly: true,
      storage: { location: { kind: "file", folder: "/srv/attachments/carol/" } },
    });
    expect(config.users.get("carol")?.keys).toHaveLength(1);
    expect([...dependencies]).toContain(join(folder, "bob.pub"));
  });

  it("has defaults for everything", async () => {
    const { config } = await loadConfig(write("gateway.yaml", "# nothing\nusers:\n"));
    expect(config.server.listen).toEqual([{ host: "0.0.0.0", port: 2022 }]);
    expect(config.uploads).toEqual({ temporaryNames: ["*.filepart", "*.????????.partial"], expiry: 7 * 86_400_000 });
    expect(config.listing.times).toBe("auto");
    expect(config.admin.listen).toBeUndefined();
    expect(config.users.size).toBe(0);
  });

  it("takes a user's own identity instead of the region's, whole", async () => {
    const text = `regions:
  us: { bucket: sp-assets-us, awsRegion: us-east-1, profile: ours, roleArn: "arn:aws:iam::123456789012:role/x" }
users:
  a: { region: us, s3: { accessKeyId: A, secretAccessKey: S, endpoint: "https://s3.example.org" }, keys: [] }
`;
    const { config } = await loadConfig(write("gateway.yaml", text));
    const connection = config.users.get("a")?.storage.connection;
    expect(connection).toMatchObject({
      awsRegion: "us-east-1",
      accessKeyId: "A",
      secretAccessKey: "S",
      endpoint: "https://s3.example.org",
    });
    expect(connection?.profile).toBeUndefined();
    expect(connection?.roleArn).toBeUndefined();
  });

  it("merges drop-ins of users.d/ and of include, keys relative to each", async () => {
    write("users.d/10-bob.yaml", "users:\n  bob:\n    storage: s3://museum/b\n    keys: file:bob.pub\n");
    write("users.d/bob.pub", KEY);
    write("users.d/.hidden.yaml", "nonsense: [");
    write("users.d/readme.txt", "nonsense: [");
    write("more/zoe.yml", `users:\n  zoe:\n    storage: s3://museum/z\n    keys:\n      - file: ../users.d/bob.pub\n`);
    const { config } = await loadConfig(write("gateway.yaml", `include: [more]\n${USERS}`));
    expect([...config.users.keys()]).toEqual(["alice", "bob", "zoe"]);
    expect(config.users.get("zoe")?.definedAt).toEqual({ file: join(folder, "more/zoe.yml"), line: 2, column: 3 });
  });

  it("replaces environment references, and $${ is a literal", async () => {
    const text = `server: { motd: "$\${HOME} is literal" }\nregions:\n  us: { bucket: b-us, accessKeyId: "\${ID}", secretAccessKey: "\${SECRET}" }\n`;
    const { config } = await loadConfig(write("gateway.yaml", text), { environment: { ID: "AKIA", SECRET: "s3cr3t: #x" } });
    expect(config.regions.get("us")).toMatchObject({ accessKeyId: "AKIA", secretAccessKey: "s3cr3t: #x" });
    expect(config.server.motd).toBe(["$", "{HOME} is literal"].join(""));
  });

  it("accepts overlapping storages where both say shared, and equal buckets at different endpoints", async () => {
    const text = `users:
  a: { storage: s3://museum/x, shared: true, keys: [] }
  b: { storage: s3://museum/x/y, shared: true, keys: [] }
  c: { storage: s3://museum/x, s3: { endpoint: "http://127.0.0.1:1" }, keys: [] }
  d: { storage: s3://museum/xy, keys: [] }
`;
    await expect(loadConfig(write("gateway.yaml", text))).resolves.toBeDefined();
  });
});

describe("a mistake is answered with its place and what to write instead", () => {
  it.each([
    ["an unknown key", "server:\n  listne: []\n", 'gateway.yaml:2:3: unknown key "listne": did you mean "listen"?'],
    ["an unknown key at the top", "usres: {}\n", 'gateway.yaml:1:1: unknown key "usres": did you mean "users"?'],
    [
      "a wrong value",
      "server:\n  algorithms: moderm\n",
      "gateway.yaml:2:15: algorithms: did you mean modern? write one of modern, compatible",
    ],
    ["a wrong type", "users:\n  carol: hello\n", "gateway.yaml:2:10: carol: write a map of keys and values here"],
    [
      "a size",
      "server: { memoryBudget: lots }\n",
      "gateway.yaml:1:25: memoryBudget: write a size such as 256MiB, 1.5GB or a number of bytes",
    ],
    ["a small budget", "server: { memoryBudget: 1MiB }\n", /must be at least 16777216 bytes/],
    ["an address", 'server: { listen: ["2022"] }\n', 'gateway.yaml:1:20: 0: write "HOST:PORT", such as "0.0.0.0:2022" or "[::]:2022"'],
    ["broken YAML", "users:\n  a: [\n", /^gateway\.yaml:3:1: /],
    ["a tab", "users:\n\ta: {}\n", "gateway.yaml:2:1: a tab indents this line: use spaces"],
    ["a name twice", `${USERS}  alice: {}\n`, "gateway.yaml:6:3: this name is already there in the same map: keep one of the two"],
    ["no map", "hello\n", "gateway.yaml:1:1: the file is not a map: begin with server: or users:"],
    [
      "a missing variable",
      'regions:\n  us: { bucket: "$%s" }\n'.replace("%s", "{NOPE}"),
      /^gateway\.yaml:2:17: the environment variable NOPE is not set/,
    ],
    [
      "an unknown region",
      "regions: { eu: { bucket: beu } }\nusers:\n  a: { region: us, keys: [] }\n",
      /^gateway\.yaml:3:16: region "us" is not defined: .*known regions: eu/,
    ],
    [
      "no storage",
      "users:\n  a: { keys: [] }\n",
      'gateway.yaml:2:3: user "a" has no storage: write region: NAME or storage: s3://bucket/path',
    ],
    ["a storage", "users:\n  a: { storage: s3:/b, keys: [] }\n", /^gateway\.yaml:2:17: storage: "s3:\/b" is not a storage: write s3:/],
    ["a path that others cut", "users:\n  a: { storage: 's3://bucket/a?b', keys: [] }\n", /contains one of \? #/],
    ["dots", "users:\n  a: { storage: s3://bucket/a/../b, keys: [] }\n", /has a `\.\.` segment/],
    ["the whole disk", "users:\n  a: { storage: file:///, keys: [] }\n", /is the whole disk/],
    ["a bucket", "regions:\n  us: { bucket: My_Bucket }\n", /^gateway\.yaml:2:17: bucket: "My_Bucket" is not a bucket name/],
    [
      "a number for an account",
      "users:\n  a: { storage: s3://bucket, keys: [], s3: { expectedBucketOwner: 123456789012 } }\n",
      /quotes: "123456789012"/,
    ],
    ["half an access key", "regions:\n  us: { bucket: bus, accessKeyId: A }\n", /write secretAccessKey beside it/],
    ["a user's name", "users:\n  ../x: { storage: s3://bucket, keys: [] }\n", /^gateway\.yaml:2:3: "\.\.\/x" cannot be a name/],
    ["a name of dots", 'users:\n  "..": { storage: s3://bucket, keys: [] }\n', /cannot be a name/],
    ["a name of the language", "users:\n  __proto__: { storage: s3://bucket, keys: [] }\n", /__proto__/],
    ["a broken key", "users:\n  a:\n    storage: s3://bucket\n    keys:\n      - ssh-ed25519 AAAA\n", /^gateway\.yaml:5:9: user "a": /],
    [
      "a key file that is not there",
      "users:\n  a: { storage: s3://bucket, keys: [file:no.pub] }\n",
      /^gateway\.yaml:2:37: user "a": key file no\.pub: does not exist/,
    ],
  ])("%s", async (_name, text, expected) => {
    const [first] = await errorsOf(text, { environment: {} });
    if (typeof expected === "string") expect(first).toBe(expected);
    else expect(first).toMatch(expected);
  });

  it("a private key is called by its name", async () => {
    const { privateKey } = generateEd25519KeyPair("x");
    write("id_ed25519", privateKey);
    expect((await errorsOf("users:\n  a: { storage: s3://bucket, keys: [file:id_ed25519] }\n"))[0]).toMatch(/PRIVATE key/);
  });

  it("all mistakes at once, in order", async () => {
    const lines = await errorsOf("server: { listne: 1 }\nregions:\n  us: { bukcet: x }\nlog: { level: loud }\n");
    expect(lines.map((line) => line.split(":").slice(0, 2).join(":"))).toEqual([
      "gateway.yaml:1",
      "gateway.yaml:3",
      "gateway.yaml:3",
      "gateway.yaml:4",
    ]);
  });

  it("overlapping storages, with both places", async () => {
    const text = `${USERS}  bob:\n    storage: s3://museum/a/deeper/\n    keys: []\n`;
    expect(await errorsOf(text)).toEqual(
      [
        's3://museum/a/deeper/ of user "bob" overlaps s3://museum/a/ of user "alice" (gateway.yaml:2:3): choose another storage, or write shared: true for both',
      ].map((message) => `gateway.yaml:6:3: ${message}`),
    );
    expect(await errorsOf(text.replace("s3://museum/a/deeper/", "s3://museum/"))).toHaveLength(1);
    expect(await errorsOf(text.replace("keys: []", "keys: []\n    shared: true"))).toHaveLength(1);
  });

  it("a user in two files, with both places", async () => {
    write("users.d/a.yaml", USERS);
    expect(await errorsOf(USERS)).toEqual(['users.d/a.yaml:2:3: user "alice" is already defined at gateway.yaml:2:3: keep one of the two']);
  });

  it("a drop-in with something else", async () => {
    write("users.d/a.yaml", "bob:\n  storage: s3://museum/b\n  keys: []\n");
    write("users.d/b.yaml", "server: {}\n");
    const lines = await errorsOf(USERS);
    expect(lines[0]).toMatch(/^users\.d\/a\.yaml:1:1: "bob" cannot stand in a drop-in: write users: above it/);
    expect(lines[1]).toMatch(/^users\.d\/b\.yaml:1:1: "server" cannot stand in a drop-in: move it to the main file/);
  });

  it("a mistake in a drop-in is shown there", async () => {
    write("users.d/a.yaml", "users:\n  bob:\n    storage: s3://museum/b\n    kyes: []\n");
    expect((await errorsOf(USERS))[1]).toBe('users.d/a.yaml:4:5: unknown key "kyes": did you mean "keys"?');
  });

  it("a file that is not there", async () => {
    await expect(loadConfig(join(folder, "none.yaml"))).rejects.toThrow(/none\.yaml:1:1: this configuration file does not exist/);
  });

  it("aliases that multiply", async () => {
    const bomb = `x0: &x0 [1,1,1,1,1,1,1,1,1,1]\n${Array.from({ length: 9 }, (_, i) => `x${i + 1}: &x${i + 1} [${Array(10).fill(`*x${i}`).join(",")}]`).join("\n")}\n`;
    expect((await errorsOf(bomb))[0]).toMatch(/^gateway\.yaml:1:1: .*write the values out/);
  });
});

describe("server.penalties", () => {
  it("has defaults, can be set, and can be turned off", async () => {
    const of = async (yaml: string): Promise<unknown> =>
      (await loadConfig(write("gateway.yaml", `${yaml}${USERS}`))).config.server.penalties;
    expect(await of("")).toMatchObject({ failedLogin: 5_000, threshold: 60_000, max: 600_000, allow: ["127.0.0.1", "::1"] });
    expect(await of("server: { penalties: { failedLogin: 1m, allow: [10.0.0.0/8] } }\n")).toMatchObject({
      failedLogin: 60_000,
      allow: ["10.0.0.0/8"],
    });
    expect(await of("server: { penalties: false }\n")).toBe(false);
  });

  it.each(["museum.example", "10.0.0.0/33", "1.2.3.4/x"])("refuses %s as an allowed address", async (entry) => {
    const [error = ""] = await errorsOf(`server: { penalties: { allow: ["${entry}"] } }\n${USERS}`);
    expect(error).toContain("write an address or a network");
  });
});

describe("server.revoked", () => {
  it("takes keys, fingerprints, serial numbers, key ids and files, and reads a file again when it changes", async () => {
    write("gone.pub", OTHER_KEY);
    const file = write(
      "gateway.yaml",
      `server:\n  revoked:\n    keys: [{ file: gone.pub }]\n    serials: [5, "10-20"]\n    keyIds: [laptop]\n    krl: gone.pub\n${USERS}`,
    );
    const { config, dependencies, fingerprint } = await loadConfig(file);
    const [key] = parseAuthorizedKeys(OTHER_KEY);
    const certificate = (serial: bigint, keyId = "x") => ({ authority: Buffer.from("ca"), serial, keyId });
    const check = (keyBlob: Buffer, of?: ReturnType<typeof certificate>): string | undefined =>
      config.server.revoked.check({ keyBlob, certificate: of });
    expect(check(key?.blob ?? Buffer.alloc(0))).toBe("the key is revoked");
    expect(check(Buffer.from("other"))).toBeUndefined();
    expect([4n, 5n, 10n, 20n, 21n].map((serial) => check(Buffer.from("k"), certificate(serial)) !== undefined)).toEqual([
      ...[false, true, true, true, false],
    ]);
    expect(check(Buffer.from("k"), certificate(1n, "laptop"))).toBeTypeOf("string");
    expect([...dependencies]).toContain(join(folder, "gone.pub"));
    write("gone.pub", "# nobody\n");
    expect(
      (await loadConfig(file)).config.server.revoked.check({ keyBlob: key?.blob ?? Buffer.alloc(0), certificate: undefined }),
    ).toBeUndefined();
    write("gateway.yaml", `server: { revoked: { krl: gone.pub } }\n${USERS}`);
    expect((await loadConfig(file)).fingerprint).not.toBe(fingerprint);
  });

  it.each([
    ["krl: missing.krl", "missing.krl cannot be read"],
    ["krl: broken.krl", "the KRL is cut off or damaged"],
    ["serials: [0]", "must be at least 1"],
    ["serials: [x]", "write a serial number"],
    ["fingerprints: [MD5:00]", "write SHA256:"],
  ])("refuses %s", async (yaml, message) => {
    write("broken.krl", "SSHKRL\n\0\0\0\0\x01\0");
    const errors = await errorsOf(`server:\n  revoked:\n    ${yaml}\n${USERS}`);
    expect(errors.join("\n")).toContain(message);
  });
});
