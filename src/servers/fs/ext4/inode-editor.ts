/**
 * Changes of inodes: kept in the parsed objects, and written into the inode table when the change
 * ends.
 *
 * `edit` gives the object that everybody has, so a caller sees what was changed; fields are encoded
 * by `flush`, the block map and the xattrs are changed in `raw` itself. See `inode.ts` for the
 * layout.
 */
import { type Timestamp, isEarlier } from '../../../vos/protocol/fs.ts';
import { FsError } from '../errors.ts';
import { CRC_START } from './checksum.ts';
import type { Disk } from './disk.ts';
import type { Edited, Edits } from './edits.ts';
import {
  BORN_AT,
  CHECKSUM_HIGH_AT,
  CHECKSUM_LOW_AT,
  CORE_BYTES,
  EXTRA_BYTES_AT,
  type Inode,
  SECTOR_BYTES,
} from './inode.ts';
import type { InodeTable } from './inode-table.ts';
import { INCOMPAT, INODE_FLAG, MODE, RO_COMPAT, highHalf, put16, put32, u16 } from './layout.ts';

/** An inode inside a change. */
export type EditedInode = { -readonly [Field in keyof Inode]: Inode[Field] };

const SECONDS_MIN = -(2 ** 31);
const SECONDS_MAX = 2 ** 31 - 1;
const EPOCHS_MAX = 3 * 2 ** 32;
const EXTRA_BYTES = 32;
const NANOSECONDS_MAX = 999_999_999;

/** The clock of a volume: seconds and nanoseconds since 1970. */
export type Now = () => Timestamp;

export class InodeEditor implements Edited {
  /** Whether contents of the file are not written out, so that a commit leaves them behind. */
  isDelayed: (number: number) => boolean = () => false;
  readonly #clock: Now;
  /** The time of what is done now; undefined: the clock's. */
  #time: Timestamp | undefined;
  readonly #disk: Disk;
  readonly #edits: Edits;
  readonly #table: InodeTable;
  /** Inodes of this change as they were; undefined for new ones. */
  readonly #before = new Map<EditedInode, EditedInode | undefined>();

  constructor(disk: Disk, edits: Edits, table: InodeTable, now: Now) {
    this.#disk = disk;
    this.#edits = edits;
    this.#table = table;
    this.#clock = now;
    edits.join(this);
  }

  now(): Timestamp {
    return this.#time ?? this.#clock();
  }

  /** Runs a part of a change as of another time. */
  at<T>(time: Timestamp | undefined, run: () => T): T {
    this.#time = time;
    try {
      return run();
    } finally {
      this.#time = undefined;
    }
  }

  /** The same object, to be changed until the change ends. */
  edit(inode: Inode): EditedInode {
    const edited: EditedInode = inode;
    if (!this.#before.has(edited)) {
      this.#before.set(edited, { ...inode, raw: inode.raw.slice() });
      this.#table.pin(inode);
    }
    edited.lastRun = undefined;
    return edited;
  }

  /** An inode that was free, with no contents. The caller fills in what it is. */
  create(number: number, generation: number): EditedInode {
    const { inodeBytes } = this.#disk.superblock;
    const raw = new Uint8Array(inodeBytes);
    const extraBytes = inodeBytes > CORE_BYTES ? this.#extraBytes() : 0;
    if (inodeBytes > CORE_BYTES) put16(raw, EXTRA_BYTES_AT, extraBytes);
    const now = this.now();
    const born: EditedInode = {
      ...{ number, generation, mode: 0, links: 0, uid: 0, gid: 0, size: 0, sectors: 0, flags: 0 },
      diskSize: undefined,
      ...{ accessed: now, modified: now, changed: now, deleted: 0, xattrBlock: 0 },
      xattrsAt: inodeBytes > CORE_BYTES ? CORE_BYTES + extraBytes : raw.length,
      raw,
      checksumSeed: this.#disk.checksums ? this.#disk.inodeSeed(number, generation) : CRC_START,
      lastRun: undefined,
    };
    this.#before.set(born, undefined);
    putTime(raw, now, BORN_AT);
    this.#table.pin(born);
    return born;
  }

  /** Notes that contents or entries have changed now. */
  touch(inode: EditedInode): void {
    inode.modified = inode.changed = this.now();
  }

