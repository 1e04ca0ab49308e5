/** Things that will happen, given back in the order of their times (a binary heap); at the same time, in any order. */

interface Event<T> {
  readonly atMs: number;
  readonly what: T;
}

/** A queue of events in model time. */
export class EventQueue<T> {
  readonly #heap: Event<T>[] = [];

  add(atMs: number, what: T): void {
    const heap = this.#heap;
    let index = heap.push({ atMs, what }) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (this.#at(parent) <= this.#at(index)) return;
      this.#swap(index, parent);
      index = parent;
    }
  }

  /** Takes the earliest; undefined if there is none. */
  next(): Event<T> | undefined {
    const [first] = this.#heap;
    const last = this.#heap.pop();
    if (first === undefined || last === undefined || this.#heap.length === 0) return first;
    this.#heap[0] = last;
    for (let index = 0; ; ) {
      const [left, right] = [2 * index + 1, 2 * index + 2];
      const smaller = this.#at(right) < this.#at(left) ? right : left;
      if (this.#at(smaller) >= this.#at(index)) return first;
      this.#swap(index, smaller);
      index = smaller;
    }
  }

  #at(index: number): number {
    return this.#heap[index]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  #swap(a: number, b: number): void {
    const [first, second] = [this.#heap[a], this.#heap[b]];
    if (!first || !second) return;
    this.#heap[a] = second;
    this.#heap[b] = first;
  }
}
