/** A block device in memory, whose bytes a test may damage, and whose reads it may make fail. */
import { type BlockDevice, checkRange } from '../../src/servers/fs/device.ts';
import { FsError } from '../../src/servers/fs/errors.ts';

export class MemoryDevice implements BlockDevice {
  readonly content: Uint8Array;
  reads = 0;
  /** Reads that touch this byte fail; -1 for none. */
  badByte = -1;

  constructor(content: Uint8Array) {
    this.content = content;
  }

  get bytes(): number {
    return this.content.length;
  }

  read(target: Uint8Array, at: number, bytes: number): void {
    checkRange(this, target, { at, bytes });
    this.reads++;
    if (this.badByte >= at && this.badByte < at + bytes) {
      throw new FsError('EIO', `byte ${String(this.badByte)} cannot be read`);
    }
    target.set(this.content.subarray(at, at + bytes));
  }
}
