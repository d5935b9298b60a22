// No bytes on a volume make the FS server throw anything but FsError, read out of bounds, or work
// without end. Method: change a few bytes of a small volume, mostly where its metadata lies, open
// it, ask a question or two through the protocol, and put the bytes back. Volumes without checksums
// let the changes through to every parser; on those with checksums, changed superblocks and inodes
// get right ones again. DVK_FUZZ_CASES sets the number of cases, DVK_FUZZ_SEED the first seed.
import { describe, expect, it } from 'vitest';
import { BlockCache, type BlockCheck } from '../../src/servers/fs/cache.ts';
import { ERRNO, isFsError } from '../../src/servers/fs/errors.ts';
import { CRC_START, crc32c, wordBytes } from '../../src/servers/fs/ext4/checksum.ts';
import { Volume } from '../../src/servers/fs/ext4/volume.ts';
import { FsCall } from '../../src/vos/protocol/fs.ts';
import { type FileHandle, FsClient } from '../support/fs-client.ts';
import { imageObstacle, withDirectory } from '../support/images.ts';
import { MemoryDevice } from '../support/memory-device.ts';
import { SAMPLE_NAMES, makeSample } from '../support/sample.ts';
import { openVolume } from '../support/volumes.ts';

const CASES = Number(process.env['DVK_FUZZ_CASES'] ?? 100_000);
const SEED = Number(process.env['DVK_FUZZ_SEED'] ?? 20_260_101);
const UNIT = 4096;
/** Lines that one call may touch: a scan of a directory as large as the volume, twice over. */
const TOUCHES_MAX = 20_000;

const variants = [
  { name: 'without checksums', features: '^metadata_csum,ea_inode' },
  { name: 'with inline data', features: '^metadata_csum,inline_data' },
  { name: 'without extents', features: '^metadata_csum,^extents,^64bit' },
  { name: 'with uninit_bg', features: '^metadata_csum,uninit_bg' },
  { name: 'with checksums', features: 'metadata_csum' },
];

/** xorshift32: every case has a generator of its own, so that each can be run alone by its seed. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed, 2654435761) ^ 0x9e3779b9) >>> 0 || 1;
  }

  below(limit: number): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state >>> 0;
    return this.#state % limit;
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }
}

/** Remembers which parts of the volume a walk over all of it took for metadata. */
class RecordingCache extends BlockCache {
  readonly seen = new Map<number, number>();

  override view(at: number, bytes: number): Uint8Array {
    this.seen.set(at, bytes);
    return super.view(at, bytes);
  }

  override checked(at: number, bytes: number, check: BlockCheck): Uint8Array {
    this.seen.set(at, bytes);
    return super.checked(at, bytes, check);
  }
}

type Region = readonly [at: number, bytes: number];

interface Subject {
  file: FileHandle;
  /** Where its metadata lies. */
  regions: Region[];
}

interface Target {
  content: Uint8Array;
  inodeBytes: number;
  subjects: Subject[];
}

/** The superblock, and the descriptor of the only group. */
const COMMON: readonly Region[] = [
  [1024, 1024],
  [2048, 64],
];

function prepare(features: string): Target {
  return withDirectory((directory) => {
    const { content } = makeSample(directory, { features });
    const client = openVolume(new MemoryDevice(content));
    const files = ['', 'few', 'indexed'].flatMap((path) =>
      client.readdirAll(client.find(path)).slice(path === '' ? 0 : 2, 20),
    );
    const subjects = files.map(({ attributes: { inode } }) => {
      return subjectOf(content, { inode, generation: 0 });
    });
    const inodeBytes = new DataView(content.buffer).getUint16(1024 + 0x58, true);
    return { content, subjects, inodeBytes };
  });
}

function subjectOf(content: Uint8Array, file: FileHandle): Subject {
  const device = new MemoryDevice(content);
  const cache = new RecordingCache(device, new Uint8Array(1 << 20));
  const client = new FsClient(Volume.open(device, cache));
  for (let seed = 1; seed < 50; seed++) ask(client, file, new Random(seed), true);
  const regions = [...cache.seen];
  // A directory sees the inodes of its files as well; they have their own turn.
  const own = regions.findIndex(([, bytes]) => bytes < 1024 && bytes > 64);
  return { file, regions: regions.filter(([, bytes], index) => bytes === 1024 || index === own) };
}

const interesting = [0, 1, 2, 4, 8, 11, 12, 60, 127, 128, 255, 256, 1023, 1024, 1025, 32768, 32769];
const extreme = [
  0xffff, 0x7fff, 0x8000, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 0x10000000,
];

interface Patch {
  at: number;
  old: Uint8Array;
}

function mutate(target: Target, subject: Subject, random: Random): Patch[] {
  const patches: Patch[] = [];
  for (let count = 1 + random.below(3); count > 0; count--) {
    const [start, bytes] = random.pick(random.below(10) === 0 ? COMMON : subject.regions);
    const at = start + fieldOf(bytes, random);
    const size = Math.min(random.pick([1, 2, 4]), target.content.length - at);
    const old = target.content.slice(at, at + size);
    patches.push({ at, old });
    const value = random.below(2) === 0 ? random.pick(interesting) : random.pick(extreme);
    for (let index = 0; index < size; index++) {
      const byte = random.below(3) === 0 ? random.below(256) : (value >>> (8 * index)) & 255;
      const place = at + index;
      const flip = (target.content[place] ?? 0) ^ (1 << random.below(8));
      target.content[place] = size === 1 && random.below(2) === 0 ? flip : byte;
    }
    patches.push(...repair(target, start, bytes));
  }
  return patches;
}

