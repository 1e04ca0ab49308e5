/**
 * Where a peer's files end up, seen from behind: a folder, or a bucket's prefix asked without the counting proxy. Used to
 * lay files that somebody else put there and to check what arrived. Names are relative to the user's writable folder.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, linkSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  CopyObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";

/** Direct access to stored files. */
export interface Storage {
  /** Lays a file as another program would. */
  put(name: string, bytes: Uint8Array): Promise<void>;
  /** Lays the same content under many names, given with the name of the content's first copy. */
  multiply(copies: ReadonlyMap<string, string>): Promise<void>;
  /** Size of a file; undefined if there is none. */
  size(name: string): Promise<number | undefined>;
  /** Size by name of all files below a folder, names relative to it. */
  sizes(folder: string): Promise<ReadonlyMap<string, number>>;
  /** SHA-256 in hex. */
  sha256(name: string): Promise<string>;
  /** Removes a folder or file. */
  remove(name: string): Promise<void>;
}

/** Runs `work` for all items, at most 32 at once unless it is told otherwise. */
export async function forAll<T>(items: Iterable<T>, work: (item: T) => Promise<void>, atOnce = 32): Promise<void> {
  const iterator = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (let next = iterator.next(); !next.done; next = iterator.next()) await work(next.value);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** Files of a folder on this machine. */
export class FolderStorage implements Storage {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
    mkdirSync(root, { recursive: true });
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    const path = join(this.#root, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
  }

  async multiply(copies: ReadonlyMap<string, string>): Promise<void> {
    for (const [name, original] of copies) linkSync(join(this.#root, original), join(this.#root, name));
  }

  async size(name: string): Promise<number | undefined> {
    return statSync(join(this.#root, name), { throwIfNoEntry: false })?.size;
  }

  async sizes(folder: string): Promise<ReadonlyMap<string, number>> {
    const root = join(this.#root, folder);
    if (!existsSync(root)) return new Map();
    const files = readdirSync(root, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
    return new Map(
      files.map((entry) => join(entry.parentPath, entry.name)).map((path) => [path.slice(root.length + 1), statSync(path).size]),
    );
  }

  async sha256(name: string): Promise<string> {
    return digestOf(createReadStream(join(this.#root, name), { highWaterMark: 1024 * 1024 }));
  }

  async remove(name: string): Promise<void> {
    rmSync(join(this.#root, name), { recursive: true, force: true });
  }
}

/** How to reach a bucket. */
export interface BucketPlace {
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  readonly bucket: string;
  readonly prefix: string;
  /** Where the S3 server keeps the bucket's objects as files of their names, if it does. */
  readonly folder?: string | undefined;
}

/** Objects below a prefix. */
export class BucketStorage implements Storage {
  readonly #place: BucketPlace;
  readonly #client: S3Client;

  constructor(place: BucketPlace) {
    this.#place = place;
    const { endpoint, region } = place;
    const credentials = { ...place.credentials }; // the SDK adds properties to it
    this.#client = new S3Client({ endpoint, region, credentials, forcePathStyle: true, requestChecksumCalculation: "WHEN_REQUIRED" });
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    await this.#client.send(new PutObjectCommand({ ...this.#object(name), Body: bytes, ContentType: "application/octet-stream" }));
  }

  async multiply(copies: ReadonlyMap<string, string>): Promise<void> {
    const { bucket, prefix, folder } = this.#place;
    if (folder !== undefined) {
      // Hard links share the attributes in which the server keeps an object's ETag and type.
      for (const [name, original] of copies) linkSync(join(folder, prefix, original), join(folder, prefix, name));
      return;
    }
    await forAll(copies, async ([name, original]) => {
      await this.#client.send(new CopyObjectCommand({ ...this.#object(name), CopySource: encodeURI(`${bucket}/${prefix}${original}`) }));
    });
  }

  async size(name: string): Promise<number | undefined> {
    const page = await this.#client.send(
      new ListObjectsV2Command({ Bucket: this.#place.bucket, Prefix: this.#place.prefix + name, MaxKeys: 1 }),
    );
    const [first] = page.Contents ?? [];
    return first?.Key === this.#place.prefix + name ? (first.Size ?? 0) : undefined;
  }

  async sizes(folder: string): Promise<ReadonlyMap<string, number>> {
    const prefix = `${this.#place.prefix}${folder}/`;
    const found = new Map<string, number>();
    let after: string | undefined;
    do {
      const page = await this.#client.send(
        new ListObjectsV2Command({ Bucket: this.#place.bucket, Prefix: prefix, ...(after && { ContinuationToken: after }) }),
      );
      for (const { Key, Size } of page.Contents ?? []) {
        if (Key !== undefined && !Key.endsWith("/")) found.set(Key.slice(prefix.length), Size ?? 0);
      }
      after = page.NextContinuationToken;
    } while (after !== undefined);
    return found;
  }

  async sha256(name: string): Promise<string> {
    const { Body } = await this.#client.send(new GetObjectCommand(this.#object(name)));
    if (!Body) throw new Error(`${name} has no body`);
    return digestOf(Body as AsyncIterable<Uint8Array>);
  }

  async remove(name: string): Promise<void> {
    const { bucket, prefix, folder } = this.#place;
    if (folder !== undefined) {
      rmSync(join(folder, prefix, name), { recursive: true, force: true });
      return;
    }
    const names = [name, `${name}/`, ...[...(await this.sizes(name)).keys()].map((child) => `${name}/${child}`)];
    for (let at = 0; at < names.length; at += 1000) {
      const Objects = names.slice(at, at + 1000).map((each) => ({ Key: prefix + each }));
      await this.#client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } }));
    }
  }

  #object(name: string): { Bucket: string; Key: string } {
    return { Bucket: this.#place.bucket, Key: this.#place.prefix + name };
  }
}

async function digestOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of body) hash.update(chunk);
  return hash.digest("hex");
}
