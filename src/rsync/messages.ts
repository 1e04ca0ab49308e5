/**
 * What the client says between its data (rsync io.c `read_a_msg`): its exit, its errors, confirmations. Knows no files.
 */
import { ProtocolError } from "../errors.ts";
import { PeerGone } from "./exit-codes.ts";
import { Tag } from "./multiplex.ts";

/** Longest text of a client that is logged. */
const MAX_LOGGED = 500;

/** The client ended the run with an exit status of its own. */
export class PeerExit extends PeerGone {
  readonly status: number;
  constructor(status: number) {
    super(`the client ended with status ${status}`);
    this.status = status;
  }
}

/** What may happen. */
export interface MessageEffects {
  ioError(bits: number): void;
  success(index: number): void;
  notSent(index: number): void;
  text(text: string): void;
}

function number(payload: Uint8Array): number {
  if (payload.length !== 4) throw new ProtocolError(`message of ${payload.length} bytes instead of 4`);
  return new DataView(payload.buffer, payload.byteOffset, 4).getInt32(0, true);
}

/** Acts on one message. Throws `PeerExit` when the client says that it ends, `ProtocolError` for what it may not say. */
export function handleMessage(tag: number, payload: Uint8Array, effects: MessageEffects): void {
  switch (tag) {
    case Tag.ioError:
      effects.ioError(number(payload));
      return;
    case Tag.success:
      effects.success(number(payload));
      return;
    case Tag.noSend:
      effects.notSent(number(payload));
      return;
    case Tag.errorExit:
      throw new PeerExit(payload.length === 4 ? number(payload) & 0xff : 0);
    case Tag.noop:
      return;
    case Tag.info:
    case Tag.error:
    case Tag.errorXfer:
    case Tag.warning:
      effects.text(Buffer.from(payload.subarray(0, MAX_LOGGED)).toString("utf8"));
      return;
    default:
      throw new ProtocolError(`unexpected message tag ${tag}`);
  }
}
