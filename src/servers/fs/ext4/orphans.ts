/**
 * The list of orphans: inodes that a crash would leave with blocks too many. They have no names but
 * are held, or are being cut off.
 *
 * On disk it is a chain from the superblock through the field of each inode that else tells when it
 * was deleted. Volumes may also have a file of such inodes (feature ORPHAN_FILE); it is read, and
 * what is new goes to the chain, as it does on Linux when the file is full.
 *
 *   block of the file: u32 inode (0: none) ... | 0x0B10CA04 | checksum
 *
 * See "Orphan file" in Documentation/filesystems/ext4.
 */
import { damaged, isFsError } from '../errors.ts';
import { badChecksum, wordBytes } from './checksum.ts';
import type { Contents } from './contents.ts';
import type { Disk } from './disk.ts';
import type { Edited, Edits } from './edits.ts';
import type { EditedInode, InodeEditor } from './inode-editor.ts';
import type { Inode } from './inode.ts';
import type { InodeTable } from './inode-table.ts';
import { RO_COMPAT, highHalf, put32, u32 } from './layout.ts';
import type { SuperblockEditor } from './superblock-editor.ts';

const TAIL_MAGIC = 0x0b10ca04;
const TAIL_BYTES = 8;
/** More than a machine can have had open. */
const ORPHANS_MAX = 1 << 20;

export interface OrphanParts {
  readonly disk: Disk;
  readonly edits: Edits;
  readonly inodes: InodeEditor;
  readonly table: InodeTable;
  readonly superblock: SuperblockEditor;
  readonly contents: Contents;
}

export class Orphans implements Edited {
  readonly #parts: OrphanParts;
  /** In the order of the chain; each is pinned. */
  #chain: Inode[] = [];
  #before: Inode[] | undefined;
  /** The first of those at the end of the chain that cannot be read; 0 for none. */
  #rest = 0;

  constructor(parts: OrphanParts) {
    this.#parts = parts;
    parts.edits.join(this);
  }

  /** Those that the volume has, the chain's first one first. */
  get all(): readonly Inode[] {
    return this.#chain;
  }

  /** Inside a change; one that is on the list stays where it is. */
  add(edited: EditedInode): void {
    if (this.#chain.includes(edited)) return;
    this.#before ??= this.#chain;
    const { superblock, table } = this.#parts;
    edited.deleted = superblock.state.firstOrphan;
    superblock.edit().firstOrphan = edited.number;
    table.pin(edited);
    this.#chain = [edited, ...this.#chain];
  }

  remove(edited: EditedInode): void {
    const index = this.#chain.indexOf(edited);
    if (index < 0) return;
    this.#before ??= this.#chain;
    const { superblock, table, inodes } = this.#parts;
    const next = this.#chain[index + 1]?.number ?? this.#rest;
    const before = this.#chain[index - 1];
    if (before === undefined) superblock.edit().firstOrphan = next;
    else inodes.edit(before).deleted = next;
    edited.deleted = 0;
    table.unpin(edited);
    this.#chain = this.#chain.filter((other) => other !== edited);
  }

  /** Reads the chain that the volume came with, as far as it can be read. Throws EUCLEAN. */
  load(): void {
    const { superblock, table } = this.#parts;
    const seen = new Set<number>();
    const chain: Inode[] = [];
    for (let number = superblock.state.firstOrphan; number !== 0;) {
      if (seen.has(number)) throw damaged`the list of orphans runs in a circle at inode ${number}`;
      if (seen.size === ORPHANS_MAX) throw damaged`the list of orphans does not end`;
      seen.add(number);
      const inode = readable(() => table.nameless(number));
      if (inode === undefined) {
        this.#rest = number;
        break;
      }
      table.pin(inode);
      chain.push(inode);
      number = inode.deleted;
    }
    this.#chain = chain;
  }

  /** Moves what the file of orphans lists into the chain, a block of it in each change. */
  takeFromFile(): void {
    const { disk, edits, table, contents, superblock } = this.#parts;
    const { orphanFile } = disk.superblock;
    if (orphanFile === 0) return;
    const file = table.own(orphanFile);
    for (let logical = 0; logical < Math.floor(file.size / disk.blockBytes); logical++) {
      const block = contents.block(file, logical);
      disk.checkBlocks(block, 1, orphanFile);
      edits.change(() => this.#takeBlock(file, block));
    }
    if (!(superblock.state.readOnlyCompat & RO_COMPAT.orphanPresent)) return;
    edits.change(() => {
      superblock.edit().readOnlyCompat &= ~RO_COMPAT.orphanPresent;
    });
  }

  flush(): void {
    // The chain is kept in inodes and in the superblock.
  }

  undo(): void {
    const { table } = this.#parts;
    const now = this.#chain;
    this.#chain = this.#before ?? now;
    for (const inode of now) if (!this.#chain.includes(inode)) table.unpin(inode);
    for (const inode of this.#chain) if (!now.includes(inode)) table.pin(inode);
    this.#before = undefined;
  }

  settle(): void {
    this.#before = undefined;
  }

  #takeBlock(file: Inode, block: number): void {
    const { disk, edits, table, inodes } = this.#parts;
    const bytes = edits.modify(block);
    const tailAt = bytes.length - TAIL_BYTES;
    if (u32(bytes, tailAt) !== TAIL_MAGIC) throw damaged`block ${block}: not of a file of orphans`;
    const stored = u32(bytes, tailAt + 4);
    const computed = this.#sum(file, block, bytes.subarray(0, tailAt));
    if (disk.checksums && stored !== computed) {
      throw badChecksum(`block ${String(block)} of the file of orphans`, { stored, computed });
    }
    for (let at = 0; at < tailAt; at += 4) {
      const number = u32(bytes, at);
      if (number === 0) continue;
      put32(bytes, at, 0);
      this.add(inodes.edit(table.nameless(number)));
    }
    if (disk.checksums) put32(bytes, tailAt + 4, this.#sum(file, block, bytes.subarray(0, tailAt)));
  }

  #sum(file: Inode, block: number, slots: Uint8Array): number {
    const { crc32c } = this.#parts.disk;
    const low = crc32c(wordBytes(block), file.checksumSeed);
    return crc32c(slots, crc32c(wordBytes(highHalf(block)), low));
  }
}

function readable(read: () => Inode): Inode | undefined {
  try {
    return read();
  } catch (error) {
    if (!isFsError(error, 'EIO')) throw error;
    return undefined;
  }
}
