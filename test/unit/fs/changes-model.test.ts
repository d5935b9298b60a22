// Whatever is done to a volume, it is as a simple model of it says, and e2fsck finds nothing.
// Method: seeded random calls on volumes of many kinds, some of them small enough to run full.
import { describe, expect, it } from 'vitest';
import { checkImage, freshImage, openChanged } from '../../support/changed-volume.ts';
import { type ImageOptions, imageObstacle } from '../../support/images.ts';
import { ModelRun } from '../../support/model-run.ts';

interface Variant extends Partial<ImageOptions> {
  name: string;
  steps?: number;
  extents?: boolean;
}

const small = 1300 << 10;
const variants: Variant[] = [
  { name: 'blocks of 1 KiB', arguments: ['-b', '1024'] },
  { name: 'blocks of 4 KiB', arguments: ['-b', '4096'] },
  { name: 'little space', bytes: small, arguments: ['-b', '1024', '-O', '^has_journal'] },
  { name: 'few inodes', arguments: ['-b', '1024', '-N', '64'] },
  { name: 'no checksums', arguments: ['-O', '^metadata_csum,^uninit_bg', '-b', '1024'] },
  { name: 'uninit_bg', arguments: ['-O', '^metadata_csum,uninit_bg,^64bit', '-g', '2048'] },
  { name: 'no extents', arguments: ['-O', '^extents,^64bit', '-b', '1024'], extents: false },
  { name: 'no indexes', arguments: ['-O', '^dir_index'] },
  { name: 'inline data', arguments: ['-O', 'inline_data', '-b', '1024'] },
  { name: 'inodes of 128 bytes', arguments: ['-I', '128'] },
  { name: 'no journal', arguments: ['-O', '^has_journal', '-b', '1024', '-g', '1024'] },
  { name: 'meta_bg', arguments: ['-O', 'meta_bg,^resize_inode', '-b', '1024', '-g', '1024'] },
  { name: 'ext3', type: 'ext3', arguments: ['-b', '1024'], extents: false },
  { name: 'ext2', type: 'ext2', arguments: ['-b', '1024'], extents: false },
];

describe.skipIf(imageObstacle() !== undefined)('a volume after random calls', () => {
  it.each(variants)('with $name is as the model says', (variant) => {
    const { name: _, steps = 1500, extents = true, ...options } = variant;
    const seed = Number(process.env['DVK_SEED'] ?? 1);
    const image = freshImage({ bytes: 24 << 20, ...options });
    const { volume, device, changes, close } = openChanged(image, seed);
    const run = new ModelRun(volume, { seed, bytesMax: 300_000, extents });
    for (let part = 0; part < 3; part++) {
      run.run(steps / 3);
      changes.commit();
      const crashed = openChanged(device.content.slice());
      run.compare(crashed.volume);
      crashed.close();
      checkImage(crashed.device.content);
    }
    expect(run.compare()).toBeGreaterThan(5);
    run.dropAll();
    close();
    checkImage(device.content);
  });
});
