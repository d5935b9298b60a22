// Files that are made without waiting for the server: what is known of a directory's names and
// when it is not, in which order they arrive, and who is told when they do not.
import { beforeEach, describe, expect, it } from 'vitest';
import { errnoOf } from '../../../src/vos/fuse/io-errors.ts';
import { KnownNames } from '../../../src/vos/fuse/known-names.ts';
import { NameSet } from '../../../src/vos/fuse/name-set.ts';
import { CLAIM_TRUSTED_MS } from '../../../src/vos/protocol/fs-change.ts';
import type { FileAttributes, Timestamp } from '../../../src/vos/protocol/fs.ts';
import { MemoryFiles, S_IFDIR, S_IFREG } from '../../support/memory-files.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const ROOT = { inode: 2, generation: 0 };
const FILE = { uid: 7, gid: 8, mode: S_IFREG | 0o666, umask: 0o022 };
const EIO = 5;

let files: MemoryFiles;
let clock: ManualClock;
let names: KnownNames;
let latest: Timestamp;

async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((done) => setImmediate(done));
}

async function create(name: string, parent = ROOT): Promise<FileAttributes> {
  const made = await names.create({ parent, name: Buffer.from(name) }, FILE);
  await turns();
  return made;
}

function lacks(name: string): boolean {
  return names.lacks(ROOT, Buffer.from(name));
}

function has(name: string): boolean {
  return files.files.get(ROOT.inode)?.children.has(name) === true;
}

function namesOf(namesMax: number): KnownNames {
  return new KnownNames({ service: files, clock, errnoOf, latest: () => latest, namesMax });
}

/** Three files, after which others need not wait. */
async function begin(): Promise<void> {
  for (const name of ['a', 'b', 'c']) await create(name);
}

beforeEach(() => {
  files = new MemoryFiles();
  files.grantsClaims = true;
  files.add('/old', S_IFREG | 0o644);
  clock = new ManualClock();
  latest = { seconds: 0, nanoseconds: 0 };
  names = namesOf(1 << 19);
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

  it('are not known where they cannot be had, and are given back', async () => {
    files.grantsClaims = false;
    for (let i = 0; i < 20; i++) {
      await create(`f${i}`);
      expect(lacks('new')).toBe(false);
    }
    await names.settleAll();
    expect(files.claims.size).toBe(0);
    expect(files.calls.get('createMany')).toBeUndefined();
  });

  it('are known no more once somebody else wants them', async () => {
    await begin();
    files.grantsClaims = false;
    await create('d');
    await names.arrived(ROOT);
    await turns();
    expect(lacks('new')).toBe(false);
    expect(files.claims.size).toBe(0);
  });

  it('are known no more after a moment without new files, or when they are not kept', async () => {
    await begin();
    clock.advance(20);
    await turns();
    expect(lacks('new')).toBe(false);
    expect(files.claims.size).toBe(0);

    for (const name of ['d', 'e', 'f']) await create(name);
    expect(lacks('new')).toBe(true);
    const settled = names.settle(ROOT);
    expect(lacks('new')).toBe(false);
    await settled;
    expect(names.settle(ROOT)).toBeUndefined();
    await create('g');
    await create('h');
    await create('i');
    clock.advance(CLAIM_TRUSTED_MS);
    expect(lacks('new')).toBe(false);
  });

  it('are those of a large directory, once enough files were made in it', async () => {
    for (let i = 0; i < 3000; i++) files.add(`/many-${i}`, S_IFREG | 0o644);
    await begin();
    expect(lacks('new')).toBe(true);
    for (let i = 0; i < 3000; i++) expect(lacks(`many-${i}`)).toBe(false);
    clock.advance(20);
    await turns();
    files.calls.clear();
    for (const name of ['d', 'e', 'f', 'g']) await create(name);
    expect(files.calls.get('readDirectory')).toBeUndefined();
  });

  it('are those of a directory that is not too large, and of new files up to there', async () => {
    for (let i = 0; i < 90; i++) files.add(`/many-${i}`, S_IFREG | 0o644);
    names = namesOf(100);
    await begin();
    expect(lacks('new')).toBe(true);
    for (let i = 0; i < 9; i++) await create(`new-${i}`);
    expect(lacks('new')).toBe(false);
  });

  it('are known of few directories at a time', async () => {
    for (let i = 0; i < 100; i++) {
      const directory = files.add(`/d${i}`, S_IFDIR | 0o755).attributes;
      for (const name of ['a', 'b', 'c']) await create(name, directory);
    }
    expect(names.size).toBeLessThanOrEqual(16);
  });
});

