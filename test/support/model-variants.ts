/** Kinds of volumes, and a run of random calls on one of them that is checked by e2fsck. */
import { type ImageOptions } from './images.ts';
import { checkImage, freshImage, openChanged } from './changed-volume.ts';
import { ModelRun } from './model-run.ts';

export interface ModelVariant extends Partial<ImageOptions> {
  name: string;
  extents?: boolean;
}

const small = 1300 << 10;
export const modelVariants: readonly ModelVariant[] = [
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

export interface ModelCheck {
  readonly seed: number;
  readonly parts: number;
  /** Calls of each part. */
  readonly calls: number;
}

/**
 * After each part the volume is looked at as it would be after a crash. Throws where it is not as
 * the model says, or not as e2fsck wants it. Returns how many files there are at the end.
 */
export function checkAgainstModel(variant: ModelVariant, check: ModelCheck): number {
  const { name: _, extents = true, ...options } = variant;
  const image = freshImage({ bytes: 24 << 20, ...options });
  const { volume, device, changes, close } = openChanged(image, check.seed);
  const run = new ModelRun(volume, { seed: check.seed, bytesMax: 300_000, extents });
  for (let part = 0; part < check.parts; part++) {
    run.run(check.calls);
    changes.commit();
    const crashed = openChanged(device.content.slice());
    run.compare(crashed.volume);
    crashed.close();
    checkImage(crashed.device.content);
  }
  const files = run.compare();
  run.dropAll();
  close();
  checkImage(device.content);
  return files;
}
