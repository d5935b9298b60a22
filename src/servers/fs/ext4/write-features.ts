/**
 * Which volumes can be changed: more must be understood than for reading, since a feature that a
 * writer does not know would be broken by it.
 */
import { FsError, hex } from '../errors.ts';
import { INCOMPAT, RO_COMPAT } from './layout.ts';
import type { Superblock } from './superblock.ts';

const STATE_ERRORS = 2;

const WRITABLE =
  RO_COMPAT.sparseSuper |
  RO_COMPAT.largeFile |
  RO_COMPAT.btreeDir |
  RO_COMPAT.hugeFile |
  RO_COMPAT.gdtCsum |
  RO_COMPAT.dirNlink |
  RO_COMPAT.extraIsize |
  RO_COMPAT.metadataCsum |
  RO_COMPAT.orphanPresent;

/** Features with a name, that a volume may not have. */
const REFUSED: readonly (readonly [field: 'incompat' | 'readOnlyCompat', bit: number, string])[] = [
  ['incompat', INCOMPAT.mmp, 'mmp'],
  ['incompat', INCOMPAT.eaInode, 'ea_inode'],
  ['incompat', INCOMPAT.encrypt, 'encrypt'],
  ['readOnlyCompat', RO_COMPAT.quota, 'quota'],
  ['readOnlyCompat', RO_COMPAT.bigalloc, 'bigalloc'],
  ['readOnlyCompat', RO_COMPAT.readOnly, 'read-only'],
  ['readOnlyCompat', RO_COMPAT.project, 'project'],
  ['readOnlyCompat', RO_COMPAT.sharedBlocks, 'shared_blocks'],
  ['readOnlyCompat', RO_COMPAT.verity, 'verity'],
];

/**
 * Throws EROFS, with the name of the feature, for a volume that can be read but not changed;
 * EUCLEAN for one that e2fsck should see first.
 */
export function checkWritable(superblock: Superblock): void {
  for (const [field, bit, name] of REFUSED) {
    if (superblock[field] & bit) {
      throw new FsError('EROFS', `volumes with the feature "${name}" can only be read`);
    }
  }
  const unknown = superblock.readOnlyCompat & ~WRITABLE;
  if (unknown !== 0) {
    throw new FsError('EROFS', `the volume has unknown features ${hex(unknown)}, and is read-only`);
  }
  if (!superblock.linux && superblock.readOnlyCompat & RO_COMPAT.metadataCsum) {
    throw new FsError('EROFS', 'checksums of another system than Linux can only be read');
  }
  if (superblock.state & STATE_ERRORS) {
    throw new FsError('EUCLEAN', 'the volume says that it has errors');
  }
}
