/** Penalties on the wire: an address that keeps failing is told to wait, everybody else logs in as ever. */
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { encodeMessage, Message } from "../../src/ssh/messages.ts";
import { DEFAULT_PENALTIES, SourcePenalties } from "../../src/ssh/source-penalties.ts";
import { type LogLine, startGateway, type TestGateway } from "../support/gateway.ts";
import { runOk } from "../support/processes.ts";
import { RawClient } from "../unit/ssh/raw-client.ts";
import { type Fixture, startServer } from "../unit/ssh/server-fixture.ts";

const ATTACKER = "127.0.0.66";
const CUSTOMER = "127.0.0.77";
let fixture: Fixture | undefined;
let gateway: TestGateway | undefined;

afterEach(async () => {
  await fixture?.stop();
  await gateway?.dispose();
  fixture = gateway = undefined;
});

/** What a connection from `address` hears at once: the identification line, or why it is not served. */
function greetingFor(port: number, address: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, localAddress: address });
    socket.on("error", reject);
    socket.once("data", (chunk: Buffer) => {
      socket.destroy();
      resolve(chunk.toString().trim());
    });
  });
}

/** One failed login from `address`; false if it was not served. */
async function failedLogin(port: number, address: string): Promise<boolean> {
  if (!(await greetingFor(port, address)).startsWith("SSH-2.0-")) return false;
  const client = await RawClient.connect(port, address);
  client.send(encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"));
  client.send(encodeMessage(Message.USERAUTH_REQUEST, "root", "ssh-connection", "password", false, "123456"));
  await client.next(Message.USERAUTH_FAILURE);
  client.socket.end();
  await client.closed;
  return true;
}

it("throttles 200 failed logins of one address while another logs in at once", async () => {
  let now = Date.now();
  const sources = new SourcePenalties(DEFAULT_PENALTIES, () => now);
  fixture = await startServer({ sources });
  const key = join(fixture.folder, "ed25519");
  let served = 0;
  for (let at = 0; at < 200; at++) if (await failedLogin(fixture.port, ATTACKER)) served++;
  expect(served).toBe(12); // 12 x 5 s: the threshold
  expect(await greetingFor(fixture.port, ATTACKER)).toMatch(
    /^too many failed logins or errors from your address, try again in 60 seconds$/,
  );

  const began = performance.now();
  const client = await RawClient.login(fixture.port, key, "alice", CUSTOMER);
  expect(performance.now() - began).toBeLessThan(3_000);
  client.socket.destroy();

  now += 60_000;
  const returned = await RawClient.login(fixture.port, key, "alice", ATTACKER);
  returned.socket.destroy();
  expect(sources.refusal(ATTACKER)).toBeUndefined();
});

it("counts silent strangers, broken protocols and used-up tries", async () => {
  const kinds: string[] = [];
  const sources = { refusal: () => undefined, offence: (_: string, kind: string) => void kinds.push(kind), loggedIn: () => undefined };
  fixture = await startServer({ sources, limits: { loginGraceMs: 150 } });
  const silent = connect({ host: "127.0.0.1", port: fixture.port }).resume();
  await new Promise((resolve) => silent.once("close", resolve));
  expect(kinds.splice(0)).toEqual(["login-timeout"]);

  const broken = connect({ host: "127.0.0.1", port: fixture.port }).resume();
  broken.write("GET / HTTP/1.1\r\n");
  await new Promise((resolve) => broken.once("close", resolve));
  expect(kinds.splice(0)).toEqual(["violation"]);

  await fixture.stop();
  fixture = await startServer({ sources });
  const client = await RawClient.connect(fixture.port);
  client.send(encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"));
  for (let at = 0; at < 10; at++) client.send(encodeMessage(Message.USERAUTH_REQUEST, "root", "ssh-connection", "password", false, "x"));
  await client.closed;
  expect(kinds.splice(0)).toEqual(["too-many-tries"]);
});

it("counts no offence of a client that offers a wrong key before its right one, or only looks", async () => {
  const kinds: string[] = [];
  const sources = {
    refusal: () => undefined,
    offence: (_: string, kind: string) => void kinds.push(kind),
    loggedIn: () => void kinds.push("login"),
  };
  fixture = await startServer({ sources });
  const client = await RawClient.connect(fixture.port);
  client.send(encodeMessage(Message.SERVICE_REQUEST, "ssh-userauth"));
  client.send(encodeMessage(Message.USERAUTH_REQUEST, "alice", "ssh-connection", "password", false, "x"));
  await client.next(Message.USERAUTH_FAILURE);
  client.send(client.signedLogin("alice", join(fixture.folder, "ed25519")));
  await client.next(Message.USERAUTH_SUCCESS);
  client.socket.end();
  await client.closed;
  const scanner = await RawClient.connect(fixture.port);
  scanner.socket.end();
  await scanner.closed;
  expect(kinds).toEqual(["login"]);
});

it("keeps the penalties of the running gateway over a restart, and leaves 127.0.0.1 alone", async () => {
  gateway = await startGateway({ serverYaml: ["penalties: { failedLogin: 30s, threshold: 60s }"] });
  expect(await failedLogin(gateway.port, ATTACKER)).toBe(true);
  expect(await failedLogin(gateway.port, ATTACKER)).toBe(true);
  // The offence is counted when the server sees the connection's end.
  while (await failedLogin(gateway.port, ATTACKER)) await new Promise((resolve) => setImmediate(resolve));
  const refused = (): LogLine | undefined => gateway?.log.find((line) => line.msg === "address refused for its offences");
  while (!refused()) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(refused()).toMatchObject({ audit: true, remoteAddress: ATTACKER, reason: "auth-failed" });
  await gateway.stop();
  await gateway.start();
  expect(await greetingFor(gateway.port, ATTACKER)).toContain("too many failed logins");
  for (let at = 0; at < 10; at++) expect(await failedLogin(gateway.port, "127.0.0.1")).toBe(true);
  await runOk("sftp", ["-q", ...gateway.sshOptions, "-P", String(gateway.port), "-b", "/dev/null", `${gateway.user}@127.0.0.1`]);
});
