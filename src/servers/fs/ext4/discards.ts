/**
 * Blocks that the device need not keep: freed for good, and not given away since. They are kept as
 * bitmaps by group, so neighbours that were freed at different times go together.
 *
 * A device is told of blocks when they have been free for a while: what is soon given away again,
 * as by a file that is written anew, is better kept than made twice.
 */
import type { Changes } from '../changes.ts';
import type { Disk } from './disk.ts';
import { findRun, freeFrom } from './free-runs.ts';
import { type Group, setBits } from './groups-editor.ts';

/** The page of most hosts: less frees nothing there. */
const DISCARD_BYTES_MIN = 4096;
/** What a device is told of at a time, so that nobody waits for long; runs are system calls. */
const RUNS_AT_A_TIME = 64;
const BYTES_AT_A_TIME = 64 << 20;
const RUNS_AT_CLOSE = 4096;
/** After so many steps, blocks that were free at the first one have been so for long enough. */
const STEPS_OF_REST = 6;

/** By group: clear bits are blocks to be discarded. */
type Bitmaps = Map<Group, Uint8Array>;

export class Discards {
  readonly #disk: Disk;
  readonly #blocksMin: number;
  readonly #rested: Bitmaps = new Map();
  #resting: Bitmaps = new Map();
  #steps = 0;

  constructor(disk: Disk) {
    this.#disk = disk;
    this.#blocksMin = Math.ceil(DISCARD_BYTES_MIN / disk.blockBytes);
  }

  /** Blocks of a group whose bits are set are free for good. */
  add(group: Group, freed: Uint8Array): void {
    const bitmap = bitmapIn(this.#resting, group, freed.length);
    for (let at = 0; at < freed.length; at++) {
      bitmap[at] = (bitmap[at] ?? 0) & ~(freed[at] ?? 0);
    }
  }

  /** Blocks of a group are in use again. */
  remove(group: Group, first: number, count: number): void {
    for (const bitmaps of [this.#rested, this.#resting]) {
      const bitmap = bitmaps.get(group);
      if (bitmap !== undefined) setBits(bitmap, first, count);
    }
  }

  /** To be called every few seconds: discards some of what has been free for long. Throws EIO. */
  step(changes: Changes): void {
    this.#discard(changes, RUNS_AT_A_TIME, BYTES_AT_A_TIME / this.#disk.blockBytes);
    if (++this.#steps % STEPS_OF_REST === 0) this.#rest();
  }

  /** Discards what is free now, but for a great many runs. Throws EIO. */
  close(changes: Changes): void {
    this.#rest();
    this.#discard(changes, RUNS_AT_CLOSE, Infinity);
  }

  #rest(): void {
    for (const [group, bitmap] of this.#resting) {
      const rested = bitmapIn(this.#rested, group, bitmap.length);
      for (let at = 0; at < bitmap.length; at++) rested[at] = (rested[at] ?? 0) & (bitmap[at] ?? 0);
    }
    this.#resting = new Map();
  }

  #discard(changes: Changes, runsMax: number, blocksMax: number): void {
    let runs = 0;
    let blocks = 0;
    for (const [group, bitmap] of this.#rested) {
      for (let from = 0; from < group.blocks;) {
        const { first, count } = findRun(bitmap, { from, to: group.blocks }, this.#blocksMin);
        if (count < this.#blocksMin) break;
        if (runs === runsMax || blocks >= blocksMax) return;
        const whole = freeFrom(bitmap, first, group.blocks);
        setBits(bitmap, first, whole);
        const { blockBytes } = this.#disk;
        changes.discard((group.firstBlock + first) * blockBytes, whole * blockBytes);
        runs++;
        blocks += whole;
        from = first + whole;
      }
      // Shorter runs wait for neighbours no longer.
      this.#rested.delete(group);
    }
  }
}

function bitmapIn(bitmaps: Bitmaps, group: Group, bytes: number): Uint8Array {
  const known = bitmaps.get(group);
  if (known !== undefined) return known;
  const bitmap = new Uint8Array(bytes).fill(0xff);
  bitmaps.set(group, bitmap);
  return bitmap;
}