  /** Counts blocks that the inode's map got, or lost if negative. Throws EFBIG. */
  addBlocks(inode: EditedInode, blocks: number): void {
    const sectors = inode.sectors + blocks * (this.#disk.blockBytes / SECTOR_BYTES);
    const huge = (this.#disk.superblock.readOnlyCompat & RO_COMPAT.hugeFile) !== 0;
    if (sectors > (huge ? 2 ** 48 - 1 : 2 ** 32 - 1)) {
      throw new FsError('EFBIG', `inode ${String(inode.number)} cannot count its blocks`);
    }
    inode.sectors = Math.max(0, sectors);
    inode.lastRun = undefined;
  }

  flush(): void {
    for (const [inode, before] of this.#before) {
      // By this time clients tell which of their changes are there, so it never goes back, though
      // the clock may have been put back.
      if (before !== undefined && isEarlier(inode.changed, before.changed)) {
        inode.changed = following(before.changed);
      }
      this.#write(inode);
    }
  }

  undo(): void {
    for (const [inode, before] of this.#before) {
      this.#table.unpin(inode);
      if (before === undefined) {
        this.#table.forget(inode.number);
        continue;
      }
      inode.raw.set(before.raw);
      Object.assign(inode, { ...before, raw: inode.raw, lastRun: undefined });
    }
    this.#before.clear();
  }

  settle(): void {
    for (const inode of this.#before.keys()) {
      this.#table.unpin(inode);
      if (inode.links === 0 && !this.#table.isPinned(inode.number)) {
        this.#table.forget(inode.number);
      }
    }
    this.#before.clear();
  }

  #extraBytes(): number {
    const { extraBytes, inodeBytes } = this.#disk.superblock;
    const wanted = Math.max(EXTRA_BYTES, extraBytes) & ~3;
    return Math.min(wanted, inodeBytes - CORE_BYTES);
  }

  #write(inode: EditedInode): void {
    this.#encode(inode);
    const at = this.#table.place(inode.number);
    const block = Math.floor(at / this.#disk.blockBytes);
    const bytes = this.#edits.modify(block);
    const into = at - block * this.#disk.blockBytes;
    bytes.set(inode.raw, into);
    if (!this.#disk.checksums) return;
    const sum = this.#disk.crc32c(inode.raw, inode.checksumSeed);
    put16(bytes, into + CHECKSUM_LOW_AT, sum);
    if (hasField(inode.raw, CHECKSUM_HIGH_AT, 2)) put16(bytes, into + CHECKSUM_HIGH_AT, sum >>> 16);
  }

  #encode(inode: EditedInode): void {
    const { raw, diskSize: size = inode.size } = inode;
    const { incompat } = this.#disk.superblock;
    put16(raw, 0x00, inode.mode);
    put16(raw, 0x02, inode.uid);
    put32(raw, 0x04, size);
    put32(raw, 0x14, inode.deleted);
    put16(raw, 0x18, inode.gid);
    put16(raw, 0x1a, inode.links);
    put32(raw, 0x64, inode.generation);
    put32(raw, 0x68, inode.xattrBlock);
    const wide = (inode.mode & MODE.type) === MODE.regular || (incompat & INCOMPAT.largedir) !== 0;
    if (wide) put32(raw, 0x6c, highHalf(size));
    if (incompat & INCOMPAT.bit64) put16(raw, 0x76, highHalf(inode.xattrBlock));
    put16(raw, 0x78, inode.uid >>> 16);
    put16(raw, 0x7a, inode.gid >>> 16);
    this.#encodeSectors(inode);
    put32(raw, 0x20, inode.flags);
    inode.accessed = putTime(raw, inode.accessed, { low: 0x08, extra: 0x8c });
    // The volume is told of a change together with the contents, or after them.
    if (!this.isDelayed(inode.number)) {
      inode.changed = putTime(raw, inode.changed, { low: 0x0c, extra: 0x84 });
    }
    inode.modified = putTime(raw, inode.modified, { low: 0x10, extra: 0x88 });
    if (!this.#disk.checksums) return;
    put16(raw, CHECKSUM_LOW_AT, 0);
    if (hasField(raw, CHECKSUM_HIGH_AT, 2)) put16(raw, CHECKSUM_HIGH_AT, 0);
  }

  /** Counted in sectors as long as 48 bits hold them, which is more than `addBlocks` allows. */
  #encodeSectors(inode: EditedInode): void {
    put32(inode.raw, 0x1c, inode.sectors);
    if (!(this.#disk.superblock.readOnlyCompat & RO_COMPAT.hugeFile)) return;
    put16(inode.raw, 0x74, highHalf(inode.sectors));
    inode.flags = (inode.flags & ~INODE_FLAG.hugeFile) >>> 0;
  }
}

function following({ seconds, nanoseconds }: Timestamp): Timestamp {
  if (nanoseconds < NANOSECONDS_MAX) return { seconds, nanoseconds: nanoseconds + 1 };
  return { seconds: seconds + 1, nanoseconds: 0 };
}

/** Whether the inode is long enough to have the field. */
function hasField(raw: Uint8Array, at: number, bytes = 4): boolean {
  return raw.length > CORE_BYTES && at + bytes <= CORE_BYTES + u16(raw, EXTRA_BYTES_AT);
}

/** Returns the time as it will be read: the nearest one that the fields can tell. */
function putTime(
  raw: Uint8Array,
  time: Timestamp,
  at: { readonly low: number; readonly extra: number },
): Timestamp {
  const wide = hasField(raw, at.extra);
  const to = SECONDS_MAX + (wide ? EPOCHS_MAX : 0);
  const seconds = Math.min(Math.max(time.seconds, SECONDS_MIN), to);
  const nanoseconds = wide ? time.nanoseconds : 0;
  if (at.low < CORE_BYTES || hasField(raw, at.low)) put32(raw, at.low, seconds);
  const epoch = Math.floor((seconds - SECONDS_MIN) / 2 ** 32);
  if (wide) put32(raw, at.extra, epoch + nanoseconds * 4);
  return { seconds, nanoseconds };
}
