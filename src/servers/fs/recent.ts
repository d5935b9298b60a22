/**
 * A bounded map that keeps what was used recently.
 *
 * Two generations instead of a linked list: a hit in the young one costs a single lookup, a hit in
 * the old one moves the entry, and when the young one is full it becomes the old one. An entry
 * survives at least `capacity` insertions after its last use, and at most twice `capacity` entries
 * are held.
 */
export class RecentMap<Value> {
  readonly #capacity: number;
  #young = new Map<number, Value>();
  #old = new Map<number, Value>();

  constructor(capacity: number) {
    this.#capacity = Math.max(1, capacity);
  }

  get(key: number): Value | undefined {
    const value = this.#young.get(key);
    if (value !== undefined) return value;
    const older = this.#old.get(key);
    if (older !== undefined) this.set(key, older);
    return older;
  }

  set(key: number, value: Value): void {
    if (this.#young.size >= this.#capacity) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }

  delete(key: number): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }
}
