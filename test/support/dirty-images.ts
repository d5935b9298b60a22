/**
 * Images as a machine leaves them that stops: Linux's driver fills one through a loop mount, and
 * copies of it are taken in between, whose journals hold what is not in place yet.
 */
import { closeSync, copyFileSync, fsyncSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { renameSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type ImageOptions, makeImage, run, withMount } from './images.ts';
import { seeded } from './datagram-network.ts';
import { pattern } from './trees.ts';

export interface DirtyOptions extends Partial<ImageOptions> {
  /** Options of the mount. */
  readonly mount?: string;
  readonly seed: number;
  /** How many copies. */
  readonly copies: number;
}

type Random = () => number;

function below(random: Random, bound: number): number {
  return Math.floor(random() * bound);
}

/** Writes a file, and waits until it is on the disk if it is to `last`. */
function put(path: string, contents: Uint8Array, last: boolean): void {
  const descriptor = openSync(path, 'w');
  writeSync(descriptor, contents);
  if (last) fsyncSync(descriptor);
  closeSync(descriptor);
}

/** A block that looks like one of a journal's own. */
function journalLike(random: Random, bytes: number): Uint8Array {
  const contents = Buffer.alloc(bytes);
  for (let at = 0; at + 1024 <= bytes; at += 1024) {
    contents.writeUInt32BE(0xc03b3998, at);
    contents.writeUInt32BE(1 + below(random, 5), at + 4);
  }
  return contents;
}

/** A step of a life: files are written, renamed and removed, and their directories with them. */
function live(root: string, step: number, random: Random): void {
  const directory = join(root, `d${String(step % 7)}`);
  if (below(random, 4) === 0) rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  for (let file = 0; file < 12; file++) {
    const bytes = 1 + below(random, 20_000);
    const path = join(directory, `f${String(below(random, 40))}`);
    const contents =
      below(random, 3) === 0 ? journalLike(random, bytes) : pattern(bytes, below(random, 1000));
    put(path, contents, below(random, 4) === 0);
    if (below(random, 5) === 0) renameSync(path, join(directory, `renamed ${String(file)}`));
  }
  put(join(root, 'steps'), Buffer.from(String(step)), true);
}

/** Gives `use` each copy and what it is called. */
export function withDirtyImages(
  directory: string,
  { copies, seed, mount = 'user_xattr', ...options }: DirtyOptions,
  use: (image: string, step: number) => void,
): void {
  const random = seeded(seed);
  const image = makeImage(directory, { bytes: 16 << 20, ...options });
  const taken: string[] = [];
  withMount(image, mount, (root) => {
    writeFileSync(join(root, 'first'), '');
    for (let step = 0; step < copies; step++) {
      live(root, step, random);
      const copy = join(directory, `copy-${String(step)}`);
      copyFileSync(image, copy);
      taken.push(copy);
    }
  });
  taken.forEach((copy, step) => {
    use(copy, step);
    rmSync(copy);
  });
}

/** Replays the journal of `image` as e2fsck does, into a copy whose path is returned. */
export function replayed(image: string): string {
  const copy = `${image}.replayed`;
  copyFileSync(image, copy);
  run('e2fsck', '-y', '-E', 'journal_only', copy);
  return copy;
}
