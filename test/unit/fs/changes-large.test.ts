// Trees of extents, of indirect blocks and of directory indexes grow and shrink by levels.
// Method: files of many extents in random order, directories of thousands of names; after each
// step the contents are read back, and e2fsck finds nothing.
import { describe, expect, it } from 'vitest';
import { checkImage, freshImage, openChanged } from '../../support/changed-volume.ts';
import { debugfs, imageObstacle, withDirectory } from '../../support/images.ts';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const OWNER = { uid: 0, gid: 0 };
const FILE = { ...OWNER, mode: 0o100644 };
const bytes = (text: string): Uint8Array => Buffer.from(text);

/** 0 to `count`, each once, in an order that jumps about. */
function* shuffled(count: number): Iterable<number> {
  for (let index = 0; index < count; index++) yield (index * 7919) % count;
}

describe.skipIf(imageObstacle() !== undefined)('a large file', () => {
  it.each([
    ['extents', ['-b', '1024']],
    ['indirect blocks', ['-b', '1024', '-O', '^extents,^64bit']],
  ])('of %s grows and shrinks', (_, args) => {
    const image = freshImage({ bytes: 48 << 20, arguments: args });
    const { volume, device, changes, close } = openChanged(image);
    const free = volume.status().blocksFree;
    const file = volume.createFile(volume.inode(2, 0), bytes('file'), FILE);
    const blocks = 3001;
    for (const index of shuffled(blocks)) {
      volume.write(file, index * 2048, new Uint8Array(1024).fill(1 + (index % 255)));
    }
    const read = new Uint8Array(blocks * 2048 - 1024);
    const expectBlocks = (has: (index: number) => boolean): void => {
      read.fill(255);
      expect(volume.read(file, 0, read)).toBe(read.length);
      for (let index = 0; index < blocks; index++) {
        const wanted = has(index) ? 1 + (index % 255) : 0;
        if (read[index * 2048] !== wanted || read[index * 2048 + 1023] !== wanted) {
          throw new Error(`block ${index} is ${String(read[index * 2048])}`);
        }
        if (index < blocks - 1 && read[index * 2048 + 1024] !== 0) throw new Error('no hole');
      }
    };
    expectBlocks(() => true);
    changes.commit();
    checkImage(openAgain(device.content));

    for (const index of shuffled(blocks)) {
      if (index % 3 !== 1) continue;
      volume.allocate(file, 'punchHole', { offset: index * 2048 - 100, bytes: 1200 });
    }
    expectBlocks((index) => index % 3 !== 1);
    changes.commit();
    checkImage(openAgain(device.content));

    volume.truncate(file, 5000);
    expect(volume.attributes(file).sectors).toBeLessThan(30);
    volume.unlink(volume.inode(2, 0), bytes('file'));
    changes.commit();
    expect(volume.status().blocksFree).toBe(free);
    close();
    checkImage(device.content);
  });

  it('is allocated, written here and there, and zeroed', () => {
    const { volume, device, close } = openChanged(
      freshImage({ bytes: 32 << 20, arguments: ['-b', '4096'] }),
    );
    const file = volume.createFile(volume.inode(2, 0), bytes('file'), FILE);
    volume.allocate(file, 'keepSize', { offset: 0, bytes: 8 << 20 });
    expect(volume.attributes(file)).toMatchObject({ size: 0, sectors: 16384 });
    volume.allocate(file, 'allocate', { offset: 0, bytes: 8 << 20 });
    for (const index of shuffled(1024)) {
      if (index % 2) volume.write(file, index * 8192 + 5, bytes(`at ${index}`));
    }
    expect(volume.seek(file, 0, 'data')).toBe(8192);
    expect(volume.seek(file, 8192, 'hole')).toBe(8192 + 4096);
    volume.allocate(file, 'zeroRange', { offset: 1 << 20, bytes: 9 << 20 });
    expect(volume.attributes(file).size).toBe(10 << 20);
    expect(() => volume.seek(file, 1 << 20, 'data')).toThrow('ENXIO');
    const content = new Uint8Array(10 << 20);
    volume.read(file, 0, content);
    expect(Buffer.from(content.subarray(8192 + 5, 8192 + 9)).toString()).toBe('at 1');
    expect(content.subarray(1 << 20).every((byte) => byte === 0)).toBe(true);
    close();
    checkImage(device.content);
  });

  it('that grows beside others lies together', () => {
    const { volume, device, close } = openChanged(freshImage({ bytes: 64 << 20 }));
    const root = volume.inode(2, 0);
    const files = [0, 1, 2, 3].map((index) => volume.createFile(root, bytes(`${index}`), FILE));
    const data = new Uint8Array(64 << 10).fill(7);
    for (let at = 0; at < 8 << 20; at += data.length) {
      for (const file of files) volume.write(file, at, data);
    }
    close();
    checkImage(device.content);
    withDirectory((directory) => {
      const image = join(directory, 'image');
      writeFileSync(image, device.content);
      for (const [index] of files.entries()) {
        const extents = debugfs(image, `dump_extents -l /${index}`).trim().split('\n').length - 1;
        expect(extents).toBeLessThan(20);
      }
    });
  });
});

