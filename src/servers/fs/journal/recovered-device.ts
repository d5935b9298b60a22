/**
 * A volume whose journal holds changes, as it reads once they are in place. The device under it is
 * not written: reads of blocks that the log has newer copies of get these.
 *
 * So an image that was pulled away from a running machine can be served as it is, and two readers
 * of it see the same.
 */
import { type BlockDevice, checkRange } from '../device.ts';
import { FsError } from '../errors.ts';
import { CRC_START, type Crc32c } from '../ext4/checksum.ts';
import { INCOMPAT, RO_COMPAT, u32 } from '../ext4/layout.ts';
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES, readSuperblock } from '../ext4/superblock.ts';
import { JOURNAL_MAGIC } from './format.ts';
import { JournalFile } from './journal-file.ts';
import { readLog } from './log.ts';

/** What recovery found. */
export interface Recovered {
  readonly device: BlockDevice;
  /** Transactions of the journal that are in place in `device`; 0 where there was none. */
  readonly transactions: number;
  /** Blocks that `device` has from the journal. */
  readonly blocks: number;
}

/**
 * The volume on `device` with its journal replayed. Throws EUCLEAN for a damaged superblock or
 * journal, EOPNOTSUPP for features that are not known, EROFS for journals that only e2fsck can
 * replay (on another device, or with fast commits), EIO.
 */
export function recover(device: BlockDevice, crc: Crc32c): Recovered {
  const superblock = readSuperblock(device, { ignoreJournal: true, crc32c: crc });
  if (!(superblock.incompat & INCOMPAT.recover)) return { device, transactions: 0, blocks: 0 };
  if (superblock.journalInode === 0) {
    throw new FsError('EROFS', 'the journal is on another device; replay it with e2fsck');
  }
  const blocks = new JournalFile(device, superblock, crc);
  const log = readLog(blocks, superblock.blocks, crc);
  const places = new Map<number, Place>();
  for (const [block, { copy, escaped }] of log.blocks) {
    places.set(block, { at: blocks.place(copy), escaped });
  }
  const recovered = new RecoveredDevice(device, superblock.blockBytes, places, crc);
  return { device: recovered, transactions: log.transactions, blocks: places.size };
}

/** Where the newer copy of a block begins, and whether its first word is the magic number. */
interface Place {
  readonly at: number;
  readonly escaped: boolean;
}

class RecoveredDevice implements BlockDevice {
  readonly bytes: number;
  readonly #device: BlockDevice;
  readonly #blockBytes: number;
  readonly #places: ReadonlyMap<number, Place>;
  readonly #crc: Crc32c;

  constructor(
    device: BlockDevice,
    blockBytes: number,
    places: ReadonlyMap<number, Place>,
    crc: Crc32c,
  ) {
    this.bytes = device.bytes;
    this.#device = device;
    this.#blockBytes = blockBytes;
    this.#places = places;
    this.#crc = crc;
  }

  read(target: Uint8Array, at: number, bytes: number): void {
    checkRange(this, target, { at, bytes });
    this.#device.read(target, at, bytes);
    const end = at + bytes;
    for (let block = Math.floor(at / this.#blockBytes); block * this.#blockBytes < end; block++) {
      const place = this.#places.get(block);
      if (place === undefined) continue;
      overlay(target.subarray(0, bytes), at, this.#copy(place), block * this.#blockBytes);
    }
    if (at < SUPERBLOCK_AT + SUPERBLOCK_BYTES && end > SUPERBLOCK_AT) {
      overlay(target.subarray(0, bytes), at, this.#superblock(), SUPERBLOCK_AT);
    }
  }

  #copy({ at, escaped }: Place): Uint8Array {
    const copy = new Uint8Array(this.#blockBytes);
    this.#device.read(copy, at, copy.length);
    if (escaped) new DataView(copy.buffer).setUint32(0, JOURNAL_MAGIC);
    return copy;
  }

  /** The superblock says that nothing is left to do. */
  #superblock(): Uint8Array {
    const block = Math.floor(SUPERBLOCK_AT / this.#blockBytes);
    const place = this.#places.get(block);
    const raw = new Uint8Array(SUPERBLOCK_BYTES);
    const into = SUPERBLOCK_AT - block * this.#blockBytes;
    if (place === undefined) this.#device.read(raw, SUPERBLOCK_AT, raw.length);
    else raw.set(this.#copy(place).subarray(into, into + raw.length));
    const view = new DataView(raw.buffer);
    view.setUint32(0x60, view.getUint32(0x60, true) & ~INCOMPAT.recover, true);
    if (u32(raw, 0x64) & RO_COMPAT.metadataCsum) {
      view.setUint32(0x3fc, this.#crc(raw.subarray(0, 0x3fc), CRC_START), true);
    }
    return raw;
  }
}

/** Writes what of `part`, which begins at byte `partAt`, lies in `target`, which begins at `at`. */
function overlay(target: Uint8Array, at: number, part: Uint8Array, partAt: number): void {
  const from = Math.max(at, partAt);
  const to = Math.min(at + target.length, partAt + part.length);
  if (from < to) target.set(part.subarray(from - partAt, to - partAt), from - at);
}
