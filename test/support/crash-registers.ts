/**
 * Random changes of a volume whose state after any crash can be told: blocks of a file are taken
 * for metadata, so that e2fsck has no opinion of them.
 *
 * Each register is a block with a stamp and perhaps a pointer to a block of a pool, which holds the
 * pointer's own stamp: contents of a file, or metadata that was created for it. Blocks of the pool
 * go from one use to the other as soon as that is allowed. So a state is that of a transaction if
 * all registers are as it left them, and it is sound if every pointer leads to its stamp.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Writing } from '../../src/servers/fs/open.ts';
import { debugfs, makeImage } from './images.ts';

const REGISTERS = 40;
const POOL = 120;
const JOURNAL_MAGIC = 0xc03b3998;

interface Register {
  stamp: number;
  /** The block that it points to; 0 for none. */
  block: number;
  /** The block was created as metadata. */
  metadata: boolean;
  /** The stamp in the block. */
  target: number;
}

export interface RegisterImage {
  path: string;
  blockBytes: number;
  registers: number[];
  pool: number[];
}

/** An image with a file of registers, and one of the blocks of the pool. */
export function makeRegisterImage(directory: string, args: readonly string[]): RegisterImage {
  const source = join(directory, 'source');
  mkdirSync(source);
  const blockBytes = Number(args[args.indexOf('-b') + 1]);
  writeFileSync(join(source, 'registers'), new Uint8Array(REGISTERS * blockBytes).fill(1));
  writeFileSync(join(source, 'pool'), new Uint8Array(POOL * blockBytes).fill(1));
  const path = makeImage(directory, { bytes: 4096 * blockBytes, source, arguments: args });
  const blocks = (name: string): number[] =>
    debugfs(path, `blocks /${name}`).trim().split(/\s+/).map(Number);
  return {
    path,
    blockBytes,
    registers: blocks('registers').slice(0, REGISTERS),
    pool: blocks('pool').slice(0, POOL),
  };
}

/** The changes, and the states that transactions left. */
export class RegisterWorld {
  /** By transaction: the registers as it left them; the first is what was there. */
  readonly states: Register[][] = [];
  readonly #image: RegisterImage;
  readonly #writing: Writing;
  readonly #random: () => number;
  #registers: Register[];
  /** Free blocks of the pool, with the transaction that freed them. */
  #free: { block: number; freedIn: number }[];
  #stamp = 0;

  constructor(image: RegisterImage, writing: Writing, random: () => number) {
    this.#image = image;
    this.#writing = writing;
    this.#random = random;
    this.#registers = image.registers.map(() => ({
      ...{ stamp: 0, block: 0, metadata: false, target: 0 },
    }));
    this.#free = image.pool.map((block) => ({ block, freedIn: 0 }));
    writing.changes.change(() => {
      this.#registers.forEach((_, index) => {
        this.#store(index);
      });
    });
    this.commit();
  }

  /** Throws as the commit does. */
  commit(): void {
    this.#watch(() => {
      this.#writing.changes.commit();
    });
  }

  /** A change of some registers, of which one in ten fails. Throws as the change does. */
  step(): void {
    const registers = this.#registers.map((register) => ({ ...register }));
    const free = [...this.#free];
    try {
      this.#watch(() => {
        this.#writing.changes.change(() => {
          const count = 1 + this.#below(6);
          for (let step = 0; step < count; step++) this.#changeOne();
          if (this.#below(10) === 0) throw new Error('undone');
        });
      });
    } catch (error) {
      this.#registers = registers;
      this.#free = free;
      if (!(error instanceof Error) || error.message !== 'undone') throw error;
    }
  }

  /** Keeps the state when a transaction ends in `run`, committed or not yet. */
  #watch(run: () => void): void {
    const { changes } = this.#writing;
    const before = changes.running;
    try {
      run();
    } finally {
      if (changes.running !== before) {
        this.states[changes.running - 1] = this.#registers.map((one) => ({ ...one }));
      }
    }
  }

  #changeOne(): void {
    const { changes } = this.#writing;
    const index = this.#below(this.#registers.length);
    const register = this.#registers[index];
    if (register === undefined) return;
    register.stamp = ++this.#stamp;
    if (this.#below(3) > 0) {
      if (register.block !== 0) {
        const { block, metadata } = register;
        if (metadata) changes.forget(block, 1);
        else changes.dropData(block * this.#image.blockBytes, this.#image.blockBytes);
        this.#free.push({ block, freedIn: changes.running });
        register.block = 0;
      }
      const found = this.#free.findIndex(({ freedIn }) => freedIn <= changes.committed);
      const block = found < 0 ? undefined : this.#free.splice(found, 1)[0]?.block;
      if (block !== undefined) this.#point(register, block);
    }
    this.#store(index);
  }

  #point(register: Register, block: number): void {
    const { changes } = this.#writing;
    const { blockBytes } = this.#image;
    Object.assign(register, { block, target: ++this.#stamp, metadata: this.#below(2) === 0 });
    if (register.metadata) fill(changes.create(block), register.target);
    else {
      const contents = new Uint8Array(blockBytes);
      fill(contents, register.target);
      changes.writeData(block * blockBytes, contents);
    }
  }

  #store(index: number): void {
    const register = this.#registers[index];
    const block = this.#image.registers[index];
    if (register !== undefined && block !== undefined) {
      encode(this.#writing.changes.modify(block), register);
    }
  }

  #below(bound: number): number {
    return Math.floor(this.#random() * bound);
  }
}

/** What is wrong with the state that `read` shows; empty if it is that of one of `states`. */
export function wrongWith(
  image: RegisterImage,
  read: (block: number) => Uint8Array,
  states: readonly (Register[] | undefined)[],
): string[] {
  const found = image.registers.map((block) => decode(read(block)));
  const fits = (state: Register[] | undefined): boolean =>
    state?.every((register, index) => same(register, found[index])) === true;
  if (!states.some(fits)) return ['the registers are as no transaction left them'];
  return found.flatMap(({ block, target }, index) =>
    block === 0 || isFilled(read(block), target)
      ? []
      : [`register ${String(index)}: block ${String(block)} has not the stamp ${String(target)}`],
  );
}

function same(one: Register, other: Register | undefined): boolean {
  return (
    one.stamp === other?.stamp &&
    one.block === other.block &&
    (one.block === 0 || one.target === other.target)
  );
}

/** Some blocks look like the journal's own. */
function encode(block: Uint8Array, { stamp, block: pointer, target }: Register): void {
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  view.setUint32(0, stamp % 3 === 0 ? JOURNAL_MAGIC : 0);
  view.setUint32(4, stamp);
  view.setUint32(8, pointer);
  view.setUint32(12, target);
}

function decode(block: Uint8Array): Register {
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  const [stamp, pointer, target] = [view.getUint32(4), view.getUint32(8), view.getUint32(12)];
  return { stamp, block: pointer, metadata: false, target };
}

function fill(block: Uint8Array, stamp: number): void {
  new Uint32Array(block.buffer, block.byteOffset, block.length / 4).fill(stamp);
}

function isFilled(block: Uint8Array, stamp: number): boolean {
  return new Uint32Array(Uint8Array.from(block).buffer).every((word) => word === stamp);
}
