// A quota bounds what is in use on a volume: contents that wait too, at every moment, and it is
// told by EDQUOT. What is counted is what the volume says is in use, so a crash changes nothing.
import { describe, expect, it } from 'vitest';
import type { Inode } from '../../../src/servers/fs/ext4/inode.ts';
import { QuotaSource } from '../../../src/servers/fs/quota-source.ts';
import type { QuotaLimits } from '../../../src/vos/protocol/fs-quota.ts';
import {
  type ChangedVolume,
  checkImage,
  freshImage,
  openChanged,
} from '../../support/changed-volume.ts';
import { seeded } from '../../support/datagram-network.ts';
import { imageObstacle, withDirectory } from '../../support/images.ts';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const MIB = 1 << 20;
const BLOCK = 4096;
const FILE = { uid: 0, gid: 0, mode: 0o100644 };
const bytes = (text: string): Uint8Array => Buffer.from(text);
const FULL = { code: 'EDQUOT' };

interface World extends ChangedVolume {
  root: Inode;
}

let empty: Uint8Array | undefined;

function world(quota: QuotaLimits, more: object = {}): World {
  empty ??= freshImage({ bytes: 16 * MIB, arguments: ['-b', String(BLOCK)] });
  const opened = openChanged(empty.slice(), 1, { quota, ...more });
  return { ...opened, root: opened.volume.inode(2, 0) };
}

function makeFile({ volume, root }: World, name: string): Inode {
  return volume.createFile(root, bytes(name), FILE);
}

/** Writes until nothing more is taken; returns how much was. */
function fill({ volume }: World, file: Inode, at = 0, step = 64 * 1024): number {
  for (let end = at; ;) {
    try {
      end += volume.write(file, end, new Uint8Array(step).fill(7));
    } catch (error) {
      expect(error).toMatchObject(FULL);
      return end - at;
    }
  }
}

