/**
 * Extent trees: the block map of ext4 files.
 *
 *   header: 0 magic | 2 entries | 4 entries at most | 6 depth (0: leaf) | 8 generation
 *   leaf entry: 0 first logical block | 4 count (above 32,768: reads as zeros)
 *               6 first physical block (high) | 8 (low)
 *   index entry: 0 first logical block | 4 child (low) | 8 child (high)
 *
 * The root is in the inode; other nodes fill a block each and end with a checksum. Every node is
 * verified when it is loaded; how it hangs in its parent (depth, first block) is verified at each
 * step, since that depends on the parent. The depth falls at each step, so a tree that loops ends.
 * See "Extent Tree" in Documentation/filesystems/ext4.
 */
import type { BlockCheck } from '../cache.ts';
import { damaged } from '../errors.ts';
import { badChecksum } from './checksum.ts';
import type { Disk } from './disk.ts';
import { INODE_MAP_AT, INODE_MAP_BYTES, type Inode, type Run } from './inode.ts';
import { BLOCK_KIND, blockTag, join, u16, u32 } from './layout.ts';

export const EXTENT_MAGIC = 0xf30a;
export const HEADER_BYTES = 12;
export const ENTRY_BYTES = 12;
export const DEPTH_MAX = 5;
/** The root has the place of a map in the inode. */
export const ROOT_ENTRIES: number = (INODE_MAP_BYTES - HEADER_BYTES) / ENTRY_BYTES;
/** Longer counts mark blocks that are allocated but not written yet. */
export const WRITTEN_COUNT_MAX = 32768;
const LOGICAL_END = 2 ** 32;

/** Part of the tree that a step may answer for: logical blocks `[low, high)`. */
interface Span {
  readonly low: number;
  readonly high: number;
}

export class ExtentMap {
  readonly #disk: Disk;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** The run that holds `logical`, as long as one node tells. Throws EUCLEAN. */
  find(inode: Inode, logical: number): Run {
    let node = this.root(inode);
    let span: Span = { low: 0, high: LOGICAL_END };
    for (let depth = u16(node, 6); depth > 0; depth--) {
      const at = lastEntryAt(node, logical);
      if (at < 0) return { logical: span.low, count: firstBlock(node) - span.low, physical: 0 };
      span = { low: u32(node, at), high: endOfEntry(node, at, span.high) };
      ({ node } = this.childOf(inode, node, at));
    }
    return leafRun(node, logical, span);
  }

  /** How a node outside the inode is verified. */
  check(inode: Inode, block: number): BlockCheck {
    return {
      tag: blockTag(BLOCK_KIND.extents, inode.number),
      verify: (node) => {
        this.#verifyNode(node, inode, block);
        this.#verifyChecksum(node, inode, block);
      },
    };
  }

  /** The verified root, in the inode. */
  root(inode: Inode): Uint8Array {
    const node = inode.raw.subarray(INODE_MAP_AT, INODE_MAP_AT + INODE_MAP_BYTES);
    this.#verifyNode(node, inode, 0);
    if (u16(node, 6) <= DEPTH_MAX) return node;
    throw damaged`inode ${inode.number}: extent tree of depth ${u16(node, 6)}`;
  }

  /** The node that the index entry at byte `at` of `parent` leads to, verified in its place. */
  childOf(inode: Inode, parent: Uint8Array, at: number): { block: number; node: Uint8Array } {
    const place = { depth: u16(parent, 6) - 1, low: u32(parent, at) };
    const block = join(u16(parent, at + 8), u32(parent, at + 4));
    const node = this.#child(inode, block);
    checkPlace(node, { inode: inode.number, child: block, ...place });
    return { block, node };
  }

