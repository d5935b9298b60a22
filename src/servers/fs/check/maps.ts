/**
 * Walks the block map of a file from end to end, and claims every block of it. A block that has an
 * owner already is claimed, and not walked into: so a map that loops, or shares its nodes, ends.
 */
import type { Run } from '../ext4/inode.ts';
import { type Inode, INODE_MAP_AT, hasFlag } from '../ext4/inode.ts';
import {
  ENTRY_BYTES,
  ExtentMap,
  HEADER_BYTES,
  WRITTEN_COUNT_MAX,
  extentCount,
} from '../ext4/extents.ts';
import { INODE_FLAG, join, u16, u32 } from '../ext4/layout.ts';
import type { CheckContext } from './context.ts';

/** What a map comes to. */
export interface Mapped {
  /** Blocks of the file, and of the map itself; whole clusters. */
  blocks: number;
  /** The last logical block that has one, and the last that has contents; -1 for none. */
  last: number;
  lastWritten: number;
}

const DIRECT = 12;
const LEVELS = 3;

export class MapWalk {
  readonly #context: CheckContext;
  readonly #extents: ExtentMap;
  readonly #sealed: ExtentMap;
  #inode!: Inode;
  #mapped!: Mapped;

  constructor(context: CheckContext) {
    this.#context = context;
    this.#extents = new ExtentMap(context.plain);
    this.#sealed = new ExtentMap(context.disk);
  }

  /** What cannot be walked is a finding, and left out. */
  walk(inode: Inode): Mapped {
    this.#inode = inode;
    this.#mapped = { blocks: 0, last: -1, lastWritten: -1 };
    if (hasFlag(inode, INODE_FLAG.extents)) this.#walkExtents();
    else this.#walkIndirect();
    return this.#mapped;
  }

  #walkExtents(): void {
    const root = this.#attempt(() => this.#extents.root(this.#inode));
    if (root !== undefined) this.#walkNode(root.slice(), 2 ** 32);
  }

  /** `end`: the logical block where the node's part of the file ends. */
  #walkNode(node: Uint8Array, end: number): void {
    const entries = u16(node, 2);
    for (let index = 0; index < entries; index++) {
      const at = HEADER_BYTES + index * ENTRY_BYTES;
      const next = index + 1 < entries ? u32(node, at + ENTRY_BYTES) : end;
      if (u16(node, 6) > 0) this.#walkChild(node, at, next);
      else this.#takeExtent(node, at, end);
    }
  }

  #walkChild(parent: Uint8Array, at: number, end: number): void {
    const block = join(u16(parent, at + 8), u32(parent, at + 4));
    if (!this.#claim(block, 1)) return;
    const child = this.#attempt(() => this.#extents.childOf(this.#inode, parent, at));
    if (child === undefined) return;
    const node = child.node.slice();
    const { findings } = this.#context;
    findings.attempt('map-checksum', { inode: this.#inode.number }, () => {
      this.#sealed.check(this.#inode, block).verify(node);
    });
    this.#walkNode(node, end);
  }

  #takeExtent(node: Uint8Array, at: number, end: number): void {
    const logical = u32(node, at);
    const count = extentCount(node, at);
    const physical = join(u16(node, at + 6), u32(node, at + 8));
    const written = u16(node, at + 4) <= WRITTEN_COUNT_MAX;
    if (logical + count > end) {
      this.#damaged(`blocks ${String(logical)} + ${String(count)} reach into the next part`);
      return;
    }
    this.#take({ logical, count, physical }, written);
  }

  #walkIndirect(): void {
    const map = this.#inode.raw.slice(INODE_MAP_AT);
    for (let index = 0; index < DIRECT; index++) {
      const physical = u32(map, index * 4);
      if (physical !== 0) this.#take({ logical: index, count: 1, physical }, true);
    }
    const perBlock = this.#context.disk.blockBytes / 4;
    let logical = DIRECT;
    for (let level = 1; level <= LEVELS; level++) {
      const root = u32(map, (DIRECT + level - 1) * 4);
      if (root !== 0) this.#walkTable(root, level, logical);
      logical += perBlock ** level;
    }
  }

  #walkTable(block: number, level: number, logical: number): void {
    if (!this.#claim(block, 1)) return;
    const { disk } = this.#context;
    const table = this.#attempt(() => disk.block(block, this.#inode.number).slice());
    if (table === undefined) return;
    const span = (disk.blockBytes / 4) ** (level - 1);
    for (let index = 0; index < table.length / 4; index++) {
      const entry = u32(table, index * 4);
      if (entry === 0) continue;
      const first = logical + index * span;
      if (level > 1) this.#walkTable(entry, level - 1, first);
      else this.#take({ logical: first, count: 1, physical: entry }, true);
    }
  }

  #take({ logical, count, physical }: Run, written: boolean): void {
    this.#claim(physical, count);
    this.#mapped.last = Math.max(this.#mapped.last, logical + count - 1);
    if (written) this.#mapped.lastWritten = Math.max(this.#mapped.lastWritten, logical + count - 1);
  }

  /** Whether the blocks are inside the volume, and nobody else's. */
  #claim(first: number, count: number): boolean {
    const { disk, claims, findings } = this.#context;
    const { number } = this.#inode;
    if (!disk.holdsBlocks(first, count)) {
      this.#damaged(`block ${String(first)} (${String(count)} blocks) is outside the volume`);
      return false;
    }
    const { blocks, sharedAt } = claims.claim(first, count);
    this.#mapped.blocks += blocks;
    if (sharedAt < 0) return true;
    const text = `inode ${String(number)}: block ${String(sharedAt)} has another owner too`;
    findings.add('shared-block', text, { inode: number });
    return false;
  }

  #attempt<T>(run: () => T): T | undefined {
    return this.#context.findings.attempt('map', { inode: this.#inode.number }, run);
  }

  #damaged(what: string): void {
    const { number } = this.#inode;
    this.#context.findings.add('map', `inode ${String(number)}: ${what}`, { inode: number });
  }
}
