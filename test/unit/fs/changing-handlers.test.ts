// The calls of the FS protocol that change a volume: results, errors, what new files inherit, who
// holds what, and that no request is acted on twice. Method: the handlers over a volume in memory,
// by messages as a client sends them; at the end e2fsck finds nothing wrong.
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ChangingHandlers } from '../../../src/servers/fs/changing-handlers.ts';
import { ERRNO, FsError } from '../../../src/servers/fs/errors.ts';
import type { Volume } from '../../../src/servers/fs/ext4/volume.ts';
import { createHandlers, type FsHandler } from '../../../src/servers/fs/handlers.ts';
import type { FsChange } from '../../../src/vos/protocol/fs-change.ts';
import {
  AttributeFlag,
  LockCommand,
  LockType,
  RemoveFlag,
  SeekWhence,
  WriteFlag,
  decodeLock,
  decodeOffset,
  encodeChange,
  namesFit,
} from '../../../src/vos/protocol/fs-change.ts';
import { encodeList } from '../../../src/vos/protocol/fs-pieces.ts';
import { FsCall, ROOT_INODE, decodeAttributes } from '../../../src/vos/protocol/fs.ts';
import type { FileAttributes } from '../../../src/vos/protocol/fs.ts';
import {
  checkImage,
  freshImage,
  openChanged,
  type ChangedVolume,
} from '../../support/changed-volume.ts';
import { imageObstacle } from '../../support/images.ts';
import { pattern } from '../../support/trees.ts';

const obstacle = imageObstacle();
const CLIENT = 7;
const OTHER_CLIENT = 8;
const GRANT = 3;
const REGULAR = 0o100000;
const FIFO = 0o010000;
const SET_GROUP = 0o2000;
const name = (text: string): Uint8Array => Buffer.from(text);

interface Extras {
  names?: string[];
  data?: Uint8Array;
  client?: number;
}

