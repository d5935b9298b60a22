/**
 * The inodes of a volume, each by itself: its fields, its checksum, its blocks, its extended
 * attributes. What is in use is noted for the passes that follow.
 */
import { Contents } from '../ext4/contents.ts';
import type { Descriptor } from '../ext4/descriptor.ts';
import { GROUP_FLAG } from '../ext4/groups-editor.ts';
import { GroupTable } from '../ext4/groups.ts';
import { type Inode, INODE_MAP_AT, INODE_MAP_BYTES } from '../ext4/inode.ts';
import { SECTOR_BYTES, hasFlag, parseInode } from '../ext4/inode.ts';
import { InodeTable } from '../ext4/inode-table.ts';
import { inlineData } from '../ext4/inline-data.ts';
import { INODE_FLAG, u16, u32 } from '../ext4/layout.ts';
import { readSymlink } from '../ext4/symlink.ts';
import { BLOCK_ENTRIES_AT, Xattrs } from '../ext4/xattr.ts';
import { type XattrEntry, inodeXattrArea } from '../ext4/xattr-entries.ts';
import { type CheckContext, KIND, kindOf } from './context.ts';
import { MapWalk, type Mapped } from './maps.ts';
import { checkedXattrs } from './xattrs.ts';

/** Inodes with a meaning of their own. */
const RESIZE_INODE = 7;
const PROGRESS_INODES = 1024;
/** Where inodes of ext2 named fragments of blocks, which were never made. */
const FRAGMENT_AT = 0x70;

export class InodesCheck {
  readonly #context: CheckContext;
  readonly #maps: MapWalk;
  readonly #xattrs: Xattrs;
  /** Blocks of xattrs that inodes share: how many more owners each should have. */
  readonly #owners = new Map<number, number>();

  constructor(context: CheckContext) {
    const { disk } = context;
    this.#context = context;
    this.#maps = new MapWalk(context);
    const table = new InodeTable(disk, new GroupTable(disk));
    this.#xattrs = new Xattrs(disk, new Contents(disk), table);
  }

  run(): void {
    const { groups, disk, findings } = this.#context;
    for (const group of groups.values()) this.#checkGroup(group, disk.superblock.inodesPerGroup);
    for (const [block, left] of this.#owners) {
      const text = `block ${String(block)} of xattrs: ${String(left)} of its owners are missing`;
      findings.add('xattr-references', text);
    }
  }

