/**
 * `dvk bench fs`: what programs do with files, through each kind of mount, by one client and by
 * eight at once.
 *
 * Places: `host`, an ext4 image that the kernel mounts; `passthrough`, libfuse's C example over a
 * directory of it; `passthrough-cached`, its other example, with names and attributes that the
 * kernel may believe for an hour, which only `stat` is for; `dvk-local` and `dvk-remote`, such an
 * image served by FS to a mount on its own node and to one on another node, over a sealed link;
 * `dvk-remote-plain`, the last over a link in plain text; `sshfs` and `glusterfs`, directories of
 * the host's image through their servers on loopback. All images lie in memory, so that every case
 * spends CPU time and no disk time. What this machine lacks is left out, and said so.
 *
 * What is done is in `native/bench/files.cc`, which verifies all contents. `read` and `write` move
 * a whole file in blocks of 1 MiB; the time of a write ends after its fsync. Pages leave the page
 * cache before they are read. `stat-cold` has fresh mounts, on which nobody has looked at the files
 * yet; for `stat-dropped` only the kernel forgets their names.
 *
 * Parameters: 256 MiB for `read` and `write`, 64 MiB for blocks of 4 KiB at random, divided among
 * the clients, and directories of 1000 files; for a smoke run 2 clients, 4 MiB and 20 files.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import type { Cleanup } from './cleanup.ts';
import { startDvs } from './fs/dvs.ts';
import { mountGluster } from './fs/gluster.ts';
import { IMAGE_BYTES, mountHost } from './fs/image.ts';
import { mountsBelow, type Mounted } from './fs/mounts.ts';
import { mountCached, mountPassthrough } from './fs/passthrough.ts';
import { mountSshfs } from './fs/sshfs.ts';
import type { Case, RunResult, Unit } from './harness.ts';
import { runNative } from './native-case.ts';
import { cpusOfPairs, type Placement } from './placement.ts';
import { makeScratch } from './scratch.ts';

const MIB = 2 ** 20;
const CLIENTS = [1, 8];
const CLIENTS_SMOKE = [2];
const SMOKE_BYTES = 4 * MIB;
const FILES = 1000;
const FILES_SMOKE = 20;

interface Operation {
  readonly op: string;
  readonly unit: Unit;
  /** Of the files of all clients. */
  readonly total?: number;
  /** Whether it can be done by root only. */
  readonly root?: boolean;
  /** Whether it is done on mounts that were made anew. */
  readonly fresh?: boolean;
}

const OPERATIONS: readonly Operation[] = [
  { op: 'read', unit: 'bytes/s', total: 256 * MIB },
  { op: 'write', unit: 'bytes/s', total: 256 * MIB },
  { op: 'read-random', unit: 'operations/s', total: 64 * MIB },
  { op: 'write-random', unit: 'operations/s', total: 64 * MIB },
  { op: 'create', unit: 'operations/s' },
  { op: 'stat', unit: 'operations/s' },
  { op: 'stat-cold', unit: 'operations/s', root: true, fresh: true },
  { op: 'stat-dropped', unit: 'operations/s', root: true },
  { op: 'list', unit: 'operations/s' },
  { op: 'unlink', unit: 'operations/s' },
];

export interface FsOptions {
  readonly smoke: boolean;
  readonly placements: readonly Placement[];
  readonly clients: readonly number[] | undefined;
  readonly progress: (what: string) => void;
  /** Tells of something that is left out. */
  readonly note: (what: string) => void;
}

/** A directory to make files in. */
interface Place {
  readonly name: string;
  readonly directory: string;
  /** Mounts it anew. */
  readonly again: () => Promise<void>;
  /** The only operation it is for. */
  readonly only?: string;
}

/**
 * Makes the scratch directory. It is removed only when nothing is mounted below: one of the mounts
 * mirrors the host.
 */
function scratch(cleanup: Cleanup): string {
  const directory = makeScratch(4 * IMAGE_BYTES);
  cleanup.defer(() => {
    const left = mountsBelow(directory);
    if (left.length > 0) throw new Error(`still mounted, so left in place: ${left.join(', ')}`);
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

async function placesIn(
  directory: string,
  { progress, note }: FsOptions,
  cleanup: Cleanup,
): Promise<Place[]> {
  const places: Place[] = [];
  const below = (parent: string, name: string): string => {
    const path = join(parent, name);
    mkdirSync(path);
    return path;
  };
  const add = (name: string, mounted: Mounted | undefined, rest: { only?: string } = {}): void => {
    if (mounted === undefined) return;
    const { path, again } = mounted;
    places.push({ name, directory: below(path, name), again, ...rest });
  };
  const setting = { directory, note, cleanup };
  progress("mounting the host's image");
  const host = await mountHost(setting);
  const source = (name: string): string => below(host.path, name);
  add('host', host);
  progress('mounting the others');
  add('passthrough', await mountPassthrough(source('mirrored'), setting));
  add('passthrough-cached', await mountCached(source('mirrored-too'), setting), { only: 'stat' });
  add('sshfs', await mountSshfs(source('over-ssh'), setting));
  add('glusterfs', await mountGluster(source('brick'), setting));
  progress('bringing a DVS up');
  const mounts = await startDvs(directory, cleanup);
  add('dvk-local', mounts.local);
  add('dvk-remote', mounts.remote);
  add('dvk-remote-plain', mounts.plain);
  return places;
}

interface Work {
  readonly operation: Operation;
  readonly clients: number;
  readonly total: number | undefined;
  readonly files: number;
}

function caseOf({ name, directory, again }: Place, placement: Placement, work: Work): Case {
  const { op, unit, fresh } = work.operation;
  const cpus = cpusOfPairs(placement, work.clients);
  const { total, files } = work;
  const run = async (what: string, ms: number): Promise<RunResult> =>
    runNative(
      {
        group: 'files',
        name: what,
        cpus,
        directory,
        files,
        ...(total !== undefined && { total }),
      },
      '--ms',
      String(Math.round(ms)),
    );
  return {
    ...{ name, placement, op, unit, pairs: work.clients },
    start: async () =>
      Promise.resolve({
        run: async (ms) => {
          if (fresh === true) {
            await run('prepare', ms);
            await again();
          }
          return run(op, ms);
        },
        close: async () => Promise.resolve(),
      }),
  };
}

export async function fsCases(options: FsOptions, cleanup: Cleanup): Promise<Case[]> {
  const { smoke, placements, note } = options;
  const places = await placesIn(scratch(cleanup), options, cleanup);
  const clients = options.clients ?? (smoke ? CLIENTS_SMOKE : CLIENTS);
  const isRoot = process.getuid?.() === 0;
  if (!isRoot)
    note('stat-cold and stat-dropped are left out: only root may make the kernel forget names');
  const works = OPERATIONS.filter(({ root }) => isRoot || root !== true).flatMap((operation) =>
    clients.map((count): Work => {
      const bytes = smoke && operation.total !== undefined ? SMOKE_BYTES : operation.total;
      const total = bytes === undefined ? undefined : bytes / count;
      return { operation, clients: count, total, files: smoke ? FILES_SMOKE : FILES };
    }),
  );
  return placements.flatMap((placement) =>
    works.flatMap((work) =>
      places
        .filter(({ only = work.operation.op }) => only === work.operation.op)
        .map((place) => caseOf(place, placement, work)),
    ),
  );
}
