/**
 * The S3 test server as a process of its own, for benchmarks: `tsx cli.ts --port 0 --bucket b --bucket c [--fast]`.
 * Prints one JSON line `{endpoint, accessKeyId, secretAccessKey, region}` when it listens; ends with SIGTERM or SIGINT.
 * `--fast` leaves MD5 out; `--latency MS` delays each request.
 */
import { parseArgs } from "node:util";
import { startS3Server } from "./s3-server.ts";

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    bucket: { type: "string", multiple: true, default: ["bench"] },
    latency: { type: "string", default: "0" },
    fast: { type: "boolean", default: false },
  },
});
const server = await startS3Server({ port: Number(values.port), buckets: values.bucket, md5: !values.fast });
server.latencyMs = Number(values.latency);
const { endpoint, region } = server;
process.stdout.write(`${JSON.stringify({ endpoint, ...server.credentials, region })}\n`);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    server.close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  });
}
