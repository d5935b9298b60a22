// Which directories are to be asked about after a restart, and who is told that names were lost.
import { beforeEach, describe, expect, it } from 'vitest';
import { ChangedNames, DIRECTORIES_MAX } from '../../../src/vos/client/changed-names.ts';
import type { Timestamp } from '../../../src/vos/protocol/fs.ts';

const at = (nanoseconds: number): Timestamp => ({ seconds: 1, nanoseconds });
const file = (inode: number, generation = 0) => ({ inode, generation });
const [A, B] = [file(2), file(12)];

describe('directories with changed names', () => {
  let names: ChangedNames;
  const asked = (): number[] => names.directories.map(({ inode }) => inode);
  const settle = (changed?: Timestamp): void => {
    for (const one of names.directories) names.settle(one, changed);
  };

  beforeEach(() => {
    names = new ChangedNames();
  });

  it('are asked about until a sync that began after the change', () => {
    names.changed(A, at(1));
    const { mark } = names;
    names.changed(B, at(2));
    names.synced(mark);
    expect(asked()).toEqual([B.inode]);
    names.changed(A, at(3));
    names.synced(names.mark);
    expect(asked()).toEqual([]);
  });

  it('have lost something if they are older than the last change, and tell it once', () => {
    names.changed(A, at(2));
    names.changed(A, at(1));
    names.changed(B, at(1));
    settle(at(1));
    expect([names.tell(B), names.tell(A), names.tell(A)]).toEqual([false, true, false]);
    expect(asked()).toEqual([]);
  });

  it('have lost something if that is not known', () => {
    names.changed(A, at(1));
    settle();
    names.synced(names.mark);
    expect(names.tell(A)).toBe(true);
  });

  it('are not what was changed while the server was asked', () => {
    names.changed(A, at(1));
    const [before] = names.directories;
    names.changed(A, at(5));
    if (before !== undefined) names.settle(before, at(3));
    expect([asked(), names.tell(A)]).toEqual([[A.inode], false]);
  });

  it('are others when the number is used again', () => {
    names.changed(A, at(5));
    names.changed(file(A.inode, 1), at(3));
    settle(at(4));
    expect(names.tell(A)).toBe(false);
  });

  it('have lost nothing when they were removed, nor has what has their number next', () => {
    names.changed(file(A.inode, 1), at(5));
    const [removed] = names.directories;
    if (removed !== undefined) names.gone(removed);
    expect([asked(), names.tell(file(A.inode, 1))]).toEqual([[], false]);

    names.lose(file(A.inode, 1));
    expect(names.tell(file(A.inode, 2))).toBe(false);
    names.lose(file(A.inode, 1));
    expect(names.tell(A)).toBe(true);
  });

  it('are so many, the last ones', () => {
    for (let inode = 0; inode <= DIRECTORIES_MAX; inode++) names.changed(file(inode), at(1));
    expect([asked().length, asked()[0]]).toEqual([DIRECTORIES_MAX, 1]);
  });
});
