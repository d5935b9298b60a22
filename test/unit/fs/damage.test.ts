// Damage in one place makes exactly the things that live there unreadable, with EUCLEAN.
// Method: flip a byte of a structure, whose place debugfs tells, in a volume with checksums; then
// the same with values that only a check of their meaning can find, in a volume without.
import { beforeAll, describe, expect, it } from 'vitest';
import { hashName } from '../../../src/servers/fs/ext4/name-hash.ts';
import { ROOT, type FsClient } from '../../support/fs-client.ts';
import { imageObstacle, withDirectory } from '../../support/images.ts';
import { MemoryDevice } from '../../support/memory-device.ts';
import { SAMPLE_BLOCK_BYTES, SAMPLE_NAMES, type Sample, makeSample } from '../../support/sample.ts';
import { pattern } from '../../support/trees.ts';
import { openVolume } from '../../support/volumes.ts';

/** Places in a sample by the names of the things that live there, found before its image goes. */
interface Places {
  content: Uint8Array;
  inode: Record<'file' | 'large' | 'holes' | 'link' | 'few' | 'indexed', number>;
  block: Record<'few' | 'root' | 'extents' | 'xattrs' | 'indexRoot' | 'leaf' | 'link', number>;
}

function placesOf(sample: Sample, extents: boolean): Places {
  const block = (path: string, index: number): number =>
    (sample.blocks(path)[index] ?? 0) * SAMPLE_BLOCK_BYTES;
  return {
    content: sample.content,
    inode: {
      file: sample.inodeAt('file'),
      large: sample.inodeAt('large'),
      holes: sample.inodeAt('holes'),
      link: sample.inodeAt('link'),
      few: sample.inodeAt('few'),
      indexed: sample.inodeAt('indexed'),
    },
    block: {
      few: block('few', 0),
      root: block('/', 0),
      extents: extents ? sample.extentBlock('holes') * SAMPLE_BLOCK_BYTES : 0,
      xattrs: sample.xattrBlock('file') * SAMPLE_BLOCK_BYTES,
      indexRoot: block('indexed', 0),
      leaf: block('indexed', 3),
      link: block('link', 0),
    },
  };
}

/** Everything that can be asked of the sample, with the code of the error or "fine". */
function survey(client: FsClient): Record<string, string> {
  const outcomes: Record<string, string> = {};
  const ask = (what: string, question: () => unknown): void => {
    try {
      question();
      outcomes[what] = 'fine';
    } catch (error) {
      outcomes[what] = (error as { code?: string }).code ?? String(error);
    }
  };
  ask('getattr root', () => client.getattr(ROOT));
  ask('readdir root', () => client.readdirAll(ROOT));
  ask('read file', () => client.readAll(client.find('file')));
  ask('small xattr', () => client.getxattr(client.find('file'), 'user.small'));
  ask('block xattr', () => client.getxattr(client.find('file'), 'user.block'));
  ask('read large', () => client.readAll(client.find('large')));
  ask('read holes', () => client.readAll(client.find('holes')));
  ask('read far', () => client.read(client.find('far'), 68_000_000, 1000));
  ask('readlink', () => client.readlink(client.find('link')));
  ask('readdir few', () => client.readdirAll(client.find('few')));
  ask('lookup few', () => client.find('few/b'));
  ask('readdir indexed', () => client.readdirAll(client.find('indexed')));
  ask('lookup all indexed', () => {
    const indexed = client.find('indexed');
    for (const name of SAMPLE_NAMES) client.lookup(indexed, name);
  });
  return outcomes;
}

function failures(content: Uint8Array): string[] {
  const outcomes = survey(openVolume(new MemoryDevice(content)));
  for (const [what, outcome] of Object.entries(outcomes)) {
    expect(['fine', 'EUCLEAN'], what).toContain(outcome);
  }
  return Object.keys(outcomes).filter((what) => outcomes[what] !== 'fine');
}

function flip(places: Places, at: number): Uint8Array {
  const content = places.content.slice();
  content[at] = (content[at] ?? 0) ^ 0x10;
  return content;
}

function put(places: Places, at: number, bytes: readonly number[]): Uint8Array {
  const content = places.content.slice();
  content.set(bytes, at);
  return content;
}

const obstacle = imageObstacle();
const deadEnd = [0xff, 0xff, 0xff, 0x7f];
const few = ['readdir few', 'lookup few'];
const indexed = ['readdir indexed', 'lookup all indexed'];
const file = ['read file', 'small xattr', 'block xattr'];

