/**
 * Numbers about inodes, in memory as far as groups have any: a volume that is mostly empty, or that
 * lies about its size, costs little.
 */
interface Numbers {
  readonly length: number;
  [index: number]: number;
}

export class InodeArray {
  readonly #perGroup: number;
  readonly #make: (length: number) => Numbers;
  readonly #groups: (Numbers | undefined)[] = [];

  /** `make` gives the numbers of one group, all 0. */
  constructor(perGroup: number, make: (length: number) => Numbers) {
    this.#perGroup = perGroup;
    this.#make = make;
  }

  get(number: number): number {
    const index = number - 1;
    const group = this.#groups[Math.floor(index / this.#perGroup)];
    return group?.[index % this.#perGroup] ?? 0;
  }

  set(number: number, value: number): void {
    const index = number - 1;
    const at = Math.floor(index / this.#perGroup);
    const group = (this.#groups[at] ??= this.#make(this.#perGroup));
    group[index % this.#perGroup] = value;
  }

  /** Numbers of the inodes that have something, in ascending order. */
  *present(): Generator<number> {
    for (const [at, group] of this.#groups.entries()) {
      if (group === undefined) continue;
      for (let index = 0; index < group.length; index++) {
        if (group[index] !== 0) yield at * this.#perGroup + index + 1;
      }
    }
  }
}
