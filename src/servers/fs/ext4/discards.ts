/**
 * Blocks that the device need not keep: freed for good, and not given away since. They are kept as
 * bitmaps by group, so neighbours that were freed at different times go together.
 */
import type { Changes } from '../changes.ts';
import type { Disk } from './disk.ts';
import { findRun, freeFrom } from './free-runs.ts';
import { type Group, setBits } from './groups-editor.ts';

/** The page of most hosts: less frees nothing there. */
const DISCARD_BYTES_MIN = 4096;

export class Discards {
  readonly #disk: Disk;
  readonly #blocksMin: number;
  /** By group: clear bits are blocks to be discarded. */
  readonly #bitmaps = new Map<Group, Uint8Array>();

  constructor(disk: Disk) {
    this.#disk = disk;
    this.#blocksMin = Math.ceil(DISCARD_BYTES_MIN / disk.blockBytes);
  }

  /** Blocks of a group whose bits are set are free for good. */
  add(group: Group, freed: Uint8Array): void {
    const bitmap = this.#bitmaps.get(group) ?? new Uint8Array(freed.length).fill(0xff);
    for (let at = 0; at < freed.length; at++) {
      bitmap[at] = (bitmap[at] ?? 0) & ~(freed[at] ?? 0);
    }
    this.#bitmaps.set(group, bitmap);
  }

  /** Blocks of a group are in use again. */
  remove(group: Group, first: number, count: number): void {
    const bitmap = this.#bitmaps.get(group);
    if (bitmap !== undefined) setBits(bitmap, first, count);
  }

  /** Discards up to so many runs of blocks. Throws EIO. */
  discard(changes: Changes, runsMax: number): void {
    let runs = 0;
    for (const [group, bitmap] of this.#bitmaps) {
      for (let from = 0; from < group.blocks;) {
        const { first, count } = findRun(bitmap, { from, to: group.blocks }, this.#blocksMin);
        if (count < this.#blocksMin) break;
        if (runs === runsMax) return;
        const whole = freeFrom(bitmap, first, group.blocks);
        setBits(bitmap, first, whole);
        const { blockBytes } = this.#disk;
        changes.discard((group.firstBlock + first) * blockBytes, whole * blockBytes);
        runs++;
        from = first + whole;
      }
      // Shorter runs wait for neighbours no longer.
      this.#bitmaps.delete(group);
    }
  }
}
