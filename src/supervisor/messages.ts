/**
 * What the supervisor and its workers say to each other over the channel that Node gives a forked process. Both ends are
 * the same program, so messages are typed and not checked again. Knows no process.
 */
import type { ListenAddress } from "../config/schema.ts";
import type { GatewayConfig } from "../config/gateway-config.ts";
import type { MetricFamily } from "../admin/metrics.ts";
import type { OffenceKind } from "../ssh/admission.ts";

/** How a worker is started. */
export interface WorkerStart {
  /** Absolute path of the configuration file. */
  readonly configFile: string;
  /** Which of the workers it is, from 0. The first one watches the configuration and runs the jobs, for all of them. */
  readonly slot: number;
  /** How many there are; undefined for the very first, which reads the configuration and says so. */
  readonly workers: number | undefined;
  /**
   * The first of the workers' numbers in the node's table of processes. Not 0: workers of a supervisor that was killed a
   * moment ago may still be ending.
   */
  readonly firstProcess: number;
}

/** What the supervisor has to know of the configuration; plain data without secrets. */
export interface SupervisorSettings extends Pick<GatewayConfig, "server" | "admin" | "log"> {
  readonly workers: number;
}

/** Bytes of one user that were let through, or are let through too early, by direction. */
export interface UserTraffic {
  readonly up: number;
  readonly down: number;
}

/** From the supervisor. `id` names a connection, `request` an answer that is waited for. */
export type ToWorker =
  | { readonly type: "start"; readonly start: WorkerStart }
  /** All addresses are listened on; `port` is the first one's. */
  | { readonly type: "listening"; readonly port: number }
  /** Comes with the socket. `proxied`: a PROXY header comes first. */
  | { readonly type: "connection"; readonly id: number; readonly address: string; readonly proxied: boolean }
  /** Comes behind each `connection`: its socket is there now, or lost. */
  | { readonly type: "handed"; readonly id: number }
  /** What becomes of a proxied connection whose address is known now. */
  | { readonly type: "verdict"; readonly id: number; readonly refusal: string | undefined }
  /** The connection has to end. */
  | { readonly type: "end"; readonly id: number; readonly reason: string }
  /** How far the user is ahead of the rate, in milliseconds. */
  | { readonly type: "rates"; readonly user: string; readonly aheadMs: UserTraffic }
  /** The worker's part of the memory budget, in bytes. */
  | { readonly type: "budget"; readonly limit: number }
  | { readonly type: "metrics"; readonly request: number }
  | { readonly type: "archive-open"; readonly request: number; readonly user: string; readonly name: string }
  | { readonly type: "answer"; readonly request: number; readonly yes: boolean }
  /** Read the configuration and the host keys again. */
  | { readonly type: "reload" }
  | { readonly type: "ping" }
  | { readonly type: "drain"; readonly timeoutMs: number };

/** From a worker. */
export type ToSupervisor =
  | { readonly type: "ready"; readonly settings: SupervisorSettings; readonly hostKeys: readonly string[] }
  /** It cannot start; the process ends next. */
  | { readonly type: "failed"; readonly message: string; readonly isUsage: boolean }
  | { readonly type: "pong" }
  /** The socket has arrived. */
  | { readonly type: "taken"; readonly id: number }
  /** The socket has not arrived, and will not. */
  | { readonly type: "lost"; readonly id: number }
  /** The PROXY header named this address. */
  | { readonly type: "named"; readonly id: number; readonly address: string }
  /** How far the connection has come towards a login. */
  | { readonly type: "progress"; readonly id: number; readonly stage: 1 | 2 }
  | { readonly type: "logged-in"; readonly id: number; readonly user: string }
  | { readonly type: "closed"; readonly id: number }
  | { readonly type: "offence"; readonly address: string; readonly kind: OffenceKind }
  | { readonly type: "known"; readonly address: string }
  /** Share of the last moments that the event loop was busy, 0 to 1. */
  | { readonly type: "busy"; readonly share: number }
  | { readonly type: "spent"; readonly user: string; readonly rates: Partial<UserTraffic>; readonly bytes: UserTraffic }
  /** Memory held, the share it has, and whether somebody waits for more; bytes. */
  | { readonly type: "budget"; readonly used: number; readonly isShort: boolean }
  | { readonly type: "metrics"; readonly request: number; readonly families: readonly MetricFamily[] }
  | { readonly type: "archive-open"; readonly request: number; readonly user: string; readonly name: string }
  | { readonly type: "answer"; readonly request: number; readonly yes: boolean }
  /** The leader took a new configuration. */
  | { readonly type: "reloaded" };

/** What the demonstration prints about a running gateway. */
export interface RunningGateway {
  readonly addresses: readonly ListenAddress[];
  readonly adminAddress: string | undefined;
  /** Public keys of the server in OpenSSH's form. */
  readonly hostKeys: readonly string[];
}
