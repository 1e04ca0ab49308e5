/**
 * Sockets that read into one buffer of the process instead of a new one for each read. Everything that arrives is looked
 * at, and copied where it has to be kept, before the next read: so one buffer serves all connections, and an idle one
 * holds none. Knows no protocol.
 */
import { Socket } from "node:net";
import { poison } from "../slab-pool.ts";

const READ_BUFFER_BYTES = 256 * 1024;

/** On Windows the system fills the buffer while others use it. */
const CAN_SHARE = process.platform !== "win32";

let readBuffer: Buffer | undefined;

/**
 * Takes over the connection of `accepted`, which nobody listens to yet and must not be used afterwards. The returned
 * socket's `data` events are lent: their bytes are overwritten after the listeners return. Where that cannot be done,
 * returns `accepted`, whose bytes nobody overwrites.
 */
export function shareReads(accepted: Socket): Socket {
  const holder: { _handle?: unknown } = accepted as unknown as { _handle?: unknown };
  const handle = holder._handle;
  if (!CAN_SHARE || accepted.destroyed || !isReadable(handle)) return accepted;
  const early = accepted.read() as Buffer | null;
  handle.readStop();
  handle.reading = false;
  // without its handle, the old socket ends without closing the connection, and its server no longer counts it
  holder._handle = null;
  accepted.destroy();
  readBuffer ??= Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
  const buffer = readBuffer;
  const options = {
    handle,
    allowHalfOpen: accepted.allowHalfOpen,
    readable: true,
    writable: true,
    pauseOnCreate: true,
    onread: {
      buffer,
      callback: (bytes: number): boolean => {
        const chunk = buffer.subarray(0, bytes);
        socket.emit("data", chunk);
        poison(chunk);
        return true;
      },
    },
  };
  const socket: Socket = new Socket(options);
  if (early) socket.unshift(early);
  return socket;
}

interface StreamHandle {
  reading: boolean;
  readStop(): void;
  useUserBuffer(buffer: Uint8Array): void;
}

function isReadable(handle: unknown): handle is StreamHandle {
  return typeof handle === "object" && handle !== null && "useUserBuffer" in handle && "readStop" in handle;
}
