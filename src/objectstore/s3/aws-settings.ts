/**
 * What the AWS command line would use for a bucket nobody configured: region and endpoint from the environment and the
 * shared configuration file. Credentials come from the SDK's default chain, which reads the same places. Makes no request.
 */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

/** Values found; absent ones leave the SDK's own defaults. */
export interface AwsSettings {
  readonly awsRegion?: string;
  readonly endpoint?: string;
}

type Section = ReadonlyMap<string, string>;
type Environment = Readonly<Record<string, string | undefined>>;

/** The settings for `profile` (default: `AWS_PROFILE`, else `default`). A file that is missing or unreadable has none. */
export async function findAwsSettings(profile?: string, env: Environment = process.env): Promise<AwsSettings> {
  const name = profile ?? env.AWS_PROFILE ?? env.AWS_DEFAULT_PROFILE ?? "default";
  const sections = await readSections(env.AWS_CONFIG_FILE ?? join(homedir(), ".aws", "config"));
  const own = sections.get(name === "default" ? "default" : `profile ${name}`) ?? sections.get(`profile ${name}`);
  const services = sections.get(`services ${own?.get("services") ?? ""}`);
  const region = env.AWS_REGION ?? env.AWS_DEFAULT_REGION ?? own?.get("region");
  const ignored = isTrue(env.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS) || isTrue(own?.get("ignore_configured_endpoint_urls"));
  const endpoint = ignored
    ? undefined
    : (env.AWS_ENDPOINT_URL_S3 ?? env.AWS_ENDPOINT_URL ?? services?.get("s3.endpoint_url") ?? own?.get("endpoint_url"));
  return { ...(region ? { awsRegion: region } : {}), ...(endpoint ? { endpoint } : {}) };
}

function isTrue(text: string | undefined): boolean {
  return text?.toLowerCase() === "true";
}

async function readSections(file: string): Promise<Map<string, Section>> {
  try {
    return parseSections(await readFile(file, "utf8"));
  } catch (error) {
    if (error instanceof Error && "code" in error) return new Map();
    throw error;
  }
}

/** Sections of an AWS configuration file; nested values are named `outer.inner`. */
function parseSections(text: string): Map<string, Section> {
  const sections = new Map<string, Map<string, string>>();
  let section: Map<string, string> | undefined;
  let outer = "";
  for (const line of text.split(/\r?\n/)) {
    const header = /^\[\s*([^\]]+?)\s*\]/.exec(line)?.[1];
    if (header !== undefined) {
      section = sections.get(header.replace(/\s+/, " ")) ?? new Map();
      sections.set(header.replace(/\s+/, " "), section);
      continue;
    }
    const [, indent = "", key = "", value = ""] = /^(\s*)([^#;=\s][^=]*?)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (key === "" || !section) continue;
    if (indent === "") outer = key;
    section.set(indent === "" ? key : `${outer}.${key}`, value);
  }
  return sections;
}
