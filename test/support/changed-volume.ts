/** A volume that is changed in memory, and checked by e2fsck afterwards. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Timestamp } from '../../src/vos/protocol/fs.ts';
import { CACHE_UNIT_BYTES } from '../../src/servers/fs/cache.ts';
import { Volume, type VolumeOptions } from '../../src/servers/fs/ext4/volume.ts';
import { type Writing, openForWriting } from '../../src/servers/fs/open.ts';
import { type ImageOptions, makeImage, run, withDirectory } from './images.ts';
import { MemoryDevice } from './memory-device.ts';

export interface ChangedOptions extends Partial<VolumeOptions> {
  /** Bytes of the cache, and of its lines. */
  readonly cache?: readonly [bytes: number, unit: number];
  /** Of the device. */
  readonly beforeRead?: MemoryDevice['beforeRead'];
}

const CACHE = [4 << 20, CACHE_UNIT_BYTES] as const;

export interface ChangedVolume extends Writing {
  readonly volume: Volume;
  readonly device: MemoryDevice;
}

/** A new image of mke2fs. */
export function freshImage(options: ImageOptions): Uint8Array {
  return withDirectory((directory) => {
    return new Uint8Array(readFileSync(makeImage(directory, options)));
  });
}

/** The clock stands still, and the random numbers are those of the seed. */
export function openChanged(
  content: Uint8Array,
  seed = 1,
  { cache: [bytes, unit] = CACHE, beforeRead, ...more }: ChangedOptions = {},
): ChangedVolume {
  const device = new MemoryDevice(content);
  if (beforeRead !== undefined) device.beforeRead = beforeRead;
  const memory = new Uint8Array(bytes);
  const writing = openForWriting(device, { memory, unit, poolBytes: 8 << 20, timeMs: () => 1e12 });
  const { cache, changes } = writing;
  let state = seed;
  const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
  const volume = Volume.open(device, cache, {
    changes,
    discards: true,
    now: testTime,
    random,
    ignoreJournal: true,
    ...more,
  });
  return { ...writing, volume, device };
}

export function testTime(): Timestamp {
  return { seconds: 2_000_000_000, nanoseconds: 123_456_789 };
}

/** Throws what e2fsck says unless it finds nothing to do. */
export function checkImage(content: Uint8Array): void {
  withDirectory((directory) => {
    const path = join(directory, 'image');
    writeFileSync(path, content);
    try {
      run('e2fsck', '-fn', path);
    } catch (error) {
      const { stdout } = error as { stdout?: Buffer };
      throw new Error(stdout?.toString() ?? String(error), { cause: error });
    }
  });
}
