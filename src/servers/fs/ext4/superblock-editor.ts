/**
 * What of the superblock changes while a volume is in use: counts, the first orphan, and features
 * that are set when they are first used. See `superblock.ts` for the layout.
 *
 * The block is shared with the journal, which keeps fields of its own in it, so only the fields
 * that are known here are written into what the block says now.
 */
import { FsError } from '../errors.ts';
import { CRC_START } from './checksum.ts';
import type { Disk } from './disk.ts';
import type { Edited, Edits } from './edits.ts';
import { COMPAT, INCOMPAT, RO_COMPAT, highHalf, join, put16, put32, u16, u32 } from './layout.ts';
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES } from './superblock.ts';

export interface SuperblockState {
  blocksFree: number;
  inodesFree: number;
  firstOrphan: number;
  compat: number;
  readOnlyCompat: number;
  mounts: number;
}

export class SuperblockEditor implements Edited {
  readonly #disk: Disk;
  readonly #edits: Edits;
  readonly #now: () => number;
  #state: SuperblockState;
  #changed = false;

  /** `now` tells the seconds since 1970. */
  constructor(disk: Disk, edits: Edits, now: () => number) {
    this.#disk = disk;
    this.#edits = edits;
    this.#now = now;
    this.#state = this.#read();
  }

  get state(): Readonly<SuperblockState> {
    return this.#state;
  }

  /** To be changed until the change ends. */
  edit(): SuperblockState {
    this.#changed = true;
    return this.#state;
  }

  /**
   * Sets a RO_COMPAT feature that a file needs. Throws EFBIG on a volume of the first revision,
   * which has no features.
   */
  needs(bit: number): void {
    if (this.#state.readOnlyCompat & bit) return;
    if (this.#disk.superblock.revision === 0) {
      throw new FsError('EFBIG', 'the volume is of the first revision, which has no features');
    }
    this.edit().readOnlyCompat |= bit;
  }

  /** Notes that the volume has xattrs. */
  hasXattrs(): void {
    if (this.#state.compat & COMPAT.extAttr) return;
    if (this.#disk.superblock.revision === 0) {
      throw new FsError('EOPNOTSUPP', 'a volume of the first revision has no xattrs');
    }
    this.edit().compat |= COMPAT.extAttr;
  }

  flush(): void {
    if (!this.#changed) return;
    const { state } = this;
    const { block, at } = this.#place();
    const raw = this.#edits.modify(block).subarray(at, at + SUPERBLOCK_BYTES);
    const wide = (u32(raw, 0x60) & INCOMPAT.bit64) !== 0;
    put32(raw, 0x0c, state.blocksFree);
    if (wide) put32(raw, 0x158, highHalf(state.blocksFree));
    put32(raw, 0x10, state.inodesFree);
    put32(raw, 0x30, this.#now());
    put16(raw, 0x34, state.mounts);
    put32(raw, 0x5c, state.compat);
    put32(raw, 0x64, state.readOnlyCompat);
    put32(raw, 0xe8, state.firstOrphan);
    if (state.readOnlyCompat & RO_COMPAT.metadataCsum) {
      put32(raw, 0x3fc, this.#disk.crc32c(raw.subarray(0, 0x3fc), CRC_START));
    }
  }

  undo(): void {
    if (this.#changed) this.#state = this.#read();
    this.#changed = false;
  }

  settle(): void {
    this.#changed = false;
  }

  #place(): { block: number; at: number } {
    const block = Math.floor(SUPERBLOCK_AT / this.#disk.blockBytes);
    return { block, at: SUPERBLOCK_AT - block * this.#disk.blockBytes };
  }

  #read(): SuperblockState {
    const raw = this.#disk.cache.view(SUPERBLOCK_AT, SUPERBLOCK_BYTES);
    const wide = (u32(raw, 0x60) & INCOMPAT.bit64) !== 0;
    return {
      blocksFree: join(wide ? u32(raw, 0x158) : 0, u32(raw, 0x0c)),
      inodesFree: u32(raw, 0x10),
      firstOrphan: u32(raw, 0xe8),
      compat: u32(raw, 0x5c),
      readOnlyCompat: u32(raw, 0x64),
      mounts: u16(raw, 0x34),
    };
  }
}
