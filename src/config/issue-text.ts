/** Says in one sentence what a schema issue means and what to write instead. Knows zod's issues, no file. */
import type { z } from "zod";
import { type JsonSchema, knownKeys } from "./json-schema.ts";
import { nearestName } from "./nearest-name.ts";

/** One complaint about the value at `path`, or about the key at the end of it. */
export interface Complaint {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly aboutKey: boolean;
}

function article(expected: string): string {
  const names: Record<string, string> = {
    object: "a map of keys and values",
    record: "a map of names",
    array: "a list",
    string: "a text",
    number: "a number",
    int: "a whole number",
    boolean: "true or false",
  };
  return names[expected] ?? expected;
}

function unknownKey(schema: JsonSchema, path: readonly PropertyKey[], key: string): Complaint {
  const known = knownKeys(schema, path);
  const meant = nearestName(key, known);
  const advice = meant ? `did you mean "${meant}"?` : known.length > 0 ? `known here: ${known.join(", ")}` : "remove it";
  return { path: [...path, key], message: `unknown key "${key.slice(0, 64)}": ${advice}`, aboutKey: true };
}

function sentence(issue: z.core.$ZodIssue): string {
  const name = issue.path.length > 0 ? `${String(issue.path.at(-1))}: ` : "";
  if (issue.code === "invalid_type" && issue.input === undefined) {
    const needed = issue.message.startsWith("Invalid input") ? `write ${article(issue.expected)}` : issue.message;
    return `${name}is missing: ${needed}`;
  }
  if (issue.code === "invalid_type" && issue.message.startsWith("Invalid input")) return `${name}write ${article(issue.expected)} here`;
  if (issue.code === "invalid_value") {
    const values = issue.values.map(String);
    const meant = typeof issue.input === "string" ? nearestName(issue.input, values) : undefined;
    return `${name}${meant ? `did you mean ${meant}? ` : ""}write one of ${values.join(", ")}`;
  }
  if (issue.code === "too_small") return `${name}must be at least ${issue.minimum}${issue.origin === "string" ? " characters long" : ""}`;
  if (issue.code === "too_big") return `${name}must be at most ${issue.maximum}${issue.origin === "string" ? " characters long" : ""}`;
  return `${name}${issue.message}`;
}

/** What `issue` complains about; several for several unknown keys. `schema` is the JSON Schema, for the known names. */
export function explainIssue(schema: JsonSchema, issue: z.core.$ZodIssue): Complaint[] {
  if (issue.code === "unrecognized_keys") return issue.keys.map((key) => unknownKey(schema, issue.path, key));
  if (issue.code === "invalid_union") {
    const inner = issue.errors.find((issues) => issues.some(({ code }) => code !== "invalid_type"));
    const first = inner?.find(({ code }) => code !== "invalid_type");
    if (first) return explainIssue(schema, { ...first, path: [...issue.path, ...first.path] } as z.core.$ZodIssue);
  }
  return [{ path: issue.path, message: sentence(issue), aboutKey: false }];
}
