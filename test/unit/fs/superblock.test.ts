import { beforeAll, describe, expect, it } from 'vitest';
import { CRC_START, crc32c } from '../../../src/servers/fs/ext4/checksum.ts';
import type { VolumeOptions } from '../../../src/servers/fs/ext4/volume.ts';
import { ROOT } from '../../support/fs-client.ts';
import { imageObstacle, makeImage, run, withDirectory } from '../../support/images.ts';
import { MemoryDevice } from '../../support/memory-device.ts';
import { openVolume } from '../../support/volumes.ts';
import { readFileSync } from 'node:fs';

const AT = 1024;
const BACKUP_AT = 8193 * 1024;

/** Changes the superblock and gives it a right checksum again. */
function forge(content: Uint8Array, change: (raw: DataView) => void): Uint8Array {
  const forged = content.slice();
  const raw = new DataView(forged.buffer, AT, 1024);
  change(raw);
  raw.setUint32(0x3fc, crc32c(forged.subarray(AT, AT + 0x3fc), CRC_START), true);
  return forged;
}

function opening(content: Uint8Array, options?: VolumeOptions): () => unknown {
  return () => openVolume(new MemoryDevice(content), options);
}

const obstacle = imageObstacle();

describe.skipIf(obstacle !== undefined)(`Volume.open ${obstacle ?? ''}`, () => {
  let content: Uint8Array;

  beforeAll(() => {
    content = withDirectory((directory) => {
      const image = makeImage(directory, { bytes: 10 << 20, arguments: ['-b', '1024'] });
      run('e2fsck', '-fn', image);
      return new Uint8Array(readFileSync(image));
    });
  });

  it('opens a sound volume and reads no more than its superblock', () => {
    const device = new MemoryDevice(content);
    openVolume(device);
    expect(device.reads).toBe(1);
  });

  it('tells a wrong magic number, a wrong checksum and a device that is too short', () => {
    expect(opening(new Uint8Array(4096))).toThrow('EUCLEAN: superblock: the magic number is 0x0');
    expect(opening(new Uint8Array(100))).toThrow(/^EUCLEAN: superblock: the device of 100 bytes/);
    const flipped = content.slice();
    flipped[AT + 0x78] = 1;
    expect(opening(flipped)).toThrow(/^EUCLEAN: superblock: the checksum is/);
    expect(opening(content.subarray(0, 9 << 20))).toThrow(/^EUCLEAN: superblock: 10240 blocks/);
  });

  it.each([
    [0x20000, 'casefold'],
    [0x1, 'compression'],
    [0x8, 'journal_dev'],
    [0x1000, 'dirdata'],
    [0x40000000, 'unknown features 0x40000000'],
  ])('refuses the incompatible feature %i by name', (bit, name) => {
    const forged = forge(content, (raw) => {
      raw.setUint32(0x60, raw.getUint32(0x60, true) | bit, true);
    });
    expect(opening(forged)).toThrow(/^EOPNOTSUPP/);
    expect(opening(forged)).toThrow(name);
  });

  it('refuses a journal that must be replayed, unless told to ignore it', () => {
    const dirty = forge(content, (raw) => {
      raw.setUint32(0x60, raw.getUint32(0x60, true) | 4, true);
    });
    expect(opening(dirty)).toThrow(/^EROFS: the journal holds changes/);
    expect(openVolume(new MemoryDevice(dirty), { ignoreJournal: true }).getattr(ROOT).inode).toBe(
      2,
    );
  });

  it('refuses an unknown checksum algorithm', () => {
    const forged = forge(content, (raw) => {
      raw.setUint8(0x175, 2);
    });
    expect(opening(forged)).toThrow(/^EOPNOTSUPP: unknown checksum type 2/);
  });

  it.each([
    ['log2 of the block size', 0x18, 7],
    ['blocks in a group', 0x20, 0],
    ['blocks in a group beyond a bitmap', 0x20, 100_000],
    ['inodes in a group', 0x28, 0],
    ['inodes', 0x00, 77],
    ['first data block', 0x14, 0xffffffff],
    ['first inode', 0x54, 3],
    ['inode and group size', 0x58, 0],
    ['inode size that is no power of two', 0x58, 200],
    ['inode size beyond a block', 0x58, 2048],
    ['high half of the blocks', 0x150, 0x7fffffff],
    ['revision', 0x4c, 5],
  ])('refuses impossible geometry: %s', (_, field, value) => {
    const forged = forge(content, (raw) => {
      raw.setUint32(field, value, true);
    });
    expect(opening(forged)).toThrow(/^EUCLEAN: superblock/);
  });

  it('uses a copy of the superblock when asked to', () => {
    const broken = content.slice();
    broken.fill(0, AT, AT + 1024);
    // The descriptors behind the primary copy are lost as well.
    broken.fill(0, 2048, 3072);

    expect(opening(broken)).toThrow(/^EUCLEAN/);
    const client = openVolume(new MemoryDevice(broken), { useBackup: true });
    expect(client.readdirAll(ROOT).map(({ name }) => Buffer.from(name).toString())).toEqual([
      '.',
      '..',
      'lost+found',
    ]);
  });

  it('tells of the primary superblock when the copies are damaged too', () => {
    const broken = content.slice();
    broken.fill(0, AT, AT + 1024);
    broken.fill(0, BACKUP_AT, BACKUP_AT + 1024);
    expect(opening(broken, { useBackup: true })).toThrow(/the magic number is 0x0/);
  });

  it('uses the CRC32C that it is given', () => {
    let calls = 0;
    const client = openVolume(new MemoryDevice(content), {
      crc32c: (data, seed) => {
        calls++;
        return crc32c(data, seed);
      },
    });
    client.getattr(ROOT);
    expect(calls).toBeGreaterThan(3);
  });
});
