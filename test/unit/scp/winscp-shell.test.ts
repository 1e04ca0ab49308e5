/** The dialogue of WinSCP's SCP mode, as its source and its logs have it. */
import pino from "pino";
import { describe, expect, it } from "vitest";
import { hashCommand } from "../../../src/exec/hash-commands.ts";
import { mayBeWinScp, serveWinScp } from "../../../src/scp/winscp-shell.ts";
import { loopbackPair } from "../../support/loopback-channel.ts";
import { ModelFileSystem } from "../../support/model-file-system.ts";

const END = "WinSCP: this is end-of-file";
const BEGIN = "WinSCP: this is begin-of-file";

/** A client that sends a line and reads up to the end of its output. */
class WinScp {
  readonly files = new ModelFileSystem();
  readonly #client;
  readonly done: Promise<void>;
  #output = "";
  #wake: () => void = () => undefined;

  constructor() {
    const { client, server } = loopbackPair();
    this.#client = client;
    client.receive({
      data: (chunk) => {
        this.#output += Buffer.from(chunk).toString("latin1");
        client.consume(chunk.length);
        this.#wake();
      },
      end: () => this.#wake(),
    });
    const command = (name: string) => (name === "md5sum" ? hashCommand("md5") : undefined);
    this.done = serveWinScp({
      channel: server,
      fileSystem: this.files,
      user: "alice",
      log: pino({ level: "silent" }),
      command,
      greeting: "hello\n",
    });
  }

  send(text: string): void {
    this.#client.write(Buffer.from(text, "latin1"));
  }

