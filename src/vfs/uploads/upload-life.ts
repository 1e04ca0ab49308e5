/**
 * The one life of an unpublished upload, whatever protocol brought it:
 *
 *                   ┌──────────── resumed ◄───────────┐
 *                   ▼                                 │
 *      ● ─open─► open ──connection lost, failed──► dropped ──► replaced | expired | discarded
 *                   │                                 ▲
 *                   │ CLOSE                           │ the store refused
 *                   ▼                                 │
 *                closing ─────────────────────────────┤
 *                   │    \                            │
 *                   │     └─temporary name─► parked ──┴──► replaced | expired | discarded
 *                   ▼                          │
 *               published ◄────── rename ──────┘
 *
 * `open` and `closing` exist in the process that has the handle; `dropped` and `parked` are rows of the upload table
 * that any process and session of the owner may take up. Knows nothing of bytes and stores.
 */

/** Where an upload is in its life; the last four are ends. */
export type UploadState = "open" | "closing" | "dropped" | "parked" | "published" | "replaced" | "expired" | "discarded";

const next: Readonly<Record<UploadState, readonly UploadState[]>> = {
  open: ["closing", "dropped", "discarded"],
  closing: ["published", "parked", "dropped", "discarded"],
  dropped: ["open", "replaced", "expired", "discarded"],
  parked: ["open", "published", "replaced", "expired", "discarded"],
  published: [],
  replaced: [],
  expired: [],
  discarded: [],
};

/** The state of one upload, which changes only along the arrows above. */
export class UploadLife {
  #state: UploadState;

  constructor(state: UploadState) {
    this.#state = state;
  }

  /** Where it is now. */
  get state(): UploadState {
    return this.#state;
  }

  /** True while the client may write. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Takes one step; a step that no arrow allows is a bug and throws. */
  become(state: UploadState): void {
    if (!next[this.#state].includes(state)) throw new Error(`an upload cannot become ${state} from ${this.#state}`);
    this.#state = state;
  }
}
