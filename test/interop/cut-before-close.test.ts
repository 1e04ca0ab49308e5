/**
 * Real clients whose connection is lost between their last byte and CLOSE, and what they do when they come back: they compare
 * sizes, and must find something to send (docs/semantics.md, 2).
 */
import { writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { type LosingProxy, startLosingProxy } from "../support/losing-proxy.ts";
import { type Finished, run, runOk } from "../support/processes.ts";
import { requireTool } from "../support/require-tool.ts";
import { FXF, string } from "../support/sftp-packets.ts";
import { SshSftpClient } from "../support/ssh-sftp-client.ts";
import { sha256 } from "../support/test-store.ts";
import { type Interop, onEachStore, REMOTE, STORED } from "./on-stores.ts";
import { sample } from "./samples.ts";

/** One write of most clients, and some. None is a multiple of what clients write. */
const SIZES = [20_000, 300_007];

/** More than a part of S3. */
const LARGE = 9_000_001;

const fzsftpDriver = fileURLToPath(new URL("fzsftp-engine.py", import.meta.url));

const PARAMIKO = `
import os, sys, paramiko
port, user, key, verb, name, remote = sys.argv[1:]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", int(port), user, pkey=paramiko.Ed25519Key(filename=key), allow_agent=False, look_for_keys=False)
sftp = client.open_sftp()
if verb == "put":
    sftp.put(name, remote)
else:
    with open(name, "rb") as source, sftp.open(remote, "a") as target:
        source.seek(target.tell())
        rest = source.read()
        assert rest, "nothing to send"
        target.write(rest)
client.close()
`;

/** A client's two commands: it puts the file `name` to `remote`, and later goes on with that. */
interface ClientUnderTest {
  readonly tools: readonly string[];
  readonly sizes?: readonly number[];
  /** OpenSSH's unless it has its own. */
  put?(at: Interop, port: number, name: string, remote: string): Promise<Finished>;
  goOn(at: Interop, port: number, name: string, remote: string): Promise<Finished>;
}

/** OpenSSH's options for a port that answers with the gateway's host key. */
const ssh = ({ gateway }: Interop): string[] => [...gateway.sshOptions, "-o", `HostKeyAlias=[127.0.0.1]:${gateway.port}`];

const sftp = (verb: string) => (at: Interop, port: number, name: string, remote: string) =>
  run("sftp", ["-b", "-", "-P", String(port), ...ssh(at), `${at.gateway.user}@127.0.0.1`], {
    cwd: at.work,
    input: `${verb} ${name} ${remote}\n`,
  });

const lftp = (command: (name: string, remote: string) => string) => (at: Interop, port: number, name: string, remote: string) => {
  const program = ["ssh", "-a", "-x", ...ssh(at)].join(" ");
  const settings = [`sftp:connect-program "${program}"`, "net:max-retries 1", "net:timeout 20", "cmd:fail-exit yes"];
  const open = `open -u ${at.gateway.user}, sftp://127.0.0.1:${port}`;
  const script = [...settings.map((setting) => `set ${setting}`), open, command(name, remote)].join("; ");
  return run("lftp", ["--norc", "-c", script], { cwd: at.work, env: { HOME: at.work, LFTP_HOME: at.work } });
};

const curl =
  (...options: readonly string[]) =>
  ({ gateway, work }: Interop, port: number, name: string, remote: string) => {
    const keys = ["--key", gateway.keyFile, "--pubkey", `${gateway.keyFile}.pub`];
    const url = `sftp://127.0.0.1:${port}/${remote}`;
    return run("curl", ["-q", "-sS", "--insecure", "-u", `${gateway.user}:`, ...keys, ...options, "-T", name, url], { cwd: work });
  };

/** FileZilla's engine; see the head of its driver. */
const filezilla =
  (verb: string) =>
  async ({ gateway, work }: Interop, port: number, name: string, remote: string) => {
    const key = await puttyKey(gateway.keyFile, work);
    writeFileSync(
      join(work, "steps.json"),
      JSON.stringify([
        ["run", `cd "${dirname(remote)}"`],
        [verb, name, basename(remote)],
      ]),
    );
    return run("/usr/bin/python3", [fzsftpDriver, String(port), gateway.user, key, "steps.json"], { cwd: work, env: { HOME: work } });
  };

/** The private key as PuTTY's family reads it. */
async function puttyKey(keyFile: string, work: string): Promise<string> {
  const key = join(work, "id.ppk");
  await runOk("puttygen", [keyFile, "-O", "private", "-o", key], { env: { HOME: work } });
  return key;
}

const psftp =
  (verb: string) =>
  async ({ gateway, work }: Interop, port: number, name: string, remote: string) => {
    const key = await puttyKey(gateway.keyFile, work);
    const { stdout } = await runOk("ssh-keygen", ["-lf", join(gateway.dir, "keys/ssh_host_ed25519_key.pub")]);
    writeFileSync(join(work, "script"), `${verb} ${name} ${remote}\n`);
    const options = ["-batch", "-P", String(port), "-i", key, "-hostkey", stdout.split(" ")[1] ?? ""];
    return run("psftp", [...options, "-b", "script", `${gateway.user}@127.0.0.1`], { cwd: work, env: { HOME: work } });
  };

const paramiko =
  (verb: string) =>
  ({ gateway, work }: Interop, port: number, name: string, remote: string) =>
    run("/usr/bin/python3", ["-W", "ignore", "-c", PARAMIKO, String(port), gateway.user, gateway.keyFile, verb, name, remote], {
      cwd: work,
    });

const clients: Readonly<Record<string, ClientUnderTest>> = {
  "sftp's reput": { tools: ["sftp"], sizes: [...SIZES, LARGE], put: sftp("put"), goOn: sftp("reput") },
  "sftp's put -a after put -p": { tools: ["sftp"], put: sftp("put -p"), goOn: sftp("put -a") },
  "lftp's put -c": { tools: ["lftp", "sftp"], goOn: lftp((name, remote) => `put -c ${name} -o ${remote}`) },
  "lftp's mirror -R -c": {
    tools: ["lftp", "sftp"],
    goOn: lftp((name, remote) => `mirror -R -c --include-glob ${name} . ${remote.slice(0, remote.lastIndexOf("/"))}`),
  },
  "curl -C -": { tools: ["curl"], put: curl(), goOn: curl("-C", "-") },
  "psftp's reput": { tools: ["psftp", "puttygen"], put: psftp("put"), goOn: psftp("reput") },
  "FileZilla's resume": { tools: ["fzsftp", "puttygen", "python3"], put: filezilla("put"), goOn: filezilla("reput") },
  "paramiko, appending": { tools: ["python3"], put: paramiko("put"), goOn: paramiko("append") },
};

const hasParamiko = requireTool("python3") && (await run("/usr/bin/python3", ["-c", "import paramiko"])).code === 0;
if (!hasParamiko) requireTool("paramiko, a module of python3");

onEachStore("a connection lost before CLOSE", [], {}, (at) => {
  let proxy: LosingProxy;
  beforeAll(async () => {
    proxy = await startLosingProxy(at().gateway);
    return () => proxy.close();
  });

  /** Puts `data` as `name`; the connection is lost before CLOSE, and nothing is published. */
  async function lose(client: ClientUnderTest, name: string, data: Uint8Array): Promise<void> {
    const { work, store, gateway } = at();
    const kept = () => gateway.log.filter(({ msg }) => msg === "upload kept for resume").length;
    writeFileSync(join(work, name), data);
    const before = proxy.lost;
    const keptBefore = kept();
    await (client.put ?? sftp("put"))(at(), proxy.port, name, `${REMOTE}/${name}`);
    expect(proxy.lost).toBeGreaterThan(before);
    await expect.poll(kept, { timeout: 20_000 }).toBeGreaterThan(keptBefore);
    expect(store.sha256(`${STORED}/${name}`)).toBeUndefined();
  }

  for (const [what, client] of Object.entries(clients)) {
    const isHere = requireTool(...client.tools) && (hasParamiko || !what.startsWith("paramiko"));
    describe.skipIf(!isHere)(what, () => {
      for (const size of client.sizes ?? SIZES) {
        it(`finds something to send of ${size} bytes, and its CLOSE publishes`, async () => {
          const { gateway, store } = at();
          const name = `${what.replaceAll(/\W/g, "")}-${size}`;
          await lose(client, name, sample(size));
          const { code, stderr } = await client.goOn(at(), gateway.port, name, `${REMOTE}/${name}`);
          expect(code, stderr).toBe(0);
          expect(store.sha256(`${STORED}/${name}`)).toBe(sha256(sample(size)));
        });
      }
    });
  }

  for (const [what, size, syncs] of [
    ["whose end was only in memory", LARGE, false],
    ["that was synced", LARGE, true],
    ["that was synced and fits one part", 300_007, true],
  ] as const) {
    it.skipIf(!requireTool("sftp"))(`is no worse by a kill of the gateway there, for a file ${what}`, async () => {
      const { gateway, store, work } = at();
      const name = `killed-${size}-${syncs}`;
      writeFileSync(join(work, name), sample(size));
      const client = await SshSftpClient.connect(gateway);
      const handle = await client.open(`${REMOTE}/${name}`, FXF.WRITE | FXF.CREAT | FXF.TRUNC);
      await client.writeAll(handle, 0, sample(size), 255 * 1024);
      if (syncs) await client.extended("fsync@openssh.com", string(handle));
      await gateway.kill();
      await gateway.start();
      expect(store.sha256(`${STORED}/${name}`)).toBeUndefined();
      const { code, stderr } = await sftp("reput")(at(), gateway.port, name, `${REMOTE}/${name}`);
      expect(code, stderr).toBe(0);
      expect(store.sha256(`${STORED}/${name}`)).toBe(sha256(sample(size)));
    });
  }

  it.skipIf(!requireTool("lftp"))("is noticed by lftp, which comes back by itself and goes on", async () => {
    const { gateway, work, store } = at();
    writeFileSync(join(work, "lftp"), sample(300_007));
    const once = await startLosingProxy(gateway, 1);
    const put = lftp((name, remote) => `set net:reconnect-interval-base 1; put ${name} -o ${remote}`);
    const { code } = await put(at(), once.port, "lftp", `${REMOTE}/lftp`);
    expect({ code, lost: once.lost }).toEqual({ code: 0, lost: 1 });
    await once.close();
    expect(store.sha256(`${STORED}/lftp`)).toBe(sha256(sample(300_007)));
  });
});
