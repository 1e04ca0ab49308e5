/** Waits for a program to say on its standard output that it is ready. */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";

/** Resolves to what `wanted` makes of the first line it wants; later output is thrown away. Rejects if the program ends before. */
export function firstLine<T>(child: ChildProcess, wanted: (line: string) => T | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    if (!child.stdout) throw new Error("no output to read");
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the program ended with ${code} before it was ready`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const found = wanted(line);
      if (found !== undefined) resolve(found);
    });
  });
}
