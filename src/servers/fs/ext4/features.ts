/**
 * Which volumes can be read: INCOMPAT bits say what a reader must understand, so an unknown one
 * refuses the volume.
 *
 * RO_COMPAT bits matter to writers only, and COMPAT bits to nobody. See "Super Block" in the
 * kernel's Documentation/filesystems/ext4.
 */
import { FsError, hex } from '../errors.ts';
import { INCOMPAT } from './layout.ts';

const READABLE = Object.values(INCOMPAT).reduce((all, bit) => all | bit, 0);

const REFUSED: readonly (readonly [bit: number, reason: string])[] = [
  [0x1, 'compression was never part of ext4 (feature "compression")'],
  [0x8, 'this is an external journal, not a file system (feature "journal_dev")'],
  [0x1000, 'data in directory entries is not known (feature "dirdata")'],
  [0x20000, 'names would be compared without folding their case (feature "casefold")'],
];

export interface FeatureOptions {
  /** Read the volume as its last checkpoint left it, though its journal holds newer blocks. */
  readonly ignoreJournal?: boolean;
}

/** Throws EOPNOTSUPP for what cannot be read, EROFS for a journal that must be replayed first. */
export function checkFeatures(incompat: number, options: FeatureOptions): void {
  for (const [bit, reason] of REFUSED) {
    if (incompat & bit) throw new FsError('EOPNOTSUPP', reason);
  }
  const unknown = incompat & ~READABLE;
  if (unknown !== 0) {
    throw new FsError('EOPNOTSUPP', `the volume needs unknown features ${hex(unknown)}`);
  }
  if (incompat & INCOMPAT.recover && options.ignoreJournal !== true) {
    throw new FsError(
      'EROFS',
      'the journal holds changes that are not in place yet (feature "needs_recovery"); ' +
        'replay it with e2fsck, or read the older state with ignoreJournal',
    );
  }
}