describe.skipIf(imageObstacle() !== undefined)('a large directory', () => {
  it.each([
    ['blocks of 1 KiB', ['-b', '1024', '-N', '9000'], 2500],
    ['no index', ['-b', '4096', '-O', '^dir_index'], 600],
  ])('with %s finds and lists every name', (_, args, count) => {
    const image = freshImage({ bytes: 48 << 20, arguments: args });
    const { volume, device, changes, close } = openChanged(image);
    const directory = volume.makeDirectory(volume.inode(2, 0), bytes('d'), {
      ...OWNER,
      mode: 0o755,
    });
    const name = (index: number): Uint8Array =>
      bytes(`${String(index)} ${'long name '.repeat(index % 13)}`);
    for (const index of shuffled(count)) volume.createFile(directory, name(index), FILE);
    const numbers = new Set<number>();
    for (let index = 0; index < count; index++) {
      numbers.add(volume.lookup(directory, name(index))?.number ?? 0);
    }
    expect(numbers.size).toBe(count);
    let listed = 0;
    volume.list(directory, 0, ({ inode }) => {
      if (numbers.has(inode)) listed++;
      return true;
    });
    expect(listed).toBe(count);
    changes.commit();
    checkImage(openAgain(device.content));

    for (const index of shuffled(count)) if (index % 4) volume.unlink(directory, name(index));
    for (const index of shuffled(count))
      if (index % 4) volume.createFile(directory, name(index), FILE);
    expect(volume.lookup(directory, name(count - 1))).toBeDefined();
    close();
    checkImage(device.content);
  });

  it('that grows while it is listed shows what was there', () => {
    const image = freshImage({ bytes: 32 << 20, arguments: ['-b', '1024', '-N', '9000'] });
    const { volume } = openChanged(image);
    const root = volume.inode(2, 0);
    for (let index = 0; index < 300; index++) volume.createFile(root, bytes(`old ${index}`), FILE);
    const seen = new Set<string>();
    let cookie = 0;
    let made = 0;
    for (let more = true; more;) {
      more = false;
      volume.list(root, cookie, ({ name, nextCookie }) => {
        if (more) return false;
        seen.add(Buffer.from(name).toString());
        cookie = nextCookie;
        more = true;
        return true;
      });
      if (made < 2000) {
        for (let step = 0; step < 10; step++) {
          volume.createFile(root, bytes(`new ${'n'.repeat(made % 90)} ${made++}`), FILE);
        }
      }
    }
    for (let index = 0; index < 300; index++) expect(seen).toContain(`old ${index}`);
  });
});

/** As the next one to open it finds it: the journal replayed. */
function openAgain(content: Uint8Array): Uint8Array {
  const { close, device } = openChanged(content.slice());
  close();
  return device.content;
}
