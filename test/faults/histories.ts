/** Histories of operations that several clients did at once, and whether they can have happened in a store of whole versions. */

/** One operation. Times in milliseconds of one clock: `began` before the first packet, `ended` after the last answer. */
export type Operation = {
  readonly client: string;
  readonly name: string;
  readonly began: number;
  readonly ended: number;
} & (
  | { readonly kind: "put"; readonly version: number; readonly failed: boolean }
  | { readonly kind: "delete"; readonly failed: boolean }
  | { readonly kind: "rename"; readonly to: string; readonly failed: boolean }
  /** `version` undefined: no such file. */
  | { readonly kind: "get"; readonly version: number | undefined }
  | { readonly kind: "list"; readonly names: readonly string[] }
);

type Write = Exclude<Operation, { kind: "get" | "list" }>;
type Put = Extract<Operation, { kind: "put" }>;

/** What is wrong with a history, a line for each finding; empty if every read saw one whole version that was current. */
export function findings(history: readonly Operation[]): string[] {
  const puts = new Map<number, Put>();
  for (const operation of history) if (operation.kind === "put") puts.set(operation.version, operation);
  const writesOf = (name: string): Write[] =>
    history.filter(
      (one): one is Write => one.kind !== "get" && one.kind !== "list" && (one.name === name || (one.kind === "rename" && one.to === name)),
    );
  const found: string[] = [];
  for (const operation of history) {
    if (operation.kind === "get") {
      const problem =
        operation.version === undefined ? absence(operation, writesOf) : presence(operation, operation.version, puts, writesOf);
      if (problem) found.push(problem);
    } else if (operation.kind === "list") {
      for (const name of new Set(history.map((one) => one.name))) {
        const view = { ...operation, name };
        const problem = operation.names.includes(name) ? undefined : absence(view, writesOf);
        if (problem) found.push(`listing: ${problem}`);
      }
    }
  }
  return found;
}

interface Read {
  readonly client: string;
  readonly name: string;
  readonly began: number;
  readonly ended: number;
}

/** A version may be seen from the begin of its put until something that began after it was there has ended. */
function presence(read: Read, version: number, puts: ReadonlyMap<number, Put>, writesOf: (name: string) => Write[]): string | undefined {
  const put = puts.get(version);
  if (!put) return `${describe(read)} saw version ${version}, which nobody wrote`;
  if (put.began > read.ended) return `${describe(read)} saw version ${version} before it was written`;
  const writes = writesOf(read.name);
  if (put.name !== read.name) {
    const moved = writes.some((one) => one.kind === "rename" && one.to === read.name && one.began <= read.ended);
    return moved ? undefined : `${describe(read)} saw version ${version} of ${put.name}, which nobody renamed`;
  }
  // A version that was renamed away may have come back by another rename.
  if (writes.some((one) => one.kind === "rename" && one.to === read.name)) return undefined;
  const later = writes.find((one) => !one.failed && one !== put && one.began >= put.ended && one.ended <= read.began);
  return later && `${describe(read)} saw version ${version}, replaced by ${later.kind} of ${later.client} at ${later.ended}`;
}

/** A name may be missing unless a put had ended before and nothing took the name away since that put began. */
function absence(read: Read, writesOf: (name: string) => Write[]): string | undefined {
  const writes = writesOf(read.name);
  const last = writes.findLast((one) => one.kind === "put" && !one.failed && one.ended <= read.began);
  if (!last) return undefined;
  const takesAway = (one: Write) => one.kind === "delete" || (one.kind === "rename" && one.name === read.name);
  const mayBeGone = writes.some((one) => takesAway(one) && one.began <= read.ended && one.ended >= last.began);
  return mayBeGone ? undefined : `${describe(read)} missed the file that ${last.client} had put at ${last.ended}`;
}

function describe({ client, name, began }: Read): string {
  return `${client} at ${began} reading ${name}`;
}
