/**
 * One YAML file with the places of its values: parses, expands `${ENV}`, and finds the line and column of any path. Knows
 * YAML and files, nothing of what the values mean.
 */
import { isAlias, isCollection, isMap, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from "yaml";
import type { Document, Pair, ParsedNode } from "yaml";
import { ConfigError, type ConfigLocation } from "../errors.ts";

/** Largest configuration file that is read, in bytes. */
export const MAX_CONFIG_FILE_BYTES = 16 * 1024 * 1024;

/** A mistake and where it is. */
export interface Problem {
  readonly location: ConfigLocation;
  readonly message: string;
}

/** One error that lists all problems, first one first, each as `file:line:column: message`. `problems` must not be empty. */
export function configErrorOf(problems: readonly Problem[]): ConfigError {
  const [first, ...others] = problems;
  const rest = others.map(({ location, message }) => `\n${location.file}:${location.line}:${location.column}: ${message}`).join("");
  return new ConfigError(`${first?.message ?? "the configuration cannot be used"}${rest}`, first?.location);
}

/** A parsed file: see the head of this file. */
export class YamlSource {
  readonly file: string;
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter;

  /** Throws a ConfigError that lists everything wrong with the YAML or its `${ENV}` references. `environment` gives their values. */
  constructor(file: string, text: string, environment: Readonly<Record<string, string | undefined>>) {
    this.file = file;
    this.#lines = new LineCounter();
    this.#document = parseDocument<ParsedNode, true>(text, { lineCounter: this.#lines, prettyErrors: false });
    const problems = this.#document.errors.map((error) => ({ location: this.#at(error.pos[0]), message: yamlMessage(error) }));
    if (problems.length === 0) problems.push(...this.#expandEnvironment(environment));
    if (problems.length > 0) throw configErrorOf(problems);
  }

  /** The plain value of the whole file; undefined for an empty one. Throws a ConfigError if aliases multiply too far. */
  value(): unknown {
    try {
      return this.#document.toJS({ maxAliasCount: 100 }) ?? undefined;
    } catch (error) {
      throw new ConfigError(`${error instanceof Error ? error.message : String(error)}: write the values out`, this.#at(0), {
        cause: error,
      });
    }
  }

  /** Where the value at `path` stands, or the deepest part of the path that is there. */
  locate(path: readonly PropertyKey[]): ConfigLocation {
    let node: unknown = this.#document.contents;
    let start = 0;
    for (const step of path) {
      const next = this.#step(node, step);
      if (next === undefined) break;
      node = isPair(next) ? next.value : next;
      start = startOf(node) ?? (isPair(next) ? startOf(next.key) : undefined) ?? start;
    }
    return this.#at(start);
  }

  /** Where the key itself stands whose value is at `path`. */
  locateKey(path: readonly PropertyKey[]): ConfigLocation {
    let node: unknown = this.#document.contents;
    let start: number | undefined;
    for (const step of path) {
      const next = this.#step(node, step);
      if (next === undefined) return this.locate(path);
      start = isPair(next) ? startOf(next.key) : startOf(next);
      node = isPair(next) ? next.value : next;
    }
    return start === undefined ? this.locate(path) : this.#at(start);
  }

  #step(node: unknown, step: PropertyKey): Pair | Node | undefined {
    const resolved = isAlias(node) ? node.resolve(this.#document) : node;
    if (isMap(resolved)) return resolved.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === String(step));
    if (isSeq(resolved) && typeof step === "number") {
      const item = resolved.items[step];
      return isScalar(item) || isCollection(item) || isAlias(item) ? item : undefined;
    }
    return undefined;
  }

  #at(offset: number): ConfigLocation {
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.file, line: Math.max(line, 1), column: Math.max(col, 1) };
  }

  /** Replaces `${NAME}` in every text value; `$${` stands for a literal `${`. */
  #expandEnvironment(environment: Readonly<Record<string, string | undefined>>): Problem[] {
    const problems: Problem[] = [];
    visit(this.#document, {
      Scalar: (position, node) => {
        if (position === "key" || typeof node.value !== "string" || !node.value.includes("${")) return;
        node.value = node.value.replaceAll(/\$?\$\{([^}]*)\}/g, (reference, name: string) => {
          if (reference.startsWith("$$")) return reference.slice(1);
          const value = /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? environment[name] : undefined;
          if (value !== undefined) return value;
          const message = /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)
            ? `the environment variable ${name} is not set: set it, or write $\${${name}} for the text itself`
            : `"\${${name}}" is no environment variable: write \${NAME}, or $\${ for a literal \${`;
          problems.push({ location: this.#at(node.range?.[0] ?? 0), message });
          return "";
        });
      },
    });
    return problems;
  }
}

function startOf(node: unknown): number | undefined {
  return isScalar(node) || isCollection(node) || isAlias(node) ? node.range?.[0] : undefined;
}

function yamlMessage(error: { readonly code: string; readonly message: string }): string {
  const sentence = error.message.replace(/\s+$/, "");
  switch (error.code) {
    case "DUPLICATE_KEY":
      return "this name is already there in the same map: keep one of the two";
    case "TAB_AS_INDENT":
      return "a tab indents this line: use spaces";
    case "BAD_INDENT":
    case "MISSING_CHAR":
      return `${sentence}: check the indentation and quotes of this and the line before`;
    case "MULTIPLE_DOCS":
      return "a second document begins here: remove the line with ---";
    default:
      return `the YAML cannot be read here: ${sentence}`;
  }
}