describe.skipIf(obstacle !== undefined)(`A damaged volume with checksums ${obstacle ?? ''}`, () => {
  let places: Places;

  beforeAll(() => {
    places = withDirectory((directory) => placesOf(makeSample(directory), true));
  });

  it('is read in full before the damage', () => {
    expect(failures(places.content)).toEqual([]);
  });

  it.each<[string, (at: Places) => number, string[]]>([
    ['an inode', ({ inode }) => inode.large + 0x10, ['read large']],
    ['the high half of its checksum', ({ inode }) => inode.large + 0x82, ['read large']],
    ['an inode with xattrs', ({ inode }) => inode.file + 0x90, file],
    ['an inode of a directory', ({ inode }) => inode.few + 0x64, few],
    ['an extent header', ({ block }) => block.extents, ['read holes']],
    ['an extent', ({ block }) => block.extents + 20, ['read holes']],
    ['an extent checksum', ({ block }) => block.extents + 12 + 84 * 12, ['read holes']],
    ['a directory', ({ block }) => block.few + 13, few],
    ['a directory checksum', ({ block }) => block.few + 1023, few],
    ['an index root', ({ block }) => block.indexRoot + 40, indexed],
    ['an index root limit', ({ block }) => block.indexRoot + 32, indexed],
    ['the leaf of an index', ({ block }) => block.leaf + 30, indexed],
    ['an xattr block', ({ block }) => block.xattrs + 40, ['small xattr', 'block xattr']],
    ['the value in an xattr block', ({ block }) => block.xattrs + 1020, file.slice(1)],
  ])('fails for %s alone', (_, place, lost) => {
    expect(failures(flip(places, place(places)))).toEqual(lost);
  });

  it('opens, but answers nothing, when the descriptor of its only group is damaged', () => {
    const outcomes = failures(flip(places, 2 * SAMPLE_BLOCK_BYTES + 8));
    expect(outcomes).toHaveLength(13);
  });

  it('names a file whose inode is damaged, without its attributes', () => {
    const client = openVolume(new MemoryDevice(flip(places, places.inode.large + 0x10)));
    const entry = client
      .readdirAll(ROOT)
      .find(({ name }) => Buffer.from(name).equals(Buffer.from('large')));
    expect(entry?.type).toBe(8);
    expect(entry?.attributes).toMatchObject({ mode: 0, size: 0, links: 0 });
    expect(entry?.attributes.inode).toBeGreaterThan(10);
  });

  it('lists the entries before a damaged block, then fails there', () => {
    const client = openVolume(new MemoryDevice(flip(places, places.block.leaf + 30)));
    const directory = client.find('indexed');
    const before = client.readdir(directory, 0, 1 << 20);
    expect(before.length).toBeGreaterThan(20);
    const cookie = before.at(-1)?.nextCookie ?? 0;
    expect(() => client.readdir(directory, cookie, 1 << 20)).toThrow('-117');
    const after = client.readdir(directory, 4 * SAMPLE_BLOCK_BYTES, 1 << 20);
    expect(after.length).toBeGreaterThan(20);
  });

  it('fails with EIO for a sector that cannot be read, and reads its neighbours', () => {
    const device = new MemoryDevice(places.content);
    device.badByte = places.block.few + 100;
    const outcomes = survey(openVolume(device));
    const lost = Object.keys(outcomes).filter((what) => outcomes[what] !== 'fine');
    expect(lost).toEqual(few);
    expect(outcomes['lookup few']).toBe('EIO');
  });
});

