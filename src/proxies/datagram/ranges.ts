/**
 * Sets of whole numbers kept as ranges: packet numbers that came, bytes that came out of order,
 * bytes to send again.
 *
 * A range is half open, [start, end). The ranges of a set are in rising order, and no two touch.
 * The sets of this layer have few ranges, so a sorted list is searched from the end, where most
 * changes are.
 */
export interface Range {
  start: number;
  end: number;
}

export class Ranges {
  readonly #list: Range[] = [];

  /** How many ranges there are. */
  get count(): number {
    return this.#list.length;
  }

  get first(): Readonly<Range> | undefined {
    return this.#list[0];
  }

  /** The range with the highest numbers. */
  get last(): Readonly<Range> | undefined {
    return this.#list.at(-1);
  }

  /** The ranges, in rising order; not to be changed, and gone with the next change. */
  get all(): readonly Readonly<Range>[] {
    return this.#list;
  }

  has(number: number): boolean {
    for (let i = this.#list.length - 1; i >= 0; i--) {
      const range = this.#at(i);
      if (number >= range.end) return false;
      if (number >= range.start) return true;
    }
    return false;
  }

  /** How many ranges there would be after `add(start, end)`. */
  countWith(start: number, end: number): number {
    const { from, to } = this.#touching(start, end);
    return this.#list.length - (to - from) + 1;
  }

  add(start: number, end: number): void {
    if (end <= start) return;
    const last = this.#list.at(-1);
    // Most numbers come in order.
    if (last !== undefined && start >= last.start && start <= last.end) {
      last.end = Math.max(last.end, end);
      return;
    }
    const { from, to } = this.#touching(start, end);
    const merged = { start, end };
    if (to > from) {
      merged.start = Math.min(start, this.#at(from).start);
      merged.end = Math.max(end, this.#at(to - 1).end);
    }
    this.#list.splice(from, to - from, merged);
  }

  remove(start: number, end: number): void {
    if (end <= start) return;
    for (let i = this.#list.length - 1; i >= 0; i--) {
      const range = this.#at(i);
      if (range.end <= start) return;
      if (range.start >= end) continue;
      const left = { start: range.start, end: Math.min(range.end, start) };
      const right = { start: Math.max(range.start, end), end: range.end };
      const rest = [left, right].filter((part) => part.end > part.start);
      this.#list.splice(i, 1, ...rest);
    }
  }

  /** Forgets the range with the lowest numbers. */
  dropFirst(): void {
    this.#list.shift();
  }

  clear(): void {
    this.#list.length = 0;
  }

  // The ranges from index `from` to before `to` overlap [start, end) or touch it.
  #touching(start: number, end: number): { from: number; to: number } {
    let to = this.#list.length;
    while (to > 0 && this.#at(to - 1).start > end) to--;
    let from = to;
    while (from > 0 && this.#at(from - 1).end >= start) from--;
    return { from, to };
  }

  #at(index: number): Range {
    const range = this.#list[index];
    if (range === undefined) throw new RangeError('no such range');
    return range;
  }
}
