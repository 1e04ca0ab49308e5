/** The child process of `start-proxy.ts`: runs one proxy, steered by messages, so that it does not share the bench's thread. */
import { CountingProxy } from "./counting-proxy.ts";
import { startDelayProxy } from "./delay-proxy.ts";
import type { FromProxy, ToProxy } from "./start-proxy.ts";

function answer(message: FromProxy): void {
  process.send?.(message);
}

const [kind, port = "0", rtt = "0"] = process.argv.slice(2);
process.on("disconnect", () => process.exit(0));
if (kind === "delay") answer({ kind: "listening", port: await startDelayProxy(Number(port), Number(rtt)) });
else {
  const proxy = new CountingProxy(Number(port));
  process.on("message", (message: ToProxy) => {
    if (message.kind === "latency") proxy.latencyMs = message.ms;
    if (message.kind === "reset") proxy.reset();
    answer({ kind: "counts", counts: proxy.counts() });
  });
  answer({ kind: "listening", port: await proxy.listen() });
}
