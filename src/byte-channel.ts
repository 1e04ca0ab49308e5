/**
 * The port between the network (`ssh/`) and the protocols (`sftp/`, `scp/`, `rsync/`): one ordered byte stream each
 * way with credit-based back-pressure. Knows nothing of SSH, users or files.
 */

/** Gets what the peer sends. Both are called synchronously, in order; they must not throw. */
export interface ByteReceiver {
  /** True if the receiver copies what it keeps: then the bytes it gets are lent and overwritten after the call. */
  readonly borrows?: boolean;
  /** True while it works on nothing: what it was given and did not consume waits for more from the peer. Absent: unknown. */
  readonly awaitsPeer?: boolean;
  /** The next bytes, never empty. Unless lent, the buffer belongs to the receiver from now on and is not changed by anybody. */
  data(chunk: Uint8Array): void;
  /** The peer sent EOF: it will send nothing more, but may still read. Called at most once. */
  end(): void;
}

/** An SSH channel as protocols see it. */
export interface ByteChannel {
  /** Starts delivery to `receiver`; what arrived before is delivered at once. Call it exactly once. */
  receive(receiver: ByteReceiver): void;

  /**
   * Says that `bytes` of what was delivered are no longer held by the receiver. Only this reopens the peer's window,
   * so a receiver that does not call it stops the peer after one window.
   */
  consume(bytes: number): void;

  /**
   * Queues chunks to the peer, in order, without copying: they must not change afterwards. What is queued, and what was
   * delivered and not consumed, is charged to the process's byte budget by the channel. Never blocks; a caller
   * that can produce without limit awaits `drained()` whenever `pendingBytes` is over its own limit. After the
   * channel is closed it does nothing.
   */
  write(...chunks: readonly Uint8Array[]): void;

  /**
   * As `write`, for chunks of which the caller is a holder where they lie in a slab (slab-pool.ts): that hold goes to the
   * channel, which releases it when the bytes are sent. Absent where nothing is released.
   */
  writeHeld?(...chunks: readonly Uint8Array[]): void;

  /** The same to the peer's standard error (RFC 4254 §5.2 extended data type 1). */
  writeError(chunk: Uint8Array): void;

  /** Bytes queued by `write` that the kernel has not taken yet. */
  readonly pendingBytes: number;

  /**
   * Resolves once `pendingBytes` is at most `limit` (default 256 KiB), or the channel is closed: look at `closed`.
   */
  drained(limit?: number): Promise<void>;

  /** Sends what is queued, then exit-status, EOF and close (RFC 4254 §6.10, §5.3). Idempotent; later writes do nothing. */
  exit(status: number): void;

  /** Drops the channel at once without exit-status, because the peer broke the protocol. */
  destroy(reason: string): void;

  /** Aborted when the channel or its connection is gone, for whatever cause, also after `exit`. */
  readonly closed: AbortSignal;
}
