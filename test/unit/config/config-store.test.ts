import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ConfigStore } from "../../../src/config/config-store.ts";
import type { GatewayConfig } from "../../../src/config/gateway-config.ts";
import { createLogger } from "../../../src/log.ts";

const user = (name: string): string => `  ${name}: { storage: s3://museum/${name}, keys: [] }\n`;
let folder: string;
let store: ConfigStore | undefined;
let lines: AsyncIterator<string>;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "config-store-"));
});
afterEach(async () => {
  await store?.close();
  store = undefined;
  rmSync(folder, { recursive: true });
});

async function openStore(file: string): Promise<ConfigStore> {
  const destination = new PassThrough();
  lines = createInterface({ input: destination })[Symbol.asyncIterator]();
  store = await ConfigStore.open(file, { log: createLogger({ destination, format: "json" }) });
  await store.watch();
  return store;
}

function nextChange(of: ConfigStore): Promise<string[]> {
  return new Promise((resolve) => {
    const stop = of.onChange((next: GatewayConfig) => {
      stop();
      resolve([...next.users.keys()]);
    });
  });
}

describe("the running configuration follows its files", () => {
  it("when the file is written, and when an editor renames a new one over it", async () => {
    const file = join(folder, "gateway.yaml");
    writeFileSync(file, `users:\n${user("a")}`);
    const opened = await openStore(file);
    let change = nextChange(opened);
    writeFileSync(file, `users:\n${user("a")}${user("b")}`);
    expect(await change).toEqual(["a", "b"]);
    for (const name of ["c", "d"]) {
      change = nextChange(opened);
      writeFileSync(join(folder, "gateway.yaml~new"), `users:\n${user(name)}`);
      renameSync(join(folder, "gateway.yaml~new"), file);
      expect(await change).toEqual([name]);
    }
  });

  it("when a Kubernetes ConfigMap's symlink is swapped", async () => {
    const mount = (version: string, text: string): void => {
      mkdirSync(join(folder, version));
      writeFileSync(join(folder, version, "gateway.yaml"), text);
      symlinkSync(version, join(folder, "..data_tmp"));
      renameSync(join(folder, "..data_tmp"), join(folder, "..data"));
    };
    mount("..2026_1", `users:\n${user("a")}`);
    symlinkSync("..data/gateway.yaml", join(folder, "gateway.yaml"));
    const opened = await openStore(join(folder, "gateway.yaml"));
    for (const [version, name] of [
      ["..2026_2", "b"],
      ["..2026_3", "c"],
    ] as const) {
      const change = nextChange(opened);
      mount(version, `users:\n${user(name)}`);
      expect(await change).toEqual([name]);
    }
  });

  it("when drop-ins come, change and go, also in a folder that was not there", async () => {
    const file = join(folder, "gateway.yaml");
    writeFileSync(file, `users:\n${user("a")}`);
    const opened = await openStore(file);
    let change = nextChange(opened);
    mkdirSync(join(folder, "users.d"));
    writeFileSync(join(folder, "users.d", "b.yaml"), `users:\n${user("b")}`);
    expect(await change).toEqual(["a", "b"]);
    change = nextChange(opened);
    writeFileSync(join(folder, "users.d", "b.yaml"), `users:\n${user("c")}`);
    expect(await change).toEqual(["a", "c"]);
    change = nextChange(opened);
    writeFileSync(join(folder, "users.d", "d.yaml"), `users:\n${user("d")}`);
    expect(await change).toEqual(["a", "c", "d"]);
    change = nextChange(opened);
    unlinkSync(join(folder, "users.d", "b.yaml"));
    expect(await change).toEqual(["a", "d"]);
  });

  it("never by a bad file: its place is logged and the running one stays", async () => {
    const file = join(folder, "gateway.yaml");
    writeFileSync(file, `users:\n${user("a")}`);
    const opened = await openStore(file);
    const before = opened.current;
    writeFileSync(file, `users:\n${user("a")}  b: { storag: x, keys: [] }\n`);
    const entry = JSON.parse((await lines.next()).value) as { msg: string; reason: string };
    expect(entry.msg).toBe("configuration not reloaded, the running one stays");
    expect(entry.reason).toContain(`${file}:3:8: unknown key "storag": did you mean "storage"?`);
    expect(opened.current).toBe(before);
    const change = nextChange(opened);
    writeFileSync(file, `users:\n${user("b")}`);
    expect(await change).toEqual(["b"]);
  });

  it("not by other files in the same folder", async () => {
    const file = join(folder, "gateway.yaml");
    writeFileSync(file, `users:\n${user("a")}`);
    const opened = await openStore(file);
    const changes: string[] = [];
    opened.onChange(() => changes.push("changed"));
    writeFileSync(join(folder, "gateway.log"), "line\n");
    writeFileSync(file, `users:\n${user("a")}`);
    expect(await opened.reload()).toBe(true);
    expect(changes).toEqual([]);
  });

  it("by a reload that is asked for, even when files are not watched", async () => {
    const file = join(folder, "gateway.yaml");
    writeFileSync(file, `users:\n${user("a")}`);
    store = await ConfigStore.open(file, { log: createLogger({ level: "fatal" }) });
    writeFileSync(file, `users:\n${user("z")}`);
    expect(await store.reload()).toBe(true);
    expect([...store.current.users.keys()]).toEqual(["z"]);
    writeFileSync(file, "users: [");
    expect(await store.reload()).toBe(false);
    expect([...store.current.users.keys()]).toEqual(["z"]);
  });
});
