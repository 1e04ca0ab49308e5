/**
 * SDK clients and their credentials, shared by all stores of the process that reach the same place as the same identity:
 * a thousand users of one region cost one client. Knows nothing of buckets and keys.
 */
import { S3Client } from "@aws-sdk/client-s3";
import type { S3ClientConfig } from "@aws-sdk/client-s3";
import { Readable } from "node:stream";
import { text as readText } from "node:stream/consumers";
import { StoreError } from "../../errors.ts";
import { DirectRequests } from "./direct-requests.ts";
import { AssumeRoleError, classifyFault } from "./s3-errors.ts";
import { ANSWER, CALL, S3Transport } from "./s3-http.ts";
import type { S3Call, WireRequest, WireResponse } from "./s3-http.ts";
import { DEFAULT_REGION } from "./s3-options.ts";
import type { S3ConnectionOptions, StoreLog } from "./s3-options.ts";

type Credentials = NonNullable<S3ClientConfig["credentials"]>;

/**
 * Middlewares of @aws-sdk/client-s3 3.1169 that do nothing for this client and cost a tenth of a small request's CPU:
 * redirects are followed by our own retry loop, S3 Express and `Expect` are not used.
 */
const NEEDLESS_MIDDLEWARES = [
  "loggerMiddleware",
  "regionRedirectMiddleware",
  "regionRedirectEndpointMiddleware",
  "addExpectContinueMiddleware",
  "s3ExpressMiddleware",
  "getUserAgentMiddleware",
  "recursionDetectionMiddleware",
];

/** A place and an identity. `release` it exactly once. */
export interface S3Connection {
  readonly options: S3ConnectionOptions;
  readonly client: S3Client;
  /** The same place and identity without the SDK's middlewares. */
  readonly direct: DirectRequests;
  /** Whether Ceph RGW has answered there. */
  readonly isCeph: boolean;
  /** Fetches credentials again, past every cache. Rejects as the provider does. */
  refreshCredentials(): Promise<void>;
  release(): void;
}

interface Shared<T> {
  readonly value: T;
  users: number;
}

const connections = new Map<string, Shared<Pick<S3Connection, "client" | "direct">>>();
const transports = new Map<string, Shared<S3Transport>>();
let isHalted = false;

/** The connection for `options`: an existing one if some store in the process has the same. Makes no request. */
export function acquireConnection(options: S3ConnectionOptions, log: StoreLog): S3Connection {
  const identity = connectionKey(options);
  const { client, direct } = share(connections, identity, () => createClient(options, log));
  let released = false;
  return {
    options,
    client,
    direct,
    get isCeph() {
      return transports.get(transportKey(options))?.value.isCeph ?? false;
    },
    refreshCredentials: async () => {
      await client.config.credentials({ forceRefresh: true });
    },
    release: () => {
      if (released) return;
      released = true;
      unshare(connections, identity, (last) => {
        last.client.destroy();
        unshare(transports, transportKey(options), (transport) => transport.destroy());
      });
    },
  };
}

/**
 * Drops all requests of the process and makes further ones fail, as if the process had ended: for one that has lost its
 * supervisor, whose successor may be writing to the same keys. There is no way back.
 */
export function haltRequests(): void {
  isHalted = true;
  for (const { value } of transports.values()) value.destroy();
}

function share<T>(pool: Map<string, Shared<T>>, key: string, create: () => T): T {
  let shared = pool.get(key);
  if (!shared) {
    shared = { value: create(), users: 0 };
    pool.set(key, shared);
  }
  shared.users++;
  return shared.value;
}

function unshare<T>(pool: Map<string, Shared<T>>, key: string, onLast: (value: T) => void): void {
  const shared = pool.get(key);
  if (!shared || --shared.users > 0) return;
  pool.delete(key);
  onLast(shared.value);
}

function connectionKey(options: S3ConnectionOptions): string {
  const { awsRegion, endpoint, pathStyle, profile, accessKeyId, secretAccessKey, sessionToken } = options;
  const { roleArn, externalId, sessionPolicy, stsEndpoint } = options;
  const identity = [profile, accessKeyId, secretAccessKey, sessionToken, roleArn, externalId, sessionPolicy, stsEndpoint];
  return JSON.stringify([awsRegion, endpoint, pathStyle === true, identity, transportKey(options)]);
}