  /** Waits until the output has `mark`, and takes it up to behind it. */
  async until(mark: string): Promise<string> {
    while (!this.#output.includes(mark)) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const end = this.#output.indexOf(mark) + mark.length;
    const found = this.#output.slice(0, end);
    this.#output = this.#output.slice(end);
    return found;
  }

  /** Runs a command as WinSCP does; its output and exit status. */
  async run(command: string): Promise<{ readonly lines: string[]; readonly status: number }> {
    this.send(`${command} ; echo "${END}:$?"\n`);
    const output = await this.until(`${END}:`);
    const status = Number(await this.until("\n"));
    return {
      lines: Buffer.from(output.slice(0, -END.length - 1), "latin1")
        .toString()
        .split("\n")
        .slice(0, -1),
      status,
    };
  }

  get errors(): string {
    return Buffer.concat(this.#client.errorOutput.splice(0)).toString();
  }

  async leave(): Promise<number | undefined> {
    this.#client.sendEof();
    await this.done;
    await new Promise((resolve) => setImmediate(resolve));
    return this.#client.exitStatus;
  }
}

async function put(files: ModelFileSystem, path: string, content: string): Promise<void> {
  const handle = await files.open(path, { write: true, create: true, truncate: true }, { mtime: 1_600_000_000, mode: 0o640 });
  await handle.write(0, [Buffer.from(content)]);
  await handle.close();
}

describe("WinSCP's SCP mode", () => {
  it("is known by the client's name", () => {
    expect(mayBeWinScp("SSH-2.0-WinSCP_release_6.5.3")).toBe(true);
    expect(mayBeWinScp("SSH-2.0-OpenSSH_9.2p1")).toBe(false);
  });

  it("starts as WinSCP expects it of a shell", async () => {
    const client = new WinScp();
    client.send(`echo "${END}:0"\n`);
    expect(await client.until("\n")).toBe(`${END}:0\n`);
    client.send(`echo "$status" ; echo "${END}:0"\n`);
    expect(await client.until(":0\n")).toBe(`\n${END}:0\n`);
    client.send(`echo "$?" ; echo "${END}:0"\n`);
    expect(await client.until(":0\n")).toBe(`0\n${END}:0\n`);
    expect(await client.run("printenv LANG")).toEqual({ lines: ["C.UTF-8"], status: 0 });
    for (const name of ["ls", "echo", "pwd", "cd", "scp", "rm", "mv", "mkdir", "chmod", "groups"]) {
      expect(await client.run(`unalias "${name}"`)).toEqual({ lines: [], status: 0 });
    }
    for (const name of ["LANG", "LC_ALL", "HUMAN_BLOCKS"]) expect(await client.run(`unset "${name}"`)).toEqual({ lines: [], status: 0 });
    expect(await client.run("cd")).toEqual({ lines: [], status: 0 });
    expect(await client.run("pwd")).toEqual({ lines: ["/"], status: 0 });
    expect(await client.run("groups")).toEqual({ lines: ["alice"], status: 0 });
    expect(await client.leave()).toBe(0);
  });

  it("looks after files", async () => {
    const client = new WinScp();
    const { files } = client;
    expect(await client.run('mkdir "/sub dir"')).toEqual({ lines: [], status: 0 });
    expect(await client.run('cd "/sub dir"')).toEqual({ lines: [], status: 0 });
    await put(files, '/sub dir/a "b" $c.txt', "abc");
    await put(files, "/sub dir/größe.txt", "x");
    const listed = await client.run("ls -la --full-time");
    expect(listed.status).toBe(0);
    expect(listed.lines[0]).toBe("total 0");
    expect(listed.lines.slice(1, 3)).toEqual([expect.stringMatching(/^drwx.* \.$/), expect.stringMatching(/^drwx.* \.\.$/)]);
    expect(listed.lines).toContain('-rw-r----- 1 alice alice 3 2020-09-13 12:26:40.000000000 +0000 a "b" $c.txt');
    expect(listed.lines.at(-1)).toMatch(/größe\.txt$/);
    expect((await client.run('ls -la -d --full-time "a \\"b\\" \\$c.txt"')).lines).toEqual([
      '-rw-r----- 1 alice alice 3 2020-09-13 12:26:40.000000000 +0000 a "b" $c.txt',
    ]);
    expect(await client.run('chmod  0600 "a \\"b\\" \\$c.txt"')).toEqual({ lines: [], status: 0 });
    expect((await files.stat('/sub dir/a "b" $c.txt')).mode).toBe(0o600);
    expect(await client.run('mv -f "a \\"b\\" \\$c.txt" "/moved.txt"')).toEqual({ lines: [], status: 0 });
    expect(await client.run('mv -f "/moved.txt" "/sub dir"')).toEqual({ lines: [], status: 0 });
    expect(await client.run('cp -p -r -f -T "/sub dir" "/copy"')).toEqual({ lines: [], status: 0 });
    expect(Buffer.from(files.get("/copy/moved.txt") ?? []).toString()).toBe("abc");
    expect(await client.run('md5sum "/copy/moved.txt"')).toEqual({
      lines: ["900150983cd24fb0d6963f7d28e17f72  /copy/moved.txt"],
      status: 0,
    });
    expect(await client.run('rm -f -r "/copy"')).toEqual({ lines: [], status: 0 });
    expect(await client.run('rm -f -r "/copy"')).toEqual({ lines: [], status: 0 });
    expect(files.get("/copy/moved.txt")).toBeUndefined();
    expect(client.errors).toBe("");
    await client.leave();
  });

  it("says what cannot be done, runs nothing, and goes on", async () => {
    const client = new WinScp();
    await put(client.files, "/x.txt", "x");
    for (const [command, status] of [
      ['cd "/none"', 1],
      ['cd "/x.txt"', 1],
      ['ls -la --full-time "/none"', 1],
      ['ln -s "/x.txt" "/y"', 1],
      ['chown  root "/x.txt"', 1],
      ['mkdir "/x.txt"', 1],
      ['rm "/x.txt" ; touch /tmp/y', 1],
      ['ls -la "$(touch /tmp/y)"', 1],
      ["ls -la `id`", 1],
      ["cat /etc/passwd", 127],
      ["md5sum", 127],
      ['cp -p -r -f "/" "/z"', 1],
      ['chmod u+x "/x.txt"', 1],
    ] as const) {
      expect({ command, status: (await client.run(command)).status }).toEqual({ command, status });
      expect(client.errors, command).toMatch(/\n$/);
      expect(await client.run('echo "$?"')).toEqual({ lines: [String(status)], status: 0 });
    }
    expect(client.files.get("/x.txt")).toBeDefined();
    await client.leave();
  });

  it("uploads and downloads, and goes on", async () => {
    const client = new WinScp();
    await client.run('mkdir "/up"');
    client.send(`echo "${BEGIN}" ; scp -r -p -d -t "/up" ; echo "${END}:$?"\n`);
    expect(await client.until("\0")).toBe(`${BEGIN}\n\0`);
    for (const step of ["T1500000000 0 1500000000 0\n", "C0644 5 a b.txt\n", "hello\0", "D0755 0 d\n", "C0644 3 c\n", "abc\0", "E\n"]) {
      client.send(step);
      expect(await client.until("\0")).toBe("\0");
    }
    client.send("E\n");
    expect(await client.until("0\n")).toBe(`\0${END}:0\n`);
    expect(Buffer.from(client.files.get("/up/a b.txt") ?? []).toString()).toBe("hello");
    expect((await client.files.stat("/up/a b.txt")).mtime).toBe(1_500_000_000);
    expect(Buffer.from(client.files.get("/up/d/c") ?? []).toString()).toBe("abc");
    await client.run('cd "/up"');
    client.send(`echo "${BEGIN}" ; scp -r -p -d -f "a b.txt" ; echo "${END}:$?"\n`);
    await client.until(`${BEGIN}\n`);
    for (const [answer, expected] of [
      ["\0", "T1500000000 0 1500000000 0\n"],
      ["\0", "C0644 5 a b.txt\n"],
      ["\0", "hello\0"],
    ] as const) {
      client.send(answer);
      expect(await client.until(expected)).toBe(expected);
    }
    client.send("\0");
    expect(await client.until("0\n")).toBe(`${END}:0\n`);
    client.send(`echo "${BEGIN}" ; scp -r -p -d -t "/none" ; echo "${END}:$?"\n`);
    expect(await client.until("1\n")).toContain(`\x02scp: /none: No such file or directory\n${END}:1\n`);
    expect((await client.run("pwd")).lines).toEqual(["/up"]);
    expect(await client.leave()).toBe(0);
  });

  it("greets who says something else", async () => {
    const client = new WinScp();
    client.send("id\n");
    expect(await client.until("hello\n")).toBe("hello\n");
    await client.done;
    const long = new WinScp();
    long.send("x".repeat(70_000));
    await long.done;
  });
});
