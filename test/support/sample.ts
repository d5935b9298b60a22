/**
 * A small volume with one structure of each kind, in memory, and where each of them lies according
 * to debugfs.
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { debugfs, makeImage, run } from './images.ts';
import { pattern, writeSparse } from './trees.ts';

export const SAMPLE_BLOCK_BYTES = 1024;
export const SAMPLE_NAMES: readonly string[] = Array.from(
  { length: 300 },
  (_, index) => `entry number ${String(index)}`,
);

export interface SampleOptions {
  /** Features in mke2fs's notation, such as "^metadata_csum". */
  features?: string;
  /** "half_md4" unless told. */
  hash?: string;
  /** Flags of the superblock, by which names hash as signed (1) or unsigned (2). */
  flags?: number;
}

export interface Sample {
  image: string;
  content: Uint8Array;
  /** The byte at which the inode of a path begins. */
  inodeAt(path: string): number;
  /** The disk blocks of a file's contents, in order. */
  blocks(path: string): number[];
  /** The disk block of the file's first extent node below the root. */
  extentBlock(path: string): number;
  /** The disk block of the file's xattrs. */
  xattrBlock(path: string): number;
}

/**
 *   file     6 bytes, xattrs in its inode, in a block and (with ea_inode) in another inode
 *   large    80,000 bytes
 *   holes    21 blocks with holes between them, so that the extent tree (or the map) has a level
 *   far      one block so far out that a map needs three levels for it
 *   link     a symbolic link of 200 bytes
 *   few/     three files, in one block
 *   indexed/ `SAMPLE_NAMES`, with an index
 */
export function makeSample(directory: string, options: SampleOptions = {}): Sample {
  const source = join(directory, 'source');
  mkdirSync(join(source, 'few'), { recursive: true });
  mkdirSync(join(source, 'indexed'));
  writeFileSync(join(source, 'file'), 'sample');
  writeFileSync(join(source, 'large'), pattern(80_000, 80_000));
  writeSparse(
    join(source, 'holes'),
    Array.from({ length: 21 }, (_, index) => [index * 2048, 1024] as const),
  );
  writeSparse(join(source, 'far'), [[68_000_000, 1000]]);
  symlinkSync('t'.repeat(200), join(source, 'link'));
  for (const name of ['a', 'b', 'c']) writeFileSync(join(source, 'few', name), name);
  for (const name of SAMPLE_NAMES) writeFileSync(join(source, 'indexed', name), '');
  const features = options.features === undefined ? [] : ['-O', options.features];
  const image = makeImage(directory, {
    bytes: 2 << 20,
    source,
    arguments: ['-b', String(SAMPLE_BLOCK_BYTES), '-N', '512', ...features],
  });
  const value = join(directory, 'value');
  writeFileSync(value, pattern(700, 700));
  debugfs(image, 'ea_set file user.small value', '-w');
  debugfs(image, `ea_set -f ${value} file user.block`, '-w');
  if (options.features?.includes('ea_inode') === true) {
    writeFileSync(value, pattern(1000, 1000));
    debugfs(image, `ea_set -f ${value} file user.large`, '-w');
  }
  if (options.flags !== undefined) debugfs(image, `ssv flags ${String(options.flags)}`, '-w');
  if (options.hash !== undefined) run('tune2fs', '-E', `hash_alg=${options.hash}`, image);
  optimizeDirectories(image);
  return sampleOf(image);
}

/** Lets e2fsck index every directory that is longer than a block. */
export function optimizeDirectories(image: string): void {
  try {
    run('e2fsck', '-fyD', image);
  } catch (error) {
    // 1 says that something was changed.
    if ((error as { status?: number }).status !== 1) throw error;
  }
}

function sampleOf(image: string): Sample {
  const number = (text: string, expression: RegExp, what: string): number => {
    const found = expression.exec(text)?.[1];
    if (found === undefined) throw new Error(`debugfs tells no ${what}: ${text}`);
    return Number(found);
  };
  return {
    image,
    // A Buffer would not do: its slice() is a view.
    content: new Uint8Array(readFileSync(image)),
    inodeAt: (path) => {
      const place = debugfs(image, `imap ${path}`);
      const block = number(place, /block (\d+)/, 'block');
      return block * SAMPLE_BLOCK_BYTES + number(place, /offset (0x[0-9a-f]+)/, 'offset');
    },
    blocks: (path) => debugfs(image, `blocks ${path}`).trim().split(/\s+/).map(Number),
    extentBlock: (path) =>
      number(debugfs(image, `dump_extents ${path}`), /0\/ *1 .* - +\d+ +(\d+)/, 'extent node'),
    xattrBlock: (path) => number(debugfs(image, `stat ${path}`), /File ACL: (\d+)/, 'xattr block'),
  };
}