describe.skipIf(obstacle !== undefined)(
  `A damaged volume without checksums ${obstacle ?? ''}`,
  () => {
    let places: Places;
    const deadEnd = [0xff, 0xff, 0xff, 0x7f];

    beforeAll(() => {
      places = withDirectory((directory) =>
        placesOf(makeSample(directory, { features: '^metadata_csum' }), true),
      );
    });

    it.each<[string, (at: Places) => number, number[], string[]]>([
      ['an unknown file type', ({ inode }) => inode.large, [0, 0x30], ['read large']],
      ['extra bytes beyond the inode', ({ inode }) => inode.large + 0x80, [0xf0], ['read large']],
      ['a size of 2^60', ({ inode }) => inode.large + 0x6c, [0, 0, 0, 0x10], ['read large']],
      ['no links', ({ inode }) => inode.large + 0x1a, [0, 0], ['read large']],
      ['a magic of extents', ({ inode }) => inode.large + 0x28, [0], ['read large']],
      ['too many extents', ({ inode }) => inode.large + 0x2a, [5], ['read large']],
      ['extents too deep', ({ inode }) => inode.holes + 0x2e, [6], ['read holes']],
      ['extents of another depth', ({ inode }) => inode.holes + 0x2e, [2], ['read holes']],
      ['an extent outside', ({ inode }) => inode.large + 0x3c, deadEnd, ['read large']],
      ['an extent without blocks', ({ inode }) => inode.large + 0x38, [0, 0], ['read large']],
      ['a child outside', ({ inode }) => inode.holes + 0x38, deadEnd, ['read holes']],
      [
        'a child that is the superblock',
        ({ inode }) => inode.holes + 0x38,
        [1, 0, 0, 0],
        ['read holes'],
      ],
      ['extents out of order', ({ block }) => block.extents + 24, [0, 0, 0, 0], ['read holes']],
      ['an entry of 0 bytes', ({ block }) => block.few + 28, [0, 0], few],
      ['an entry that is too long', ({ block }) => block.few + 28, [0, 4], few],
      ['an entry at an odd length', ({ block }) => block.few + 28, [13], few],
      ['a name that is too long', ({ block }) => block.few + 30, [200], few],
      ['a slash in a name', ({ block }) => block.few + 32, [0x2f], few],
      ['a NUL in a name', ({ block }) => block.few + 32, [0], few],
      ['a name of dots', ({ block }) => block.few + 32, [0x2e], few],
      ['no dots', ({ block }) => block.few + 8, [0x41], few],
      ['dots of another directory', ({ block }) => block.few, [2], few],
      ['an xattr magic', ({ block }) => block.xattrs, [1], ['small xattr', 'block xattr']],
      [
        'an xattr value outside',
        ({ block }) => block.xattrs + 34,
        [0, 4],
        ['small xattr', 'block xattr'],
      ],
      ['a NUL in a target', ({ block }) => block.link + 7, [0], ['readlink']],
      ['a target of no length', ({ inode }) => inode.link + 4, [0], ['readlink']],
      ['a target that is too long', ({ inode }) => inode.link + 4, [1, 16], ['readlink']],
      ['a directory larger than the volume', ({ inode }) => inode.few + 7, [1], few],
    ])('fails for %s alone', (_, place, bytes, lost) => {
      expect(failures(put(places, place(places), bytes))).toEqual(lost);
    });

    it('fails for an entry that points nowhere, and lists it without attributes', () => {
      for (const target of [
        [0, 0, 0, 0x10],
        [7, 0, 0, 0],
        [0xff, 1, 0, 0],
      ]) {
        const content = put(places, places.block.few + 24, target);
        expect(failures(content)).toEqual([]);
        const client = openVolume(new MemoryDevice(content));
        expect(() => client.find('few/a')).toThrow('-117');
        const entry = client.readdirAll(client.find('few'))[2];
        expect(entry?.attributes).toMatchObject({
          mode: 0,
          inode: Buffer.from(target).readUInt32LE(),
        });
      }
    });

    it('reads a directory from end to end when its index cannot be used', () => {
      for (const [at, value] of [
        [28, 9], // hash version
        [30, 3], // levels
        [31, 1], // flags
        [32, 50], // limit
        [34, 0], // count
      ] as const) {
        expect(failures(put(places, places.block.indexRoot + at, [value]))).toEqual([]);
      }
    });

    it('fails when the index names blocks that are no leaves', () => {
      const block = places.block.indexRoot + 36;
      expect(failures(put(places, block, [200, 0, 0, 0]))).toEqual(['lookup all indexed']);
      expect(failures(put(places, block, [0, 0, 0, 0]))).toEqual(['lookup all indexed']);
    });

    it('follows names of one hash into the next leaf', () => {
      const hashAt = places.block.indexRoot + 32 + 3 * 8;
      const start = wordAt(places.content, hashAt);
      const end = wordAt(places.content, hashAt + 8);
      const here = SAMPLE_NAMES.filter((name) => {
        const hash = hashOf(places.content, name);
        return hash >= start && hash < end;
      });
      expect(here.length).toBeGreaterThan(10);
      for (const name of here) {
        // The leaf begins with the hash of the name, in the middle of the names that have it.
        const moved = put(places, hashAt, bytesOf(hashOf(places.content, name) | 1));
        const client = openVolume(new MemoryDevice(moved));
        expect(client.lookup(client.find('indexed'), name).size).toBe(0);
      }
    });

    it('refuses names, contents and targets of encrypted inodes, not their attributes', () => {
      for (const [inode, path] of [
        ['few', 'few'],
        ['large', 'large'],
        ['link', 'link'],
      ] as const) {
        const client = openVolume(
          new MemoryDevice(put(places, places.inode[inode] + 0x21, [0x08])),
        );
        const found = client.find(path);
        expect(found.inode).toBeGreaterThan(10);
        const ask = { few: 'readdirAll', large: 'readAll', link: 'readlink' } as const;
        expect(() => client[ask[inode]](found)).toThrow('-95');
      }
    });

    it('ends when the index leads to one leaf again and again', () => {
      const hash = bytesOf(hashOf(places.content, 'missing') | 1);
      const entries = Array.from({ length: 100 }, () => [...hash, 1, 0, 0, 0]).flat();
      const content = put(places, places.block.indexRoot + 40, entries);
      content.set([101, 0], places.block.indexRoot + 34);
      const client = openVolume(new MemoryDevice(content));
      expect(() => client.find('indexed/missing')).toThrow('-117');
    });
  },
);

