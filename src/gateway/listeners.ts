/** Listening on the configured addresses, or on free ports of them where the demonstration may. */
import { isIPv6 } from "node:net";
import type { ListenAddress } from "../config/schema.ts";

/** `HOST:PORT`, IPv6 in brackets. */
export function formatAddress({ host, port }: ListenAddress): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

/** True for an address that somebody else has. */
export function isTaken(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && cause.code === "EADDRINUSE") return true;
  }
  return false;
}
