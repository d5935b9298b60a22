/**
 * `dvk bench fs`: how fast one big file is read from start to end, in blocks of 1 MiB.
 *
 * Cases: `host`, the file itself; `passthrough`, the same file through libfuse's C example;
 * `dvk-local` and `dvk-remote`, a copy of the file in an ext4 image, served by FS to a mount on its
 * own node and to one on another node, over a sealed link; `dvk-remote-plain`, the last with a link
 * in plain text. The host's file and the image stay in memory, so that all
 * cases spend CPU time and no disk time. The pages that the mounts filled are dropped before each
 * read, and the reader fails unless they are all gone.
 *
 * Every case is hashed once, in its warm-up, and every read counts the bytes.
 *
 * Parameters: a file of 1 GiB, for a smoke run of 64 MiB.
 */
import { rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import type { Cleanup } from './cleanup.ts';
import { startDvs } from './fs/dvs.ts';
import { FILE_NAME, hashFile, makeSubject, roomFor, type Subject } from './fs/image.ts';
import { mountsBelow } from './fs/mounts.ts';
import { mountPassthrough } from './fs/passthrough.ts';
import type { Case } from './harness.ts';
import { runNative } from './native-case.ts';
import { cpusOfPairs, type Placement } from './placement.ts';
import { makeScratch } from './scratch.ts';

const FILE_BYTES = 2 ** 30;
const FILE_BYTES_SMOKE = 64 * 2 ** 20;
const BLOCK_BYTES = 2 ** 20;
const SPARE_BYTES = 512 * 2 ** 20;

export interface FsOptions {
  readonly smoke: boolean;
  readonly placements: readonly Placement[];
  readonly progress: (what: string) => void;
  /** Tells of something that is left out. */
  readonly note: (what: string) => void;
}

interface Place {
  readonly name: string;
  readonly path: string;
  /** Whether pages of the page cache are to be dropped before each read. */
  readonly drop: boolean;
}

/**
 * Makes the scratch directory. It is removed only when nothing is mounted below: one of the mounts
 * mirrors the host.
 */
function scratch(bytes: number, cleanup: Cleanup): string {
  const directory = makeScratch(bytes);
  cleanup.defer(() => {
    const left = mountsBelow(directory);
    if (left.length > 0) throw new Error(`still mounted, so left in place: ${left.join(', ')}`);
    for (const name of ['passthrough-mnt', 'local-mnt', 'remote-mnt', 'plain-mnt']) {
      try {
        rmdirSync(join(directory, name));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

function caseOf(place: Place, subject: Subject, placement: Placement): Case {
  return {
    name: place.name,
    placement,
    bytes: BLOCK_BYTES,
    op: 'read-seq',
    unit: 'bytes/s',
    start: async () => {
      const cpus = cpusOfPairs(placement, 1);
      const hash = await hashFile(place.path);
      if (hash !== subject.sha256) throw new Error(`${place.path} has other contents: ${hash}`);
      const variant = place.drop ? { variant: 'drop' } : {};
      const reader = { group: 'read', name: place.path, cpus, bytes: BLOCK_BYTES } as const;
      return {
        run: async () => runNative({ ...reader, ...variant }),
        close: async () => Promise.resolve(),
      };
    },
  };
}

export async function fsCases(options: FsOptions, cleanup: Cleanup): Promise<Case[]> {
  const bytes = options.smoke ? FILE_BYTES_SMOKE : FILE_BYTES;
  const directory = scratch(roomFor(bytes) + SPARE_BYTES, cleanup);
  options.progress('making the file and its image');
  const subject = await makeSubject(directory, bytes);
  options.progress('compiling and mounting the passthrough');
  const mirror = await mountPassthrough(directory, cleanup);
  if (mirror === undefined) options.note('no passthrough: install libfuse3-dev, or bindfs');
  options.progress('bringing a DVS up');
  const mounts = await startDvs(directory, subject.image, cleanup);
  const places: Place[] = [
    { name: 'host', path: subject.path, drop: false },
    ...(mirror === undefined
      ? []
      : [{ name: 'passthrough', path: join(mirror, subject.path), drop: true }]),
    { name: 'dvk-local', path: join(mounts.local, FILE_NAME), drop: true },
    { name: 'dvk-remote', path: join(mounts.remote, FILE_NAME), drop: true },
    { name: 'dvk-remote-plain', path: join(mounts.plain, FILE_NAME), drop: true },
  ];
  return places.flatMap((place) =>
    options.placements.map((placement) => caseOf(place, subject, placement)),
  );
}
