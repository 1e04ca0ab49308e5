/** The JSON Schema of the configuration file, which editors use and which names the known keys. Derived from `schema.ts`. */
import { z } from "zod";
import { configSchema } from "./schema.ts";

/** As much of JSON Schema (draft 7) as is looked at here. */
export interface JsonSchema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly enum?: readonly unknown[];
}

/** The schema of what people write, draft 7 because that is what YAML language servers read. */
export function configJsonSchema(): JsonSchema {
  const schema = z.toJSONSchema(configSchema, { target: "draft-7", io: "input" });
  return { title: "sftp-s3-gateway configuration", ...schema } as JsonSchema;
}

/** The schema as text, as it is committed. */
export function formatConfigJsonSchema(): string {
  return `${JSON.stringify(configJsonSchema(), null, 2)}\n`;
}

/** The schema itself and the forms it may take. */
function formsOf(schema: JsonSchema): JsonSchema[] {
  return [schema, ...(schema.anyOf ?? []), ...(schema.oneOf ?? [])];
}

function stepInto(schema: JsonSchema, step: PropertyKey): JsonSchema | undefined {
  for (const candidate of formsOf(schema)) {
    if (typeof step === "number" && candidate.items) return candidate.items;
    const property = candidate.properties?.[String(step)];
    if (property) return property;
    if (typeof candidate.additionalProperties === "object") return candidate.additionalProperties;
  }
  return undefined;
}

/** The keys that may stand at `path`, in the order of the documentation; empty where anything or nothing may. */
export function knownKeys(schema: JsonSchema, path: readonly PropertyKey[]): string[] {
  let current: JsonSchema | undefined = schema;
  for (const step of path) {
    if (!current) return [];
    current = stepInto(current, step);
  }
  if (!current) return [];
  return [...new Set(formsOf(current).flatMap((candidate) => Object.keys(candidate.properties ?? {})))];
}