function transportKey({ endpoint, awsRegion, maxSockets, timeouts }: S3ConnectionOptions): string {
  return JSON.stringify([endpoint ?? awsRegion, maxSockets, timeouts?.connectMs, timeouts?.idleMs, timeouts?.slowIdleMs]);
}

function send(transport: S3Transport, request: WireRequest): Promise<{ response: WireResponse }> {
  if (isHalted) return Promise.reject(new StoreError("aborted", "the process is ending"));
  return transport.handle(request);
}

function createClient(options: S3ConnectionOptions, log: StoreLog): Pick<S3Connection, "client" | "direct"> {
  const { timeouts = {}, maxSockets = 128 } = options;
  const transport = share(
    transports,
    transportKey(options),
    () =>
      new S3Transport({
        maxWriteSockets: maxSockets,
        connectMs: timeouts.connectMs ?? 3_000,
        idleMs: timeouts.idleMs ?? 15_000,
        slowIdleMs: timeouts.slowIdleMs ?? 25_000,
      }),
  );
  const client = new S3Client({
    region: options.awsRegion ?? DEFAULT_REGION,
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    forcePathStyle: options.pathStyle ?? false,
    credentials: credentialsFor(options),
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    expectContinueHeader: false,
    cacheMiddleware: true,
    maxAttempts: 1,
    // Closed through `release`: other clients may use it, too.
    requestHandler: { handle: (request: WireRequest) => send(transport, request), metadata: transport.metadata },
    logger: quietLogger(log),
  });
  trimMiddlewares(client, transport);
  quicken(client);
  return { client, direct: new DirectRequests(client, { handle: (request) => send(transport, request) }) };
}

type Signer = S3Client["config"]["signer"];

/** Reads after which V8 has noticed that an object is inherited from. */
const HEIR_READS = 100;

/**
 * The SDK (3.1169) copies its configuration four times a request, once of it for a new signer. The object was put together
 * piece by piece, so that V8 keeps and copies it as a dictionary: an eighth of the CPU of a small request. An object
 * that others inherit from it keeps in a form that is copied ten times faster; and one signer serves a region.
 */
function quicken(client: S3Client): void {
  client.config.signer = remembered(client.config.signer);
  const heir = Object.create(client.config) as S3Client["config"];
  let reads = 0;
  while (reads < HEIR_READS && heir.region !== undefined) reads++;
}

function remembered(signer: Signer): Signer {
  const signers = new Map<string, ReturnType<Signer>>();
  return (scheme) => {
    const name = JSON.stringify([scheme?.name, scheme?.signingName, scheme?.signingRegion]);
    const known = signers.get(name);
    if (known) return known;
    const made = signer(scheme);
    signers.set(name, made);
    made.catch(() => signers.delete(name));
    return made;
  };
}

/** Removes what is not needed, replaces the SDK's retries by nothing, and carries our `S3Call` through to the transport. */
function trimMiddlewares(client: S3Client, transport: S3Transport): void {
  for (const name of NEEDLESS_MIDDLEWARES) client.middlewareStack.remove(name);
  client.middlewareStack.add((next) => next, { name: "retryMiddleware", step: "finalizeRequest", priority: "high", override: true });
  client.middlewareStack.add(
    (next) => (args) => {
      const call = callOf(args.input);
      if (call?.headers !== undefined && isRequest(args.request)) Object.assign(args.request.headers, call.headers);
      return next(args);
    },
    { name: "callHeadersMiddleware", step: "build" },
  );
  // After signing, which copies the request.
  client.middlewareStack.add(
    (next) => async (args) => {
      const call = callOf(args.input);
      if (call === undefined || !isRequest(args.request)) return next(args);
      const answer = typeof call.answer === "function" ? call.answer(args.request) : call.answer;
      Object.assign(args.request, { [CALL]: call, [ANSWER]: answer });
      if (answer !== undefined) return next(args);
      if (call.parse === undefined) return next(args);
      const { response } = await transport.handle(args.request);
      const { output, unread } = await parseAnswer(response, call.parse);
      if (output) return { response, output: Object.assign(output, { $metadata: { httpStatusCode: response.statusCode } }) };
      Object.assign(args.request, { [ANSWER]: unread });
      return next(args);
    },
    { name: "callMiddleware", step: "finalizeRequest", priority: "low" },
  );
}

