/**
 * Splits an exec request into words by the shell's quoting rules and nothing else of a shell: no variables, no
 * substitution, no redirection, no second command. What a shell would expand or run is refused, never passed on.
 * Knows no command.
 */

/** Longest exec line in bytes, and most words of one. */
const MAX_LINE_LENGTH = 64 * 1024;
const MAX_WORDS = 1000;

/** One word of a command line. */
export interface Word {
  /** The word with its quoting removed. */
  readonly text: string;
  /** The same as a wildcard pattern, quoted characters escaped by `\`; only if it has an unquoted `*`, `?` or `[`. */
  readonly pattern?: string;
}

/** The line uses shell syntax that is not served; `message` is one line for the client. */
export class CommandLineError extends Error {
  override readonly name = "CommandLineError";
}

/** Unquoted characters that mean something to a shell beyond words, quoting and wildcards. */
const SHELL_SYNTAX = new Map([
  [";", "several commands in one line"],
  ["&", "background commands"],
  ["|", "pipes"],
  ["<", "redirection"],
  [">", "redirection"],
  ["(", "subshells"],
  [")", "subshells"],
  ["\n", "several commands in one line"],
  ["$", "variables and substitution"],
  ["`", "command substitution"],
]);
const WILDCARDS = "*?[";
const ESCAPED_IN_PATTERN = "*?[]\\";

function refuse(character: string): never {
  const what = SHELL_SYNTAX.get(character) ?? "this character";
  throw new CommandLineError(`shell syntax is not available here: '${character === "\n" ? "\\n" : character}' (${what})`);
}

/** Collects one word and remembers which of its characters were quoted. */
class WordBuilder {
  text = "";
  #pattern = "";
  #wild = false;
  started = false;

  quoted(character: string): void {
    this.started = true;
    this.text += character;
    this.#pattern += ESCAPED_IN_PATTERN.includes(character) ? `\\${character}` : character;
  }

  plain(character: string): void {
    this.started = true;
    this.text += character;
    if (WILDCARDS.includes(character)) this.#wild = true;
    this.#pattern += character;
  }

  finish(tilde: boolean): Word {
    const expand = (s: string): string => (tilde ? `/${s.slice(1).replace(/^\/+/, "")}` : s);
    return this.#wild ? { text: expand(this.text), pattern: expand(this.#pattern) } : { text: expand(this.text) };
  }
}

/**
 * The words of `line` (decoded UTF-8). An unquoted leading `~` or `~/` stands for the home `/`. Throws
 * `CommandLineError` for shell syntax, unbalanced quotes, NUL, and lines over 64 KiB or 1,000 words.
 */
export function splitCommandLine(line: string): Word[] {
  if (Buffer.byteLength(line) > MAX_LINE_LENGTH) throw new CommandLineError(`the command line is longer than ${MAX_LINE_LENGTH} bytes`);
  if (line.includes("\0")) throw new CommandLineError("the command line contains a NUL character");
  const words: Word[] = [];
  let word = new WordBuilder();
  let tilde = false;
  const finish = (): void => {
    if (!word.started) return;
    if (tilde && !/^~(\/|$)/.test(word.text)) throw new CommandLineError(`other users' homes are not available here: '${word.text}'`);
    words.push(word.finish(tilde));
    if (words.length > MAX_WORDS) throw new CommandLineError(`the command line has more than ${MAX_WORDS} words`);
    word = new WordBuilder();
    tilde = false;
  };
  let i = 0;
  while (i < line.length) {
    const c = line.charAt(i);
    if (c === " " || c === "\t") {
      finish();
      i++;
    } else if (c === "'") {
      i = singleQuoted(line, i + 1, word);
    } else if (c === '"') {
      i = doubleQuoted(line, i + 1, word);
    } else if (c === "\\") {
      if (i + 1 >= line.length) throw new CommandLineError("the command line ends with a backslash");
      word.quoted(line.charAt(i + 1));
      i += 2;
    } else if (SHELL_SYNTAX.has(c)) {
      refuse(c);
    } else {
      if (c === "~" && !word.started) tilde = true;
      word.plain(c);
      i++;
    }
  }
  finish();
  return words;
}

/** Reads up to the closing `'`; returns the index after it. */
function singleQuoted(line: string, start: number, word: WordBuilder): number {
  const end = line.indexOf("'", start);
  if (end < 0) throw new CommandLineError("a single quote is not closed");
  word.started = true;
  for (const c of line.slice(start, end).split("")) word.quoted(c);
  return end + 1;
}

/** Reads up to the closing `"`; within it a backslash quotes only `"`, `\`, `$` and a backtick (POSIX shell §2.2.3). */
function doubleQuoted(line: string, start: number, word: WordBuilder): number {
  word.started = true;
  let i = start;
  while (i < line.length) {
    const c = line.charAt(i);
    if (c === '"') return i + 1;
    if (c === "$" || c === "`") refuse(c);
    if (c === "\\" && i + 1 < line.length && '"\\$`'.includes(line.charAt(i + 1))) {
      word.quoted(line.charAt(i + 1));
      i += 2;
    } else {
      word.quoted(c);
      i++;
    }
  }
  throw new CommandLineError("a double quote is not closed");
}
