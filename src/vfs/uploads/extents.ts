/** Which ranges of a file have been written: sorted, merged, without overlaps. Knows nothing of bytes. */

/** From `start` up to, not including, `end`. */
export interface Extent {
  readonly start: number;
  readonly end: number;
}

/** A set of ranges. */
export class Extents {
  #list: Extent[] = [];

  /** How many separate ranges there are. */
  get count(): number {
    return this.#list.length;
  }

  /** Adds a range, merging it with what it touches. */
  add(start: number, end: number): void {
    if (end <= start) return;
    const first = this.#firstEndingFrom(start);
    let last = first;
    let mergedStart = start;
    let mergedEnd = end;
    for (let extent = this.#list[last]; extent && extent.start <= end; extent = this.#list[last]) {
      mergedStart = Math.min(mergedStart, extent.start);
      mergedEnd = Math.max(mergedEnd, extent.end);
      last += 1;
    }
    this.#list.splice(first, last - first, { start: mergedStart, end: mergedEnd });
  }

  /** Removes everything from `start` on. */
  cut(start: number): void {
    const first = this.#firstEndingFrom(start);
    const kept = this.#list.slice(0, first);
    const split = this.#list[first];
    if (split && split.start < start) kept.push({ start: split.start, end: start });
    this.#list = kept;
  }

  /** The range from `start` to `end` in pieces that are wholly written or wholly not, in order. */
  *within(start: number, end: number): Generator<Extent & { readonly written: boolean }> {
    let at = start;
    for (let index = this.#firstEndingFrom(start + 1); at < end; index += 1) {
      const extent = this.#list[index];
      if (!extent || extent.start >= end) break;
      if (extent.start > at) yield { start: at, end: extent.start, written: false };
      const from = Math.max(at, extent.start);
      at = Math.min(end, extent.end);
      yield { start: from, end: at, written: true };
    }
    if (at < end) yield { start: at, end, written: false };
  }

  /** Index of the first extent that ends at or after `offset`. */
  #firstEndingFrom(offset: number): number {
    let low = 0;
    let high = this.#list.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#list[middle]?.end ?? 0) < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