  #child(inode: Inode, block: number): Uint8Array {
    return this.#disk.checkedBlock(block, inode.number, this.check(inode, block));
  }

  /** Checks a node by itself; `block` is 0 for the root. */
  #verifyNode(node: Uint8Array, inode: Inode, block: number): void {
    const entries = u16(node, 2);
    const entriesMax = u16(node, 4);
    const room = Math.floor((node.length - HEADER_BYTES) / ENTRY_BYTES);
    const sound =
      u16(node, 0) === EXTENT_MAGIC &&
      entries <= entriesMax &&
      entriesMax <= room &&
      entriesMax > 0;
    if (!sound) throw damaged`inode ${inode.number}, block ${block}: bad extent header`;
    const depth = u16(node, 6);
    if (entries === 0 && (depth > 0 || block > 0)) {
      throw damaged`inode ${inode.number}, block ${block}: empty extent node`;
    }
    let end = 0;
    for (let at = HEADER_BYTES; at < HEADER_BYTES + entries * ENTRY_BYTES; at += ENTRY_BYTES) {
      const first = u32(node, at);
      const count = depth > 0 ? 1 : extentCount(node, at);
      const inside =
        depth > 0 || this.#disk.holdsBlocks(join(u16(node, at + 6), u32(node, at + 8)), count);
      if (first < end || count === 0 || first + count > LOGICAL_END || !inside) {
        throw damaged`inode ${inode.number}, block ${block}: bad extent at byte ${at}`;
      }
      end = first + count;
    }
  }

  #verifyChecksum(node: Uint8Array, inode: Inode, block: number): void {
    if (!this.#disk.checksums) return;
    const tailAt = HEADER_BYTES + u16(node, 4) * ENTRY_BYTES;
    const computed = this.#disk.crc32c(node.subarray(0, tailAt), inode.checksumSeed);
    const stored = u32(node, tailAt);
    if (stored === computed && tailAt + 4 <= node.length) return;
    throw badChecksum(`inode ${String(inode.number)}, extent block ${String(block)}`, {
      stored,
      computed,
    });
  }
}

interface Place {
  readonly inode: number;
  readonly child: number;
  readonly depth: number;
  readonly low: number;
}

function checkPlace(node: Uint8Array, place: Place): void {
  if (u16(node, 6) === place.depth && firstBlock(node) === place.low) return;
  throw damaged`inode ${place.inode}, block ${place.child}: extent node of another place`;
}

function firstBlock(node: Uint8Array): number {
  return u32(node, HEADER_BYTES);
}

/** Where the last entry that begins at or before `logical` is, or -1. */
export function lastEntryAt(node: Uint8Array, logical: number): number {
  let low = 0;
  let high = u16(node, 2);
  while (low < high) {
    const middle = (low + high) >> 1;
    if (u32(node, HEADER_BYTES + middle * ENTRY_BYTES) <= logical) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? -1 : HEADER_BYTES + (low - 1) * ENTRY_BYTES;
}

/**
 * Where the answer of the entry at `at` ends: the next entry, or the end of the node's own span.
 */
function endOfEntry(node: Uint8Array, at: number, high: number): number {
  const next = at + ENTRY_BYTES;
  if (next >= HEADER_BYTES + u16(node, 2) * ENTRY_BYTES) return high;
  return Math.min(u32(node, next), high);
}

export function extentCount(node: Uint8Array, at: number): number {
  const count = u16(node, at + 4);
  return count > WRITTEN_COUNT_MAX ? count - WRITTEN_COUNT_MAX : count;
}

function leafRun(node: Uint8Array, logical: number, span: Span): Run {
  const at = lastEntryAt(node, logical);
  if (at < 0) {
    const end = u16(node, 2) === 0 ? span.high : firstBlock(node);
    return { logical: span.low, count: end - span.low, physical: 0 };
  }
  const first = u32(node, at);
  const end = Math.min(first + extentCount(node, at), span.high);
  if (logical >= end) {
    return { logical: end, count: endOfEntry(node, at, span.high) - end, physical: 0 };
  }
  const written = u16(node, at + 4) <= WRITTEN_COUNT_MAX;
  const physical = join(u16(node, at + 6), u32(node, at + 8));
  if (written) return { logical: first, count: end - first, physical };
  return { logical: first, count: end - first, physical: 0, unwritten: physical };
}
