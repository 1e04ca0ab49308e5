import { describe, expect, it } from "vitest";
import { BUCKET } from "../support/gateway.ts";
import { gatewayOnS3 } from "../support/gateway-on-s3.ts";
import { ACTS, failingsOf, type Outcome, runCell } from "./fault-matrix.ts";

/** A client, and whoever looks at its screen, gives up after about this long. */
const PATIENCE_MS = 60_000;

describe("every store call, failing in every way", () => {
  for (const act of ACTS) {
    // A DeleteObjects does not say in its address which customer's cell it belongs to: one cell after the other, on its own server.
    const oneByOne = act.operation === "DeleteObjects";
    describe(`${act.operation}`, { concurrent: !oneByOne }, () => {
      const at = gatewayOnS3();

      failingsOf(act).forEach((failing, index) => {
        it(`${failing.what}: true success or clear error, nothing lost, service back`, { timeout: 3 * PATIENCE_MS }, async () => {
          const outcome = await runCell(at().s3, at().gateway, act, failing, `cell-${index}`);
          report(outcome);
          expect(outcome.hits).toBeGreaterThan(0);
          expect(outcome.broken).toBeUndefined();
          expect(outcome.ms).toBeLessThan(PATIENCE_MS);
        });
      });

      it.sequential("leaves no unfinished upload behind but those whose name it never heard: the sweep's", () => {
        const left = at().s3.contents.uploads(BUCKET);
        expect(left.filter(({ parts }) => parts.size > 0).map(({ key }) => key)).toEqual([]);
        if (act.operation !== "CreateMultipartUpload") expect(left).toEqual([]);
      });
    });
  }
});

/** A line for the table in docs/security.md, when asked for. */
function report({ act, failing, ms, hits, error }: Outcome): void {
  if (process.env.FAULT_TABLE === undefined) return;
  const result = error === undefined ? "success" : `error: ${String(error).replaceAll("|", " ")}`;
  process.stderr.write(`| ${act.operation} | ${failing.what} | ${hits} | ${(ms / 1000).toFixed(1)} | ${result} |\n`);
}