/** What `parse` makes of a successful answer; otherwise the answer as it can be read once more. */
async function parseAnswer(
  response: WireResponse,
  parse: (text: string) => object | undefined,
): Promise<{ output: object; unread?: never } | { output?: never; unread: WireResponse }> {
  if (response.statusCode !== 200) return { unread: response };
  const text = await readText(response.body);
  const output = parse(text);
  return output ? { output } : { unread: { ...response, body: Readable.from([Buffer.from(text)]) } };
}

function callOf(input: object): S3Call | undefined {
  return (input as { readonly [CALL]?: S3Call })[CALL];
}

function isRequest(request: unknown): request is WireRequest & { headers: Record<string, string> } {
  return typeof request === "object" && request !== null && "headers" in request;
}

/** One provider per source, so that a thousand roles ask the machine's metadata service once. */
const baseProviders = new Map<string, Promise<Credentials>>();

function credentialsFor(options: S3ConnectionOptions): Credentials {
  const { accessKeyId, secretAccessKey, sessionToken, roleArn } = options;
  if (roleArn !== undefined) return lazily(() => assumedRole(options, roleArn));
  if (accessKeyId !== undefined && secretAccessKey !== undefined) {
    return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  }
  return lazily(() => baseProvider(options.profile));
}

async function assumedRole(options: S3ConnectionOptions, roleArn: string): Promise<Credentials> {
  const { fromTemporaryCredentials } = await import("@aws-sdk/credential-providers");
  const { externalId, sessionPolicy, stsEndpoint, awsRegion, ...base } = options;
  const { roleArn: _, ...source } = base;
  const provider = fromTemporaryCredentials({
    masterCredentials: credentialsFor({ awsRegion, ...source }),
    params: {
      RoleArn: roleArn,
      RoleSessionName: "sftp-s3-gateway",
      DurationSeconds: 3600,
      ...(externalId === undefined ? {} : { ExternalId: externalId }),
      ...(sessionPolicy === undefined ? {} : { Policy: sessionPolicy }),
    },
    clientConfig: { region: awsRegion ?? DEFAULT_REGION, ...(stsEndpoint === undefined ? {} : { endpoint: stsEndpoint }) },
  });
  return async (identityProperties) => {
    try {
      return await provider(identityProperties);
    } catch (error) {
      if (classifyFault(error).retry !== "no") throw error;
      throw new AssumeRoleError(`assuming ${roleArn}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  };
}

function baseProvider(profile: string | undefined): Promise<Credentials> {
  const key = profile ?? "";
  let provider = baseProviders.get(key);
  if (!provider) {
    provider = import("@aws-sdk/credential-providers").then(({ fromNodeProviderChain }) =>
      fromNodeProviderChain(profile === undefined ? {} : { profile }),
    );
    baseProviders.set(key, provider);
  }
  return provider;
}

/** A provider whose module is loaded when credentials are first asked for. */
function lazily(load: () => Promise<Credentials>): Credentials {
  let provider: Promise<Credentials> | undefined;
  return async (identityProperties) => {
    provider ??= load();
    const credentials = await provider;
    return typeof credentials === "function" ? credentials(identityProperties) : credentials;
  };
}

/** The SDK warns about things that are decided here on purpose: its lines go to debug. Secrets are filtered by the SDK. */
function quietLogger(log: StoreLog): NonNullable<S3ClientConfig["logger"]> {
  const debug = (...content: unknown[]): void => log.debug({ sdk: content.map(String).join(" ") }, "aws sdk");
  return { trace: () => undefined, debug: () => undefined, info: () => undefined, warn: debug, error: debug };
}
