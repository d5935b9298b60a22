/**
 * Symbolic links: a short target is in the inode ("fast"), a longer one in a block, or inline.
 */
import { damaged } from '../errors.ts';
import type { Contents } from './contents.ts';
import type { Disk } from './disk.ts';
import { readInline } from './inline-data.ts';
import { INODE_MAP_AT, INODE_MAP_BYTES, type Inode, hasFlag } from './inode.ts';
import { INODE_FLAG } from './layout.ts';

/** PATH_MAX of Linux, which counts the NUL behind the target. */
const TARGET_BYTES_MAX = 4095;

/** The target, bytes as they were given to symlink(2). Throws EUCLEAN. */
export function readSymlink(disk: Disk, contents: Contents, inode: Inode): Uint8Array {
  const { size, number, raw } = inode;
  if (size === 0 || size > Math.min(TARGET_BYTES_MAX, disk.blockBytes)) {
    throw damaged`inode ${number}: a symbolic link of ${size} bytes`;
  }
  const target = new Uint8Array(size);
  if (hasFlag(inode, INODE_FLAG.inlineData)) readInline(inode, 0, target);
  else if (size < INODE_MAP_BYTES && !hasFlag(inode, INODE_FLAG.extents)) {
    target.set(raw.subarray(INODE_MAP_AT, INODE_MAP_AT + size));
  } else contents.read(inode, 0, target);
  if (target.includes(0)) throw damaged`inode ${number}: a NUL in the target of a symbolic link`;
  return target;
}
