/** WinSCP's SCP mode over SSH: a shell for who calls itself WinSCP, a greeting for all others. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Client, type ClientChannel } from "ssh2";
import { expect, it } from "vitest";
import { sha256 } from "../support/test-store.ts";
import { onEachStore, REMOTE, STORED } from "./on-stores.ts";
import { sample } from "./samples.ts";

/** Ends a connection and waits until it has gone: its gateway goes with the test. */
async function end(client: Client): Promise<void> {
  const closed = once(client, "close");
  client.end();
  await closed;
}

onEachStore("WinSCP in SCP mode", [], {}, (at) => {
  async function shell(ident: string): Promise<{ readonly client: Client; readonly stream: ClientChannel }> {
    const { gateway } = at();
    const client = new Client();
    const ready = once(client, "ready");
    client.connect({ host: "127.0.0.1", port: gateway.port, username: gateway.user, privateKey: readFileSync(gateway.keyFile), ident });
    await ready;
    const stream = await new Promise<ClientChannel>((resolve, reject) => {
      client.shell(false, (error, channel) => (error ? reject(error) : resolve(channel)));
    });
    return { client, stream };
  }

  it("takes a file up and down", async () => {
    const { client, stream } = await shell("WinSCP_release_6.5.3");
    let output = Buffer.alloc(0);
    stream.on("data", (chunk: Buffer) => {
      output = Buffer.concat([output, chunk]);
    });
    const until = async (mark: string): Promise<void> => {
      while (!output.includes(mark)) await once(stream, "data");
      output = output.subarray(output.indexOf(mark) + mark.length);
    };
    const last = ' ; echo "WinSCP: this is end-of-file:$?"\n';
    const bytes = sample(1_000_003);
    stream.write('echo "WinSCP: this is end-of-file:0"\n');
    await until("WinSCP: this is end-of-file:0\n");
    stream.write(`echo "WinSCP: this is begin-of-file" ; scp -r -p -d -t "/${REMOTE}"${last}`);
    await until("WinSCP: this is begin-of-file\n\0");
    stream.write("T1500000000 0 1500000000 0\n");
    await until("\0");
    stream.write(`C0644 ${bytes.length} scp mode.bin\n`);
    await until("\0");
    stream.write(bytes);
    stream.write("\0");
    await until("\0");
    stream.write("E\n");
    await until("\0WinSCP: this is end-of-file:0\n");
    expect(at().store.sha256(`${STORED}/scp mode.bin`)).toBe(sha256(bytes));
    stream.write(`ls -la --full-time "/${REMOTE}"${last}`);
    await until("1000003 2017-07-14 02:40:00.000000000 +0000 scp mode.bin\n");
    await until("end-of-file:0\n");
    stream.write(`echo "WinSCP: this is begin-of-file" ; scp -r -p -d -f "/${REMOTE}/scp mode.bin"${last}`);
    stream.write("\0\0\0");
    await until("C0644 1000003 scp mode.bin\n");
    while (output.length < bytes.length + 1) await once(stream, "data");
    expect(sha256(output.subarray(0, bytes.length))).toBe(sha256(bytes));
    stream.write("\0");
    await until("WinSCP: this is end-of-file:0\n");
    const closed = once(stream, "close");
    stream.end();
    await closed;
    await end(client);
  });

  it("greets all others", async () => {
    const { client, stream } = await shell("PuTTY_Release_0.80");
    let output = "";
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    await once(stream, "close");
    expect(output).toContain("sftp");
    await end(client);
  });
});