describe.skipIf(imageObstacle() !== undefined)('a quota', () => {
  it('ends writes with EDQUOT, before they have blocks and after', () => {
    const opened = world({ bytes: 4 * MIB });
    const { volume, changes, close, device } = opened;
    const before = volume.quota().bytesUsed;
    const file = makeFile(opened, 'file');
    const taken = fill(opened, file);
    expect(volume.quota().bytesUsed).toBe(before + taken);
    expect(4 * MIB - before - taken).toBeLessThan(64 * 1024);

    changes.commit();
    const { bytesUsed } = volume.quota();
    expect(bytesUsed).toBeLessThanOrEqual(4 * MIB);
    expect(volume.attributes(file).size).toBe(taken);

    // What is given back may be used again at once.
    volume.truncate(file, MIB);
    expect(volume.quota().bytesUsed).toBeLessThan(bytesUsed - taken + MIB + BLOCK);
    expect(fill(opened, makeFile(opened, 'other'))).toBeGreaterThan(taken - MIB - 64 * 1024);
    expect(() => {
      volume.allocate(makeFile(opened, 'third'), 'allocate', { offset: 0, bytes: 8 * MIB });
    }).toThrow(expect.objectContaining(FULL));
    close();
    expect(volume.quota().bytesUsed).toBeLessThanOrEqual(4 * MIB);
    checkImage(device.content);
  });

  it('ends the making of files, and their removal makes room', () => {
    const opened = world({ inodes: 20 });
    const { volume, root, close, device } = opened;
    const { inodesUsed } = volume.quota();
    for (let index = inodesUsed; index < 20; index++) makeFile(opened, String(index));
    expect(volume.quota().inodesUsed).toBe(20);
    for (const make of [
      (): unknown => makeFile(opened, 'more'),
      (): unknown => volume.makeDirectory(root, bytes('more'), { ...FILE, mode: 0o40755 }),
      (): unknown => volume.makeSymlink(root, bytes('more'), { ...FILE, target: bytes('x') }),
    ]) {
      expect(make).toThrow(expect.objectContaining(FULL));
    }
    volume.unlink(root, bytes('19'));
    makeFile(opened, 'more');
    close();
    checkImage(device.content);
  });

  it('is the size that statfs tells', () => {
    const opened = world({ bytes: 4 * MIB, inodes: 100 });
    const { volume, close } = opened;
    const { bytesUsed, inodesUsed } = volume.quota();
    expect(volume.status()).toMatchObject({ blocks: 1024, inodes: 100 });
    expect(volume.status().blocksFree).toBe((4 * MIB - bytesUsed) / BLOCK);
    expect(volume.status().blocksAvailable).toBe((4 * MIB - bytesUsed) / BLOCK);
    expect(volume.status().inodesFree).toBe(100 - inodesUsed);
    volume.setQuota({});
    expect(volume.status().blocks).toBeGreaterThan(2048);
    // Less than what is in use: nothing is free, and nothing is gone.
    volume.setQuota({ bytes: MIB, inodes: 16 });
    expect(volume.status()).toMatchObject({ blocks: 256, inodes: 16 });
    const file = makeFile(opened, 'file');
    expect(fill(opened, file)).toBeLessThanOrEqual(MIB);
    expect(volume.status()).toMatchObject({ blocks: 256, blocksFree: 0, blocksAvailable: 0 });
    close();
  });

  it('above the size of the volume is none', () => {
    const opened = world({ bytes: 2 ** 40, inodes: 2 ** 30 });
    const { volume, close } = opened;
    const { blocks, inodes } = volume.status();
    expect(blocks * BLOCK).toBeLessThan(16 * MIB);
    expect(inodes).toBe(volume.superblock.inodes);
    const file = makeFile(opened, 'file');
    expect(() => {
      for (let at = 0; ; at += MIB) volume.write(file, at, new Uint8Array(MIB));
    }).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    close();
  });

  it('counts the same after a crash, whatever was done before', () => {
    const draw = seeded(0x90a7a);
    const next = (below: number): number => Math.floor(draw() * below);
    const opened = world({ bytes: 6 * MIB, inodes: 40 }, { delayedBytes: MIB });
    const { volume, root, changes, device } = opened;
    for (let step = 0; step < 400; step++) {
      const name = bytes(`f${String(next(24))}`);
      const found = volume.lookup(root, name);
      try {
        if (found === undefined) volume.createFile(root, name, FILE);
        else if (next(4) === 0) volume.unlink(root, name);
        else if (next(5) === 0) volume.truncate(found, next(MIB));
        else if (next(6) === 0) changes.commit();
        else volume.write(found, next(2 * MIB), new Uint8Array(1 + next(200_000)).fill(step));
      } catch (error) {
        expect(error).toMatchObject(FULL);
      }
      const { bytesUsed, inodesUsed } = volume.quota();
      expect(bytesUsed).toBeLessThanOrEqual(6 * MIB);
      expect(inodesUsed).toBeLessThanOrEqual(40);
    }
    changes.commit();
    const used = volume.quota();
    const after = openChanged(device.content.slice(), 1, { quota: used.limits });
    expect(after.volume.quota()).toEqual(used);
    after.close();
    checkImage(after.device.content);
  });

  it('is taken from a file when that changes, else from the spec', () => {
    withDirectory((directory) => {
      const path = join(directory, 'quota.json');
      let limits: QuotaLimits = {};
      const volume = { setQuota: (now: QuotaLimits) => (limits = now) };
      const source = new QuotaSource(volume, path, { bytes: MIB });
      expect(limits).toEqual({ bytes: MIB });
      writeFileSync(path, '{"bytes":2097152,"inodes":50}');
      source.look();
      expect(limits).toEqual({ bytes: 2 * MIB, inodes: 50 });
      for (const text of ['{"bytes":-1}', '{"inodes":1.5}', '[', '3', '{"bytes":"1"}']) {
        writeFileSync(path, text);
        source.look();
        expect(limits).toEqual({ bytes: 2 * MIB, inodes: 50 });
      }
      rmSync(path);
      source.look();
      expect(limits).toEqual({ bytes: MIB });
    });
  });
});
