/** An inode of a volume, with its extents and entries, for people and programs to look at. */
import type { BlockCache } from '../cache.ts';
import type { BlockDevice } from '../device.ts';
import { FsError } from '../errors.ts';
import type { Crc32c } from '../ext4/checksum.ts';
import { readDescriptor } from '../ext4/descriptor.ts';
import { Disk } from '../ext4/disk.ts';
import {
  ENTRY_BYTES,
  ExtentMap,
  HEADER_BYTES,
  WRITTEN_COUNT_MAX,
  extentCount,
} from '../ext4/extents.ts';
import { IndirectMap } from '../ext4/indirect.ts';
import type { Inode } from '../ext4/inode.ts';
import { fileType, hasFlag, parseInode } from '../ext4/inode.ts';
import { INODE_FLAG, MODE, join, u16, u32 } from '../ext4/layout.ts';
import type { Superblock } from '../ext4/superblock.ts';
import { Volume } from '../ext4/volume.ts';
import type { Timestamp } from '../../../vos/protocol/fs.ts';
import { ROOT_INODE } from '../../../vos/protocol/fs.ts';
import { type Dump, sentenceOf } from './superblock.ts';

const TYPES: ReadonlyMap<number, string> = new Map<number, string>([
  [MODE.fifo, 'fifo'],
  [MODE.character, 'character device'],
  [MODE.directory, 'directory'],
  [MODE.block, 'block device'],
  [MODE.regular, 'regular file'],
  [MODE.symlink, 'symbolic link'],
  [MODE.socket, 'socket'],
]);
const ENTRY_TYPES: ReadonlyMap<number, string> = new Map<number, string>([
  [1, 'fifo'],
  [2, 'character device'],
  [4, 'directory'],
  [6, 'block device'],
  [8, 'regular file'],
  [10, 'symbolic link'],
  [12, 'socket'],
]);
const VALUE_BYTES_SHOWN = 256;

export interface InodeDumpOptions {
  /** The most extents, and the most entries, that are told. */
  readonly limit: number;
}

export class InodeDump {
  readonly #disk: Disk;
  readonly #volume: Volume;

  /** Throws EUCLEAN, EOPNOTSUPP, EIO. */
  constructor(device: BlockDevice, cache: BlockCache, superblock: Superblock, crc32c: Crc32c) {
    this.#disk = new Disk(superblock, device, cache, crc32c);
    this.#volume = Volume.open(device, cache, { crc32c, ignoreJournal: true });
  }

  /** The inode that a path leads to from the root; symbolic links are not followed. */
  find(path: string): number {
    let number = ROOT_INODE;
    for (const name of path.split('/').filter((part) => part !== '')) {
      const found = this.#volume.lookup(this.#volume.inode(number, 0), Buffer.from(name));
      if (found === undefined) throw new FsError('ENOENT', `${JSON.stringify(path)} is not there`);
      number = found.number;
    }
    return number;
  }

  /** Each part that cannot be read is told as `error` in its place. Throws EINVAL, EIO. */
  dump(number: number, { limit }: InodeDumpOptions): Dump {
    const { inodes, inodesPerGroup, inodeBytes, blockBytes } = this.#disk.superblock;
    if (number < 1 || number > inodes) {
      throw new FsError('EINVAL', `the volume has inodes 1 to ${String(inodes)}`);
    }
    const group = readDescriptor(this.#disk, Math.floor((number - 1) / inodesPerGroup));
    const at = group.inodeTable * blockBytes + ((number - 1) % inodesPerGroup) * inodeBytes;
    const raw = this.#disk.cache.view(at, inodeBytes).slice();
    const head = { inode: number, group: group.group, at };
    if (raw.every((byte) => byte === 0)) return { ...head, unused: true };
    let inode: Inode;
    try {
      inode = parseInode(this.#disk, number, raw.slice());
    } catch (error) {
      return { ...head, raw: Buffer.from(raw).toString('hex'), error: sentenceOf(error) };
    }
    return {
      ...head,
      ...fields(inode),
      ...this.#part('target', fileType(inode) === MODE.symlink, () =>
        Buffer.from(this.#volume.readLink(inode)).toString(),
      ),
      ...this.#part('xattrs', true, () => this.#xattrs(inode)),
      ...this.#part('extents', hasBlocks(inode), () => this.#runs(inode, limit)),
      ...this.#part('entries', fileType(inode) === MODE.directory, () =>
        this.#entries(inode, limit),
      ),
    };
  }

  #part(name: string, wanted: boolean, read: () => unknown): Dump {
    if (!wanted) return {};
    try {
      return { [name]: read() };
    } catch (error) {
      return { [name]: { error: sentenceOf(error) } };
    }
  }

