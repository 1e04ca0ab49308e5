/**
 * Keeps `--delete` from emptying a destination because its source is mistyped, unmounted or empty (aws-cli deletes
 * everything then, and reports success). Pure.
 */

/** At most so many objects, and at most that share of the destination; an absent one does not bound. */
export interface MaxDelete {
  readonly objects: number | undefined;
  /** 0 to 1. */
  readonly share: number | undefined;
}

/** What a sync has seen before it would delete. */
export interface DeletionPlan {
  /** Objects on the source, whether copied or not. */
  readonly sourceObjects: number;
  readonly destinationObjects: number;
  readonly deletions: number;
  readonly max: MaxDelete;
}

const DEFAULT_MAX: MaxDelete = { objects: 1_000, share: 0.1 };

/** Reads `500`, `10%` or `10%,500`; the default without text; undefined for anything else. */
export function parseMaxDelete(text: string | undefined): MaxDelete | undefined {
  if (text === undefined) return DEFAULT_MAX;
  let objects: number | undefined;
  let share: number | undefined;
  for (const part of text.split(",")) {
    const [, digits, percent] = /^\s*(\d{1,15}(?:\.\d+)?)\s*(%?)\s*$/.exec(part) ?? [];
    const value = Number(digits);
    if (digits === undefined || (percent === "%" ? value > 100 : !Number.isSafeInteger(value))) return undefined;
    if (percent === "%") share = value / 100;
    else objects = value;
  }
  return { objects, share };
}

/** Why nothing may be deleted, or undefined. */
export function refuseDeletion({ sourceObjects, destinationObjects, deletions, max }: DeletionPlan): string | undefined {
  if (deletions === 0) return undefined;
  if (sourceObjects === 0) return `the source is empty: not deleting the ${deletions} objects of the destination (--force does)`;
  const exceeded: string[] = [];
  if (max.objects !== undefined && deletions > max.objects) exceeded.push(`more than ${max.objects}`);
  if (max.share !== undefined && deletions > destinationObjects * max.share) {
    exceeded.push(`more than ${Number((max.share * 100).toFixed(3))} % of the ${destinationObjects} there`);
  }
  if (exceeded.length === 0) return undefined;
  return `${deletions} objects would be deleted, ${exceeded.join(" and ")}: nothing was deleted (raise --max-delete, or --force)`;
}
