/** Runs the examples of docs/semantics.md: each block is a scene of its own, each line a step with what it must give. */
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import type { AttributeChange, FileHandle } from "../../../src/vfs/file-system.ts";
import { readTimes } from "../../../src/vfs/object-metadata.ts";
import type { Vfs } from "../../../src/vfs/vfs.ts";
import { WholeFixture } from "./whole-fixture.ts";

interface Example {
  readonly section: string;
  readonly firstLine: number;
  readonly lines: readonly string[];
}

function examplesOf(markdown: string): Example[] {
  const examples: Example[] = [];
  let section = "";
  let current: { section: string; firstLine: number; lines: string[] } | undefined;
  markdown.split("\n").forEach((line, index) => {
    if (line.startsWith("## ")) section = line.slice(3);
    if (current && line === "```") {
      examples.push(current);
      current = undefined;
    } else if (current) current.lines.push(line);
    else if (line === "```example") current = { section, firstLine: index + 2, lines: [] };
  });
  return examples;
}

/** A line's words; what is quoted is read as JSON. What follows ` #` is what is expected. */
function parseLine(line: string): { readonly words: string[]; readonly expected: string | undefined } {
  const cut = line.search(/\s#(\s|$)/);
  const command = cut < 0 ? line : line.slice(0, cut);
  const words = [...command.matchAll(/"(?:[^"\\]|\\.)*"|\S+/g)].map(([word]) => (word.startsWith('"') ? String(JSON.parse(word)) : word));
  return { words, expected: cut < 0 ? undefined : line.slice(cut).replace(/^\s#/, "").trim() };
}

class Scene {
  readonly fixture: WholeFixture;
  readonly #sessions = new Map<string, Vfs>();
  readonly #handles = new Map<string, FileHandle>();

  constructor(fixture: WholeFixture) {
    this.fixture = fixture;
  }

  async run(line: string): Promise<{ readonly result: string | undefined; readonly expected: string | undefined }> {
    const { words, expected } = parseLine(line);
    try {
      return { result: await this.#step(words), expected };
    } catch (error) {
      if (!(error instanceof Error && error.name === "FsError" && "code" in error)) throw error;
      return { result: String(error.code), expected };
    }
  }

  async end(): Promise<void> {
    for (const handle of this.#handles.values()) await handle.abort(new Error("the example ends"));
    await this.fixture.close();
  }

  async #step([first = "", ...words]: string[]): Promise<string | undefined> {
    if (first.endsWith("$")) return this.#inSession(this.#session(first.slice(0, -1)), words);
    switch (first) {
      case "requests":
        return this.fixture.store.takeText();
      case "objects":
        return (await this.fixture.keys()).join(" ");
      case "memory":
        return String(this.fixture.budget.used);
      case "restart":
        this.#sessions.clear();
        await this.fixture.restart();
        return undefined;
      case "object":
        await this.fixture.inner.put(words[0] ?? "", [Buffer.from(words[1] ?? "")], { metadata: pairs(words) });
        return undefined;
      case "stored":
        return this.#stored(words[0] ?? "");
      default:
        throw new Error(`no such step: ${first}`);
    }
  }

  async #stored(name: string): Promise<string> {
    const { contentType, metadata } = await this.fixture.inner.head(`alice/${name}`);
    return `${contentType} mtime=${readTimes(metadata).mtime}`;
  }

  #session(name: string): Vfs {
    const session =
      this.#sessions.get(name) ?? this.fixture.login(name, name === "bob" ? { user: "bob", mounts: [this.fixture.bobsMount()] } : {});
    this.#sessions.set(name, session);
    return session;
  }

  async #inSession(vfs: Vfs, [command = "", ...words]: string[]): Promise<string | undefined> {
    const [one = "", two = "", three = ""] = words;
    const path = pathOf(one);
    switch (command) {
      case "put":
        return this.fixture.write(path, two, {}, vfs).then(() => undefined);
      case "get":
        return JSON.stringify((await this.fixture.read(path, vfs)).toString());
      case "size":
        return String((await vfs.stat(path)).size);
      case "mtime":
        return String((await vfs.stat(path)).mtime);
      case "ls":
        return (await this.fixture.names(path, vfs)).join(" ");
      case "mkdir":
        return vfs.mkdir(path).then(() => undefined);
      case "rmdir":
        return vfs.rmdir(path).then(() => undefined);
      case "rm":
        return vfs.remove(path).then(() => undefined);
      case "mv":
      case "mv!":
        return vfs.rename(path, pathOf(two), { replace: command === "mv!" }).then(() => undefined);
      case "set":
        return vfs.setstat(path, attributes(words)).then(() => undefined);
      case "open":
        return this.#open(vfs, { mode: one, name: two, path: pathOf(three), attributes: attributes(words) });
      default:
        return this.#withHandle(command, one, words);
    }
  }

  async #open(vfs: Vfs, options: { mode: string; name: string; path: string; attributes: AttributeChange }): Promise<undefined> {
    const flags = { r: { read: true }, w: { write: true, create: true, truncate: true }, a: { write: true, append: true } }[options.mode];
    this.#handles.set(options.name, await vfs.open(options.path, flags ?? {}, options.attributes));
    return undefined;
  }

  async #withHandle(command: string, name: string, words: readonly string[]): Promise<string | undefined> {
    const handle = this.#handles.get(name);
    if (!handle) throw new Error(`no such command or handle: ${command} ${name}`);
    const offset = Number(words[1]);
    switch (command) {
      case "write":
        await handle.write(offset, [Buffer.from(words[2] ?? "")]);
        return undefined;
      case "read":
        return JSON.stringify(Buffer.concat(await handle.read(offset, Number(words[2]))).toString());
      case "seek-and-read":
        // Beyond what the stream that is open could still bring by itself.
        await handle.read(0, 1);
        return JSON.stringify(Buffer.concat(await handle.read(0, 1)).toString());
      case "close":
        this.#handles.delete(name);
        await handle.close();
        return undefined;
      case "sync":
        await handle.sync();
        return undefined;
      case "drop":
        this.#handles.delete(name);
        await handle.abort(new Error("connection lost"));
        return undefined;
      default:
        throw new Error(`no such command: ${command}`);
    }
  }
}

