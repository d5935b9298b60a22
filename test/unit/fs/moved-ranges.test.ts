// Ranges are taken out of files and put into them: the contents are those of an array of which the
// same was cut, in memory, after a crash, and for e2fsck and debugfs.
import { describe, expect, it } from 'vitest';
import type { Inode } from '../../../src/servers/fs/ext4/inode.ts';
import type { Volume } from '../../../src/servers/fs/ext4/volume.ts';
import {
  type ChangedVolume,
  checkImage,
  freshImage,
  openChanged,
} from '../../support/changed-volume.ts';
import { seeded } from '../../support/datagram-network.ts';
import { imageObstacle } from '../../support/images.ts';

const MIB = 1 << 20;
const BLOCK = 1024;
const FILE = { uid: 0, gid: 0, mode: 0o100644 };
const bytes = (text: string): Uint8Array => Buffer.from(text);

interface World extends ChangedVolume {
  file: Inode;
}

function world(...features: string[]): World {
  const args = ['-b', String(BLOCK), '-J', 'size=1', ...features];
  const opened = openChanged(freshImage({ bytes: 24 * MIB, arguments: args }));
  const file = opened.volume.createFile(opened.volume.inode(2, 0), bytes('file'), FILE);
  return { ...opened, file };
}

function contentsOf(volume: Volume, file: Inode): Buffer {
  const found = Buffer.alloc(file.size, 255);
  volume.read(file, 0, found);
  return found;
}

/** The file after a crash now. */
function afterCrash({ device }: World): Buffer {
  const crashed = openChanged(device.content.slice());
  const { volume } = crashed;
  const file = volume.lookup(volume.inode(2, 0), bytes('file'));
  const found = file === undefined ? Buffer.alloc(0) : contentsOf(volume, file);
  crashed.close();
  checkImage(crashed.device.content);
  return found;
}

/** Every second block is a hole, so that each of the others is an extent. */
function scatter({ volume, file, changes }: World, extents: number): Buffer {
  const content = Buffer.alloc(2 * extents * BLOCK);
  for (let index = 0; index < extents; index++) {
    const at = 2 * index * BLOCK;
    content.fill(1 + (index % 255), at, at + BLOCK);
    volume.write(file, at, content.subarray(at, at + BLOCK));
  }
  volume.truncate(file, content.length);
  changes.commit();
  return content;
}

function collapsed(content: Buffer, from: number, count: number): Buffer {
  return Buffer.concat([content.subarray(0, from), content.subarray(from + count)]);
}

function inserted(content: Buffer, at: number, count: number): Buffer {
  return Buffer.concat([content.subarray(0, at), Buffer.alloc(count), content.subarray(at)]);
}

