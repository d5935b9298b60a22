/**
 * The names of a large directory, as hashes of 32 bits: 8 to 16 bytes for each name. A name that is
 * not in the set was never added, or was removed as often; of one that is, nothing is known.
 *
 * An open hash table with linear probing. What was added twice is there twice.
 */
const SLOTS_MIN = 64;
const SEED = 0x811c9dc5;
const PRIME = 0x01000193;

export class NameSet {
  /** A hash, or 0 for none. */
  #slots = new Uint32Array(SLOTS_MIN);
  #size = 0;

  /** Names that were added, those that were removed taken away. */
  get size(): number {
    return this.#size;
  }

  add(name: Uint8Array): void {
    if (this.#size * 2 >= this.#slots.length) this.#grow();
    this.#put(hashOf(name));
    this.#size++;
  }

  /** Once less; the name was added. */
  remove(name: Uint8Array): void {
    let hole = this.#find(hashOf(name));
    if (this.#slots[hole] === 0) return;
    this.#size--;
    const mask = this.#slots.length - 1;
    // Those behind it move up, unless they would come before the slot that is theirs.
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const hash = this.#slots[at] ?? 0;
      if (hash === 0) break;
      if (((at - hash) & mask) < ((at - hole) & mask)) continue;
      this.#slots[hole] = hash;
      hole = at;
    }
    this.#slots[hole] = 0;
  }

  mayHave(name: Uint8Array): boolean {
    return this.#slots[this.#find(hashOf(name))] !== 0;
  }

  /** The slot that has the hash, or the free one where it would be. */
  #find(hash: number): number {
    const mask = this.#slots.length - 1;
    let at = hash & mask;
    while (this.#slots[at] !== 0 && this.#slots[at] !== hash) at = (at + 1) & mask;
    return at;
  }

  #put(hash: number): void {
    const mask = this.#slots.length - 1;
    let at = hash & mask;
    while (this.#slots[at] !== 0) at = (at + 1) & mask;
    this.#slots[at] = hash;
  }

  #grow(): void {
    const before = this.#slots;
    this.#slots = new Uint32Array(before.length * 2);
    for (const hash of before) if (hash !== 0) this.#put(hash);
  }
}

/** FNV-1a (RFC 9923), with its bits spread once more; never 0. */
function hashOf(name: Uint8Array): number {
  let hash = SEED;
  for (const byte of name) hash = Math.imul(hash ^ byte, PRIME);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0 || 1;
}
