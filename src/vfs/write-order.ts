/**
 * The order of changes to one key. A store takes the write that reaches it last, and requests are sent again for as long
 * as a store fails: without an order the CLOSE, removal or renaming of a client that has gone could undo what its next
 * connection was told is done. Changes of one key follow each other in the order they were asked for, in all
 * processes of the node. Knows neither stores nor what the changes are.
 */
import { FsError } from "../errors.ts";
import type { Clock } from "./uploads/clock.ts";

/** A store's requests give up after less than this; whoever waited so long is told to try again. */
const MAX_WAIT_MS = 50_000;
/** Other processes are told of changes that take longer; what is faster is over before a client can log in there. */
const TELL_AFTER_MS = 50;

/** Changes under way in other processes of this node. */
export interface WritesElsewhere {
  /** Resolves once no other process is changing one of `keys`; undefined: none is. Must not reject. */
  ended(keys: readonly string[]): Promise<void> | undefined;
  /** Tells the others that these are being changed, until the function that it returns is called. Must not throw. */
  tell(keys: readonly string[]): () => void;
}

/** One change's place in the order. Whoever has one owes `leave`. */
export interface Turn {
  /**
   * Resolves when it is this change's turn; undefined: now. Rejects `unavailable` if that takes too long: the change must
   * not be made then.
   */
  readonly granted: Promise<void> | undefined;
  /** The change is done, or will not be made. Idempotent. */
  leave(): void;
}

/** Which keys below a prefix have been changed since it was made. */
export interface WriteWatch extends Disposable {
  readonly changed: ReadonlySet<string>;
}

/** What the order of a volume is made with. */
export interface WriteOrderOptions {
  readonly clock: Clock;
  /** Absent: there are no other processes. */
  readonly elsewhere?: WritesElsewhere | undefined;
}

/** See the head of this file. */
export class WriteOrder {
  readonly #clock: Clock;
  readonly #elsewhere: WritesElsewhere | undefined;
  /** The latest place of each key. */
  readonly #latest = new Map<string, Place>();
  readonly #watches = new Set<{ readonly prefix: string; readonly changed: Set<string> }>();

  constructor({ clock, elsewhere }: WriteOrderOptions) {
    this.#clock = clock;
    this.#elsewhere = elsewhere;
  }

  /**
   * Takes a place behind all changes of `keys` that were asked for before. `path` is for the text of an error. Whoever has
   * it must not wait for a change that may have a later place.
   */
  enter(keys: readonly string[], path: string): Turn {
    const before = new Set<Place>();
    const place = new Place();
    for (const key of keys) {
      const last = this.#latest.get(key);
      if (last && last !== place) before.add(last);
      this.#latest.set(key, place);
    }
    place.over = () => {
      for (const key of keys) if (this.#latest.get(key) === place) this.#latest.delete(key);
    };
    place.follow(before);
    const granted = this.#granted(before, keys, path);
    // Whoever still waits tells nobody: two that wait for each other would wait for ever.
    if (granted) granted.then(() => this.#tellSlowly(keys, place)).catch(ignore);
    else this.#tellSlowly(keys, place);
    return { granted, leave: () => place.leave() };
  }

  /** Makes a change in its turn. Rejects as `change` does, or `unavailable`. */
  async run<Result>(keys: readonly string[], path: string, change: () => Promise<Result>): Promise<Result> {
    const turn = this.enter(keys, path);
    try {
      if (turn.granted) await turn.granted;
      return await change();
    } finally {
      turn.leave();
    }
  }

  /** Remembers which keys with `prefix` are changed from now on. */
  watch(prefix: string): WriteWatch {
    const watch = { prefix, changed: new Set<string>() };
    this.#watches.add(watch);
    return { changed: watch.changed, [Symbol.dispose]: () => void this.#watches.delete(watch) };
  }

  /** `key` has been changed, by whichever process. */
  noticed(key: string): void {
    for (const { prefix, changed } of this.#watches) if (key.startsWith(prefix)) changed.add(key);
  }

  #granted(before: ReadonlySet<Place>, keys: readonly string[], path: string): Promise<void> | undefined {
    if (before.size === 0) return this.#limited(this.#elsewhere?.ended(keys), path);
    const turn = Promise.all([...before].map((place) => place.ended)).then(() => this.#elsewhere?.ended(keys));
    return this.#limited(turn, path);
  }

  #limited(turn: Promise<void> | undefined, path: string): Promise<void> | undefined {
    if (!turn) return undefined;
    const limited = new Promise<void>((resolve, reject) => {
      const cancel = this.#clock.after(MAX_WAIT_MS, () => {
        reject(new FsError("unavailable", `${path}: an earlier change of this file has not ended yet; try again later`));
      });
      const done = (): void => {
        cancel();
        resolve();
      };
      turn.then(done, done);
    });
    return limited;
  }

  #tellSlowly(keys: readonly string[], place: Place): void {
    const elsewhere = this.#elsewhere;
    if (!elsewhere || place.hasLeft) return;
    place.onLeave = this.#clock.after(TELL_AFTER_MS, () => {
      place.onLeave = elsewhere.tell(keys);
    });
  }
}

/** Whoever has the turn hears of it by `granted`. */
function ignore(): void {}

/** A place in the order: over when it was left and all before it are over. */
class Place {
  over: () => void = () => undefined;
  onLeave: (() => void) | undefined;
  #before: Promise<unknown> | undefined;
  #hasLeft = false;
  #isOver = false;
  #ended: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;

  get hasLeft(): boolean {
    return this.#hasLeft;
  }

  /** Resolves once it is over. */
  get ended(): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    if (!this.#ended) {
      let resolve: () => void = () => undefined;
      const promise = new Promise<void>((done) => {
        resolve = done;
      });
      this.#ended = { promise, resolve };
    }
    return this.#ended.promise;
  }

  follow(before: ReadonlySet<Place>): void {
    if (before.size === 0) return;
    const ended = Promise.all([...before].map((place) => place.ended)).then(() => {
      if (this.#before === ended) this.#before = undefined;
      if (this.#hasLeft) this.#end();
    });
    this.#before = ended;
  }

  leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.onLeave?.();
    if (!this.#before) this.#end();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.over();
    this.#ended?.resolve();
  }
}