describe.skipIf(imageObstacle() !== undefined)('ranges that are moved', () => {
  it('are those of an array, at random, over crashes', () => {
    const draw = seeded(0xc0117);
    const next = (below: number): number => Math.floor(draw() * below);
    const opened = world();
    const { volume, file, changes, close, device } = opened;
    let content: Buffer = Buffer.alloc(0);
    for (let step = 0; step < 300; step++) {
      const blocks = Math.floor(content.length / BLOCK);
      const from = next(blocks + 1) * BLOCK;
      const count = (1 + next(40)) * BLOCK;
      const kind = next(6);
      if (kind < 2) {
        const data = Buffer.alloc(1 + next(30_000), step);
        const at = next(content.length + 20_000);
        volume.write(file, at, data);
        const grown = Buffer.alloc(Math.max(content.length, at + data.length));
        content.copy(grown);
        data.copy(grown, at);
        content = grown;
      } else if (kind === 2 && from < content.length && content.length < MIB) {
        volume.allocate(file, 'insertRange', { offset: from, bytes: count });
        content = inserted(content, from, count);
      } else if (kind === 3 && from + count < content.length) {
        volume.allocate(file, 'collapseRange', { offset: from, bytes: count });
        content = collapsed(content, from, count);
      } else if (kind === 4) {
        volume.allocate(file, 'punchHole', { offset: from, bytes: count });
        content.fill(0, from, Math.min(from + count, content.length));
      } else if (kind === 5) {
        // Blocks that read as zeros, also behind the end.
        volume.allocate(file, 'keepSize', { offset: from, bytes: count });
      }
      expect(file.size).toBe(content.length);
      if (step % 10 === 0) expect(contentsOf(volume, file).equals(content)).toBe(true);
      if (step % 60 !== 0) continue;
      changes.commit();
      expect(afterCrash(opened).equals(content)).toBe(true);
    }
    close();
    expect(afterCrash(opened).equals(content)).toBe(true);
    checkImage(device.content);
  });

  it('are moved whole or not at all, in a tree of several levels', () => {
    const opened = world();
    const { volume, file, changes, close } = opened;
    const before = scatter(opened, 3000);
    const { blocksFree } = volume.status();

    volume.allocate(file, 'collapseRange', { offset: 100 * BLOCK, bytes: 2000 * BLOCK });
    volume.allocate(file, 'insertRange', { offset: 51 * BLOCK, bytes: 7 * BLOCK });
    const after = inserted(collapsed(before, 100 * BLOCK, 2000 * BLOCK), 51 * BLOCK, 7 * BLOCK);
    expect(contentsOf(volume, file).equals(after)).toBe(true);
    expect(volume.status().blocksFree - blocksFree).toBeGreaterThanOrEqual(1000);
    expect(afterCrash(opened).equals(before)).toBe(true);
    changes.commit();
    expect(afterCrash(opened).equals(after)).toBe(true);
    expect(volume.seek(file, 100 * BLOCK, 'data')).toBe(101 * BLOCK);
    close();
  });

  it('are of whole blocks, inside of the file, and of files with extents', () => {
    const { volume, file, close, device } = world();
    volume.write(file, 0, Buffer.alloc(10 * BLOCK, 7));
    const refused: [mode: 'collapseRange' | 'insertRange', at: number, count: number, string][] = [
      ['collapseRange', 1, BLOCK, 'EINVAL'],
      ['collapseRange', 0, BLOCK + 1, 'EINVAL'],
      ['collapseRange', 9 * BLOCK, BLOCK, 'EINVAL'],
      ['collapseRange', 5 * BLOCK, 20 * BLOCK, 'EINVAL'],
      ['insertRange', 10 * BLOCK, BLOCK, 'EINVAL'],
      ['insertRange', 512, BLOCK, 'EINVAL'],
      ['insertRange', 0, 2 ** 42, 'EFBIG'],
    ];
    for (const [mode, offset, length, code] of refused) {
      expect(
        () => {
          volume.allocate(file, mode, { offset, bytes: length });
        },
        `${mode} ${String(offset)} ${String(length)}`,
      ).toThrow(expect.objectContaining({ code }));
    }
    // What lies behind the end would get a number that no block has.
    volume.allocate(file, 'keepSize', { offset: (2 ** 32 - 100) * BLOCK, bytes: BLOCK });
    const insert = (): void => {
      volume.allocate(file, 'insertRange', { offset: 0, bytes: 200 * BLOCK });
    };
    expect(insert).toThrow(expect.objectContaining({ code: 'EFBIG' }));
    expect(contentsOf(volume, file).equals(Buffer.alloc(10 * BLOCK, 7))).toBe(true);
    close();
    checkImage(device.content);

    const old = world('-O', '^extents,^64bit');
    old.volume.write(old.file, 0, Buffer.alloc(10 * BLOCK, 7));
    expect(() => {
      old.volume.allocate(old.file, 'collapseRange', { offset: 0, bytes: BLOCK });
    }).toThrow(expect.objectContaining({ code: 'EOPNOTSUPP' }));
    old.close();
  });
});
