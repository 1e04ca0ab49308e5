/** The error for a store that is silent. Knows no transport. */

/** The store did not answer, or fell silent, within a time limit. */
export class TransportTimeout extends Error {
  override readonly name = "TimeoutError";
  /** Whether the request had been sent at least in part, so that it may have taken effect. */
  readonly sent: boolean;
  constructor(message: string, sent: boolean) {
    super(message);
    this.sent = sent;
  }
}
