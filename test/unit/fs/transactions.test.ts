// Changes of a volume: seen at once, undone when they throw, there after a commit.
// Method: images of mke2fs, whose free blocks are changed as metadata or as contents of files.
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Writing, openForWriting } from '../../../src/servers/fs/open.ts';
import { imageObstacle, makeImage, run, withDirectory } from '../../support/images.ts';
import { MemoryDevice } from '../../support/memory-device.ts';

const BLOCK_BYTES = 1024;
/** Of an empty image of 16 MiB, blocks from here on are free. */
const FREE = 10_000;

interface World extends Writing {
  device: MemoryDevice;
  /** The first byte of a block, as readers see it. */
  byte: (block: number) => number;
  set: (block: number, value: number) => void;
}

function open(content: Uint8Array): World {
  const device = new MemoryDevice(content);
  const writing = openForWriting(device, { memory: new Uint8Array(1 << 20), timeMs: () => 1e12 });
  return {
    ...writing,
    device,
    byte: (block) => writing.cache.view(block * BLOCK_BYTES, BLOCK_BYTES)[0] ?? -1,
    set: (block, value) => {
      writing.changes.modify(block)[0] = value;
    },
  };
}

function image(...options: string[]): Uint8Array {
  return withDirectory((directory) => {
    const args = ['-b', String(BLOCK_BYTES), ...options];
    return new Uint8Array(readFileSync(makeImage(directory, { bytes: 16 << 20, arguments: args })));
  });
}

/** Throws unless e2fsck finds nothing to do. */
function check(content: Uint8Array): void {
  withDirectory((directory) => {
    writeFileSync(`${directory}/image`, content);
    run('e2fsck', '-fn', `${directory}/image`);
  });
}

const variants = [
  { name: 'a journal', options: [] },
  { name: 'a journal without checksums', options: ['-O', '^metadata_csum,^64bit'] },
  { name: 'no journal', options: ['-O', '^has_journal'] },
];

describe.skipIf(imageObstacle() !== undefined)('changes', () => {
  it.each(variants)('of a volume with $name are seen at once, and undone together', (variant) => {
    const { changes, byte, set, close, device } = open(image(...variant.options));
    changes.change(() => {
      set(FREE, 1);
      expect(byte(FREE)).toBe(1);
    });

    expect(() => {
      changes.change(() => {
        set(FREE, 2);
        set(FREE + 1, 2);
        changes.forget(FREE, 1);
        throw new Error('no');
      });
    }).toThrow('no');

    expect([byte(FREE), byte(FREE + 1)]).toEqual([1, 0]);
    close();
    expect([device.content[FREE * BLOCK_BYTES], device.content[(FREE + 1) * BLOCK_BYTES]]).toEqual([
      1, 0,
    ]);
    check(device.content);
  });

  it.each(variants)('of a volume with $name are there after a commit and a crash', (variant) => {
    const { changes, set, device } = open(image(...variant.options));
    for (let round = 1; round <= 3000; round++) {
      changes.change(() => {
        set(FREE + (round % 300), round);
        changes.writeData((FREE + 1000) * BLOCK_BYTES, Uint8Array.of(round));
      });
      if (round % 50 === 0) changes.commit();
    }

    const after = open(device.content.slice());

    for (let block = 0; block < 300; block++) {
      expect(after.byte(FREE + block)).toBe((2700 + block + (block === 0 ? 300 : 0)) & 255);
    }
    expect(after.byte(FREE + 1000)).toBe(3000 & 255);
    after.close();
    check(after.device.content);
  });
});
