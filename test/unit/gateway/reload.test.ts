import { describe, expect, it } from "vitest";
import { generateEd25519KeyPair } from "../../../src/cli/openssh-key.ts";
import type { GatewayConfig } from "../../../src/config/gateway-config.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { needsRestart, sessionsToEnd } from "../../../src/gateway/reload.ts";

const [KEY_A, KEY_B] = [generateEd25519KeyPair("a").publicKey, generateEd25519KeyPair("b").publicKey];

async function config(text: string): Promise<GatewayConfig> {
  return (await loadConfig("/c/g.yaml", { replacements: new Map([["/c/g.yaml", text]]), workingDirectory: "/w" })).config;
}
const user = (name: string, keys: string[], more = ""): string =>
  `  ${name}:\n    storage: s3://museum/${name}\n${more}    keys:\n${keys.map((key) => `      - ${key}\n`).join("")}`;

describe("a new configuration ends the sessions", () => {
  it.each<[string, string, string, { user: string; all: boolean }[]]>([
    ["of nobody if nothing changed", user("a", [KEY_A]), user("a", [KEY_A]), []],
    ["of nobody if somebody is new", user("a", [KEY_A]), user("a", [KEY_A]) + user("b", [KEY_A]), []],
    ["of a removed user", user("a", [KEY_A]) + user("b", [KEY_B]), user("a", [KEY_A]), [{ user: "b", all: true }]],
    ["with a removed key only", user("a", [KEY_A, KEY_B]), user("a", [KEY_B]), [{ user: "a", all: false }]],
    ["of nobody if a key is added or moved", user("a", [KEY_A]), user("a", [KEY_B, KEY_A]), []],
    [
      "with a key that may come from elsewhere now",
      user("a", [KEY_A]),
      user("a", [`from="192.0.2.1" ${KEY_A}`]),
      [{ user: "a", all: false }],
    ],
    ["of a user who may only read now", user("a", [KEY_A]), user("a", [KEY_A], "    readOnly: true\n"), [{ user: "a", all: true }]],
    [
      "of a user whose storage is elsewhere now",
      user("a", [KEY_A]),
      user("a", [KEY_A]).replace("museum/a", "museum/b"),
      [{ user: "a", all: true }],
    ],
  ])("%s", async (_name, before, after, expected) => {
    const ended = sessionsToEnd(await config(`users:\n${after}`), await config(`users:\n${before}`));
    expect(ended.map((end) => ({ user: end.user, all: end.keyFingerprints === undefined }))).toEqual(expected);
  });

  it("names the removed key by its fingerprint", async () => {
    const before = await config(`users:\n${user("a", [KEY_A, KEY_B])}`);
    const [end] = sessionsToEnd(await config(`users:\n${user("a", [KEY_B])}`), before);
    expect([...(end?.keyFingerprints ?? [])]).toEqual([before.users.get("a")?.keys[0]?.fingerprint]);
  });

  it("of everybody if uploads or listings change", async () => {
    const text = `users:\n${user("a", [KEY_A])}`;
    expect(sessionsToEnd(await config(`listing: { times: exact }\n${text}`), await config(text))).toHaveLength(1);
  });
});

it("says which changes need a restart", async () => {
  const before = await config("server: { motd: hi }\n");
  const after = await config(
    'server: { motd: ho, listen: ["127.0.0.1:1"], memoryBudget: 64MiB }\nadmin: { listen: "127.0.0.1:2" }\nlog: { level: debug }\n',
  );
  expect(needsRestart(after, before)).toEqual(["server.listen", "server.memoryBudget", "admin"]);
});