function wordAt(content: Uint8Array, at: number): number {
  return Buffer.from(content.buffer, content.byteOffset).readUInt32LE(at);
}

function bytesOf(word: number): number[] {
  return [word & 255, (word >>> 8) & 255, (word >>> 16) & 255, word >>> 24];
}

/** As the sample hashes names: half MD4, signed, with the seed in its superblock. */
function hashOf(content: Uint8Array, name: string): number {
  const part = (index: number): number => wordAt(content, 1024 + 0xec + index * 4);
  const seed = [part(0), part(1), part(2), part(3)] as const;
  return hashName(Buffer.from(name), { version: 1, seed }) ?? 0;
}

describe.skipIf(obstacle !== undefined)(`A damaged block map ${obstacle ?? ''}`, () => {
  let content: Uint8Array;
  let at: { far: number; holes: number };

  beforeAll(() => {
    withDirectory((directory) => {
      const sample = makeSample(directory, { features: '^metadata_csum,^extents,^64bit' });
      content = sample.content;
      at = { far: sample.inodeAt('far'), holes: sample.inodeAt('holes') };
    });
  });

  it.each<[string, () => number, number[], string[]]>([
    ['a direct block outside', () => at.holes + 0x28, deadEnd, ['read holes']],
    ['an indirect block outside', () => at.holes + 0x28 + 12 * 4, deadEnd, ['read holes']],
    ['a tree of three levels outside', () => at.far + 0x28 + 14 * 4, deadEnd, ['read far']],
  ])('fails for %s alone', (_, place, bytes, lost) => {
    const damagedContent = content.slice();
    damagedContent.set(bytes, place());
    expect(failures(damagedContent)).toEqual(lost);
  });

  it('reads as zeros below a tree that is not there', () => {
    const cut = content.slice();
    cut.fill(0, at.far + 0x28 + 14 * 4, at.far + 0x28 + 15 * 4);
    const client = openVolume(new MemoryDevice(cut));
    expect(client.read(client.find('far'), 68_000_000, 1000)).toEqual(new Uint8Array(1000));
  });
});

describe.skipIf(obstacle !== undefined)(`A damaged xattr inode ${obstacle ?? ''}`, () => {
  it('fails for its value alone, also without checksums', () => {
    withDirectory((directory) => {
      const { content, image } = makeSample(directory, { features: '^metadata_csum,ea_inode' });
      const sound = openVolume(new MemoryDevice(content));
      const file = sound.find('file');
      const value = sound.getxattr(file, 'user.large') ?? new Uint8Array();
      expect(value).toEqual(pattern(1000, 1000));

      const flipped = content.slice();
      const valueAt = Buffer.from(content.buffer).indexOf(value);
      expect(valueAt, image).toBeGreaterThan(0);
      flipped[valueAt] = 1 ^ (flipped[valueAt] ?? 0);
      const client = openVolume(new MemoryDevice(flipped));
      expect(() => client.getxattr(file, 'user.large')).toThrow('-117');
      expect(client.getxattr(file, 'user.block')).toHaveLength(700);
    });
  });
});
