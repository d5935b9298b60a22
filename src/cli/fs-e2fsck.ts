/**
 * What e2fsck complains of, by the names that our own check has for it; so the two can be compared.
 * Sentences are those of e2fsprogs 1.45 to 1.47 in English (e2fsck/problem.c).
 */
import type { FindingKind } from '../servers/fs/check/findings.ts';

const SENTENCES: readonly (readonly [FindingKind, RegExp])[] = [
  ['superblock', /superblock (checksum|could not|has an invalid|is corrupt)|[Bb]ad magic number/],
  ['descriptor-checksum', /descriptor checksums? (is|are)|descriptor \d+ checksum/],
  ['descriptor', /[Cc]orrupt group descriptor|(bitmap|table) for group \d+ is not in group/],
  ['descriptor', /[Gg]roup descriptors? look bad|(bitmap|table)( block \d+)? (conflicts|conflict)/],
  ['bitmap-checksum', /bitmap (does not match checksum|checksum does not match)/],
  ['block-bitmap', /^ ?Block bitmap differences/m],
  ['inode-bitmap', /^ ?Inode bitmap differences/m],
  ['free-blocks', /Free blocks count wrong/],
  ['free-inodes', /Free inodes count wrong/],
  ['directories', /Directories count wrong/],
  ['inode-checksum', /checksum does not match inode/],
  ['inode', /seems to contain garbage|has a bad mode|extra size \(\d+\)|has zero dtime/],
  ['inode', /has imagic flag|is a .* but .* should|special .*\(inode \d+\)|has INLINE_DATA_FL/],
  ['inode', /Symlink .* is invalid|i_faddr for/],
  ['inode', /is too big|has illegal characters|is in use, but has dtime set|Invalid inode number/],
  ['map-checksum', /checksum does not match extent/],
  [
    'map',
    /extent|illegal block|Illegal (indirect |double )?block|[Ii]llegal \w+ #|illegal \w+ block/,
  ],
  ['shared-block', /[Mm]ultiply-claimed|conflicts with critical metadata/],
  ['sectors', /i_blocks is/],
  ['size', /i_size is/],
  ['xattr-references', /has reference count/],
  ['xattrs', /[Ee]xtended attribute|attribute .*(bad|invalid|corrupt)|\bEA\b/],
  ['directory-checksum', /fails? (the )?checksum|checksum does not match directory/],
  ['directory', /directory corrupted|unallocated block|Missing '\.|First entry|Second entry/],
  [
    'directory',
    /[Rr]oot (inode|directory) is not|[Dd]irectory inode \d+.*(bad|corrupt|empty|short)/,
  ],
  ['entry', /deleted\/unused inode|incorrect filetype|has bad inode|is a link to directory/],
  ['entry', /filetype set|which is part of the orphan|points to inode|references inode/],
  ['duplicate-name', /Duplicate entry|duplicate directory entr|Duplicate or bad/],
  ['index', /HTREE|h-tree|has INDEX_FL/],
  ['parent', /'\.\.' in .* (is|should)/],
  ['unattached', /Unattached|Unconnected|not attached/],
  ['link-count', /ref count is/],
  ['orphans', /orphan/],
  ['journal', /[Jj]ournal (is|superblock|inode|has)|corrupt.*journal|journal.*corrupt/],
];

/** The kinds that a text of e2fsck has, each once, in the order of our list. */
export function kindsIn(text: string): FindingKind[] {
  return [...new Set(SENTENCES.flatMap(([kind, said]) => (said.test(text) ? [kind] : [])))];
}
