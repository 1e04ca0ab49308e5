/** The built gateway on an S3 test server for the tests of one `describe`, or of one file: started before, ended after. */
import { afterAll, beforeAll } from "vitest";
import { BUCKET, type GatewayOptions, startGateway, type TestGateway } from "./gateway.ts";
import { type S3Server, startS3Server } from "./s3-server/s3-server.ts";

/** A gateway and the store behind it. */
export interface GatewayOnS3 {
  readonly gateway: TestGateway;
  readonly s3: S3Server;
}

/** Starts both before the tests of the surrounding `describe`; what is returned tells them, once the tests run. */
export function gatewayOnS3(options: Omit<GatewayOptions, "s3"> = {}): () => GatewayOnS3 {
  let started: GatewayOnS3 | undefined;
  beforeAll(async () => {
    const s3 = await startS3Server({ buckets: [BUCKET] });
    started = { s3, gateway: await startGateway({ ...options, s3 }) };
  });
  afterAll(async () => {
    await started?.gateway.dispose();
    await started?.s3.close();
  });
  return () => {
    if (!started) throw new Error("the gateway is only there while tests run");
    return started;
  };
}
