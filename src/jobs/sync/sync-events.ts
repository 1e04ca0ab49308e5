/** What a sync tells while it runs and when it is done. Knows no output format. */

/** How an object is brought over, in aws-cli's words. */
export type TransferVerb = "copy" | "upload" | "download";

/** One thing that happened. Names are as `SyncSide.label` makes them. */
export type SyncEvent =
  | ({ readonly kind: "copied"; readonly verb: TransferVerb; readonly overwrite: boolean; readonly dryRun: boolean } & Pair)
  | { readonly kind: "deleted"; readonly destination: string; readonly dryRun: boolean }
  | {
      readonly kind: "failed";
      readonly verb: TransferVerb | "delete";
      readonly source: string;
      readonly destination?: string;
      readonly error: unknown;
    }
  | { readonly kind: "vanished"; readonly source: string }
  | { readonly kind: "glacier"; readonly verb: TransferVerb; readonly source: string }
  | { readonly kind: "warning"; readonly source: string; readonly message: string };

interface Pair {
  readonly source: string;
  readonly destination: string;
  readonly size: number;
}

/** The counts of a sync; also what there is of them after a failure. */
export interface SyncCounts {
  /** Objects seen on the source, and on the destination. */
  scanned: number;
  destinationScanned: number;
  copied: number;
  overwritten: number;
  /** Equal on both sides. */
  unchanged: number;
  /** Not copied on purpose: archived objects. */
  skipped: number;
  deleted: number;
  vanished: number;
  failed: number;
  warnings: number;
  /** Copied. */
  bytes: number;
}

/** How a sync ended. */
export interface SyncSummary extends Readonly<SyncCounts> {
  readonly seconds: number;
  /** Requests to the stores by operation, repeated ones too; folders need none. */
  readonly requests: Readonly<Record<string, number>>;
  /** What ended the sync before its time; `interrupted` for Ctrl-C. */
  readonly fatal: unknown;
  readonly interrupted: boolean;
  /** 0 clean, 1 something failed, 2 warnings only, 130 interrupted. */
  readonly exitCode: 0 | 1 | 2 | 130;
}

/** A zero for each count. */
export function zeroCounts(): SyncCounts {
  return {
    scanned: 0,
    destinationScanned: 0,
    copied: 0,
    overwritten: 0,
    unchanged: 0,
    skipped: 0,
    deleted: 0,
    vanished: 0,
    failed: 0,
    warnings: 0,
    bytes: 0,
  };
}