function pathOf(word: string): string {
  return word.startsWith("/") ? word : `/attachments/${word}`;
}

function pairs(words: readonly string[]): Record<string, string> {
  return Object.fromEntries(words.filter((word) => /^\w+=\d+$/.test(word)).map((word) => word.split("=") as [string, string]));
}

function attributes(words: readonly string[]): AttributeChange {
  return Object.fromEntries(Object.entries(pairs(words)).map(([name, value]) => [name, Number(value)]));
}

const markdown = readFileSync(new URL("../../../docs/semantics.md", import.meta.url), "utf8");
const examples = examplesOf(markdown);
let scene: Scene | undefined;

afterEach(async () => {
  await scene?.end();
  scene = undefined;
});

describe("docs/semantics.md", () => {
  it("has an example for every section but the configuration's", () => {
    const sections = [...markdown.matchAll(/^## (.*)$/gm)].map(([, title]) => title);
    const shown = new Set(examples.map(({ section }) => section));
    expect(sections.filter((title) => !shown.has(title ?? ""))).toEqual(["6. Configuration"]);
  });

  it.each(examples.map((example) => [`${example.section}, line ${example.firstLine}`, example] as const))("%s", async (_name, example) => {
    scene = new Scene(await WholeFixture.create());
    for (const [index, line] of example.lines.entries()) {
      const { result, expected } = await scene.run(line);
      expect({ line: example.firstLine + index, command: line, result: result ?? "" }).toEqual({
        line: example.firstLine + index,
        command: line,
        result: expected ?? "",
      });
    }
  });
});
