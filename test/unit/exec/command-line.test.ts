import { describe, expect, it } from "vitest";
import { CommandLineError, splitCommandLine } from "../../../src/exec/command-line.ts";

/** What rclone runs to find out which shell there is. */
const RCLONE_PROBE = `echo $${"{ShellId}"}%ComSpec%`;

const texts = (line: string): string[] => splitCommandLine(line).map((w) => w.text);

describe("splitCommandLine", () => {
  it.each([
    ["scp -t attachments/x", ["scp", "-t", "attachments/x"]],
    ["scp  -t\t'a b'", ["scp", "-t", "a b"]],
    ["scp -t 'it'\\''s'", ["scp", "-t", "it's"]],
    ['md5sum "a \\"b\\" \\\\ c"', ["md5sum", 'a "b" \\ c']],
    ["rsync --server -logDtpre.iLsfxCIvu . my\\ dir/\\$x\\ \\`id\\`", ["rsync", "--server", "-logDtpre.iLsfxCIvu", ".", "my dir/$x `id`"]],
    ["scp -f ''", ["scp", "-f", ""]],
    ["scp -t ~/attachments", ["scp", "-t", "/attachments"]],
    ["scp -t ~", ["scp", "-t", "/"]],
    ["scp -t '~'", ["scp", "-t", "~"]],
    ["scp -t a~b", ["scp", "-t", "a~b"]],
    ["scp -t 🦋é", ["scp", "-t", "🦋é"]],
    ["   ", []],
  ])("splits %j", (line, words) => {
    expect(texts(line)).toEqual(words);
  });

  it.each([
    ["scp -t a; rm -rf /", ";"],
    [RCLONE_PROBE, "$"],
    ["a && b", "&"],
    ["a | b", "|"],
    ["a > b", ">"],
    ["a < b", "<"],
    ["a `id`", "`"],
    ['a "$(id)"', "$"],
    ['a "`id`"', "`"],
    ["a (b)", "("],
    ["a\nb", "\\n"],
  ])("refuses %j", (line, character) => {
    expect(() => splitCommandLine(line)).toThrow(`shell syntax is not available here: '${character}'`);
  });

  it.each(["a 'b", 'a "b', "a \\", "a\0b", "scp -t ~bob/x", `a ${"x".repeat(65_536)}`, "a ".repeat(1001)])(
    "refuses malformed %#",
    (line) => {
      expect(() => splitCommandLine(line)).toThrow(CommandLineError);
    },
  );

  it("keeps unquoted wildcards as a pattern and quotes the rest in it", () => {
    expect(splitCommandLine("scp -f a\\*b/*.jpg '*'")).toEqual([
      { text: "scp" },
      { text: "-f" },
      { text: "a*b/*.jpg", pattern: "a\\*b/*.jpg" },
      { text: "*" },
    ]);
  });
});
