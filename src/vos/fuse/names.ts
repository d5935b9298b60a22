/**
 * Names that the kernel was told under a lease, and may believe.
 *
 * The kernel can be made to look all names up anew at once, and then none is left here. So names
 * are only added; with too many of them the same is done.
 */
const NAMES_MAX = 200_000;

export class NameTable {
  readonly #directories = new Map<number, Set<string>>();
  #size = 0;

  /** It is time to begin anew. */
  get isFull(): boolean {
    return this.#size >= NAMES_MAX;
  }

  add(directory: number, name: Uint8Array): void {
    let names = this.#directories.get(directory);
    if (names === undefined) {
      names = new Set();
      this.#directories.set(directory, names);
    }
    const before = names.size;
    names.add(textOf(name));
    this.#size += names.size - before;
  }

  /** Whether the kernel may believe this name, or any of the directory. */
  has(directory: number, name?: Uint8Array): boolean {
    const names = this.#directories.get(directory);
    return names !== undefined && (name === undefined || names.has(textOf(name)));
  }

  clear(): void {
    this.#directories.clear();
    this.#size = 0;
  }
}

function textOf(name: Uint8Array): string {
  return Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1');
}
