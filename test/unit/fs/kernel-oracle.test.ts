// Whatever Linux writes on an ext2, ext3 or ext4 volume, the FS server reads as Linux does.
// Method: the kernel fills an image through a loop mount, one image for each set of features; then
// it is mounted read-only, and every file is compared through the FS protocol: attributes with
// nanoseconds, contents, holes, targets of links, xattrs and the names of directories.
import { mkdirSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type ImageOptions, makeImage, mountObstacle, run } from '../../support/images.ts';
import { withDirectory, withMount } from '../../support/images.ts';
import { makePlainTree, makePrivilegedTree, makeXattrs } from '../../support/trees.ts';
import { compareTrees, withVolume } from '../../support/volumes.ts';

interface Variant extends Partial<ImageOptions> {
  name: string;
  /** Entries of a directory that is to be large. */
  entries?: number;
}

const variants: Variant[] = [
  { name: 'ext4', entries: 2500 },
  { name: 'ext4 with blocks of 1 KiB', arguments: ['-b', '1024', '-N', '24000'], entries: 20_000 },
  { name: 'ext4 with blocks of 2 KiB and large inodes', arguments: ['-b', '2048', '-I', '1024'] },
  { name: 'ext4 with inodes of 128 bytes', arguments: ['-I', '128', '-b', '1024'] },
  { name: 'ext4 without extents', arguments: ['-O', '^extents,^64bit', '-b', '1024'] },
  { name: 'ext4 without checksums', arguments: ['-O', '^metadata_csum,^uninit_bg,^64bit'] },
  { name: 'ext4 with uninit_bg', arguments: ['-O', '^metadata_csum,uninit_bg', '-b', '1024'] },
  { name: 'ext4 with uninit_bg, 32 bits', arguments: ['-O', '^metadata_csum,uninit_bg,^64bit'] },
  { name: 'ext4 with a seed of its own', arguments: ['-O', 'metadata_csum_seed,mmp'] },
  { name: 'ext4 with inline data', arguments: ['-O', 'inline_data', '-I', '256'] },
  { name: 'ext4 with inline data, large inodes', arguments: ['-O', 'inline_data', '-I', '512'] },
  { name: 'ext4 with xattr inodes', arguments: ['-O', 'ea_inode,inline_data'] },
  { name: 'ext4 with bigalloc', arguments: ['-O', 'bigalloc', '-C', '16384'] },
  {
    name: 'ext4 with meta_bg',
    arguments: ['-O', 'meta_bg,^resize_inode', '-b', '1024', '-g', '1024'],
  },
  {
    name: 'ext4 with meta_bg and bigalloc, blocks of 1 KiB',
    arguments: ['-O', 'meta_bg,^resize_inode,bigalloc', '-b', '1024', '-C', '4096'],
  },
  { name: 'ext4 with sparse_super2', arguments: ['-O', 'sparse_super2,^resize_inode'] },
  { name: 'ext4 with an orphan file', arguments: ['-O', 'orphan_file,large_dir'] },
  { name: 'ext4 without indexes', arguments: ['-O', '^dir_index'], entries: 1000 },
  { name: 'ext4 without file types', arguments: ['-O', '^filetype,^metadata_csum'] },
  { name: 'ext3', type: 'ext3', arguments: ['-b', '1024'], entries: 2500 },
  { name: 'ext2', type: 'ext2', arguments: ['-b', '1024'], entries: 500 },
  { name: 'ext2 of revision 0', type: 'ext2', arguments: ['-r', '0', '-O', 'none', '-b', '1024'] },
];

function fill(root: string, variant: Variant): void {
  makePlainTree(root);
  makePrivilegedTree(root);
  const features = variant.arguments?.join() ?? '';
  // Blocks that are allocated but not written exist in extents only.
  if (variant.type === undefined && !features.includes('^extents')) {
    run('fallocate', '-l', '400000', join(root, 'file-4096'));
  }
  if (hasXattrs(variant)) makeXattrs(root, { large: features.includes('ea_inode') });
  mkdirSync(join(root, 'large'));
  for (let index = 0; index < (variant.entries ?? 0); index++) {
    writeFileSync(join(root, 'large', `${String(index)} of many`), '');
  }
}

/** Revision 0 of ext2 has no features at all. */
function hasXattrs(variant: Variant): boolean {
  return variant.arguments?.includes('none') !== true;
}

const obstacle = mountObstacle();

describe.skipIf(obstacle !== undefined)(`Volume, against the kernel ${obstacle ?? ''}`, () => {
  it.each(variants)(
    'reads $name',
    (variant) => {
      withDirectory((directory) => {
        const image = makeImage(directory, { bytes: 64 << 20, ...variant });
        withMount(image, 'acl,user_xattr', (root) => {
          fill(root, variant);
        });
        run('e2fsck', '-fn', image);

        withMount(image, 'ro,noload', (root) => {
          withVolume(image, (client) => {
            const { files, differences } = compareTrees(client, root, { same: true });
            expect(differences).toEqual([]);
            expect(files).toBeGreaterThan(640 + (variant.entries ?? 0));
            if (hasXattrs(variant)) {
              expect(client.listxattr(client.find('few'))).toContain('system.posix_acl_default');
              expect(client.getxattr(client.find('file-4097'), 'user.number-11')).toHaveLength(55);
            }
            const theirs = statfsSync(root);
            const { blockBytes, blocks, blocksFree, inodes, inodesFree } = client.statfs();
            expect({ blockBytes, blocks, blocksFree, inodes, inodesFree }).toEqual({
              blockBytes: theirs.bsize,
              blocks: theirs.blocks,
              blocksFree: theirs.bfree,
              inodes: theirs.files,
              inodesFree: theirs.ffree,
            });
          });
        });
      });
    },
    60_000,
  );
});
