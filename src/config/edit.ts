/**
 * Adds and removes users in the text of a configuration file so that every other line stays as its author wrote it.
 * Works on text only: reading, locking and writing are somebody else's.
 */
import { isCollection, isMap, isPair, isScalar, isSeq, parseDocument, stringify, type YAMLMap } from "yaml";
import type { Document, Pair, ParsedNode } from "yaml";
import { ConfigError } from "../errors.ts";

/** What is written for a new user; absent fields are left out. */
export interface UserEntry {
  readonly region?: string;
  readonly storage?: string;
  /** How the storage is reached: keys of `s3:`. */
  readonly s3?: Readonly<Record<string, string | boolean>>;
  readonly layout?: string;
  readonly readOnly?: boolean;
  readonly keys: readonly string[];
}

function parse(text: string, file: string): Document.Parsed<ParsedNode, true> {
  const document = parseDocument<ParsedNode, true>(text);
  const [first] = document.errors;
  if (first) {
    const { line, col } = first.linePos?.[0] ?? { line: 1, col: 1 };
    throw new ConfigError(first.message, { file, line, column: col });
  }
  return document;
}

function usersPair(document: Document.Parsed<ParsedNode, true>): Pair | undefined {
  const top = document.contents;
  return isMap(top) ? (top.items as Pair[]).find((pair) => isScalar(pair.key) && pair.key.value === "users") : undefined;
}

function userPair(users: YAMLMap, name: string): Pair | undefined {
  return users.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === name);
}

function rangeOf(node: unknown): readonly [number, number, number] | undefined {
  return isScalar(node) || isCollection(node) ? (node.range ?? undefined) : undefined;
}

/** Offset behind the last character of content of `node`, without the comments and blank lines that follow it. */
function contentEnd(node: unknown): number | undefined {
  if (isPair(node)) return contentEnd(node.value) ?? contentEnd(node.key);
  if ((isMap(node) || isSeq(node)) && !node.flow) {
    const last = node.items.at(-1);
    if (last !== undefined) return contentEnd(last) ?? rangeOf(node)?.[1];
  }
  const range = rangeOf(node);
  return range && isScalar(node) && node.value === null && range[0] === range[1] ? undefined : range?.[1];
}

function lineStart(text: string, offset: number): number {
  return text.lastIndexOf("\n", offset - 1) + 1;
}

/** Offset of the next line's start, or the end of the text. */
function nextLine(text: string, offset: number): number {
  const newline = text.indexOf("\n", offset);
  return newline < 0 ? text.length : newline + 1;
}

/** Offset of the line after the one in which `node` ends; a block scalar already ends at a line's start. */
function lineAfter(text: string, node: Pair): number {
  const end = contentEnd(node) ?? 0;
  if (text[end - 1] !== "\n") return nextLine(text, end);
  // A block scalar's range takes the blank lines behind it along; they separate it from what follows.
  return end - (/\n([\t ]*\n)+$/.exec(text.slice(0, end))?.[0].length ?? 1) + 1;
}

/** Goes on over comments that belong to what stands before `offset`: those that follow directly, and indented ones. */
function behindComments(text: string, offset: number, indent: number): number {
  let end = offset;
  let afterBlank = false;
  for (let line = offset; line < text.length; line = nextLine(text, line)) {
    const content = text.slice(line, nextLine(text, line)).trimEnd();
    if (content === "") {
      afterBlank = true;
      continue;
    }
    const column = content.search(/\S/);
    if (content[column] !== "#" || (afterBlank && column < indent)) break;
    end = nextLine(text, line);
  }
  return end;
}

function entryText(name: string, entry: UserEntry, indent: string, step: string): string {
  const scalar = (value: string): string => stringify(value, { lineWidth: 0 }).trimEnd();
  const lines = [`${scalar(name)}:`];
  if (entry.region !== undefined) lines.push(`${step}region: ${scalar(entry.region)}`);
  if (entry.storage !== undefined) lines.push(`${step}storage: ${scalar(entry.storage)}`);
  if (entry.s3 !== undefined) lines.push(`${step}s3: ${flowMap(entry.s3)}`);
  if (entry.layout !== undefined) lines.push(`${step}layout: ${scalar(entry.layout)}`);
  if (entry.readOnly === true) lines.push(`${step}readOnly: true`);
  lines.push(`${step}keys:`, ...entry.keys.map((key) => `${step}${step}- ${scalar(key)}`));
  return lines.map((line) => `${indent}${line}\n`).join("");
}

