/**
 * What a check of a volume found: each finding has a kind, by which people and programs tell them
 * apart, and a sentence. All are counted; the first ones are kept.
 */
import { isFsError } from '../errors.ts';

/** The kinds, and what each says of a volume. Names are stable. */
export const FINDING = {
  superblock: 'the superblock cannot be used',
  descriptor: 'a group places its bitmaps or inodes where they cannot be',
  'descriptor-checksum': 'the descriptor of a group has another checksum',
  'bitmap-checksum': 'a bitmap has another checksum',
  'block-bitmap': 'blocks in use are marked free, or the other way round',
  'inode-bitmap': 'inodes in use are marked free, or the other way round',
  'free-blocks': 'a count of free blocks is wrong',
  'free-inodes': 'a count of free inodes is wrong',
  directories: 'a count of directories is wrong',
  inode: 'the fields of an inode cannot be right',
  'inode-checksum': 'an inode has another checksum',
  map: 'the block map of a file is damaged',
  'map-checksum': 'a block of the block map of a file has another checksum',
  'shared-block': 'a block belongs to two owners',
  sectors: 'a file does not have as many blocks as its inode says',
  size: 'a file has blocks behind its end, or a directory is not of whole blocks',
  xattrs: 'the extended attributes of a file are damaged',
  'xattr-references': 'a block of extended attributes has another number of owners',
  directory: 'a block of a directory is damaged',
  'directory-checksum': 'a block of a directory has another checksum',
  entry: 'a name leads to no file, or to one of another type',
  'duplicate-name': 'a directory has a name twice',
  index: 'the index of a directory does not fit its blocks',
  parent: 'a directory does not know where it is',
  unattached: 'no name leads to a file',
  'link-count': 'a file does not have as many names as its inode says',
  orphans: 'the list of orphans is damaged',
  journal: 'the journal cannot be used',
} as const;
export type FindingKind = keyof typeof FINDING;

export interface Finding {
  readonly kind: FindingKind;
  readonly text: string;
  readonly inode?: number;
  readonly group?: number;
}

/** Where a finding is. */
export type FindingPlace = Partial<Pick<Finding, 'inode' | 'group'>>;

export class Findings {
  readonly kept: Finding[] = [];
  readonly counts = new Map<FindingKind, number>();
  readonly #keptMax: number;

  constructor(keptMax: number) {
    this.#keptMax = keptMax;
  }

  add(kind: FindingKind, text: string, place: FindingPlace = {}): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    if (this.kept.length < this.#keptMax) this.kept.push({ kind, text, ...place });
  }

  /**
   * What `run` returns; undefined, and a finding, when the volume makes it fail (EUCLEAN, EIO, or
   * what is not supported).
   */
  attempt<T>(kind: FindingKind, place: FindingPlace, run: () => T): T | undefined {
    try {
      return run();
    } catch (error) {
      if (!isFsError(error)) throw error;
      this.add(kind, error.sentence, place);
      return undefined;
    }
  }
}
