// What the FS server writes, Linux reads as it was meant; and what Linux then changes, the FS
// server reads. Method: random calls on an image, which the kernel mounts and compares with what
// the server shows; then the kernel changes the same tree, and the server goes on.
import { closeSync, openSync, readFileSync, rmSync, unlinkSync, writeSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkImage, freshImage, openChanged } from '../../support/changed-volume.ts';
import { type ImageOptions, makeImage, mountObstacle, run } from '../../support/images.ts';
import { withDirectory, withMount } from '../../support/images.ts';
import { ModelRun } from '../../support/model-run.ts';
import { compareTrees, withVolume } from '../../support/volumes.ts';

const variants: (Partial<ImageOptions> & { name: string; extents?: boolean })[] = [
  { name: 'ext4, blocks of 1 KiB', arguments: ['-b', '1024'] },
  { name: 'ext4 with inline data', arguments: ['-O', 'inline_data', '-b', '1024'] },
  { name: 'ext3', type: 'ext3', arguments: ['-b', '1024'], extents: false },
  { name: 'ext2', type: 'ext2', arguments: ['-I', '128'], extents: false },
];

const obstacle = mountObstacle();

describe.skipIf(obstacle !== undefined)(`A changed volume, on Linux ${obstacle ?? ''}`, () => {
  it.each(variants)('of $name is the same', ({ name: _, extents = true, ...options }) => {
    withDirectory((directory) => {
      const { volume, device, close } = openChanged(freshImage({ bytes: 24 << 20, ...options }));
      const model = new ModelRun(volume, { seed: 5, bytesMax: 200_000, extents });
      model.run(700);
      model.dropAll();
      close();
      const image = join(directory, 'image');
      writeFileSync(image, device.content);
      withMount(image, 'ro,noload', (root) => {
        withVolume(image, (client) => {
          const { files, differences } = compareTrees(client, root, { same: true });
          expect(differences).toEqual([]);
          expect(files).toBeGreaterThan(50);
        });
      });

      withMount(image, 'acl,user_xattr', (root) => {
        for (let index = 0; index < 200; index++) {
          writeFileSync(join(root, `from Linux ${index}`), 'l'.repeat(index * 40));
        }
        for (let index = 0; index < 200; index += 2) rmSync(join(root, `from Linux ${index}`));
      });
      const again = openChanged(new Uint8Array(readFileSync(image)));
      const top = again.volume.inode(2, 0);
      for (let index = 1; index < 200; index += 2) {
        again.volume.unlink(top, Buffer.from(`from Linux ${index}`));
      }
      model.compare(again.volume);
      again.close();
      checkImage(again.device.content);
    });
  });

  it.each(['^orphan_file', 'orphan_file'])(
    'has none of the orphans of Linux, with %s',
    (feature) => {
      withDirectory((directory) => {
        const args = ['-b', '1024', '-O', feature];
        const image = makeImage(directory, { bytes: 16 << 20, arguments: args });
        const free = openChanged(new Uint8Array(readFileSync(image))).volume.status();
        const crashed = withMount(image, 'rw', (root) => {
          const files = [0, 1, 2].map((index) => openSync(join(root, `${index}`), 'w'));
          for (const [index, file] of files.entries()) {
            writeSync(file, Buffer.alloc(200_000));
            unlinkSync(join(root, `${index}`));
          }
          run('sync', '-f', root);
          const content = readFileSync(image);
          for (const file of files) closeSync(file);
          return new Uint8Array(content);
        });

        const { volume, close, device } = openChanged(crashed);

        expect(volume.status()).toEqual(free);
        close();
        checkImage(device.content);
      });
    },
  );
});
