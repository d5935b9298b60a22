/** A block device in memory, whose bytes a test may damage, and whose calls it may make fail. */
import { type WritableDevice, checkRange } from '../../src/servers/fs/device.ts';
import { FsError } from '../../src/servers/fs/errors.ts';

export class MemoryDevice implements WritableDevice {
  readonly content: Uint8Array;
  reads = 0;
  /** Reads that touch this byte fail; -1 for none. */
  badByte = -1;
  /** Called before each read; it may throw. */
  beforeRead: (at: number, bytes: number) => void = () => undefined;
  writes = 0;
  flushes = 0;
  /** Called before each write and flush; it may throw. */
  before: (call: 'write' | 'flush', at: number, bytes: number) => void = () => undefined;

  constructor(content: Uint8Array) {
    this.content = content;
  }

  get bytes(): number {
    return this.content.length;
  }

  read(target: Uint8Array, at: number, bytes: number): void {
    checkRange(this, target, { at, bytes });
    this.reads++;
    this.beforeRead(at, bytes);
    if (this.badByte >= at && this.badByte < at + bytes) {
      throw new FsError('EIO', `byte ${String(this.badByte)} cannot be read`);
    }
    target.set(this.content.subarray(at, at + bytes));
  }

  write(data: Uint8Array, at: number): void {
    checkRange(this, data, { at, bytes: data.length });
    this.writes++;
    this.before('write', at, data.length);
    this.content.set(data, at);
  }

  flush(): void {
    this.flushes++;
    this.before('flush', 0, 0);
  }

  discard(at: number, bytes: number): void {
    checkRange(this, { length: bytes }, { at, bytes });
    this.content.fill(0xdd, at, at + bytes);
  }
}
