// Commits that a thread of its own writes: changes go on meanwhile, and failures are told.
// The thread runs the compiled program.
import { copyFileSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ImageFile, openImage } from '../../../src/servers/fs/device.ts';
import { type Writing, openForWriting } from '../../../src/servers/fs/open.ts';
import { rawCrc32c } from '../../../src/servers/fs/raw-crc32c.ts';
import {
  type RegisterImage,
  RegisterWorld,
  makeRegisterImage,
  wrongWith,
} from '../../support/crash-registers.ts';
import { seeded } from '../../support/datagram-network.ts';
import { imageObstacle, run, withDirectory } from '../../support/images.ts';

const SEED = 20261122;
const program = pathToFileURL(
  join(import.meta.dirname, '../../../dist/src/servers/fs/journal/commit-worker.js'),
);

interface World {
  directory: string;
  image: RegisterImage;
  writing: Writing;
}

/** The same file, opened anew; the lock that `device` has of it is not asked for. */
function readOnly({ path, bytes }: ImageFile): ImageFile {
  return ImageFile.shared({ path, bytes, descriptor: openSync(path, 'r') });
}

/** `access` is what the thread may do with the image. */
function withWorld(access: 'read' | 'write', use: (world: World) => void): void {
  withDirectory((directory) => {
    const image = makeRegisterImage(directory, ['-b', '1024']);
    const device = openImage(image.path, 'write');
    const memory = new Uint8Array(1 << 20);
    const theirs = access === 'write' ? device : readOnly(device);
    const worker = { program, image: theirs };
    const options = { memory, timeMs: Date.now, crc32c: rawCrc32c, worker };
    use({ directory, image, writing: openForWriting(device, options) });
    device.close();
    theirs.close();
  });
}

/** Polls until `committed` has got there; the thread needs no event loop of ours. */
function reach({ changes }: Writing, transaction: number): void {
  const end = performance.now() + 10_000;
  while (changes.committed < transaction) {
    if (performance.now() > end) throw new Error('The commit does not end.');
    changes.poll();
  }
}

describe.skipIf(imageObstacle() !== undefined)('a thread that writes commits', () => {
  it('leaves what was committed, while changes go on', () => {
    withWorld('write', ({ directory, image, writing }) => {
      const registers = new RegisterWorld(image, writing, seeded(SEED));
      for (let step = 1; step <= 600; step++) {
        registers.step();
        if (step % 20 === 0) registers.commit();
      }

      const path = join(directory, 'crashed');
      copyFileSync(image.path, path);
      run('e2fsck', '-y', '-E', 'journal_only', path);
      run('e2fsck', '-fn', path);
      const content = new Uint8Array(readFileSync(path));
      const read = (block: number): Uint8Array =>
        content.subarray(block * 1024, block * 1024 + 1024);
      expect(wrongWith(image, read, registers.states.slice(-1))).toEqual([]);
      writing.close();
      run('e2fsck', '-fn', image.path);
    });
  });

  it('commits together what comes while it writes', () => {
    withWorld('write', ({ image, writing }) => {
      const { changes } = writing;
      const set = (value: number): void => {
        changes.change(() => {
          changes.modify(image.registers[0] ?? 0)[0] = value;
        });
      };
      set(1);
      const first = changes.begin();
      const tickets = [2, 3, 4].map((value) => {
        set(value);
        return changes.begin();
      });

      reach(writing, tickets[2] ?? 0);

      expect(first).toBe(1);
      // The first one may have ended meanwhile, on a machine that is slow here.
      expect(tickets[2]).toBeLessThanOrEqual(4);
      expect(changes.begin()).toBe(changes.committed);
      writing.close();
      expect(readFileSync(image.path)[(image.registers[0] ?? 0) * 1024]).toBe(4);
    });
  });

  it('tells that the device failed', () => {
    withWorld('read', ({ image, writing }) => {
      const { changes } = writing;
      changes.change(() => {
        changes.modify(image.registers[0] ?? 0)[0] = 1;
      });
      expect(() => {
        changes.commit();
      }).toThrow(/^EIO: writing .* failed/);
      expect(() => {
        changes.change(() => undefined);
      }).toThrow(/^EROFS/);
    });
  });
});