  #checkGroup(group: Descriptor, perGroup: number): void {
    const { disk, onProgress } = this.#context;
    const { superblock } = disk;
    const known = superblock.checksums !== 'none';
    if (known && (group.flags & GROUP_FLAG.inodesUnused) !== 0) return;
    const unused = known ? Math.min(group.inodesUnused, perGroup) : 0;
    const first = group.group * perGroup + 1;
    for (let index = 0; index < perGroup - unused; index++) {
      if (index % PROGRESS_INODES === 0) onProgress('inodes', first + index, superblock.inodes);
      this.#checkNumber(first + index);
    }
  }

  #checkNumber(number: number): void {
    const { findings, orphans, disk } = this.#context;
    const place = { inode: number };
    const raw = findings.attempt('inode', place, () => this.#context.raw(number));
    if (raw === undefined) return;
    if (u16(raw, 0x1a) === 0 && !orphans.has(number)) {
      const wasUsed = u16(raw, 0) !== 0 && u32(raw, 0x14) === 0;
      if (wasUsed && number >= disk.superblock.firstInode) {
        const text = `inode ${String(number)} is deleted, but does not say when`;
        findings.add('inode', text, place);
      }
      return;
    }
    this.#checkInode(number, raw.slice());
  }

  #checkInode(number: number, raw: Uint8Array): void {
    const { findings, disk, kinds, links, totals } = this.#context;
    const place = { inode: number };
    this.#context.claims.begin();
    totals.inodes++;
    kinds.set(number, KIND.unknown);
    const inode = findings.attempt('inode', place, () => this.#context.parse(number, raw));
    if (inode === undefined) return;
    if (disk.checksums) {
      findings.attempt('inode-checksum', place, () => parseInode(disk, number, raw.slice()));
    }
    const kind = kindOf(inode);
    kinds.set(number, kind);
    links.set(number, inode.links);
    if (kind === KIND.directory) totals.directories++;
    this.#checkFields(inode);
    const mapped = this.#walk(inode, kind);
    this.#checkXattrs(inode, mapped);
    if (number !== RESIZE_INODE) this.#checkSize(inode, kind, mapped);
  }

  #checkFields(inode: Inode): void {
    const { findings, orphans } = this.#context;
    const { number, raw, deleted } = inode;
    const place = { inode: number };
    if (deleted !== 0 && !orphans.has(number)) {
      findings.add(
        'inode',
        `inode ${String(number)} is in use, but says that it is deleted`,
        place,
      );
    }
    if (u32(raw, FRAGMENT_AT) !== 0) {
      findings.add('inode', `inode ${String(number)} has a fragment, which ext4 has not`, place);
    }
  }

  #walk(inode: Inode, kind: number): Mapped {
    const none = { blocks: 0, last: -1, lastWritten: -1 };
    if (inode.number === RESIZE_INODE) return this.#walkReserved(inode);
    if (hasFlag(inode, INODE_FLAG.inlineData)) {
      this.#context.findings.attempt('inode', { inode: inode.number }, () => inlineData(inode));
      return none;
    }
    const mapped: readonly number[] = [KIND.regular, KIND.directory, KIND.symlink, KIND.value];
    const short = inode.size < INODE_MAP_BYTES && !hasFlag(inode, INODE_FLAG.extents);
    if (kind === KIND.symlink && short) this.#checkTarget(inode);
    if (!mapped.includes(kind) || (kind === KIND.symlink && short)) return none;
    const walked = this.#maps.walk(inode);
    if (kind === KIND.symlink) this.#checkTarget(inode);
    return walked;
  }

  #checkTarget(inode: Inode): void {
    if (hasFlag(inode, INODE_FLAG.encrypt)) return;
    const { plain, findings } = this.#context;
    findings.attempt('inode', { inode: inode.number }, () =>
      readSymlink(plain, new Contents(plain), inode),
    );
  }

  /**
   * The blocks that are kept for more descriptors are in a file of their own; all but the one that
   * lists them were claimed with their groups.
   */
  #walkReserved(inode: Inode): Mapped {
    const { disk, claims } = this.#context;
    const list = u32(inode.raw, INODE_MAP_AT + 13 * 4);
    if (list !== 0 && disk.holdsBlocks(list, 1)) claims.claim(list, 1, true);
    return { blocks: 0, last: -1, lastWritten: -1 };
  }

  #checkXattrs(inode: Inode, mapped: Mapped): void {
    const { disk, findings, claims } = this.#context;
    const place = { inode: inode.number };
    const area = inodeXattrArea(inode);
    if (area.length > 0) {
      findings.attempt('xattrs', place, () => this.#count(mapped, checkedXattrs(area, 0, inode)));
    }
    const block = inode.xattrBlock;
    if (block === 0) return;
    mapped.blocks += claims.clusterBlocks;
    if (!disk.holdsBlocks(block, 1)) {
      const text = `inode ${String(inode.number)}: its xattrs at block ${String(block)}`;
      findings.add('xattrs', `${text} are outside the volume`, place);
      return;
    }
    const known = this.#isKnown(block);
    claims.begin();
    if (!known && claims.claim(block, 1).sharedAt >= 0) {
      const text = `inode ${String(inode.number)}: block ${String(block)} has another owner too`;
      findings.add('shared-block', text, place);
      return;
    }
    findings.attempt('xattrs', place, () => {
      const bytes = disk.block(block, inode.number).slice();
      const references = u32(bytes, 4);
      if (!known && references !== 1) this.#owners.set(block, references - 1);
      this.#xattrs.check(inode).verify(bytes);
      this.#count(mapped, checkedXattrs(bytes, BLOCK_ENTRIES_AT, inode));
    });
  }

  /** The blocks of values that lie in inodes of their own count for those who have them. */
  #count(mapped: Mapped, entries: readonly XattrEntry[]): void {
    const { claims, disk } = this.#context;
    const clusterBytes = claims.clusterBlocks * disk.blockBytes;
    for (const { valueInode, valueBytes } of entries) {
      if (valueInode === 0) continue;
      mapped.blocks += Math.ceil(valueBytes / clusterBytes) * claims.clusterBlocks;
    }
  }

  /** Whether the block is one that an earlier inode has, and that may have one owner more. */
  #isKnown(block: number): boolean {
    const left = this.#owners.get(block);
    if (left === undefined) return false;
    if (left === 1) this.#owners.delete(block);
    else this.#owners.set(block, left - 1);
    return true;
  }

  #checkSize(inode: Inode, kind: number, mapped: Mapped): void {
    const { disk, findings } = this.#context;
    const { number, size } = inode;
    const place = { inode: number };
    const sectors = (mapped.blocks * disk.blockBytes) / SECTOR_BYTES;
    if (inode.sectors !== sectors) {
      const said = `inode ${String(number)}: ${String(inode.sectors)} sectors`;
      findings.add('sectors', `${said}, but it has ${String(sectors)}`, place);
    }
    const inline = hasFlag(inode, INODE_FLAG.inlineData);
    const wrong =
      kind === KIND.directory
        ? !inline && size !== (mapped.last + 1) * disk.blockBytes
        : kind === KIND.regular && size < mapped.lastWritten * disk.blockBytes;
    if (!wrong) return;
    const text = `inode ${String(number)}: ${String(size)} bytes`;
    findings.add('size', `${text}, but block ${String(mapped.last)} is its last`, place);
  }
}
