// The lock table: ranges that split and join, who is in whose way, circles, clients that are gone.
import { describe, expect, it } from 'vitest';
import { LockTable } from '../../../src/servers/fs/locks.ts';
import { LockKind, LockType } from '../../../src/vos/protocol/fs-change.ts';

const FILE = { inode: 12, kind: LockKind.POSIX };
const OTHER = { inode: 13, kind: LockKind.POSIX };
const { READ, WRITE, UNLOCK } = LockType;

function owner(id: number, client = 1): { client: number; owner: bigint; pid: number } {
  return { client, owner: BigInt(id), pid: 100 + id };
}

function range(type: number, start: number, end: number): Record<'type' | 'start' | 'end', number> {
  return { type, start, end };
}

function table(): { locks: LockTable; gone: Set<number>; clock: { ms: number } } {
  const gone = new Set<number>();
  const clock = { ms: 0 };
  const locks = new LockTable(
    (client) => !gone.has(client),
    () => clock.ms,
  );
  return { locks, gone, clock };
}

describe('ranges', () => {
  it('are shared by readers, and split, joined and replaced by their owner', () => {
    const { locks } = table();
    const [a, b] = [owner(1), owner(2)];
    locks.set(FILE, a, range(READ, 0, 99), false);
    locks.set(FILE, b, range(READ, 50, 60), false);
    expect(() => locks.set(FILE, b, range(WRITE, 50, 60), false)).toThrow('EAGAIN');
    locks.set(FILE, a, range(UNLOCK, 40, 69), false);
    locks.set(FILE, b, range(WRITE, 50, 60), false);
    expect(locks.count).toBe(3);
    expect(locks.conflict(FILE, a, range(READ, 0, 99))).toEqual({
      lockType: WRITE,
      pid: 102,
      start: 50,
      end: 60,
    });
    expect(locks.conflict(FILE, b, range(WRITE, 61, 80))).toMatchObject({ start: 70, end: 99 });
    expect(locks.conflict(FILE, b, range(WRITE, 40, 69)).lockType).toBe(UNLOCK);
    locks.set(FILE, b, range(UNLOCK, 0, Number.MAX_SAFE_INTEGER), false);
    locks.set(FILE, a, range(READ, 40, 69), false);
    expect(locks.count).toBe(1);
    locks.set(FILE, a, range(WRITE, 10, 19), false);
    expect(locks.count).toBe(3);
    locks.drop(1);
    expect(locks.count).toBe(0);
  });

  it('that are joined leave those before them as they are', () => {
    const { locks } = table();
    locks.set(FILE, owner(1), range(READ, 10, 19), false);
    locks.set(FILE, owner(1), range(WRITE, 0, 9), false);
    locks.set(FILE, owner(1), range(READ, 20, 29), false);
    expect(locks.count).toBe(2);
    expect(locks.conflict(FILE, owner(2), range(READ, 0, 99))).toMatchObject({ start: 0, end: 9 });
  });

  it('of both kinds do not see each other', () => {
    const { locks } = table();
    locks.set(FILE, owner(1), range(WRITE, 0, 9), false);
    locks.set({ ...FILE, kind: LockKind.FLOCK }, owner(2), range(WRITE, 0, 9), false);
    locks.drop(1, OTHER.inode);
    expect(locks.count).toBe(2);
    locks.drop(1, FILE.inode);
    expect(locks.count).toBe(0);
  });
});

describe('who waits', () => {
  it('is told of a circle, as long as the others wait too', () => {
    const { locks, clock } = table();
    const [a, b, c] = [owner(1), owner(2), owner(3)];
    locks.set(FILE, a, range(WRITE, 0, 0), false);
    locks.set(FILE, b, range(WRITE, 1, 1), false);
    locks.set(FILE, c, range(WRITE, 2, 2), false);
    expect(() => locks.set(FILE, a, range(WRITE, 1, 1), true)).toThrow('EAGAIN');
    expect(() => locks.set(FILE, b, range(WRITE, 2, 2), true)).toThrow('EAGAIN');
    expect(() => locks.set(FILE, c, range(WRITE, 0, 0), true)).toThrow('EDEADLK');
    // Who has not asked again for so long waits no more.
    clock.ms = 3000;
    expect(() => locks.set(FILE, c, range(WRITE, 0, 0), true)).toThrow('EAGAIN');
  });

  it('gets what a client had that is gone', () => {
    const { locks, gone } = table();
    locks.set(FILE, owner(1, 5), range(WRITE, 0, 9), false);
    locks.set(OTHER, owner(2, 5), range(WRITE, 0, 9), false);
    expect(() => locks.set(FILE, owner(1, 6), range(READ, 0, 0), true)).toThrow('EAGAIN');
    gone.add(5);
    locks.set(FILE, owner(1, 6), range(READ, 0, 0), true);
    expect(locks.count).toBe(1);
  });
});
