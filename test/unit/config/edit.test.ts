import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { addUser, removeUser } from "../../../src/config/edit.ts";

const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPw8 dora@herbarium";
const DORA = { region: "us", keys: [KEY] };

const COMMENTED = `# The gateway of the museums
server:
  listen: ["0.0.0.0:2022"]   # all addresses

users:
  # Alice scans
  alice:
    region: us     # Ohio
    keys:
      - ssh-ed25519 AAAA alice@laptop
      # - ssh-ed25519 AAAA old laptop

  zoe:   { region: us, keys: [ "ssh-ed25519 BBBB" ] }
  # bob: left in 2025

# Regions last
regions:
    us: { bucket: b }
`;

describe("addUser", () => {
  it("adds behind the last user and leaves every other byte as it is", () => {
    const added = addUser(COMMENTED, "f", "dora", DORA);
    const addition = `  dora:\n    region: us\n    keys:\n      - ${KEY}\n`;
    expect(added).toBe(COMMENTED.replace("  # bob: left in 2025\n", `  # bob: left in 2025\n${addition}`));
    expect(removeUser(added, "f", "dora")).toBe(COMMENTED);
  });

  it.each([
    ["an empty file", "", "users:\n"],
    ["no users yet", "regions:\n  us: { bucket: b }\n", "\nusers:\n"],
    ["no newline at the end", "users:\n  a:\n    keys: []", "\n  dora"],
    ["users without entries", "users:\nregions: {}\n", "users:\n  dora:"],
    ["users: {}", "users: {} # none\n", "users: # none\n  dora:"],
    ["a flow map", "users: { a: { keys: [] } }\n", "dora"],
    ["four spaces", "users:\n    a:\n        keys: []\n", "    dora:\n        region"],
    ["a block scalar at the end", "users:\n  a:\n    keys: |\n      ssh-ed25519 AAAA\n      ssh-rsa AAAA\n\n\nserver: {}\n", "\n  dora"],
    ["a user with nothing", "users:\n  a:\n", "  a:\n  dora:"],
  ])("works with %s", (_name, text, expected) => {
    const added = addUser(text, "f", "dora", DORA);
    expect(added).toContain(expected);
    expect(parse(added)).toEqual({ ...parse(text), users: { ...parse(text)?.users, dora: DORA } });
  });

  it("quotes what YAML would read otherwise", () => {
    const keys = ['from="192.0.2.0/24" ssh-ed25519 AAAA me: #1'];
    expect(parse(addUser("", "f", "123", { keys, storage: "s3://b/x" })).users).toEqual({ "123": { storage: "s3://b/x", keys } });
  });

  it("refuses a user who is there", () => {
    expect(() => addUser(COMMENTED, "f", "zoe", DORA)).toThrow(/"zoe" is already defined/);
  });

  it("keeps carriage returns readable", () => {
    const text = COMMENTED.replaceAll("\n", "\r\n");
    expect(Object.keys(parse(addUser(text, "f", "dora", DORA)).users)).toEqual(["alice", "zoe", "dora"]);
  });
});

describe("removeUser", () => {
  it("removes the entry and the comments in it, nothing else", () => {
    const removed = removeUser(COMMENTED, "f", "zoe");
    expect(removed).toBe(COMMENTED.replace(/ {2}zoe:.*\n/, ""));
  });

  it("leaves other users' comments", () => {
    const removed = removeUser(COMMENTED, "f", "alice");
    expect(parse(removed).users).toEqual({ zoe: { region: "us", keys: ["ssh-ed25519 BBBB"] } });
    expect(removed).toContain("# bob: left in 2025");
    expect(removed).toContain("# all addresses");
  });

  it("removes the last one, and one of a flow map", () => {
    expect(parse(removeUser("users:\n  a:\n    keys: []\nserver: {}\n", "f", "a")).users ?? {}).toEqual({});
    expect(parse(removeUser("users:\n  a:\n    keys: []\n", "f", "a")).users ?? {}).toEqual({});
    expect(parse(removeUser("users: { a: { keys: [] }, b: { keys: [] } }\n", "f", "a")).users).toEqual({ b: { keys: [] } });
  });

  it("refuses an unknown one", () => {
    expect(() => removeUser(COMMENTED, "f", "bob")).toThrow(/"bob" is not defined/);
  });
});
