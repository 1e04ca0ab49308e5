/** Reads s3fs mounts as fstab and command lines write them (s3fs(1)). Pure. */

/** One mount. */
export interface S3fsMount {
  readonly bucket: string;
  /** Empty, or without slashes at its ends. */
  readonly path: string;
  readonly mountPoint: string;
  readonly endpointUrl: string | undefined;
  readonly region: string | undefined;
  readonly pathStyle: boolean;
  readonly readOnly: boolean;
  /** File with the access key; undefined with a role of the machine. */
  readonly passwordFile: string | undefined;
  readonly role: boolean;
}

/** A line of fstab: `s3fs#bucket:/path /mnt fuse options` or `bucket:/path /mnt fuse.s3fs options`. Undefined if it is none. */
export function parseFstabLine(line: string): S3fsMount | undefined {
  const [device = "", mountPoint = "", type = "", options = ""] = line.trim().split(/\s+/).map(unescapeFstab);
  if (!device.startsWith("s3fs#") && type !== "fuse.s3fs") return undefined;
  return mountOf(device.replace(/^s3fs#/, ""), mountPoint, options.split(","));
}

/** The words after `s3fs`. Undefined if bucket or mount point is missing. */
export function parseS3fsCommand(words: readonly string[]): S3fsMount | undefined {
  const options: string[] = [];
  const places: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    if (word === "-o") options.push(...(words[++index] ?? "").split(","));
    else if (word.startsWith("-o")) options.push(...word.slice(2).split(","));
    else if (!word.startsWith("-") && word !== "") places.push(word);
  }
  const [device = "", mountPoint = ""] = places;
  return mountOf(device, mountPoint, options);
}

function mountOf(device: string, mountPoint: string, options: readonly string[]): S3fsMount | undefined {
  const values = new Map(options.map((option): [string, string] => [option.split("=", 1)[0] ?? "", option.slice(option.indexOf("=") + 1)]));
  const [bucket = "", ...rest] = (device || (values.get("bucket") ?? "")).split(":");
  if (bucket === "" || !mountPoint.startsWith("/")) return undefined;
  return {
    bucket,
    path: rest.join(":").replaceAll(/^\/+|\/+$/g, ""),
    mountPoint: mountPoint.replace(/\/+$/, ""),
    endpointUrl: (values.get("url") ?? values.get("host"))?.replace(/\/+$/, ""),
    region: values.get("endpoint") ?? values.get("region"),
    pathStyle: values.has("use_path_request_style"),
    readOnly: values.has("ro"),
    passwordFile: values.get("passwd_file"),
    role: values.has("iam_role") || values.has("ecs"),
  };
}

/** fstab writes blanks as `\040`. */
function unescapeFstab(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
