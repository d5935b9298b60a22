import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DIRECTORY_ENTRY_HEADER_BYTES, FsCall } from '../../../src/vos/protocol/fs.ts';
import { ERRNO, FsError } from '../../../src/servers/fs/errors.ts';
import { createHandlers } from '../../../src/servers/fs/handlers.ts';
import { BlockCache } from '../../../src/servers/fs/cache.ts';
import { Volume } from '../../../src/servers/fs/ext4/volume.ts';
import { type FileHandle, type FsClient, ROOT } from '../../support/fs-client.ts';
import { imageObstacle, withDirectory } from '../../support/images.ts';
import { MemoryDevice } from '../../support/memory-device.ts';
import { SAMPLE_NAMES, makeSample } from '../../support/sample.ts';
import { pattern } from '../../support/trees.ts';
import { openVolume } from '../../support/volumes.ts';

const obstacle = imageObstacle();
const name = (text: string): Uint8Array => Buffer.from(text);

describe.skipIf(obstacle !== undefined)(`FS handlers ${obstacle ?? ''}`, () => {
  let content: Uint8Array;
  let inodes: { file: number; link: number };
  let client: FsClient;

  beforeAll(() => {
    withDirectory((directory) => {
      content = makeSample(directory).content;
      const found = openVolume(new MemoryDevice(content));
      inodes = { file: found.find('file').inode, link: found.find('link').inode };
    });
  });

  beforeEach(() => {
    client = openVolume(new MemoryDevice(content));
  });

  function file(): FileHandle {
    return { inode: inodes.file, generation: 0 };
  }

  function link(): FileHandle {
    return { inode: inodes.link, generation: 0 };
  }

  function replyIsEmpty(): boolean {
    return new Uint8Array(client.reply.buffer).every((byte) => byte === 0);
  }

  describe('LOOKUP', () => {
    it('finds names in the message and names in the grant', () => {
      expect(client.lookup(ROOT, 'file').inode).toBe(inodes.file);
      expect(client.lookup(ROOT, '..').inode).toBe(2);
      const missing = client.call(FsCall.LOOKUP, ROOT, { name: name('n'.repeat(255)) });
      expect(missing).toBe(-ERRNO.ENOENT);
    });

    it('fails with ENOENT, ENOTDIR, ENAMETOOLONG or EINVAL', () => {
      const lookup = (file: FileHandle, text: string): number =>
        client.call(FsCall.LOOKUP, file, { name: name(text) });
      expect(lookup(ROOT, 'missing')).toBe(-ERRNO.ENOENT);
      expect(lookup(file(), 'name')).toBe(-ERRNO.ENOTDIR);
      expect(lookup(ROOT, 'n'.repeat(256))).toBe(-ERRNO.ENAMETOOLONG);
      for (const text of ['', 'a/b', 'a\0b', '/', '\0']) {
        expect(lookup(ROOT, text)).toBe(-ERRNO.EINVAL);
        expect(replyIsEmpty()).toBe(true);
      }
    });

    it('fails with EFAULT when a long name is in no grant', () => {
      client.call(FsCall.LOOKUP, ROOT, { name: name('n'.repeat(100)) });
      client.request.setInt32(24, -1, true);
      expect(client.send()).toBe(-ERRNO.EFAULT);
      client.request.setInt32(24, 99, true);
      expect(client.send()).toBe(-ERRNO.EFAULT);
    });
  });

  describe('GETATTR', () => {
    it('fails with ESTALE for numbers that name no file, and for another generation', () => {
      const getattr = (inode: number, generation: number): number =>
        client.call(FsCall.GETATTR, { inode, generation });
      for (const inode of [0, 1, 3, 8, 10, 511, 512, 513, 0xffffffff]) {
        expect(getattr(inode, 0)).toBe(-ERRNO.ESTALE);
      }
      expect(getattr(2, 0)).toBe(0);
      expect(getattr(2, 12345)).toBe(-ERRNO.ESTALE);
    });

    it('fails with EBADREQUEST when a field is set that it has no use for', () => {
      expect(client.call(FsCall.GETATTR, ROOT, { offset: 1 })).toBe(-ERRNO.EBADREQUEST);
      expect(client.call(FsCall.GETATTR, ROOT, { name: name('a') })).toBe(-ERRNO.EBADREQUEST);
    });

    it('answers in the message of the request', () => {
      const volume = Volume.open(
        new MemoryDevice(content),
        new BlockCache(new MemoryDevice(content), new Uint8Array(1 << 20)),
      );
      const handler = createHandlers(volume, client).get(FsCall.GETATTR);
      client.call(FsCall.GETATTR, ROOT);
      expect(handler?.(client.request, client.request)).toBe(0);
      expect(client.request.getUint16(16, true)).toBe(0o40755);
    });
  });

  describe('READLINK', () => {
    it('gives the target, or fails with ERANGE or EINVAL', () => {
      const readlink = (file: FileHandle, grantBytes: number): number =>
        client.call(FsCall.READLINK, file, { grantBytes });
      expect(readlink(link(), 200)).toBe(200);
      expect(Buffer.from(client.memory.subarray(0, 200)).toString()).toBe('t'.repeat(200));
      expect(readlink(link(), 199)).toBe(-ERRNO.ERANGE);
      expect(readlink(file(), 200)).toBe(-ERRNO.EINVAL);
    });
  });

  describe('READ', () => {
    const large = pattern(80_000, 80_000);

    it('reads any range, short at the end', () => {
      const found = client.find('large');
      for (const [offset, bytes] of [
        [0, 80_000],
        [0, 1],
        [1023, 2],
        [5_000, 70_000],
        [5_001, 65_535],
        [79_999, 100],
        [10, 1 << 20],
      ] as const) {
        expect(
          Buffer.compare(client.read(found, offset, bytes), large.slice(offset, offset + bytes)),
        ).toBe(0);
      }
      expect(client.read(found, 80_000, 10)).toHaveLength(0);
      expect(client.read(found, Number.MAX_SAFE_INTEGER, 10)).toHaveLength(0);
      expect(client.read(found, 0, 0)).toHaveLength(0);
    });

    it('reads holes as zeros', () => {
      const found = client.find('holes');
      const whole = client.read(found, 0, 1 << 20);
      expect(whole).toHaveLength(20 * 2048 + 1024);
      expect(whole.subarray(1024, 2048)).toEqual(new Uint8Array(1024));
      expect(client.read(found, 1500, 100)).toEqual(new Uint8Array(100));
      expect(client.read(found, 1000, 100)).toEqual(whole.slice(1000, 1100));
    });

    it('moves the data by one copy', () => {
      client.read(client.find('large'), 0, 80_000);
      client.read(client.find('large'), 0, 10);
      expect(client.copies).toBe(2);
    });

    it('fails with EISDIR, EINVAL, EFAULT or EBADREQUEST', () => {
      const read = (file: FileHandle): number => client.call(FsCall.READ, file, { grantBytes: 8 });
      expect(read(ROOT)).toBe(-ERRNO.EISDIR);
      expect(read(link())).toBe(-ERRNO.EINVAL);
      client.call(FsCall.READ, file(), { grantBytes: 8 });
      client.request.setInt32(24, -1, true);
      expect(client.send()).toBe(-ERRNO.EFAULT);
      const named = client.call(FsCall.READ, file(), { grantBytes: 8, name: name('a') });
      expect(named).toBe(-ERRNO.EBADREQUEST);
    });
  });

  describe('READDIR', () => {
    it('goes on from any cookie with any size of reply', () => {
      const indexed = client.find('indexed');
      const whole = client.readdirAll(indexed);
      expect(
        whole
          .slice(2)
          .map((entry) => Buffer.from(entry.name).toString())
          .toSorted(),
      ).toEqual(SAMPLE_NAMES.toSorted());
      for (const bytes of [100, 200, 1000, 5000]) {
        expect(client.readdirAll(indexed, bytes)).toEqual(whole);
      }
      const [third] = client.readdir(indexed, whole[1]?.nextCookie ?? 0, 200);
      expect(third).toEqual(whole[2]);
    });

    it('tells type and attributes with each name', () => {
      const entries = client.readdirAll(ROOT);
      const types = entries.map((entry) => [Buffer.from(entry.name).toString(), entry.type]);
      expect(Object.fromEntries(types)).toEqual({
        '.': 4,
        '..': 4,
        few: 4,
        indexed: 4,
        'lost+found': 4,
        file: 8,
        large: 8,
        holes: 8,
        far: 8,
        link: 10,
      });
      for (const entry of entries)
        expect(client.lookup(ROOT, entry.name)).toEqual(entry.attributes);
    });

    it('ends at a cookie past the end', () => {
      for (const cookie of [1 << 20, Number.MAX_SAFE_INTEGER]) {
        expect(client.readdir(client.find('few'), cookie, 1000)).toEqual([]);
      }
    });

    it('fails with ENOTDIR, or EINVAL when no entry fits', () => {
      const readdir = (file: FileHandle, grantBytes: number): number =>
        client.call(FsCall.READDIR, file, { grantBytes });
      expect(readdir(file(), 1000)).toBe(-ERRNO.ENOTDIR);
      expect(readdir(ROOT, DIRECTORY_ENTRY_HEADER_BYTES + 7)).toBe(-ERRNO.EINVAL);
      expect(readdir(ROOT, DIRECTORY_ENTRY_HEADER_BYTES + 8)).toBe(80);
    });
  });

  describe('STATFS', () => {
    it('tells sizes and counts', () => {
      const status = client.statfs();
      expect(status).toMatchObject({ blockBytes: 1024, inodes: 512 });
      expect(status.blocks).toBeGreaterThan(800);
      expect(status.blocksFree).toBeGreaterThan(status.blocksAvailable);
      expect(status.inodesFree).toBe(512 - 10 - 311);
    });
  });

  describe('GETXATTR', () => {
    const get = (text: string, grantBytes: number): number =>
      client.call(FsCall.GETXATTR, file(), { name: name(text), grantBytes });

    it('gives values from the inode and from a block', () => {
      expect(client.getxattr(file(), 'user.small')).toEqual(new Uint8Array(Buffer.from('value')));
      expect(client.getxattr(file(), 'user.block')).toEqual(pattern(700, 700));
    });

    it('tells the size when the grant is empty', () => {
      expect(get('user.block', 0)).toBe(700);
    });

    it('takes a long name from the grant and overwrites it', () => {
      expect(get(`user.${'n'.repeat(100)}`, 300)).toBe(-ERRNO.ENODATA);
      expect(get(`user.${'n'.repeat(100)}`, 0)).toBe(-ERRNO.ENODATA);
    });

    it('fails with ENODATA, ERANGE, EOPNOTSUPP, EINVAL or ENAMETOOLONG', () => {
      expect(get('user.missing', 10)).toBe(-ERRNO.ENODATA);
      expect(get('user.block', 699)).toBe(-ERRNO.ERANGE);
      for (const text of ['system.data', 'system.other', 'user', 'x.y']) {
        expect(get(text, 10)).toBe(-ERRNO.EOPNOTSUPP);
      }
      expect(get('', 10)).toBe(-ERRNO.EINVAL);
      expect(get('user.', 10)).toBe(-ERRNO.EINVAL);
      expect(get('n'.repeat(256), 10)).toBe(-ERRNO.ENAMETOOLONG);
    });
  });

  describe('LISTXATTR', () => {
    it('gives the names, their size when the grant is empty, or ERANGE', () => {
      const list = (grantBytes: number): number =>
        client.call(FsCall.LISTXATTR, file(), { grantBytes });
      expect(client.listxattr(file())).toEqual(['user.small', 'user.block']);
      expect(list(0)).toBe(22);
      expect(list(21)).toBe(-ERRNO.ERANGE);
      expect(client.listxattr(ROOT)).toEqual([]);
    });
  });

  it('lets faults of the server through', () => {
    const volume = Volume.open(
      new MemoryDevice(content),
      new BlockCache(new MemoryDevice(content), new Uint8Array(1 << 20)),
    );
    const broken = {
      copyIn: () => undefined,
      copyOut: () => undefined,
      stage: (): Uint8Array => {
        throw new TypeError('a fault');
      },
    };
    client.call(FsCall.READDIR, ROOT, { grantBytes: 1000 });
    const handler = createHandlers(volume, broken).get(FsCall.READDIR);
    expect(() => handler?.(client.request, client.reply)).toThrow(TypeError);
  });

  it('survives requests of any bytes', () => {
    const random = pattern(64 * 2000, 5);
    for (let round = 0; round < 2000; round++) {
      new Uint8Array(client.request.buffer).set(random.subarray(round * 64, round * 64 + 64));
      client.request.setInt32(4, FsCall.LOOKUP + (round % 8), true);
      if (round % 3 > 0) client.request.setUint32(8, round % 400, true);
      if (round % 3 > 1) client.request.setUint32(12, 0, true);
      expect(client.send()).toBeLessThanOrEqual(1 << 20);
    }
  });
});

describe('FsError', () => {
  it('has a code, a negative number for a reply and a sentence', () => {
    const error = new FsError('EUCLEAN', 'it is damaged');
    expect([error.code, error.errno, error.message]).toEqual([
      'EUCLEAN',
      -117,
      'EUCLEAN: it is damaged',
    ]);
  });
});
