import { PassThrough } from "node:stream";
import { expect, it } from "vitest";
import { createLogger } from "../../src/log.ts";

function logged(write: (log: ReturnType<typeof createLogger>) => void): string {
  const destination = new PassThrough();
  write(createLogger({ destination, format: "json" }));
  return String(destination.read());
}

it("cuts secrets out wherever they stand", () => {
  const connection = { awsRegion: "us-east-1", secretAccessKey: "s3cr3t", sessionToken: "t0k3n", accessKeyId: "AKIA" };
  const text = logged((log) => log.info({ ...connection, storage: { connection }, connection }, "opened"));
  expect(text).not.toMatch(/s3cr3t|t0k3n|AKIA/);
  expect(text).toContain("us-east-1");
});

it("writes errors with their cause", () => {
  const text = logged((log) => log.error({ err: new Error("outer", { cause: new Error("inner") }) }, "failed"));
  expect(JSON.parse(text)).toMatchObject({
    level: 50,
    msg: "failed",
    err: { message: expect.stringContaining("outer"), cause: { message: "inner" } },
  });
});

it("is readable where that is asked for", () => {
  const destination = new PassThrough();
  createLogger({ destination, format: "pretty" }).info({ address: "127.0.0.1:1" }, "listening");
  expect(String(destination.read())).toMatch(/INFO.*: listening/);
});
