/**
 * A customer's prefix on a real S3 server as a `TestStore`. Tests ask it without waiting, so a thread does the requests
 * and this one stands still until they are answered.
 */
import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import type { ForeignStoreAnswer, ForeignStoreOptions, ForeignStoreRequest } from "./foreign-store-worker.ts";
import type { ForeignS3 } from "./rgw.ts";
import type { TestStore } from "./test-store.ts";

const PATIENCE_MS = 60_000;

/** The bucket with nothing in it, and the way to end the thread. */
export interface ForeignTestStore {
  readonly store: TestStore;
  close(): Promise<void>;
}

/** Makes the bucket. `prefix`: the customer's, with a slash at its end. */
export async function foreignTestStore(server: ForeignS3, bucket: string, prefix: string): Promise<ForeignTestStore> {
  const { endpoint, region, credentials } = server;
  // The SDK writes into the credentials it gets.
  const client = { endpoint, region, credentials: { ...credentials }, forcePathStyle: true };
  const s3 = new S3Client({ ...client, credentials: { ...credentials } });
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  s3.destroy();
  const { port1, port2 } = new MessageChannel();
  const answered = new SharedArrayBuffer(4);
  const options: ForeignStoreOptions = { client, bucket, port: port2, answered };
  // Node 20's threads do not read TypeScript by themselves.
  const program = new URL("./foreign-store-worker.ts", import.meta.url).href;
  const start = `import("tsx/esm/api").then(({ tsImport }) => tsImport(${JSON.stringify(program)}, ${JSON.stringify(program)}))`;
  const worker = new Worker(start, { eval: true, workerData: options, transferList: [port2] });
  const ask = (request: ForeignStoreRequest): string[] | string | number | undefined => {
    const signal = new Int32Array(answered);
    Atomics.store(signal, 0, 0);
    port1.postMessage(request);
    if (Atomics.wait(signal, 0, 0, PATIENCE_MS) === "timed-out") throw new Error(`${endpoint} does not answer: ${request.ask}`);
    const answer = receiveMessageOnPort(port1)?.message as ForeignStoreAnswer;
    if ("error" in answer) throw new Error(`${request.ask}: ${answer.error}`);
    return answer.result;
  };
  const store: TestStore = {
    kind: "s3",
    names: () => {
      const keys = ask({ ask: "keys", prefix });
      return Array.isArray(keys) ? keys.filter((key) => !key.endsWith("/")).map((key) => key.slice(prefix.length)) : [];
    },
    sha256: (name) => {
      const found = ask({ ask: "sha256", key: prefix + name });
      return typeof found === "string" ? found : undefined;
    },
    size: (name) => {
      const found = ask({ ask: "size", key: prefix + name });
      return typeof found === "number" ? found : undefined;
    },
    put: (name, bytes) => void ask({ ask: "put", key: prefix + name, bytes }),
    delete: (name) => void ask({ ask: "delete", key: prefix + name }),
  };
  const close = async (): Promise<void> => {
    port1.close();
    await worker.terminate();
  };
  return { store, close };
}
