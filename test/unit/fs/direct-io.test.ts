// Images that are read and written past the host's page cache. Method: random writes and reads,
// also in the order of the file, of an image that is direct, of another thread's view of it, and of
// memory; at the end the image as others read it, and the volume as e2fsck does.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ImageFile, openImage } from '../../../src/servers/fs/device.ts';
import { openForWriting } from '../../../src/servers/fs/open.ts';
import { seeded } from '../../support/datagram-network.ts';
import { makeImage, mountObstacle, run, withDirectory } from '../../support/images.ts';
import { pattern } from '../../support/trees.ts';

const MIB = 1 << 20;
const SEED = 20261123;

/** Compares random reads and writes of both views with `content`. */
function compare(views: readonly ImageFile[], content: Uint8Array, sectorBytes: number): void {
  const random = seeded(SEED);
  const target = new Uint8Array(new SharedArrayBuffer(2 * MIB), 3);
  let at = 0;
  for (let step = 0; step < 300; step++) {
    const view = views[Math.floor(random() * views.length)];
    const bytes = 1 + Math.floor(random() * (step % 10 === 0 ? 1.5 * MIB : 100_000));
    if (random() < 0.5) at = Math.floor(random() * content.length);
    const length = Math.min(bytes, content.length - at);
    if (random() < 0.3) {
      const data = pattern(length, step);
      view?.write(data, at);
      content.set(data, at);
    } else {
      view?.read(target, at, length);
      const same = Buffer.compare(target.subarray(0, length), content.subarray(at, at + length));
      expect([step, at, length, same]).toEqual([step, at, length, 0]);
    }
    at = (at + length) % content.length;
  }
  expect(content.length % sectorBytes).toBe(0);
}

/** A direct image, and how another thread has it. */
function views(path: string): [ImageFile, ImageFile] {
  const image = openImage(path, 'write');
  expect(image.goDirect('write', 4096)).toBe(undefined);
  const { descriptor, bytes, direct } = image;
  return [image, ImageFile.shared({ path, descriptor, bytes, direct })];
}

describe('direct I/O', () => {
  it('reads and writes what buffered I/O does', () => {
    withDirectory((directory) => {
      const path = join(directory, 'image');
      const content = pattern(8 * MIB, 1);
      writeFileSync(path, content);
      const both = views(path);
      compare(both, content, both[0].direct?.sectorBytes ?? 0);
      both[0].flush();
      both[0].close();
      expect(Buffer.compare(readFileSync(path), content)).toBe(0);
    });
  });

  it('works on a device, whose sectors may be longer than parts of blocks', ({ skip }) => {
    const obstacle = mountObstacle();
    if (obstacle !== undefined) skip(obstacle);
    withDirectory((directory) => {
      const path = makeImage(directory, { bytes: 8 * MIB, arguments: ['-b', '4096'] });
      const options = ['--show', '-f', '--direct-io=on', '--sector-size=4096'];
      const device = run('losetup', ...options, path)
        .toString()
        .trim();
      try {
        const [image] = views(device);
        expect(image.direct?.sectorBytes).toBe(4096);
        const cache = { memory: new Uint8Array(2 * MIB), timeMs: (): number => 1e12 };
        const { changes, close } = openForWriting(image, cache);
        const contents = pattern(5000, 2);
        changes.change(() => {
          changes.writeData(1000 * 4096 + 1024, contents);
        });
        close();
        image.close();
        run('e2fsck', '-fn', device);
        const found = readFileSync(device)
          .subarray(1000 * 4096 + 1024)
          .subarray(0, 5000);
        expect(Buffer.compare(found, contents)).toBe(0);
        const small = openImage(device, 'write');
        expect(small.goDirect('write', 1024)).toMatch('blocks of the volume are no multiple');
        small.close();
      } finally {
        run('losetup', '-d', device);
      }
    });
  });

  it('says where it is refused', ({ skip }) => {
    if (process.getuid?.() !== 0) skip('mounting takes root');
    withDirectory((directory) => {
      const host = join(directory, 'host');
      mkdirSync(host);
      run('mount', '-t', 'ramfs', 'ramfs', host);
      try {
        const path = join(host, 'image');
        writeFileSync(path, pattern(8192, 1));
        const image = openImage(path, 'write');
        expect(image.goDirect('write', 4096)).toBe('what holds it refuses O_DIRECT');
        const found = new Uint8Array(100);
        image.read(found, 8092, 100);
        expect([...found]).toEqual([...pattern(8192, 1).subarray(8092)]);
        image.close();
        const odd = join(directory, 'odd');
        writeFileSync(odd, pattern(8193, 1));
        const other = openImage(odd);
        expect(other.goDirect('read', 4096)).toBe('the image is no multiple of its sectors');
        other.close();
      } finally {
        run('umount', host);
      }
    });
  });
});
