// What clients take back from a server that was started again: who is on the list, what the server
// waits for, what it frees afterwards. Method: the handlers over a volume in memory, which a crash
// leaves as its last commit did.
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ChangingHandlers } from '../../../src/servers/fs/changing-handlers.ts';
import { ERRNO } from '../../../src/servers/fs/errors.ts';
import type { FsHandler } from '../../../src/servers/fs/handlers.ts';
import { GRACE_MS, LIST_NAME, Survivors } from '../../../src/servers/fs/survivors.ts';
import type { SurvivorParts } from '../../../src/servers/fs/survivors.ts';
import type { FsChange } from '../../../src/vos/protocol/fs-change.ts';
import {
  AttributeFlag,
  LockCommand,
  LockType,
  OpenFlag,
  encodeChange,
} from '../../../src/vos/protocol/fs-change.ts';
import {
  FsCall,
  ROOT_INODE,
  type Timestamp,
  decodeAttributes,
} from '../../../src/vos/protocol/fs.ts';
import { hasWrite } from '../../../src/vos/client/held-files.ts';
import {
  checkImage,
  freshImage,
  openChanged,
  type ChangedVolume,
} from '../../support/changed-volume.ts';
import { imageObstacle } from '../../support/images.ts';

const obstacle = imageObstacle();
const [A, B] = [7, 8];
const HERE = 1;
const { RECLAIM } = LockCommand;
const { EINPROGRESS, EINVAL, ENOLCK, ESTALE } = ERRNO;

