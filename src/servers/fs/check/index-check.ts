/**
 * Indexes of directories: each block but those of the index itself is a leaf that it names once,
 * and a leaf has the names whose hashes lie between its entry and the next.
 */
import { damaged } from '../errors.ts';
import {
  type DirectoryBlocks,
  INDEX_ENTRY_BYTES,
  INDEX_TAIL_BYTES,
  NODE_ENTRIES_AT,
  ROOT_ENTRIES_AT,
  isNode,
  isRoot,
} from '../ext4/directory-blocks.ts';
import { ENTRY_NAME_AT, recordBytes } from '../ext4/directory-entries.ts';
import { DirectoryIndex, ROOT_INFO_AT } from '../ext4/htree.ts';
import type { Inode } from '../ext4/inode.ts';
import { u16, u32 } from '../ext4/layout.ts';
import type { CheckContext } from './context.ts';

const BLOCK_MASK = 0x0fffffff;
const HASH_END = 2 ** 32;

/** A node, and the hashes that may be below it: `[low, high)`. */
interface Node {
  readonly logical: number;
  /** Levels of nodes below it. */
  readonly depth: number;
  readonly low: number;
  readonly high: number;
}

export class IndexCheck {
  readonly #context: CheckContext;
  readonly #blocks: DirectoryBlocks;
  readonly #index: DirectoryIndex;
  #directory!: Inode;
  #version = 0;
  /** A byte for each block of the directory: whether the index has led there. */
  #reached = new Uint8Array(0);

  constructor(context: CheckContext, blocks: DirectoryBlocks) {
    this.#context = context;
    this.#blocks = blocks;
    this.#index = new DirectoryIndex(context.disk, blocks);
  }

  /** The blocks were verified. Throws EUCLEAN for the first thing that is wrong. */
  run(directory: Inode, blocks: number): void {
    this.#directory = directory;
    this.#reached = new Uint8Array(blocks);
    const root = this.#blocks.read(directory, 0);
    const depth = root[ROOT_INFO_AT + 6] ?? 0;
    this.#version = root[ROOT_INFO_AT + 4] ?? 0;
    if (!isRoot(root)) throw this.#damaged(0, 'is no root of an index');
    if (depth >= this.#index.depthEnd) throw this.#damaged(0, 'has too many levels');
    if (this.#index.hash(new Uint8Array([1]), this.#version) === undefined) {
      throw this.#damaged(0, 'has an unknown hash');
    }
    this.#walk({ logical: 0, depth, low: 0, high: HASH_END });
    const missed = this.#reached.indexOf(0);
    if (missed >= 0) throw this.#damaged(missed, 'is in no place of the index');
  }

  #walk({ logical, depth, low, high }: Node): void {
    if (this.#reached[logical] !== 0) throw this.#damaged(logical, 'is outside, or named twice');
    this.#reached[logical] = 1;
    const entriesAt = logical === 0 ? ROOT_ENTRIES_AT : NODE_ENTRIES_AT;
    const node = this.#blocks.read(this.#directory, logical).slice();
    if (logical > 0 && !isNode(node)) throw this.#damaged(logical, 'is a leaf, not a node');
    const tail = this.#context.disk.checksums ? INDEX_TAIL_BYTES : 0;
    const limit = Math.floor((node.length - entriesAt - tail) / INDEX_ENTRY_BYTES);
    const count = u16(node, entriesAt + 2);
    if (u16(node, entriesAt) !== limit || count > limit || count === 0) {
      throw this.#damaged(logical, 'has an impossible number of entries');
    }
    let from = low;
    for (let index = 0; index < count; index++) {
      const at = entriesAt + index * INDEX_ENTRY_BYTES;
      const last = index + 1 === count;
      const to = last ? high : u32(node, at + INDEX_ENTRY_BYTES);
      if (to < from || to > high) throw this.#damaged(logical, 'has entries out of order');
      const child = { logical: u32(node, at + 4) & BLOCK_MASK, low: from, high: to };
      if (depth > 0) this.#walk({ ...child, depth: depth - 1 });
      else this.#checkLeaf(child);
      from = to;
    }
  }

  /** An odd hash says that its names go on from the leaf before. */
  #checkLeaf({ logical, low, high }: Omit<Node, 'depth'>): void {
    if (this.#reached[logical] !== 0) throw this.#damaged(logical, 'is outside, or named twice');
    this.#reached[logical] = 1;
    const leaf = this.#blocks.read(this.#directory, logical);
    for (let at = 0; at < leaf.length; at += recordBytes(leaf, at)) {
      if (u32(leaf, at) === 0) continue;
      const name = leaf.subarray(at + ENTRY_NAME_AT, at + ENTRY_NAME_AT + (leaf[at + 6] ?? 0));
      const hash = this.#index.hash(name, this.#version) ?? 0;
      if (hash < even(low) || (hash >= high && hash !== even(high))) {
        throw this.#damaged(logical, `has a name with another hash at byte ${String(at)}`);
      }
    }
  }

  #damaged(logical: number, what: string): Error {
    return damaged`directory ${this.#directory.number}: block ${logical} ${what}`;
  }
}

function even(hash: number): number {
  return hash % 2 === 0 ? hash : hash - 1;
}