describe.skipIf(obstacle !== undefined)(`FS handlers that change ${obstacle ?? ''}`, () => {
  const memory = new Uint8Array(1 << 21);
  const stage = new Uint8Array(1 << 20);
  const alive = new Set([CLIENT, OTHER_CLIENT]);
  const request = new DataView(new ArrayBuffer(64));
  const reply = new DataView(new ArrayBuffer(64));
  let image: Uint8Array;
  let changed: ChangedVolume;
  let table: ReadonlyMap<number, FsHandler>;
  let handlers: ChangingHandlers;
  let commits = 0;
  let commitFailed: (errno: number) => void = () => undefined;
  let copiesFail = false;

  function serve(volume: Volume, readOnly: boolean): void {
    const clients = {
      copyIn: (client: number, grant: number, at: number, target: Uint8Array): void => {
        if (copiesFail) throw new FsError('EIO', 'the link is down');
        expect([client > 0, grant]).toEqual([true, GRANT]);
        target.set(memory.subarray(at, at + target.length));
      },
      copyOut: (_: number, __: number, at: number, data: Uint8Array): void => {
        memory.set(data, at);
      },
      stage: (bytes: number): Uint8Array => stage.subarray(0, bytes),
    };
    handlers = new ChangingHandlers(volume, clients, {
      writer: readOnly ? undefined : volume,
      commit: (failed) => {
        commits++;
        commitFailed = failed;
      },
      isAlive: (client) => alive.has(client),
      now: () => ({ seconds: 1_234_567_890, nanoseconds: 5 }),
      nowMs: () => 0,
    });
    table = new Map([...createHandlers(volume, clients), ...handlers.table()]);
  }

  /** Makes a call and returns the result as it is. */
  function call(change: Partial<FsChange> & { call: FsCall }, extras: Extras = {}): number {
    const { names = [], data, client = CLIENT } = extras;
    const all = names.map(name);
    const bytes = all.reduce((sum, { length }) => sum + length, 0);
    const parts = [...(namesFit(change.call, bytes) ? [] : all), ...(data ? [data] : [])];
    memory.set(Buffer.concat(parts));
    encodeChange(request, { inode: ROOT_INODE, grant: GRANT, ...change }, all);
    request.setInt32(0, client, true);
    return send();
  }

  function send(): number {
    return table.get(request.getInt32(4, true))?.(request, reply) ?? -1;
  }

  /** A call that makes or changes a file. */
  function attributes(
    change: Partial<FsChange> & { call: FsCall },
    extras: Extras = {},
  ): FileAttributes {
    expect(call(change, extras)).toBeGreaterThanOrEqual(0);
    return decodeAttributes(reply);
  }

  function create(text: string, more: Partial<FsChange> = {}): FileAttributes {
    return attributes({ call: FsCall.CREATE, mode: REGULAR | 0o644, ...more }, { names: [text] });
  }

  function write(inode: number, text: string, more: Partial<FsChange> = {}): number {
    const data = Buffer.from(text);
    return call({ call: FsCall.WRITE, inode, bytes: data.length, ...more }, { data });
  }

  function content(inode: number): string {
    const file = changed.volume.inode(inode, 0);
    const data = new Uint8Array(file.size);
    changed.volume.read(file, 0, data);
    return Buffer.from(data).toString('latin1');
  }

  function lookup(text: string): number {
    return changed.volume.lookup(changed.volume.inode(ROOT_INODE, 0), name(text))?.number ?? 0;
  }

  beforeAll(() => {
    image = freshImage({ bytes: 16 << 20 });
  });

  beforeEach(() => {
    changed = openChanged(image.slice());
    serve(changed.volume, false);
    commits = 0;
    copiesFail = false;
    alive.add(OTHER_CLIENT);
  });

  afterEach(() => {
    changed.close();
    checkImage(changed.device.content);
  });

  describe('what makes names', () => {
    it('gives them to who asks, under the umask', () => {
      const file = create('file', { mode: REGULAR | 0o666, uid: 5, gid: 6, umask: 0o027 });
      expect(file).toMatchObject({ mode: REGULAR | 0o640, uid: 5, gid: 6, links: 1, size: 0 });
      const device = create('device', { mode: 0o060600, device: 0x0105 });
      expect(device).toMatchObject({ mode: 0o060600, size: 0x0105 });
      const directory = attributes({ call: FsCall.MKDIR, mode: 0o777 }, { names: ['d'] });
      expect(directory).toMatchObject({ mode: 0o040777, links: 2 });
      const long = 'n'.repeat(255);
      const link = attributes(
        { call: FsCall.SYMLINK, bytes: 300, uid: 5 },
        { names: [long], data: Buffer.alloc(300, 't') },
      );
      expect(link).toMatchObject({ mode: 0o120777, size: 300, uid: 5 });
      expect(lookup(long)).toBe(link.inode);
      const two = attributes({ call: FsCall.LINK, other: file.inode }, { names: ['two'] });
      expect(two).toMatchObject({ inode: file.inode, links: 2 });
    });

    it('inherits the group and the bit of a set-group-id directory', () => {
      const parent = attributes({ call: FsCall.MKDIR, mode: 0o777, gid: 9 }, { names: ['d'] });
      const { inode } = parent;
      const flags = AttributeFlag.MODE;
      attributes({ call: FsCall.SETATTR, inode, flags, mode: 0o777 | SET_GROUP });
      expect(create('file', { inode, gid: 1 })).toMatchObject({ gid: 9, mode: REGULAR | 0o644 });
      const below = attributes({ call: FsCall.MKDIR, inode, mode: 0o755 }, { names: ['below'] });
      expect(below).toMatchObject({ gid: 9, mode: 0o042755 });
    });

    it('inherits the default access list instead of the umask', () => {
      const { inode } = attributes({ call: FsCall.MKDIR, mode: 0o755 }, { names: ['d'] });
      // user::rwx user:5:rwx group::r-x mask::rwx other::---
      const list = Buffer.from(
        '02000000' +
          '01000700ffffffff0200070005000000' +
          '04000500ffffffff10000700ffffffff20000000ffffffff',
        'hex',
      );
      const set = { call: FsCall.SETXATTR, inode, bytes: list.length };
      expect(call(set, { names: ['system.posix_acl_default'], data: list })).toBe(0);
      const file = create('file', { inode, mode: REGULAR | 0o664, umask: 0o077 });
      expect(file.mode).toBe(REGULAR | 0o660);
      const access = changed.volume.getXattr(
        changed.volume.inode(file.inode, 0),
        name('system.posix_acl_access'),
      );
      // The mask is the mode's group bits now, and owner and others follow the mode.
      expect(Buffer.from(access ?? []).toString('hex')).toBe(
        '02000000' +
          '01000600ffffffff0200070005000000' +
          '04000500ffffffff10000600ffffffff20000000ffffffff',
      );
      const changedMode = { call: FsCall.SETATTR, inode: file.inode, flags: AttributeFlag.MODE };
      expect(attributes({ ...changedMode, mode: 0o604 }).mode).toBe(REGULAR | 0o604);
      const below = attributes({ call: FsCall.MKDIR, inode, mode: 0o777 }, { names: ['below'] });
      const inherited = changed.volume.inode(below.inode, 0);
      expect(changed.volume.getXattr(inherited, name('system.posix_acl_default'))).toBeDefined();
    });

    it('fails with EEXIST, ENOTDIR, ENAMETOOLONG, EINVAL or EBADREQUEST', () => {
      const file = create('file');
      const make = (more: Partial<FsChange>, text: string): number =>
        call({ call: FsCall.CREATE, mode: REGULAR, ...more }, { names: [text] });
      expect(make({}, 'file')).toBe(-ERRNO.EEXIST);
      expect(make({}, '.')).toBe(-ERRNO.EEXIST);
      expect(make({ inode: file.inode }, 'x')).toBe(-ERRNO.ENOTDIR);
      expect(make({ mode: 0o040755 }, 'x')).toBe(-ERRNO.EINVAL);
      for (const text of ['', 'a/b', 'a\0b']) expect(make({}, text)).toBe(-ERRNO.EINVAL);
      encodeChange(request, { call: FsCall.CREATE, inode: 2, mode: REGULAR }, [name('x')]);
      request.setUint8(63, 1);
      expect(send()).toBe(-ERRNO.EBADREQUEST);
      expect(lookup('x')).toBe(0);
    });
  });

  it('removes and renames', () => {
    const { inode } = create('file');
    attributes({ call: FsCall.MKDIR, mode: 0o755 }, { names: ['d'] });
    const rename = (from: string, to: string, flags = 0): number =>
      call({ call: FsCall.RENAME, other: ROOT_INODE, flags }, { names: [from, to] });
    expect(rename('file', 'moved')).toBe(0);
    expect(rename('moved', 'm'.repeat(255))).toBe(0);
    expect(rename('m'.repeat(255), 'moved')).toBe(0);
    expect(rename('moved', 'd', 1)).toBe(-ERRNO.EEXIST);
    expect(rename('moved', 'd', 2)).toBe(0);
    expect(lookup('d')).toBe(inode);
    expect(rename('moved', 'd', 4)).toBe(-ERRNO.EINVAL);
    expect(rename('none', 'd')).toBe(-ERRNO.ENOENT);
    expect(call({ call: FsCall.UNLINK }, { names: ['moved'] })).toBe(-ERRNO.EISDIR);
    expect(call({ call: FsCall.RMDIR }, { names: ['d'] })).toBe(-ERRNO.ENOTDIR);
    expect(call({ call: FsCall.UNLINK }, { names: ['d'] })).toBe(0);
    expect(call({ call: FsCall.RMDIR }, { names: ['moved'] })).toBe(0);
    const open = { call: FsCall.OPEN, inode, client: CLIENT, count: 1 };
    expect(call(open)).toBe(-ERRNO.ESTALE);
  });

  describe('what changes files', () => {
    it('writes, appends, and tells the size', () => {
      const { inode } = create('file');
      expect(write(inode, 'hello')).toBe(5);
      expect(write(inode, ' world', { flags: WriteFlag.APPEND })).toBe(6);
      expect(decodeAttributes(reply).size).toBe(11);
      expect(write(inode, 'J', { offset: 0 })).toBe(1);
      expect(content(inode)).toBe('Jello world');
      expect(commits).toBe(0);
      expect(write(inode, '!', { flags: WriteFlag.SYNC | WriteFlag.APPEND })).toBe(1);
      expect(commits).toBe(1);
      expect(write(inode, 'x', { flags: WriteFlag.APPEND, offset: 3 })).toBe(-ERRNO.EBADREQUEST);
      expect(write(inode, 'x', { flags: 64 })).toBe(-ERRNO.EINVAL);
      expect(write(ROOT_INODE, 'x')).toBe(-ERRNO.EISDIR);
      expect(call({ call: FsCall.WRITE, inode, bytes: (1 << 20) + 1 })).toBe(-ERRNO.EINVAL);
    });

    it('writes pieces in their order, and nothing of a list that is wrong', () => {
      const { inode } = create('file');
      write(inode, '0123456789');
      const pieces = [[8, 'abcd'] as const, [0, 'xyz'] as const, [1, 'Y'] as const].map(
        ([offset, text]) => ({ offset, data: Buffer.from(text) }),
      );
      const data = Buffer.concat([encodeList(pieces), ...pieces.map((piece) => piece.data)]);
      const what = { call: FsCall.WRITE, inode, bytes: data.length, count: 3 };
      expect(call(what, { data })).toBe(8);
      expect(decodeAttributes(reply).size).toBe(12);
      expect(content(inode)).toBe('xYz34567abcd');
      for (const wrong of [{ count: 2 }, { count: 4 }, { bytes: 50 }, { offset: 1 }]) {
        const short = data.subarray(0, wrong.bytes);
        expect(call({ ...what, ...wrong, bytes: short.length }, { data: short })).toBe(
          -ERRNO.EINVAL,
        );
      }
      const append = { ...what, flags: WriteFlag.APPEND };
      expect(call(append, { data })).toBe(-ERRNO.EINVAL);
      expect(content(inode)).toBe('xYz34567abcd');
    });

    it('takes privileges away from what is written to, or given away', () => {
      const { inode } = create('file', { mode: REGULAR | 0o6755 });
      write(inode, 'x', { flags: WriteFlag.KILL_PRIVILEGES });
      expect(decodeAttributes(reply).mode).toBe(REGULAR | 0o755);
      const flags = AttributeFlag.MODE;
      // Without group execution the bit is none.
      expect(attributes({ call: FsCall.SETATTR, inode, flags, mode: 0o6744 }).mode & 0o7777).toBe(
        0o6744,
      );
      const given = AttributeFlag.UID | AttributeFlag.KILL_PRIVILEGES;
      const left = attributes({ call: FsCall.SETATTR, inode, flags: given, uid: 4 });
      expect(left).toMatchObject({ uid: 4, mode: REGULAR | 0o2744 });
    });

    it('sets sizes and times', () => {
      const { inode } = create('file');
      write(inode, '0123456789');
      const { SIZE, ACCESSED, MODIFIED_NOW } = AttributeFlag;
      const flags = SIZE | ACCESSED | MODIFIED_NOW;
      const accessed = { seconds: -5, nanoseconds: 6 };
      const after = attributes({ call: FsCall.SETATTR, inode, flags, size: 4, accessed });
      expect(after).toMatchObject({ size: 4, accessed });
      expect(after.modified).toEqual({ seconds: 1_234_567_890, nanoseconds: 5 });
      expect(call({ call: FsCall.SETATTR, inode, flags: 1 << 12 })).toBe(-ERRNO.EINVAL);
    });

    it('allocates, finds holes and copies', () => {
      const { inode } = create('file');
      const data = pattern(3 << 20, 3);
      for (let at = 0; at < 3; at++) {
        const part = data.subarray(at << 20, (at + 1) << 20);
        const change = { call: FsCall.WRITE, inode, bytes: 1 << 20, offset: at << 20 };
        expect(call(change, { data: part })).toBe(1 << 20);
      }
      const range = { offset: 1 << 20, size: 1 << 20 };
      attributes({ call: FsCall.FALLOCATE, inode, mode: 3, ...range });
      const seek = (flags: number, offset: number): number => {
        const result = call({ call: FsCall.SEEK, inode, flags, offset });
        return result < 0 ? result : decodeOffset(reply);
      };
      expect([seek(4, 0), seek(3, 1 << 20)]).toEqual([1 << 20, 2 << 20]);
      expect([seek(3, 9 << 20), seek(0, 0)]).toEqual([-ERRNO.ENXIO, -ERRNO.EINVAL]);
      const other = create('other').inode;
      const copy = { call: FsCall.COPY_RANGE, inode, other, bytes: 0xffff_ffff };
      expect(call({ ...copy, offset: 0, otherOffset: 10 })).toBe(3 << 20);
      expect(content(other).slice(10)).toBe(content(inode));
      const overlap = { ...copy, other: inode, bytes: 20 };
      expect(call({ ...overlap, otherOffset: 19 })).toBe(-ERRNO.EINVAL);
      const modes = [2, 5, 64].map((mode) =>
        call({ call: FsCall.FALLOCATE, inode, mode, size: 1 }),
      );
      expect(modes).toEqual(Array(3).fill(-ERRNO.EOPNOTSUPP));
      expect(call({ call: FsCall.FALLOCATE, inode })).toBe(-ERRNO.EINVAL);
    });

    it('sets extended attributes; the mode follows an access list', () => {
      const { inode } = create('file', { mode: REGULAR | SET_GROUP | 0o640 });
      const set = (text: string, data: Uint8Array, flags = 0): number =>
        call({ call: FsCall.SETXATTR, inode, bytes: data.length, flags }, { names: [text], data });
      expect(set('user.a', name('1'), 2)).toBe(-ERRNO.ENODATA);
      expect(set('user.a', name('1'), 1)).toBe(0);
      expect(set('user.a', name('2'), 1)).toBe(-ERRNO.EEXIST);
      // user::rw- group::--- other::r--, which the mode can say.
      const list = Buffer.from('0200000001000600ffffffff04000000ffffffff20000400ffffffff', 'hex');
      expect(set('system.posix_acl_access', list, 4)).toBe(0);
      const file = changed.volume.inode(inode, 0);
      expect(file.mode).toBe(REGULAR | 0o604);
      expect(changed.volume.getXattr(file, name('system.posix_acl_access'))).toBeUndefined();
      expect(call({ call: FsCall.REMOVEXATTR, inode }, { names: ['user.a'] })).toBe(0);
      expect(call({ call: FsCall.REMOVEXATTR, inode }, { names: ['user.a'] })).toBe(-ERRNO.ENODATA);
      expect(call({ call: FsCall.SETXATTR, inode, bytes: 65_537 }, { names: ['user.b'] })).toBe(
        -ERRNO.E2BIG,
      );
    });

    it('commits for FSYNC', () => {
      expect(call({ call: FsCall.FSYNC, flags: 1 })).toBe(0);
      expect(call({ call: FsCall.FSYNC, flags: 2 })).toBe(0);
      expect(commits).toBe(2);
    });
  });

  describe('a request that comes twice', () => {
    it('is acted on once, and has the same answer', () => {
      const made = create('file', { sequence: 41 });
      expect(send()).toBe(0);
      expect(decodeAttributes(reply)).toEqual(made);
      expect(call({ call: FsCall.UNLINK, sequence: 42 }, { names: ['file'] })).toBe(0);
      expect(send()).toBe(0);
      expect(call({ call: FsCall.UNLINK, sequence: 43 }, { names: ['file'] })).toBe(-ERRNO.ENOENT);
      create('file');
      // An error is an answer too.
      expect(call({ call: FsCall.UNLINK, sequence: 43 }, { names: ['file'] })).toBe(-ERRNO.ENOENT);
      const { inode } = create('log');
      const append = { flags: WriteFlag.APPEND, sequence: 44 };
      expect([write(inode, 'a', append), send(), send()]).toEqual([1, 1, 1]);
      expect(content(inode)).toBe('a');
    });

    it('has failed for whoever asks again when its commit failed later', () => {
      const { inode } = create('f');
      expect(call({ call: FsCall.FSYNC, inode, sequence: 7 })).toBe(0);
      commitFailed(-ERRNO.ENOSPC);
      expect(call({ call: FsCall.FSYNC, inode, sequence: 7 })).toBe(-ERRNO.ENOSPC);
      expect(call({ call: FsCall.FSYNC, inode, sequence: 8 })).toBe(0);
      create('g', { sequence: 9 });
      commitFailed(-ERRNO.EIO);
      expect(create('g', { sequence: 9 }).inode).toBeGreaterThan(0);
    });

    it('is acted on when its data did not come the first time', () => {
      const { inode } = create('file');
      copiesFail = true;
      expect(write(inode, 'x', { sequence: 50 })).toBe(-ERRNO.EIO);
      copiesFail = false;
      expect(send()).toBe(1);
      expect(content(inode)).toBe('x');
    });

    it('of another client is another request, as is one without a number', () => {
      create('file', { sequence: 41 });
      const other = { names: ['file'], client: OTHER_CLIENT };
      const change = { call: FsCall.CREATE, mode: REGULAR, sequence: 41 };
      expect(call(change, other)).toBe(-ERRNO.EEXIST);
      expect(call({ ...change, sequence: 0 }, { names: ['file'] })).toBe(-ERRNO.EEXIST);
    });
  });

  describe('open files', () => {
    const open = (inode: number, client: number, count = 1): number =>
      call({ call: FsCall.OPEN, inode, client, count });
    const release = (inode: number, client: number, count = 1): number =>
      call({ call: FsCall.RELEASE, inode, client, count });

    it('stay without a name until the last client lets go', () => {
      const { inode } = create('file', { flags: 1, client: CLIENT });
      write(inode, 'there');
      expect(open(inode, OTHER_CLIENT, 2)).toBe(0);
      expect(call({ call: FsCall.UNLINK }, { names: ['file'] })).toBe(0);
      expect(release(inode, CLIENT)).toBe(0);
      expect(release(inode, OTHER_CLIENT)).toBe(0);
      expect(content(inode)).toBe('there');
      expect(release(inode, OTHER_CLIENT)).toBe(0);
      expect(open(inode, CLIENT)).toBe(-ERRNO.ESTALE);
      expect(release(inode, CLIENT)).toBe(0);
      expect(open(ROOT_INODE, CLIENT, 0)).toBe(-ERRNO.EINVAL);
    });

    it('are kept for who removes what no open tells of', () => {
      const hold = { flags: RemoveFlag.HOLD, client: CLIENT };
      const made = attributes({ call: FsCall.MKDIR, mode: 0o755 }, { names: ['d'] });
      const fifo = create('f', { mode: FIFO | 0o600 });
      create('plain');
      const gone = attributes({ call: FsCall.RMDIR, ...hold }, { names: ['d'] });
      expect([gone.inode, gone.links]).toEqual([made.inode, 0]);
      const second = attributes({ call: FsCall.UNLINK, ...hold }, { names: ['f'] });
      expect([second.inode, second.links]).toEqual([fifo.inode, 0]);
      expect(attributes({ call: FsCall.UNLINK, ...hold }, { names: ['plain'] }).inode).toBe(
        ROOT_INODE,
      );
      for (const { inode } of [made, fifo]) {
        expect(call({ call: FsCall.FSYNC, inode })).toBe(0);
        expect(attributes({ call: FsCall.SETATTR, inode, flags: 0 }).links).toBe(0);
        call({ call: FsCall.RELEASE, inode, client: CLIENT, count: 1 });
        expect(call({ call: FsCall.FSYNC, inode })).toBe(-ERRNO.ESTALE);
      }
      expect(call({ call: FsCall.RMDIR, ...hold }, { names: ['no'] })).toBe(-ERRNO.ENOENT);
    });

    it('are let go when their client is gone', () => {
      const { inode } = create('file');
      expect(open(inode, OTHER_CLIENT, 3)).toBe(0);
      expect(call({ call: FsCall.UNLINK }, { names: ['file'] })).toBe(0);
      handlers.sweep();
      expect(content(inode)).toBe('');
      alive.delete(OTHER_CLIENT);
      handlers.sweep();
      expect(open(inode, CLIENT)).toBe(-ERRNO.ESTALE);
    });
  });

  describe('locks', () => {
    const lock = (client: number, lockType: number, more: Partial<FsChange> = {}): number =>
      call({
        ...{ call: FsCall.LOCK, client, lockType, owner: 1n, pid: 4321, start: 0, end: 9 },
        ...{ lockCommand: LockCommand.SET, ...more },
      });

    it('exclude each other, and end with their file or their client', () => {
      expect(lock(CLIENT, LockType.WRITE)).toBe(0);
      expect(lock(OTHER_CLIENT, LockType.READ)).toBe(-ERRNO.EAGAIN);
      expect(lock(OTHER_CLIENT, LockType.READ, { lockCommand: LockCommand.GET })).toBe(0);
      expect(decodeLock(reply)).toEqual({ lockType: LockType.WRITE, pid: 4321, start: 0, end: 9 });
      expect(lock(OTHER_CLIENT, LockType.READ, { lockKind: 1 })).toBe(0);
      call({ call: FsCall.RELEASE, client: CLIENT, count: 1 });
      expect(lock(OTHER_CLIENT, LockType.WRITE)).toBe(0);
      expect(lock(CLIENT, LockType.READ)).toBe(-ERRNO.EAGAIN);
      alive.delete(OTHER_CLIENT);
      expect(lock(CLIENT, LockType.READ)).toBe(0);
    });

    it('refuse what is none', () => {
      expect(lock(CLIENT, 3)).toBe(-ERRNO.EINVAL);
      expect(lock(CLIENT, 0, { lockKind: 2 })).toBe(-ERRNO.EINVAL);
      expect(lock(CLIENT, 0, { lockCommand: 4 })).toBe(-ERRNO.EINVAL);
      expect(lock(CLIENT, 0, { start: 10 })).toBe(-ERRNO.EINVAL);
    });
  });

  it('changes nothing on a volume that is read-only', () => {
    const { inode } = create('file');
    write(inode, 'some');
    serve(changed.volume, true);
    const texts = { names: ['x'], data: name('x') };
    expect(call({ call: FsCall.CREATE, mode: REGULAR }, texts)).toBe(-ERRNO.EROFS);
    for (const change of [FsCall.MKDIR, FsCall.UNLINK, FsCall.RMDIR]) {
      expect(call({ call: change }, texts)).toBe(-ERRNO.EROFS);
    }
    expect(write(inode, 'x')).toBe(-ERRNO.EROFS);
    expect(call({ call: FsCall.SETATTR, inode, flags: 1 })).toBe(-ERRNO.EROFS);
    const hole = { call: FsCall.SEEK, inode, flags: SeekWhence.HOLE, offset: 0 };
    expect([call(hole), decodeOffset(reply)]).toEqual([0, 4]);
    expect(call({ call: FsCall.FSYNC })).toBe(0);
    expect(call({ call: FsCall.OPEN, inode, client: CLIENT, count: 1 })).toBe(0);
    expect(commits).toBe(0);
  });

  it('survives requests of any bytes', () => {
    const random = pattern(64 * 3000, 6);
    for (let round = 0; round < 3000; round++) {
      const view = new Uint8Array(request.buffer);
      view.set(random.subarray(round * 64, round * 64 + 64));
      // Most bytes are zero in requests that mean something.
      for (let at = 8; at < 64; at++) if ((view[at] ?? 0) % 3 > 0 && round % 4 > 0) view[at] = 0;
      request.setInt32(0, CLIENT, true);
      request.setInt32(4, FsCall.CREATE + (round % 18), true);
      request.setInt32(20, GRANT, true);
      if (round % 3 > 0) request.setUint32(8, (round % 20) + 2, true);
      if (round % 5 > 0) request.setUint32(12, 0, true);
      expect(send()).toBeLessThanOrEqual(1 << 24);
    }
  });
});
