import type * as Fs from 'node:fs';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { openImage } from '../../../src/servers/fs/device.ts';
import { withDirectory } from '../../support/images.ts';
import { pattern } from '../../support/trees.ts';

/** What fdatasync(2) fails with. */
let flushFails: string | undefined;

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof Fs>();
  const fdatasyncSync = (descriptor: number): void => {
    if (flushFails !== undefined) throw Object.assign(new Error('failed'), { code: flushFails });
    fs.fdatasyncSync(descriptor);
  };
  return { ...fs, fdatasyncSync };
});

afterEach(() => {
  flushFails = undefined;
});

describe('ImageFile', () => {
  const content = pattern(10_000, 1);

  function withImage(use: (path: string) => void): void {
    withDirectory((directory) => {
      const path = join(directory, 'image');
      writeFileSync(path, content);
      use(path);
    });
  }

  it('reads ranges of a file, also into shared memory', () => {
    withImage((path) => {
      const image = openImage(path);
      const target = new Uint8Array(new SharedArrayBuffer(500), 100, 300);
      image.read(target, 9_700, 300);
      expect(image.bytes).toBe(10_000);
      expect([...target]).toEqual([...content.slice(9_700)]);
      image.close();
      image.close();
    });
  });

  it('fails with EIO outside the file, without room, and when the file has shrunk', () => {
    withImage((path) => {
      const image = openImage(path);
      const target = new Uint8Array(100);
      const read = (at: number, bytes: number) => () => {
        image.read(target, at, bytes);
      };
      expect(read(9_950, 100)).toThrow(/^EIO/);
      expect(read(-1, 10)).toThrow(/^EIO/);
      expect(read(0, 101)).toThrow(/^EIO/);
      truncateSync(path, 5_000);
      expect(read(4_950, 100)).toThrow(/^EIO: .* ends at byte 5000/);
      image.close();
      expect(read(0, 10)).toThrow(/^EIO/);
    });
  });

  it('fails like open(2) for a file that is not there', () => {
    expect(() => openImage('/nowhere/image')).toThrow(/ENOENT/);
  });

  it('writes ranges of a file, and gives those back that are of no use', () => {
    withImage((path) => {
      const image = openImage(path, 'write');
      image.write(Uint8Array.of(1, 2, 3), 9_997);
      image.discard(0, 8192);
      image.flush();
      expect(() => {
        image.write(new Uint8Array(4), 9_997);
      }).toThrow(/^EIO: .* outside the device/);
      image.close();
      const found = readFileSync(path);
      expect([...found.subarray(9_997)]).toEqual([1, 2, 3]);
      expect([found.length, found[8191], found[8192]]).toEqual([10_000, 0, content[8192]]);
    });
  });

  it('that could not be flushed has lost something, also when it was full', () => {
    withImage((path) => {
      const image = openImage(path, 'write');
      for (flushFails of ['EIO', 'ENOSPC', 'EDQUOT']) {
        expect(() => {
          image.flush();
        }).toThrow(/^EIO: flushing/);
      }
      image.close();
    });
  });

  it('is open for one writer, or for readers, as many as want', () => {
    withImage((path) => {
      const refused = `EBUSY: another server has ${path} open`;
      const writer = openImage(path, 'write');
      expect(() => openImage(path, 'write')).toThrow(refused);
      expect(() => openImage(path)).toThrow(refused);
      writer.close();
      const readers = [openImage(path), openImage(path)];
      expect(() => openImage(path, 'write')).toThrow(refused);
      for (const reader of readers) reader.close();
      openImage(path, 'write').close();
    });
  });

  it('that is open for reading takes no writes', () => {
    withImage((path) => {
      const image = openImage(path);
      expect(() => {
        image.write(new Uint8Array(1), 0);
      }).toThrow(/^EIO: writing/);
      image.close();
    });
  });
});