/** Most structures have their important fields at the start. */
function fieldOf(bytes: number, random: Random): number {
  const within = random.below(2) === 0 ? Math.min(bytes, 160) : bytes;
  return random.below(within) & (random.below(3) === 0 ? ~0 : ~1);
}

/** Gives a changed superblock or inode a right checksum, so that what it says is believed. */
function repair(target: Target, start: number, bytes: number): Patch[] {
  const { content, inodeBytes } = target;
  const view = new DataView(content.buffer, content.byteOffset);
  const checksums = (view.getUint32(1024 + 0x64, true) & 0x400) !== 0;
  if (!checksums) return [];
  if (start === 1024) {
    const patch = { at: start + 0x3fc, old: content.slice(start + 0x3fc, start + 0x400) };
    view.setUint32(patch.at, crc32c(content.subarray(start, patch.at), CRC_START), true);
    return [patch];
  }
  if (bytes !== inodeBytes) return [];
  const raw = content.slice(start, start + bytes);
  const patches = [0x7c, 0x82].map((at) => ({ at: start + at, old: raw.slice(at, at + 2) }));
  raw.fill(0, 0x7c, 0x7e);
  raw.fill(0, 0x82, 0x84);
  const number = inodeNumber(view, start, inodeBytes);
  let seed = crc32c(content.subarray(1024 + 0x68, 1024 + 0x78), CRC_START);
  for (const part of [wordBytes(number).slice(), raw.subarray(0x64, 0x68)])
    seed = crc32c(part, seed);
  const checksum = crc32c(raw, seed);
  view.setUint16(start + 0x7c, checksum & 0xffff, true);
  view.setUint16(start + 0x82, checksum >>> 16, true);
  return patches;
}

/** The sample has one group, whose descriptor is in block 2. */
function inodeNumber(view: DataView, at: number, inodeBytes: number): number {
  const table = view.getUint32(2048 + 8, true) * 1024;
  return Math.floor((at - table) / inodeBytes) + 1;
}

const names = [...SAMPLE_NAMES.slice(0, 20), 'a', 'b', '.', '..', 'missing', 'n'.repeat(255)].map(
  (name) => Buffer.from(name),
);
const xattrs = [
  'user.small',
  'user.block',
  'user.none',
  'user.large',
  'system.posix_acl_access',
  'security.a',
].map((name) => Buffer.from(name));

/** Asks one question about a file, or all of them. */
function ask(client: FsClient, file: FileHandle, random: Random, all: boolean): number[] {
  const offset =
    random.below(4) === 0
      ? random.below(90_000)
      : random.pick([0, 0, 1024, 68_000_100, 12288, 70_000]);
  const grantBytes = random.pick([512, 4096, 4096, 70_000]);
  const questions = [
    () => client.call(FsCall.LOOKUP, file, { name: random.pick(names) }),
    () => client.call(FsCall.GETATTR, file),
    () => client.call(FsCall.READLINK, file, { grantBytes: 4096 }),
    () => client.call(FsCall.READ, file, { offset, grantBytes }),
    () => client.call(FsCall.READDIR, file, { offset: offset % 13_000, grantBytes }),
    () => client.call(FsCall.STATFS, file),
    () => client.call(FsCall.GETXATTR, file, { name: random.pick(xattrs), grantBytes }),
    () => client.call(FsCall.LISTXATTR, file, { grantBytes }),
  ];
  return all ? questions.map((question) => question()) : [random.pick(questions)()];
}

const obstacle = imageObstacle();

describe.skipIf(obstacle !== undefined)(`A volume of any bytes ${obstacle ?? ''}`, () => {
  it.each(variants)('throws nothing but FsError, $name', ({ features }) => {
    const target = prepare(features);
    const device = new MemoryDevice(target.content);
    const memory = new Uint8Array(16 * UNIT);
    const client = openVolume(device);
    const cases = Math.ceil(CASES / variants.length);
    const outcomes = { refused: 0, damaged: 0 };
    for (let index = 0; index < cases; index++) {
      const seed = SEED + index;
      const random = new Random(seed);
      const subject = random.pick(target.subjects);
      const patches = mutate(target, subject, random);
      const cache = new BlockCache(device, memory, UNIT);
      try {
        client.reopen(Volume.open(device, cache, { useBackup: random.below(8) === 0 }));
        const { file } = random.below(6) === 0 ? random.pick(target.subjects) : subject;
        const results = ask(client, file, random, random.below(3) === 0);
        if (results.includes(-ERRNO.EUCLEAN)) outcomes.damaged++;
      } catch (error) {
        if (!isFsError(error)) throw new Error(`seed ${String(seed)}`, { cause: error });
        outcomes.refused++;
      } finally {
        for (const { at, old } of patches.reverse()) target.content.set(old, at);
      }
      const touches = cache.hits + cache.misses;
      if (touches > TOUCHES_MAX) throw new Error(`seed ${String(seed)}: ${String(touches)} lines`);
    }
    // Otherwise the cases are too tame, or too wild to get anywhere.
    expect(outcomes.refused / cases).toSatisfy(between(0.01, 0.4));
    expect(outcomes.damaged / cases).toSatisfy(between(0.05, 0.9));
  });
});

function between(low: number, high: number): (share: number) => boolean {
  return (share) => share > low && share < high;
}