  #xattrs(inode: Inode): Record<string, string> {
    const names = Buffer.from(this.#volume.listXattr(inode)).toString('latin1').split('\0');
    const values: Record<string, string> = {};
    for (const name of names.slice(0, -1)) {
      const value = this.#volume.getXattr(inode, Buffer.from(name, 'latin1'));
      values[name] = Buffer.from(value?.subarray(0, VALUE_BYTES_SHOWN) ?? []).toString('hex');
    }
    return values;
  }

  #runs(inode: Inode, limit: number): Dump[] {
    if (!hasFlag(inode, INODE_FLAG.extents)) return this.#indirectRuns(inode, limit);
    const rows: Dump[] = [];
    const map = new ExtentMap(this.#disk);
    const seen = new Set<number>();
    const walk = (node: Uint8Array): void => {
      const depth = u16(node, 6);
      for (let index = 0; index < u16(node, 2) && rows.length < limit; index++) {
        const at = HEADER_BYTES + index * ENTRY_BYTES;
        const logical = u32(node, at);
        if (depth === 0) {
          const physical = join(u16(node, at + 6), u32(node, at + 8));
          const unwritten = u16(node, at + 4) > WRITTEN_COUNT_MAX;
          rows.push({ depth, logical, count: extentCount(node, at), physical, unwritten });
          continue;
        }
        const child = map.childOf(inode, node, at);
        rows.push({ depth, logical, node: child.block });
        // A tree that shares its nodes would be told again and again.
        if (!seen.has(child.block)) {
          seen.add(child.block);
          walk(child.node.slice());
        }
      }
    };
    walk(map.root(inode).slice());
    return rows;
  }

  #indirectRuns(inode: Inode, limit: number): Dump[] {
    const rows: Dump[] = [];
    const map = new IndirectMap(this.#disk);
    const end = Math.ceil(inode.size / this.#disk.blockBytes);
    for (let logical = 0; logical < end && rows.length < limit;) {
      const run = map.find(inode, logical);
      const count = Math.min(run.count, end - logical);
      if (run.physical !== 0) rows.push({ logical, count, physical: run.physical });
      logical += count;
    }
    return rows;
  }

  #entries(inode: Inode, limit: number): Dump[] {
    const rows: Dump[] = [];
    this.#volume.list(inode, 0, (entry) => {
      const name = Buffer.from(entry.name).toString();
      rows.push({ inode: entry.inode, type: ENTRY_TYPES.get(entry.type) ?? null, name });
      return rows.length < limit;
    });
    return rows;
  }
}

function hasBlocks(inode: Inode): boolean {
  if (hasFlag(inode, INODE_FLAG.inlineData)) return false;
  const type = fileType(inode);
  const short = !hasFlag(inode, INODE_FLAG.extents) && inode.size < 60;
  return type === MODE.regular || type === MODE.directory || (type === MODE.symlink && !short);
}

function fields(inode: Inode): Dump {
  const { generation, mode, links, uid, gid, size, sectors, flags, xattrBlock, deleted } = inode;
  return {
    type: TYPES.get(fileType(inode)) ?? 'unknown',
    permissions: (mode & 0o7777).toString(8).padStart(4, '0'),
    ...{ generation, links, uid, gid, size, sectors },
    flags: flagNames(flags),
    accessed: time(inode.accessed),
    modified: time(inode.modified),
    changed: time(inode.changed),
    deleted,
    xattrBlock,
  };
}

function flagNames(flags: number): string[] {
  return Object.entries(INODE_FLAG).flatMap(([name, bit]) => (flags & bit ? [name] : []));
}

function time({ seconds, nanoseconds }: Timestamp): string {
  const fraction = String(nanoseconds).padStart(9, '0');
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${fraction}Z`;
}