/** On one line; JSON's strings are YAML's, too. */
function flowMap(values: Readonly<Record<string, string | boolean>>): string {
  const pairs = Object.entries(values).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
  return `{ ${pairs.join(", ")} }`;
}

function insert(text: string, offset: number, addition: string): string {
  const before = text.slice(0, offset);
  return `${before}${before === "" || before.endsWith("\n") ? "" : "\n"}${addition}${text.slice(offset)}`;
}

/** How deep users are indented in `users`, and one level below them. */
function indentation(text: string, users: YAMLMap, column: number): { indent: string; step: string } {
  const first = users.items[0];
  const start = rangeOf(first?.key)?.[0] ?? 0;
  const indent = text.slice(lineStart(text, start), start);
  return { indent, step: " ".repeat(Math.max(1, indent.length - column)) };
}

function same(text: string, file: string, expected: unknown): boolean {
  return JSON.stringify(parse(text, file).toJS()) === JSON.stringify(expected);
}

function insertUser(text: string, document: Document.Parsed<ParsedNode, true>, name: string, entry: UserEntry): string | undefined {
  const pair = usersPair(document);
  if (!pair) return insert(text, text.length, `${text.trim() === "" ? "" : "\n"}users:\n${entryText(name, entry, "  ", "  ")}`);
  const keyStart = rangeOf(pair.key)?.[0] ?? 0;
  const column = keyStart - lineStart(text, keyStart);
  if (isMap(pair.value) && pair.value.items.length > 0) {
    const last = pair.value.items.at(-1);
    if (pair.value.flow || !last) return undefined;
    const { indent, step } = indentation(text, pair.value, column);
    return insert(text, behindComments(text, lineAfter(text, last), indent.length), entryText(name, entry, indent, step));
  }
  const range = rangeOf(pair.value);
  // `users: {}` loses its braces; behind `users:` alone there is nothing to lose.
  const cleared = range && isMap(pair.value) ? text.slice(0, range[0]).trimEnd() + text.slice(range[1]) : text;
  return insert(cleared, nextLine(cleared, keyStart), entryText(name, entry, `${" ".repeat(column)}  `, "  "));
}

/** `text` with a new user at the end of `users:`. Throws a ConfigError if the text is no YAML or has the user already. */
export function addUser(text: string, file: string, name: string, entry: UserEntry): string {
  const document = parse(text, file);
  if (document.hasIn(["users", name]))
    throw new ConfigError(`user "${name}" is already defined: remove it first, or edit its keys in the file`);
  const edited = insertUser(text, document, name, entry);
  const users = document.get("users", true);
  if (isScalar(users) && users.value === null) document.set("users", document.createNode({}));
  document.setIn(["users", name], JSON.parse(JSON.stringify(entry)));
  if (edited !== undefined && same(edited, file, document.toJS())) return edited;
  return document.toString({ lineWidth: 0 });
}

/** `text` without the user; comments inside the entry go with it. Throws a ConfigError if the text is no YAML or has no such user. */
export function removeUser(text: string, file: string, name: string): string {
  const document = parse(text, file);
  const users = usersPair(document)?.value;
  const pair = isMap(users) ? userPair(users, name) : undefined;
  if (!isMap(users) || !pair) throw new ConfigError(`user "${name}" is not defined in ${file}`);
  const start = lineStart(text, rangeOf(pair.key)?.[0] ?? 0);
  const edited = users.flow ? undefined : text.slice(0, start) + text.slice(lineAfter(text, pair));
  document.deleteIn(["users", name]);
  const expected: unknown = document.toJS();
  if (edited !== undefined && same(edited.trim() === "users:" ? "users: {}" : edited, file, expected)) return edited;
  if (edited !== undefined && users.items.length === 0 && same(edited, file, { ...(expected as object), users: null })) return edited;
  return document.toString({ lineWidth: 0 });
}
