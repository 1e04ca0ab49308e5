/** Faults to inject: which requests they hit, and what happens to those. The acting is the connection's business. */
import type { Operation, S3Request } from "./s3-request.ts";

/** What happens to a request. Byte counts are counts of body bytes. */
export type FaultAction =
  /** Answered with an error, without acting. `early`: before the request's body is read. */
  | { readonly kind: "status"; readonly status: number; readonly code: string; readonly message?: string; readonly early?: boolean }
  /** Connection reset without acting: before the request's body is read, after `afterBytes` of it, or after all of it (default). */
  | { readonly kind: "reset"; readonly at?: "before-body" | "after-body"; readonly afterBytes?: number }
  /** Never answered and not acted upon. The body is read unless `readsBody` is false. */
  | { readonly kind: "hang"; readonly readsBody?: boolean }
  /** The body, the answer's of a GET or else the request's, stops moving after so many bytes. */
  | { readonly kind: "stall"; readonly afterBytes: number }
  /** The answer's body ends too early, with the connection. */
  | { readonly kind: "truncate"; readonly afterBytes: number }
  /** One bit of the answer's body is wrong. */
  | { readonly kind: "corrupt"; readonly atByte: number }
  /** 200 with an error document, without acting, as CopyObject and CompleteMultipartUpload may answer. */
  | { readonly kind: "error-in-200"; readonly code: string }
  /** Acted upon, but the answer never arrives: reset, silence, or an error instead of it. */
  | { readonly kind: "late-commit"; readonly answer: "reset" | "hang" | { readonly status: number; readonly code: string } }
  /** Served so much later. */
  | { readonly kind: "delay"; readonly ms: number }
  /** Served once `until` resolves. */
  | { readonly kind: "hold"; readonly until: Promise<unknown> };

/** A fault and the requests it hits. */
export interface Fault {
  /** Operations it applies to; all without it. */
  readonly operation?: Operation | readonly Operation[];
  readonly when?: (request: S3Request) => boolean;
  /** Matching requests to let through first (default 0). */
  readonly skip?: number;
  /** Matching requests to hit (default 1). */
  readonly times?: number;
  readonly action: FaultAction;
}

/** An injected fault. */
export interface InjectedFault {
  /** Requests it has hit. */
  readonly hits: number;
  /** Resolves when it hits for the first time. */
  readonly firstHit: Promise<S3Request>;
  /** Takes it out. */
  remove(): void;
}

class ActiveFault implements InjectedFault {
  readonly fault: Fault;
  readonly firstHit: Promise<S3Request>;
  readonly remove: () => void;
  hits = 0;
  #skipped = 0;
  #resolve: (request: S3Request) => void = () => undefined;

  constructor(fault: Fault, remove: (self: ActiveFault) => void) {
    this.fault = fault;
    this.remove = () => remove(this);
    this.firstHit = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  tryHit(request: S3Request): boolean {
    const { operation, when, skip = 0, times = 1 } = this.fault;
    if (operation !== undefined && ![operation].flat().includes(request.operation)) return false;
    if (this.hits >= times || (when && !when(request))) return false;
    if (this.#skipped < skip) {
      this.#skipped++;
      return false;
    }
    this.hits++;
    this.#resolve(request);
    return true;
  }
}

/** The faults in force, in order of injection; the first that matches hits. */
export class FaultTable {
  #faults: ActiveFault[] = [];

  /** Puts a fault in force. */
  inject(fault: Fault): InjectedFault {
    const active = new ActiveFault(fault, (self) => {
      this.#faults = this.#faults.filter((one) => one !== self);
    });
    this.#faults.push(active);
    return active;
  }

  /** The action for this request, counting the hit; undefined: serve it normally. */
  take(request: S3Request): FaultAction | undefined {
    return this.#faults.find((one) => one.tryHit(request))?.fault.action;
  }

  /** Takes all faults out. */
  clear(): void {
    this.#faults = [];
  }
}
