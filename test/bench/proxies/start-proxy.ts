/** Starts proxies as processes of their own and steers them by messages. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { RequestCounts } from "./counting-proxy.ts";

/** What the bench tells a counting proxy; it answers each with its counts. */
export type ToProxy = { readonly kind: "latency"; readonly ms: number } | { readonly kind: "reset" } | { readonly kind: "counts" };

/** What a proxy tells the bench. */
export type FromProxy = { readonly kind: "listening"; readonly port: number } | { readonly kind: "counts"; readonly counts: RequestCounts };

const PROGRAM = fileURLToPath(new URL("proxy-process.ts", import.meta.url));

/** A proxy that listens on `port` of 127.0.0.1 until `stop`. */
export class ProxyProcess {
  readonly port: number;
  readonly #child: ChildProcess;

  private constructor(port: number, child: ChildProcess) {
    this.port = port;
    this.#child = child;
  }

  /** A proxy in front of an S3 server that counts and delays requests. */
  static counting(upstreamPort: number): Promise<ProxyProcess> {
    return ProxyProcess.#start(["counting", String(upstreamPort)]);
  }

  /** A proxy that makes the way to a server long. */
  static delaying(upstreamPort: number, rttMs: number): Promise<ProxyProcess> {
    return ProxyProcess.#start(["delay", String(upstreamPort), String(rttMs)]);
  }

  static async #start(args: readonly string[]): Promise<ProxyProcess> {
    const child = fork(PROGRAM, args, { execArgv: ["--import", "tsx"], stdio: ["ignore", "ignore", "inherit", "ipc"] });
    const [message] = (await once(child, "message")) as [FromProxy];
    if (message.kind !== "listening") throw new Error("the proxy does not listen");
    return new ProxyProcess(message.port, child);
  }

  /** Adds a latency to every request from now on. */
  async setLatency(ms: number): Promise<void> {
    await this.#ask({ kind: "latency", ms });
  }

  async reset(): Promise<void> {
    await this.#ask({ kind: "reset" });
  }

  counts(): Promise<RequestCounts> {
    return this.#ask({ kind: "counts" });
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }

  async #ask(message: ToProxy): Promise<RequestCounts> {
    const answered = once(this.#child, "message") as Promise<[FromProxy]>;
    this.#child.send(message);
    const [reply] = await answered;
    if (reply.kind !== "counts") throw new Error("the proxy answered something else");
    return reply.counts;
  }
}