describe.skipIf(obstacle !== undefined)(`survivors of a server ${obstacle ?? ''}`, () => {
  const alive = new Set<number>();
  const nodes = new Map<number, number>();
  let said: ReturnType<SurvivorParts['ask']> = 'silent';
  let questions = 0;
  const message = new DataView(new ArrayBuffer(64));
  let image: Uint8Array;
  let changed: ChangedVolume;
  let survivors: Survivors;
  let table: ReadonlyMap<number, FsHandler>;
  let handlers: ChangingHandlers;
  let nowMs = 0;
  let nanoseconds = 0;
  // After that of the image, which is made by another clock.
  const now = (): Timestamp => ({ seconds: 4e9, nanoseconds: ++nanoseconds });

  function start(content: Uint8Array): void {
    changed = openChanged(content, 1, { keepNameless: true, now });
    const { volume, changes } = changed;
    const commit = (): void => {
      changes.commit();
    };
    const isAlive = (client: number): boolean => alive.has(client);
    survivors = new Survivors({
      ...{ volume, commit, isAlive, node: HERE, now, nowMs: () => nowMs },
      has: (client) => handlers.has(client),
      nodeOf: (client) => nodes.get(client),
      ask: () => {
        questions++;
        return said;
      },
    });
    const memory = { copyIn: nothing, copyOut: nothing, stage: () => new Uint8Array(0) };
    handlers = new ChangingHandlers(volume, memory, {
      ...{ writer: volume, commit, isAlive, now, nowMs: () => nowMs, survivors },
    });
    table = handlers.table();
  }

  /** The server dies; what was not committed is gone. */
  function crash(): void {
    start(changed.device.content.slice());
  }

  function call(change: Partial<FsChange> & { call: FsCall }, ...names: string[]): number {
    const bytes = names.map((name) => Buffer.from(name));
    encodeChange(message, { inode: ROOT_INODE, ...change }, bytes);
    message.setInt32(0, change.client ?? A, true);
    return table.get(change.call)?.(message, message) ?? -1;
  }

  /** A file that `client` holds, without a name if told. */
  function file(name: string, client: number, nameless: boolean): number {
    const made = { call: FsCall.CREATE, mode: 0o100644, flags: 1, client };
    expect(call(made, name)).toBe(0);
    const { inode } = decodeAttributes(message);
    if (nameless) expect(call({ call: FsCall.UNLINK }, name)).toBe(0);
    return inode;
  }

  const reclaim = (client: number, inode: number, count = 1): number =>
    call({ call: FsCall.OPEN, inode, client, count, flags: OpenFlag.RECLAIM });
  const release = (client: number, inode: number, count = 1): number =>
    call({ call: FsCall.RELEASE, inode, client, count });
  const rejoined = (client: number): number => call({ call: FsCall.REJOINED, client });
  const lock = (client: number, lockCommand: number = LockCommand.SET): number =>
    call({ call: FsCall.LOCK, client, lockCommand, lockType: LockType.WRITE, end: 9 });
  const isThere = (inode: number): boolean => call({ call: FsCall.FSYNC, inode }) === 0;
  const listed = (): number => {
    const { volume } = changed;
    return (volume.getXattr(volume.inode(ROOT_INODE, 0), LIST_NAME)?.length ?? 0) / 8;
  };

  beforeAll(() => {
    image = freshImage({ bytes: 8 << 20 });
  });

  beforeEach(() => {
    for (const client of [A, B]) {
      alive.add(client);
      nodes.set(client, client === A ? HERE : HERE + 1);
    }
    said = 'silent';
    start(image.slice());
  });

  it('keep files without names, until the last one lets go', () => {
    const inode = file('kept', A, true);
    const lost = file('lost', B, true);
    changed.changes.commit();
    crash();
    expect([isThere(inode), isThere(lost)]).toEqual([true, true]);
    expect([reclaim(A, inode, 2), rejoined(A)]).toEqual([0, 0]);
    // The other one may still come.
    expect([isThere(lost), survivors.awaiting]).toEqual([true, true]);
    expect(rejoined(B)).toBe(0);
    expect([isThere(lost), survivors.awaiting]).toEqual([false, false]);
    expect([release(A, inode), isThere(inode)]).toEqual([0, true]);
    expect([release(A, inode), isThere(inode)]).toEqual([0, false]);
    expect(reclaim(A, inode)).toBe(-ESTALE);
    changed.close();
    checkImage(changed.device.content);
  });

  it('are not awaited when they had nothing open for some seconds', () => {
    const inode = file('file', A, false);
    expect([lock(B), listed()]).toEqual([0, 2]);
    changed.changes.commit();
    // What was given up a moment ago may come again at once.
    expect(release(A, inode)).toBe(0);
    handlers.sweep();
    changed.changes.commit();
    crash();
    expect([rejoined(B), survivors.awaiting]).toEqual([0, true]);
    expect([rejoined(A), survivors.awaiting]).toEqual([0, false]);

    handlers.sweep();
    handlers.sweep();
    expect(lock(B)).toBe(0);
    changed.changes.commit();
    crash();
    expect([survivors.awaiting, listed()]).toEqual([true, 2]);
    expect([rejoined(B), survivors.awaiting]).toEqual([0, false]);
  });

  it('are awaited again when they have opened something since', () => {
    expect([release(A, file('file', A, false)), listed()]).toEqual([0, 1]);
    handlers.sweep();
    handlers.sweep();
    const inode = file('other', A, true);
    changed.changes.commit();
    crash();
    expect([survivors.awaiting, isThere(inode)]).toEqual([true, true]);
    expect([reclaim(A, inode), rejoined(A), isThere(inode)]).toEqual([0, 0, true]);
    // A lock is given when that is sure to be on the list: nothing else is committed here.
    expect(release(A, inode)).toBe(0);
    handlers.sweep();
    handlers.sweep();
    changed.changes.commit();
    expect(lock(A)).toBe(0);
    crash();
    expect(survivors.awaiting).toBe(true);
  });

  it('are not awaited after a server that ended, when they had nothing open then', () => {
    expect(release(A, file('file', A, false))).toBe(0);
    survivors.end();
    changed.changes.commit();
    crash();
    expect([survivors.awaiting, listed(), lock(B)]).toEqual([false, 1, 0]);
    // Nothing is lost of it all the same.
    expect(survivors.wholeAt(A)).toBeDefined();
  });

  it('keep a file that loses its name before its holder has come back', () => {
    const inode = file('file', B, false);
    changed.changes.commit();
    crash();
    expect(call({ call: FsCall.UNLINK, client: A }, 'file')).toBe(0);
    expect(isThere(inode)).toBe(true);
    expect([reclaim(B, inode), rejoined(B), isThere(inode)]).toEqual([0, 0, true]);
  });

  it('keep their locks, and nobody else gets one before', () => {
    expect([lock(A), lock(B)]).toEqual([0, -ERRNO.EAGAIN]);
    // Not committed by anybody: the list was, for the lock.
    crash();
    expect(lock(B)).toBe(-EINPROGRESS);
    expect(lock(A, RECLAIM)).toBe(0);
    expect([rejoined(A), lock(B)]).toEqual([0, -EINPROGRESS]);
    expect([rejoined(B), lock(B)]).toEqual([0, -ERRNO.EAGAIN]);
    expect(lock(B, RECLAIM)).toBe(-ENOLCK);
  });

  it('are waited for as long as they may be on their way', () => {
    expect([lock(B), file('x', A, false) > 0]).toEqual([0, true]);
    changed.changes.commit();
    alive.clear();
    crash();
    // One of this node that is not alive will not come.
    alive.add(A);
    nowMs += GRACE_MS - 1;
    expect(lock(A)).toBe(-EINPROGRESS);
    expect(lock(B, RECLAIM)).toBe(0);
    nowMs += GRACE_MS - 1;
    expect(survivors.awaiting).toBe(true);
    nowMs += 1;
    expect(survivors.awaiting).toBe(false);
    expect(lock(B, RECLAIM)).toBe(-ENOLCK);
    // Who lives stays on the list.
    expect(listed()).toBe(1);
  });

  it('are not waited for when their node knows them no more', () => {
    const clients = Array.from({ length: 10 }, (_, index) => 100 + index);
    for (const client of clients) {
      alive.add(client);
      nodes.set(client, HERE + 1);
      file(String(client), client, false);
    }
    changed.changes.commit();
    for (const client of clients) alive.delete(client);
    questions = 0;
    crash();
    // A node that does not answer is asked for one of them at a time.
    expect([lock(A), questions]).toEqual([-EINPROGRESS, 1]);
    nowMs += 1000;
    said = 'there';
    expect([lock(A), questions]).toEqual([-EINPROGRESS, 11]);
    said = 'gone';
    expect([lock(A), questions]).toEqual([-EINPROGRESS, 11]);
    nowMs += 1000;
    expect([lock(A), questions]).toEqual([0, 21]);
  });

  it('have lost nothing when the server before ended as it should, whatever times say', () => {
    // As a volume with inodes of 128 bytes has it.
    const written = { seconds: 4e9, nanoseconds: 0 };
    const inode = file('file', B, false);
    const kept = (): boolean[] => {
      expect(reclaim(B, inode)).toBe(0);
      const ofFile = hasWrite(decodeAttributes(message).changed, written);
      const request = { client: B, count: 0, flags: OpenFlag.LOOK };
      expect(call({ call: FsCall.OPEN, ...request })).toBe(0);
      return [ofFile, hasWrite(decodeAttributes(message).changed, { ...written, seconds: 5e9 })];
    };
    const end = (): void => {
      survivors.end();
      changed.close();
      start(changed.device.content.slice());
    };
    end();
    expect(kept()).toEqual([true, true]);
    // It is said of one restart alone, and not by a server that still waits for somebody.
    crash();
    expect([kept()[1], survivors.awaiting]).toEqual([false, true]);
    end();
    expect(kept()[1]).toBe(false);
    expect(rejoined(B)).toBe(0);
    end();
    expect(kept()).toEqual([true, true]);
    // Who is not known was given up, and may have lost something.
    expect(reclaim(A, inode)).toBe(0);
    expect(decodeAttributes(message).changed.seconds).toBeLessThan(5e9);
  });

  it('leave no files without names to a server that ends while it waits for them', () => {
    const lost = file('lost', B, true);
    changed.changes.commit();
    alive.delete(B);
    crash();
    expect([isThere(lost), survivors.awaiting]).toEqual([true, true]);
    said = 'gone';
    handlers.sweep();
    expect([isThere(lost), survivors.awaiting, listed()]).toEqual([false, false, 0]);
    changed.close();
    checkImage(changed.device.content);
  });

  it('are those that the last server had, and no older ones', () => {
    expect(lock(B)).toBe(0);
    crash();
    nowMs += GRACE_MS;
    expect(lock(A)).toBe(0);
    crash();
    expect([lock(B, RECLAIM), lock(A, RECLAIM)]).toEqual([-ENOLCK, 0]);
  });

  it('take back no lock that others had since they were given up', () => {
    expect(lock(B)).toBe(0);
    alive.delete(B);
    expect(lock(A)).toBe(0);
    alive.add(B);
    crash();
    expect(lock(B, RECLAIM)).toBe(-ENOLCK);
  });

  it('find the time that a directory had, whatever others did to it since', () => {
    const look = (directory: number = ROOT_INODE): boolean | undefined => {
      const request = { client: A, count: 0, flags: OpenFlag.LOOK };
      const result = call({ call: FsCall.OPEN, inode: directory, ...request });
      return result === 1 ? undefined : hasWrite(decodeAttributes(message).changed, removed);
    };
    file('gone', A, false);
    changed.changes.commit();
    expect(call({ call: FsCall.UNLINK }, 'gone')).toBe(0);
    const { inode, changed: removed } = decodeAttributes(message);
    expect(inode).toBe(ROOT_INODE);
    crash();
    expect(look()).toBe(false);
    file('other', B, false);
    expect(look()).toBe(false);
    expect(call({ call: FsCall.RENAME, other: ROOT_INODE }, 'other', 'gone')).toBe(0);
    const { changed: renamed } = decodeAttributes(message);
    expect(call({ call: FsCall.MKDIR, mode: 0o755 }, 'directory')).toBe(0);
    const { inode: other } = decodeAttributes(message);
    changed.changes.commit();
    crash();
    expect([look(), look(other)]).toEqual([true, true]);
    expect(hasWrite(changed.volume.inode(ROOT_INODE, 0).changed, renamed)).toBe(true);
    // By another call than those that change names.
    const { MODE: flags } = AttributeFlag;
    expect(call({ call: FsCall.SETATTR, inode: other, flags, mode: 0o700 })).toBe(0);
    expect([look(), look(other)]).toEqual([true, undefined]);
    expect(call({ call: FsCall.OPEN, client: A, count: 1, flags: OpenFlag.LOOK })).toBe(-EINVAL);
  });

  it('find the time of a change where its contents are, and else an earlier one', () => {
    const inode = file('file', A, true);
    for (const isWrittenOut of [true, false]) {
      const { volume, changes } = changed;
      expect(volume.write(volume.inode(inode, 0), 0, new Uint8Array(50_000).fill(1))).toBe(50_000);
      const written = volume.inode(inode, 0).changed;
      // A transaction that is committed because it is large leaves them behind.
      if (!isWrittenOut) changes.beforeCommit = nothing;
      changes.commit();
      crash();
      expect(reclaim(A, inode)).toBe(0);
      const { changed: found, size } = decodeAttributes(message);
      expect([hasWrite(found, written), size > 0]).toEqual([isWrittenOut, isWrittenOut]);
      changed.volume.truncate(changed.volume.inode(inode, 0), 0);
      changed.changes.commit();
    }
  });

  it('leave nothing behind', () => {
    file('x', A, false);
    file('y', B, true);
    expect(listed()).toBe(2);
    alive.clear();
    handlers.sweep();
    expect(listed()).toBe(0);
    changed.close();
    checkImage(changed.device.content);
  });

  it('are as many as there is room for', () => {
    for (let client = 100; client < 400; client++) {
      alive.add(client);
      expect(reclaim(client, ROOT_INODE)).toBe(0);
    }
    const room = listed();
    expect(room).toBeGreaterThan(100);
    crash();
    expect([lock(100, RECLAIM), lock(399, RECLAIM)]).toEqual([-ENOLCK, -ENOLCK]);
    expect(rejoined(100)).toBe(0);
  });
});

function nothing(): void {
  // No call here moves data.
}
