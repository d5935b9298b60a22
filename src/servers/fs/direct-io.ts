/**
 * Reads and writes past the page cache of the host (O_DIRECT), for any place, length and memory.
 *
 * The kernel wants whole sectors, from memory that begins at one. So everything goes through a
 * buffer that does, and a write that begins or ends inside of a sector reads that first.
 *
 * Nobody reads ahead for us. When reads follow one another, more is read than was asked for, and
 * kept until anybody writes: several threads may have the file open, and count their writes in
 * memory that they share.
 *
 * Invariants: the file is a multiple of its sectors, so that no write makes it longer. No two
 * threads write into one sector: the blocks of a volume are whole sectors, and each is written by
 * one thread at a time; the superblock alone, which is shorter, is written while the others rest.
 */
import { readSync, writeSync } from 'node:fs';

/** The longest piece of one call. */
const BUFFER_BYTES = 1 << 20;
/** What is read at once when reads follow one another. */
const AHEAD_BYTES = 1 << 20;
/** Sizes of sectors, the smallest first. */
const SECTORS = [512, 1024, 2048, 4096] as const;
/** WebAssembly's memory, unlike other memory of JavaScript, begins at a page. */
const PAGE_BYTES = 65_536;

/** An open file as threads share it. */
export interface DirectFile {
  readonly descriptor: number;
  readonly sectorBytes: number;
  /** One word: how many writes began and ended. */
  readonly writes: SharedArrayBuffer;
}

/** The sectors of a file that was opened with O_DIRECT; undefined: it cannot be read so. */
export function sectorBytesOf(descriptor: number): number | undefined {
  const memory = aligned(PAGE_BYTES);
  return SECTORS.find((bytes) => {
    try {
      // Not from the start: what is no multiple of a sector would not be noticed there.
      return readSync(descriptor, memory, 0, bytes, bytes) >= 0;
    } catch {
      return false;
    }
  });
}

export class DirectIo {
  readonly file: DirectFile;
  readonly #writes: Int32Array;
  readonly #buffer = aligned(BUFFER_BYTES);
  /** What was read ahead: `[#aheadAt, #aheadEnd)` of the file, as of so many writes. */
  #ahead: Uint8Array | undefined;
  #aheadAt = 0;
  #aheadEnd = 0;
  #aheadWrites = -1;
  /** Where the last read ended. */
  #next = -1;

  constructor(file: DirectFile) {
    this.file = file;
    this.#writes = new Int32Array(file.writes);
  }

  /** As readSync: returns how many bytes, fewer than wanted also before the end of the file. */
  read(target: Uint8Array, offset: number, bytes: number, at: number): number {
    const follows = at === this.#next;
    const got =
      this.#fromAhead(target, offset, bytes, at) ??
      (follows && bytes < AHEAD_BYTES && this.#readAhead(at)
        ? this.#fromAhead(target, offset, bytes, at)
        : undefined) ??
      this.#readPart(target, offset, bytes, at);
    this.#next = at + got;
    return got;
  }

  /** As writeSync: returns how many bytes, maybe fewer than given. */
  write(data: Uint8Array, offset: number, bytes: number, at: number): number {
    const first = this.#floor(at);
    const count = Math.min(bytes, BUFFER_BYTES - (at - first));
    const end = this.#ceil(at + count);
    Atomics.add(this.#writes, 0, 1);
    try {
      const { descriptor, sectorBytes } = this.file;
      const last = end - sectorBytes;
      if (at !== first) this.#readSector(first, first);
      if (at + count !== end && (last !== first || at === first)) this.#readSector(last, first);
      this.#buffer.set(data.subarray(offset, offset + count), at - first);
      const wrote = writeSync(descriptor, this.#buffer, 0, end - first, first);
      return Math.max(0, Math.min(wrote - (at - first), count));
    } finally {
      Atomics.add(this.#writes, 0, 1);
    }
  }

  /** Bytes that were read ahead, if nothing was written since; undefined if there are none. */
  #fromAhead(target: Uint8Array, offset: number, bytes: number, at: number): number | undefined {
    if (at < this.#aheadAt || at >= this.#aheadEnd) return undefined;
    if (this.#aheadWrites !== Atomics.load(this.#writes, 0)) return undefined;
    const from = at - this.#aheadAt;
    const part = this.#ahead?.subarray(
      from,
      Math.min(from + bytes, this.#aheadEnd - this.#aheadAt),
    );
    if (part === undefined) return undefined;
    target.set(part, offset);
    return part.length;
  }

  /** Whether byte `at` was read, with what follows it. */
  #readAhead(at: number): boolean {
    this.#ahead ??= aligned(AHEAD_BYTES);
    const writes = Atomics.load(this.#writes, 0);
    const first = this.#floor(at);
    this.#aheadEnd = 0;
    const got = readSync(this.file.descriptor, this.#ahead, 0, AHEAD_BYTES, first);
    this.#aheadAt = first;
    this.#aheadEnd = first + got;
    this.#aheadWrites = writes;
    return at < this.#aheadEnd;
  }

  #readPart(target: Uint8Array, offset: number, bytes: number, at: number): number {
    const first = this.#floor(at);
    const end = Math.min(this.#ceil(at + bytes), first + BUFFER_BYTES);
    const got = readSync(this.file.descriptor, this.#buffer, 0, end - first, first);
    const count = Math.max(0, Math.min(got - (at - first), bytes));
    target.set(this.#buffer.subarray(at - first, at - first + count), offset);
    return count;
  }

  /** Reads a sector to its place in the buffer, whose first byte is that of `base`. */
  #readSector(at: number, base: number): void {
    const { descriptor, sectorBytes } = this.file;
    readSync(descriptor, this.#buffer, at - base, sectorBytes, at);
  }

  #floor(at: number): number {
    return at - (at % this.file.sectorBytes);
  }

  #ceil(at: number): number {
    return Math.ceil(at / this.file.sectorBytes) * this.file.sectorBytes;
  }
}

// The types of the DOM, where it is declared, are left out.
declare const WebAssembly: {
  readonly Memory: new (size: { initial: number }) => { readonly buffer: ArrayBuffer };
};

/** Memory that begins at a page. */
function aligned(bytes: number): Uint8Array {
  const { buffer } = new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE_BYTES) });
  return new Uint8Array(buffer, 0, bytes);
}
