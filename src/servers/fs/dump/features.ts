/** Names of the features of a volume, as e2fsprogs writes them. */
const COMPAT: readonly (readonly [number, string])[] = [
  [0x1, 'dir_prealloc'],
  [0x2, 'imagic_inodes'],
  [0x4, 'has_journal'],
  [0x8, 'ext_attr'],
  [0x10, 'resize_inode'],
  [0x20, 'dir_index'],
  [0x200, 'sparse_super2'],
  [0x400, 'fast_commit'],
  [0x800, 'stable_inodes'],
  [0x1000, 'orphan_file'],
];
const INCOMPAT: readonly (readonly [number, string])[] = [
  [0x1, 'compression'],
  [0x2, 'filetype'],
  [0x4, 'needs_recovery'],
  [0x8, 'journal_dev'],
  [0x10, 'meta_bg'],
  [0x40, 'extent'],
  [0x80, '64bit'],
  [0x100, 'mmp'],
  [0x200, 'flex_bg'],
  [0x400, 'ea_inode'],
  [0x1000, 'dirdata'],
  [0x2000, 'metadata_csum_seed'],
  [0x4000, 'large_dir'],
  [0x8000, 'inline_data'],
  [0x10000, 'encrypt'],
  [0x20000, 'casefold'],
];
const RO_COMPAT: readonly (readonly [number, string])[] = [
  [0x1, 'sparse_super'],
  [0x2, 'large_file'],
  [0x8, 'huge_file'],
  [0x10, 'uninit_bg'],
  [0x20, 'dir_nlink'],
  [0x40, 'extra_isize'],
  [0x100, 'quota'],
  [0x200, 'bigalloc'],
  [0x400, 'metadata_csum'],
  [0x1000, 'read-only'],
  [0x2000, 'project'],
  [0x4000, 'shared_blocks'],
  [0x8000, 'verity'],
  [0x10000, 'orphan_present'],
];

/** Of the three words of features; unknown ones are numbers. */
export function featureNames(compat: number, incompat: number, readOnlyCompat: number): string[] {
  return [
    ...namesOf(compat, COMPAT, 'compat'),
    ...namesOf(incompat, INCOMPAT, 'incompat'),
    ...namesOf(readOnlyCompat, RO_COMPAT, 'ro_compat'),
  ];
}

function namesOf(
  word: number,
  known: readonly (readonly [number, string])[],
  unknown: string,
): string[] {
  const names = known.flatMap(([bit, name]) => (word & bit ? [name] : []));
  const rest = known.reduce((left, [bit]) => left & ~bit, word) >>> 0;
  return rest === 0 ? names : [...names, `${unknown}:0x${rest.toString(16)}`];
}
