// Volumes made by mke2fs from a directory, which takes no privileges, and whose oracle is that
// directory.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { imageObstacle, makeImage, withDirectory } from '../../support/images.ts';
import { SAMPLE_NAMES, makeSample, optimizeDirectories } from '../../support/sample.ts';
import { makePlainTree } from '../../support/trees.ts';
import { compareTrees, openVolume, withVolume } from '../../support/volumes.ts';
import { MemoryDevice } from '../../support/memory-device.ts';

const obstacle = imageObstacle();

describe.skipIf(obstacle !== undefined)(`Volume, from a directory ${obstacle ?? ''}`, () => {
  it.each([
    ['blocks of 4 KiB', ['-b', '4096']],
    ['blocks of 8 KiB', ['-b', '8192']],
    ['blocks of 64 KiB', ['-b', '65536', '-N', '2000']],
    ['blocks of 64 KiB without checksums', ['-b', '65536', '-O', '^metadata_csum', '-N', '2000']],
    ['inline data', ['-O', 'inline_data', '-I', '512']],
    ['no extents', ['-O', '^extents,^64bit', '-b', '1024']],
    ['inodes of 128 bytes', ['-I', '128']],
  ])('reads %s', (_, args) => {
    withDirectory((directory) => {
      const source = join(directory, 'source');
      mkdirSync(source);
      makePlainTree(source);
      const image = makeImage(directory, { bytes: 64 << 20, source, arguments: args });
      optimizeDirectories(image);
      withVolume(image, (client) => {
        const { files, differences } = compareTrees(client, source, { same: false });
        expect(differences).toEqual([]);
        expect(files).toBeGreaterThan(630);
      });
    });
  });

  it('finds each of 2,000 names in an index, and lists them once', () => {
    withDirectory((directory) => {
      const source = join(directory, 'source');
      mkdirSync(join(source, 'd'), { recursive: true });
      const names = Array.from({ length: 2_000 }, (_, index) => `name ${String(index)}`);
      for (const name of names) writeFileSync(join(source, 'd', name), '');
      const args = ['-b', '1024', '-N', '2500', '-O', '^has_journal'];
      const image = makeImage(directory, { bytes: 4 << 20, source, arguments: args });
      optimizeDirectories(image);
      withVolume(image, (client) => {
        const d = client.find('d');
        const listed = client.readdirAll(d, 65536).slice(2);
        const found = names.map((name) => client.lookup(d, name).inode);
        expect(listed.map(({ name }) => Buffer.from(name).toString()).toSorted()).toEqual(
          names.toSorted(),
        );
        expect(new Set(found)).toEqual(new Set(listed.map(({ attributes }) => attributes.inode)));
        expect(() => client.lookup(d, 'name 2000')).toThrow('-2');
      });
    });
  });

  it.each([
    ['legacy', 1],
    ['half_md4', 2],
    ['tea', 1],
    ['tea', 2],
  ])('finds names by the hash %s with the flags %i', (hash, flags) => {
    withDirectory((directory) => {
      const { content } = makeSample(directory, { hash, flags });
      const client = openVolume(new MemoryDevice(content));
      const indexed = client.find('indexed');
      for (const name of SAMPLE_NAMES) expect(client.lookup(indexed, name).size).toBe(0);
      expect(() => client.lookup(indexed, 'entry number 300')).toThrow('-2');
    });
  });
});
