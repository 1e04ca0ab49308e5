/** The options of the remote side of scp's old protocol, as clients send them (`scp -t`, `scp -f`). Knows no wire. */
import type { Word } from "../exec/command-line.ts";

/** A parsed `scp -t …` or `scp -f …`. */
export interface ScpArguments {
  /** `sink` receives (`-t`), `source` sends (`-f`). */
  readonly role: "sink" | "source";
  readonly recursive: boolean;
  /** `-p`: keep times and modes. */
  readonly preserve: boolean;
  /** `-d`: the target must be a directory. */
  readonly targetShouldBeDirectory: boolean;
  readonly operands: readonly Word[];
}

/** The command line cannot be served; `message` is for the client. */
export class ScpUsageError extends Error {
  override readonly name = "ScpUsageError";
}

/** Parses the words after `scp`. Single-letter options may stand together (`-pt`). Throws `ScpUsageError`. */
export function parseScpArguments(words: readonly Word[]): ScpArguments {
  const flags = new Set<string>();
  let index = 0;
  for (; index < words.length; index++) {
    const text = words[index]?.text ?? "";
    if (text === "--") {
      index++;
      break;
    }
    if (!text.startsWith("-") || text === "-") break;
    for (const letter of text.slice(1)) {
      if (!"rpdtfvq".includes(letter)) throw new ScpUsageError(`scp: the option -${letter} is not available here`);
      flags.add(letter);
    }
  }
  const operands = words.slice(index);
  if (flags.has("t") === flags.has("f")) throw new ScpUsageError("scp: run scp on your own machine: scp FILE user@host:attachments/");
  const role = flags.has("t") ? "sink" : "source";
  if (role === "sink" && operands.length !== 1) throw new ScpUsageError("scp: ambiguous target");
  if (role === "source" && operands.length === 0) throw new ScpUsageError("scp: no file named");
  return {
    role,
    recursive: flags.has("r"),
    preserve: flags.has("p"),
    targetShouldBeDirectory: flags.has("d"),
    operands,
  };
}
