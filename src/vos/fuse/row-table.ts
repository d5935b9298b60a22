/**
 * Rows by a number of 32 bits, without an object for each: for tables that may get a million of
 * them. What is in a row is kept by who uses this, in an array for each column.
 *
 * An open hash table with linear probing, at most half full; 16 to 32 bytes for each key. A row
 * that was removed is the first to be given again, so there are never more rows than there were
 * keys at a time.
 */
const SLOTS_MIN = 64;
/** 2^32 divided by the golden ratio (Knuth, The Art of Computer Programming 3, 6.4). */
const FACTOR = 0x9e3779b1;

export class RowTable {
  /** 0 for none. */
  #keys = new Uint32Array(SLOTS_MIN);
  #rows = new Uint32Array(SLOTS_MIN);
  readonly #free: number[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  *keys(): Iterable<number> {
    for (const key of this.#keys) if (key !== 0) yield key;
  }

  /** The row of a key, or -1. */
  find(key: number): number {
    const at = this.#find(key);
    return key !== 0 && this.#keys[at] === key ? (this.#rows[at] ?? -1) : -1;
  }

  /** The row of a key that is not there yet, from 1 to 2^32 - 1. */
  add(key: number): number {
    if (this.#size * 2 >= this.#keys.length) this.#grow();
    const row = this.#free.pop() ?? this.#size;
    this.#put(key, row);
    this.#size++;
    return row;
  }

  remove(key: number): void {
    let hole = this.#find(key);
    if (key === 0 || this.#keys[hole] !== key) return;
    this.#free.push(this.#rows[hole] ?? 0);
    this.#size--;
    const mask = this.#keys.length - 1;
    // Those behind it move up, unless they would come before the slot that is theirs.
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const other = this.#keys[at] ?? 0;
      if (other === 0) break;
      if (((at - this.#slotOf(other)) & mask) < ((at - hole) & mask)) continue;
      this.#keys[hole] = other;
      this.#rows[hole] = this.#rows[at] ?? 0;
      hole = at;
    }
    this.#keys[hole] = 0;
  }

  clear(): void {
    this.#keys = new Uint32Array(SLOTS_MIN);
    this.#rows = new Uint32Array(SLOTS_MIN);
    this.#free.length = 0;
    this.#size = 0;
  }

  /** The upper bits of the product, which all bits of the key have a part in. */
  #slotOf(key: number): number {
    return Math.imul(key, FACTOR) >>> (Math.clz32(this.#keys.length) + 1);
  }

  /** The slot that has the key, or the free one where it would be. */
  #find(key: number): number {
    const mask = this.#keys.length - 1;
    let at = this.#slotOf(key);
    while (this.#keys[at] !== 0 && this.#keys[at] !== key) at = (at + 1) & mask;
    return at;
  }

  #put(key: number, row: number): void {
    const at = this.#find(key);
    this.#keys[at] = key;
    this.#rows[at] = row;
  }

  #grow(): void {
    const [keys, rows] = [this.#keys, this.#rows];
    this.#keys = new Uint32Array(keys.length * 2);
    this.#rows = new Uint32Array(keys.length * 2);
    keys.forEach((key, at) => {
      if (key !== 0) this.#put(key, rows[at] ?? 0);
    });
  }
}
