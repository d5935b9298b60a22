// Changes of a volume: seen at once, undone when they throw, there after a commit.
// Method: images of mke2fs, whose free blocks are changed as metadata or as contents of files.
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { BlockCheck } from '../../../src/servers/fs/cache.ts';
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

  it('larger than the journal fails with ENOSPC and is undone', () => {
    const { changes, byte, set, close, device } = open(image('-J', 'size=1'));
    const large = (): void => {
      changes.change(() => {
        for (let block = 0; block < 600; block++) set(FREE + block, 1);
      });
    };

    expect(large).toThrow('ENOSPC: the change is larger than the journal can hold');

    expect([byte(FREE), byte(FREE + 599)]).toEqual([0, 0]);
    changes.change(() => {
      set(FREE, 2);
    });
    close();
    expect(device.content[FREE * BLOCK_BYTES]).toBe(2);
  });

  it('of more contents than may wait are written out, and read back', () => {
    const { changes, cache, device } = open(image());
    const contents = new Uint8Array(3 << 20).map((_, index) => index / 1000);
    const writes = device.writes;
    for (let at = 0; at < contents.length; at += 5000) {
      changes.change(() => {
        changes.writeData(FREE * BLOCK_BYTES + at, contents.subarray(at, at + 5000));
      });
    }
    expect(device.writes).toBeGreaterThan(writes);

    for (const read of ['read', 'readPast'] as const) {
      const found = new Uint8Array(contents.length);
      cache[read](found, FREE * BLOCK_BYTES);
      expect(Buffer.compare(found, contents)).toBe(0);
    }
  });

  it('that make a block metadata leave nothing of the file that had it', () => {
    const { changes, cache, device, close } = open(image());
    changes.change(() => {
      changes.writeData(FREE * BLOCK_BYTES, new Uint8Array(BLOCK_BYTES).fill(7));
    });
    changes.change(() => {
      changes.create(FREE)[5] = 8;
    });
    expect([...cache.view(FREE * BLOCK_BYTES, 7)]).toEqual([0, 0, 0, 0, 0, 8, 0]);
    expect(() => {
      changes.change(() => {
        changes.writeData(FREE * BLOCK_BYTES, new Uint8Array(BLOCK_BYTES));
      });
    }).toThrow(/^EUCLEAN: .* contents of a file and metadata are in one block/);

    changes.commit();

    expect(device.content[FREE * BLOCK_BYTES]).toBe(0);
    close();
    expect(device.content[FREE * BLOCK_BYTES + 5]).toBe(8);
  });

  it('verify a block as the cache does, and again for another owner', () => {
    const { changes, cache } = open(image());
    const seen: number[] = [];
    const check = (tag: number): BlockCheck => ({ tag, verify: () => void seen.push(tag) });
    changes.change(() => {
      changes.modify(FREE, check(1));
      cache.checked(FREE * BLOCK_BYTES, BLOCK_BYTES, check(1));
      changes.modify(FREE, check(2));
      changes.create(FREE + 1, check(3));
      cache.checked((FREE + 1) * BLOCK_BYTES, BLOCK_BYTES, check(3));
    });
    changes.commit();
    cache.checked(FREE * BLOCK_BYTES, BLOCK_BYTES, check(2));
    expect(seen).toEqual([1, 2]);
  });

  it('are refused outside of a change, inside of another, and after the end', () => {
    const { changes, close } = open(image());
    expect(() => changes.modify(FREE)).toThrow('Blocks are modified inside of a change.');
    expect(() => {
      changes.change(() => {
        changes.change(() => undefined);
      });
    }).toThrow('Changes do not nest.');
    expect(() => {
      changes.change(() => {
        changes.commit();
      });
    }).toThrow('A transaction ends between two changes.');
    close();
    expect(() => {
      changes.change(() => undefined);
    }).toThrow(/^EROFS/);
  });
});
