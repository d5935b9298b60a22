// Files that are made with one call: what is known of a directory's names, and when it is not.
import { beforeEach, describe, expect, it } from 'vitest';
import type { Created } from '../../../src/vos/client/file-service.ts';
import { KnownNames } from '../../../src/vos/fuse/known-names.ts';
import { CLAIM_TRUSTED_MS } from '../../../src/vos/protocol/fs-change.ts';
import { MemoryFiles, S_IFDIR, S_IFREG } from '../../support/memory-files.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const ROOT = { inode: 2, generation: 0 };
const VALID_MS = 1000;
const FILE = { uid: 0, gid: 0, mode: S_IFREG | 0o644, umask: 0 };

let files: MemoryFiles;
let clock: ManualClock;
let names: KnownNames;

async function turns(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((done) => setImmediate(done));
}

async function create(name: string, parent = ROOT): Promise<Created> {
  const made = await names.create({ parent, name: Buffer.from(name) }, FILE);
  await turns();
  return made;
}

function lacks(name: string): boolean {
  return names.lacks(ROOT, Buffer.from(name));
}

beforeEach(() => {
  files = new MemoryFiles();
  files.grantsClaims = true;
  files.add('/old', S_IFREG | 0o644);
  clock = new ManualClock();
  names = new KnownNames(files, clock, VALID_MS);
});

describe('the names of a directory', () => {
  it('are known after some files were made in it', async () => {
    for (const name of ['a', 'b']) {
      await create(name);
      expect(lacks('new')).toBe(false);
    }
    await create('c');
    expect(lacks('new')).toBe(true);
    for (const name of ['a', 'b', 'c', 'old', '.']) expect(lacks(name), name).toBe(false);
    expect(names.lacks({ ...ROOT, generation: 1 }, Buffer.from('new'))).toBe(false);
    expect(files.holds.size).toBe(3);
  });

  it('have in them what is being made', async () => {
    for (const name of ['a', 'b', 'c']) await create(name);
    const making = names.create({ parent: ROOT, name: Buffer.from('d') }, FILE);
    await Promise.resolve();
    expect(lacks('d')).toBe(false);
    await making;
  });

  it('are not known where claims are refused, and those are given back', async () => {
    files.grantsClaims = false;
    for (let i = 0; i < 20; i++) {
      await create(`f${i}`);
      expect(lacks('new')).toBe(false);
    }
    await names.settleAll();
    expect(files.claims.size).toBe(0);
  });

  it('are known no more once somebody wants to add one', async () => {
    for (const name of ['a', 'b', 'c']) await create(name);
    files.grantsClaims = false;
    await create('d');
    expect(lacks('new')).toBe(false);
    expect(files.claims.size).toBe(0);
  });

  it('are known no more after a moment without new files, or with an old claim', async () => {
    for (const name of ['a', 'b', 'c']) await create(name);
    clock.advance(20);
    await turns();
    expect(lacks('new')).toBe(false);
    expect(files.claims.size).toBe(0);

    for (const name of ['d', 'e', 'f']) await create(name);
    expect(lacks('new')).toBe(true);
    const making = names.create({ parent: ROOT, name: Buffer.from('g') }, FILE);
    await Promise.resolve();
    clock.advance(CLAIM_TRUSTED_MS);
    expect(lacks('new')).toBe(false);
    await making;
  });

  it('are not known of a directory that is too large, which is seldom listed', async () => {
    for (let i = 0; i < 9000; i++) files.add(`/many-${i}`, S_IFREG | 0o644);
    for (let i = 0; i < 40; i++) {
      await create(`f${i}`);
      expect(lacks('new')).toBe(false);
    }
    expect(files.calls.get('readDirectory')).toBeLessThan(20);
  });

  it('do not hinder other changes, which end the claim first', async () => {
    for (const name of ['a', 'b', 'c']) await create(name);
    const place = { parent: ROOT, name: Buffer.from('d') };
    await expect(files.makeDirectory(place, FILE)).rejects.toMatchObject({ code: 'EALREADY' });
    await names.settle(ROOT);
    await expect(files.makeDirectory(place, FILE)).resolves.toBeDefined();
    expect(names.settle(ROOT)).toBeUndefined();
  });

  it('are known of few directories at a time', async () => {
    for (let i = 0; i < 100; i++) {
      const directory = files.add(`/d${i}`, S_IFDIR | 0o755).attributes;
      for (const name of ['a', 'b', 'c']) await create(name, directory);
    }
    expect(names.size).toBeLessThanOrEqual(16);
  });
});

describe('the attributes of the directory', () => {
  it('come with a new file if they are from after it, and are good for their time', async () => {
    for (const name of ['a', 'b', 'c']) await create(name);
    expect(await names.attributes(ROOT)).toBeUndefined();
    const root = files.files.get(ROOT.inode);
    if (root === undefined) throw new Error('no root');
    root.attributes.changed = { seconds: 2 ** 33, nanoseconds: 0 };
    await create('d');
    clock.advance(10);
    expect(await names.attributes(ROOT)).toMatchObject({ ageMs: 10, attributes: { inode: 2 } });
    expect(await names.attributes({ ...ROOT, generation: 1 })).toBeUndefined();
    clock.advance(VALID_MS - 10);
    expect(await names.attributes(ROOT)).toBeUndefined();
    await create('e');
    names.forget();
    expect(await names.attributes(ROOT)).toBeUndefined();
  });
});
