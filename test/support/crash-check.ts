/**
 * Crashes a volume under changes, and checks what each crash leaves: by recovery here, by e2fsck,
 * and by Linux.
 */
import { closeSync, ftruncateSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { BlockCache } from '../../src/servers/fs/cache.ts';
import type { BlockDevice } from '../../src/servers/fs/device.ts';
import { crc32c } from '../../src/servers/fs/ext4/checksum.ts';
import { Volume } from '../../src/servers/fs/ext4/volume.ts';
import { recover } from '../../src/servers/fs/journal/recovered-device.ts';
import { type Writing, openForWriting } from '../../src/servers/fs/open.ts';
import { RegisterWorld, makeRegisterImage, wrongWith } from './crash-registers.ts';
import { seeded } from './datagram-network.ts';
import { makeImage, run, withDirectory, withMount } from './images.ts';
import { MemoryDevice } from './memory-device.ts';
import { ModelRun, compareTree } from './model-run.ts';
import { RecordingDevice } from './recording-device.ts';
import type { Node } from './tree-model.ts';

export interface CrashOptions {
  seed: number;
  /** Of mke2fs. */
  arguments: readonly string[];
  changes: number;
  /** How many points; random ones, or every barrier. */
  points: number | 'barriers';
  /** Of the images, one in so many is given to e2fsck, and to Linux. */
  e2fsck: number;
  /** 0 for none. */
  linux: number;
  /** Told what was found so far, after each image. */
  progress?: (result: CrashResult) => void;
}

/** What a crash left of a volume. */
interface Remains {
  /** The device with its journal replayed, in whichever way. */
  device: BlockDevice;
  /** The transaction that was committed for sure. */
  least: number;
  /** Nothing was written since that was committed. */
  quiet: boolean;
}

/** What changes a volume, and knows what of that must be there. */
interface Workload {
  step(): void;
  commit(): void;
  /** What is wrong, a line each. */
  check(remains: Remains): string[];
}

export interface CrashResult {
  images: number;
  wrong: string[];
}

/** Crashes under changes of blocks, whose contents are told apart one by one. */
export function crashRegisters(options: CrashOptions): CrashResult {
  return withDirectory((directory) => {
    const image = makeRegisterImage(directory, options.arguments);
    return crash(directory, image.path, options, (writing, random) => {
      const world = new RegisterWorld(image, writing, random);
      return {
        step: () => {
          world.step();
        },
        commit: () => {
          world.commit();
        },
        check: ({ device, least }) => {
          const read = (block: number): Uint8Array => {
            const bytes = new Uint8Array(image.blockBytes);
            device.read(bytes, block * bytes.length, bytes.length);
            return bytes;
          };
          return wrongWith(image, read, world.states.slice(least));
        },
      };
    });
  });
}

/**
 * Crashes under random calls on a file system. The tree must be that of a transaction; contents may
 * be newer, as they are written in place, unless nothing was written since.
 */
export function crashTree(options: CrashOptions): CrashResult {
  return withDirectory((directory) => {
    const path = makeImage(directory, { bytes: 12 << 20, arguments: options.arguments });
    return crash(directory, path, options, (writing, random, device) => {
      const volume = openTree(device, writing);
      const tree = new ModelRun(volume, { seed: options.seed, bytesMax: 60_000, extents: true });
      const { changes } = writing;
      const states: Node[] = [];
      const watch = (work: () => void): void => {
        const before = changes.running;
        work();
        if (changes.running !== before) {
          states[changes.running - 1] = structuredClone(tree.model.root);
        }
      };
      const commit = (): void => {
        watch(() => {
          changes.commit();
        });
      };
      commit();
      return {
        step: () => {
          watch(() => {
            tree.run(1);
          });
        },
        commit,
        check: ({ device: remains, least, quiet }) => {
          const found = openTree(remains);
          const problems: string[] = [];
          for (const state of states.slice(least)) {
            try {
              compareTree(found, state, quiet);
              return [];
            } catch (error) {
              problems.push(String(error));
            }
          }
          return problems;
        },
      };
    });
  });
}

function openTree(device: BlockDevice, writing?: Writing): Volume {
  const cache = writing?.cache ?? new BlockCache(device, new Uint8Array(1 << 20));
  let state = 1;
  const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
  const changes = writing === undefined ? {} : { changes: writing.changes, discards: true };
  const now = { seconds: 2_000_000_000, nanoseconds: 5 };
  return Volume.open(device, cache, { ...changes, random, ignoreJournal: true, now: () => now });
}

type Begin = (writing: Writing, random: () => number, device: RecordingDevice) => Workload;

function crash(directory: string, path: string, options: CrashOptions, begin: Begin): CrashResult {
  const random = seeded(options.seed);
  const device = new RecordingDevice(new Uint8Array(readFileSync(path)));
  const memory = new Uint8Array(1 << 20);
  const writing = openForWriting(device, { memory, timeMs: () => 1e12 + device.events.length });
  const workload = begin(writing, random, device);
  const start = device.events.length;
  /** The transaction that was committed for sure when so many events had happened. */
  const told: { event: number; transaction: number }[] = [];
  const tell = (): void => {
    told.push({ event: device.events.length, transaction: writing.changes.committed });
  };
  tell();
  for (let step = 0; step < options.changes; step++) {
    workload.step();
    if (random() >= 0.1 && step + 1 < options.changes) continue;
    workload.commit();
    tell();
  }
  writing.close();
  const wrong: string[] = [];
  let images = 0;
  const file = join(directory, 'crashed');
  // Memory is used again: to get it anew for each image would take longer than all the rest.
  const scratch = new Uint8Array(device.base.length);
  const replayed = new Uint8Array(device.base.length);
  device.crashes(pointsOf(device, start, options, random), random, (content, point) => {
    images++;
    const last = told.findLast(({ event }) => event <= point);
    const [least, quiet] = [last?.transaction ?? 1, last?.event === point];
    const check = (who: string, remains: BlockDevice): void => {
      for (const problem of workload.check({ device: remains, least, quiet })) {
        wrong.push(`event ${String(point)}: ${who}: ${problem}`);
      }
    };
    const byProgram = (who: string, found: Uint8Array, recoverIt: () => void): void => {
      writeSparse(file, found);
      recoverIt();
      readInto(file, scratch);
      check(who, new MemoryDevice(scratch));
    };
    try {
      check('reads', recover(new MemoryDevice(content), crc32c).device);
      replayed.set(content);
      const ours = new MemoryDevice(replayed);
      openForWriting(ours, { memory, timeMs: () => 1e12 }).close();
      check('replay', ours);
      if (images % options.e2fsck === 0) {
        byProgram('e2fsck', content, () => {
          recoverByE2fsck(file);
        });
        byProgram('replay, then e2fsck', ours.content, () => {
          recoverByE2fsck(file);
        });
      }
      if (options.linux > 0 && images % options.linux === 0) {
        byProgram('Linux', content, () => {
          withMount(file, 'user_xattr', () => undefined);
          run('e2fsck', '-fn', file);
        });
      }
    } catch (error) {
      const { stdout } = error as { stdout?: Buffer };
      wrong.push(`event ${String(point)}: ${String(error)} ${String(stdout ?? '')}`);
    }
    options.progress?.({ images, wrong });
  });
  return { images, wrong };
}

const CHUNK_BYTES = 65_536;
const NOTHING = new Uint8Array(CHUNK_BYTES);

/** Writes a file with holes, which cost nothing, where there are zeros. */
function writeSparse(path: string, content: Uint8Array): void {
  const file = openSync(path, 'w');
  try {
    ftruncateSync(file, content.length);
    for (let at = 0; at < content.length; at += CHUNK_BYTES) {
      const chunk = content.subarray(at, at + CHUNK_BYTES);
      const isHole = Buffer.compare(chunk, NOTHING.subarray(0, chunk.length)) === 0;
      if (!isHole) writeSync(file, chunk, 0, chunk.length, at);
    }
  } finally {
    closeSync(file);
  }
}

/** Reads a file that is as long as `content`. */
function readInto(path: string, content: Uint8Array): void {
  const file = openSync(path, 'r');
  try {
    if (readSync(file, content) !== content.length) throw new Error(`${path} is shorter`);
  } finally {
    closeSync(file);
  }
}

/**
 * Replays the journal and frees files that are open and have no name, as a mount does, after which
 * nothing may be wrong. A volume that was recovered is clean to -p, so it looks for no more; its 1
 * says that something was corrected. See e2fsck(8).
 */
function recoverByE2fsck(file: string): void {
  // One program to start, not two: that costs more than what they do.
  run('sh', '-c', '{ e2fsck -p "$0" || [ $? = 1 ]; } && e2fsck -fn "$0"', file);
}

function pointsOf(
  device: RecordingDevice,
  start: number,
  { points }: CrashOptions,
  random: () => number,
): number[] {
  if (points === 'barriers') return device.barriers().filter((point) => point >= start);
  const events = device.events.length - start;
  return Array.from({ length: points }, () => Math.floor(start + random() * (events + 1)));
}