describe('a file of a name that is not there', () => {
  it('is told of before it is made, and arrives with others a moment later', async () => {
    await begin();
    const told = [await create('d'), await create('e'), await create('f')];
    for (const name of ['d', 'e', 'f']) expect([lacks(name), has(name)]).toEqual([false, false]);
    clock.advance(2);
    await turns();
    expect(files.calls.get('createMany')).toBe(1);
    for (const [i, name] of ['d', 'e', 'f'].entries()) {
      const made = await files.lookup(ROOT, Buffer.from(name));
      expect(made).toEqual(told[i]);
      expect(made).toMatchObject({ mode: S_IFREG | 0o644, uid: 7, gid: 8, links: 1, size: 0 });
    }
  });

  it('is later than all that was told, and the directory with it', async () => {
    await begin();
    latest = { seconds: files.now.seconds, nanoseconds: 5 };
    const first = await create('d');
    const second = await create('e');
    expect(first.changed).toEqual({ ...latest, nanoseconds: 6 });
    expect(second.changed).toEqual({ ...latest, nanoseconds: 7 });
    expect(names.attributes(ROOT)).toMatchObject({ inode: 2, changed: second.changed });
    clock.advance(2);
    await turns();
    expect(names.attributes(ROOT)?.changed).toEqual(second.changed);
    expect((await files.getAttributes(ROOT)).changed).toEqual(second.changed);
    names.forget(ROOT);
    expect(names.attributes(ROOT)).toBeUndefined();
  });

  it('is made at once when somebody needs it, or the directory', async () => {
    await begin();
    const file = await create('d');
    expect(has('d')).toBe(false);
    await names.arrived(file);
    expect(has('d')).toBe(true);
    await create('e');
    await names.arrived(ROOT);
    expect(has('e')).toBe(true);
    expect(names.arrived(ROOT)).toBeUndefined();
    await create('f');
    await names.settleAll();
    expect([has('f'), files.claims.size]).toEqual([true, 0]);
  });

  it('is held open at the server only if it is open when it goes there', async () => {
    await begin();
    files.holds.clear();
    const [closed, open] = [await create('d'), await create('e')];
    expect(await names.released(closed)).toBe(true);
    await names.arrived(ROOT);
    expect([...files.holds.keys()]).toEqual([open.inode]);
    expect(await names.released(open)).toBe(false);
  });

  it('is one of so many at most that are on their way', async () => {
    await begin();
    for (let i = 0; i < 1000; i++) await create(`f${i}`);
    await names.arrived(ROOT);
    for (let i = 0; i < 1000; i++) expect(has(`f${i}`)).toBe(true);
    // Of 64 or more.
    expect(files.calls.get('createMany')).toBeLessThan(20);
  });

  it('fails whatever is asked of it when it cannot be made, and nothing else', async () => {
    await begin();
    files.unmakeable.set('e', 'EIO');
    const made = [await create('d'), await create('e'), await create('f')];
    const [before, lost, after] = made;
    if (before === undefined || lost === undefined || after === undefined) throw new Error('none');
    await expect(names.arrived(lost)).rejects.toMatchObject({ code: 'EIO' });
    await names.arrived(ROOT);
    expect([has('d'), has('e'), has('f')]).toEqual([true, false, true]);
    expect([names.failure(before), names.failure(lost)]).toEqual([undefined, EIO]);
    expect(names.failureAtSync(ROOT)).toBe(EIO);
    expect(names.failureAtSync(ROOT)).toBeUndefined();
    await expect(names.arrived(lost)).rejects.toMatchObject({ code: 'EIO' });
    const next = { ...lost, generation: lost.generation + 1 };
    expect([names.arrived(next), names.failure(next)]).toEqual([undefined, undefined]);
    expect(await names.released(next)).toBe(false);
    expect(await names.released(lost)).toBe(true);
    expect(names.failure(lost)).toBeUndefined();
  });

  it('fails with all others when the server does not answer', async () => {
    await begin();
    files.failing.set('createMany', 'EIO');
    const made = [await create('d'), await create('e')];
    await names.arrived(ROOT);
    for (const file of made) expect(names.failure(file)).toBe(EIO);
    files.failing.clear();
    await names.settleAll();
    await create('g');
    expect(has('g')).toBe(true);
  });
});

describe('a set of names', () => {
  const name = (i: number): Uint8Array => Buffer.from(`name ${i}`);

  it('has what was added, and not what was removed as often', () => {
    const set = new NameSet();
    for (let round = 0; round < 2; round++) for (let i = 0; i < 5000; i++) set.add(name(i));
    for (let i = 0; i < 5000; i += 2) set.remove(name(i));
    for (let i = 0; i < 5000; i++) expect(set.mayHave(name(i))).toBe(true);
    for (let i = 0; i < 5000; i += 2) set.remove(name(i));
    let wrong = 0;
    for (let i = 0; i < 5000; i++) if (set.mayHave(name(i)) !== (i % 2 === 1)) wrong++;
    expect([wrong, set.size]).toEqual([0, 5000]);
    set.remove(name(0));
    expect(set.size).toBe(5000);
  });
});
