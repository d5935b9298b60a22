// A mount that writes: requests become the calls they should, and replies what the kernel awaits.
import { constants } from 'node:os';
import { beforeEach, describe, expect, it } from 'vitest';
import { Gateway, GATEWAY_DEFAULTS } from '../../../src/vos/fuse/gateway.ts';
import { Opcode } from '../../../src/vos/fuse/wire.ts';
import { MOUNT_MEMORY } from '../../../src/vos/spec-fs.ts';
import {
  initMessage,
  join,
  ManualClock,
  message,
  name,
  RecordingPort,
  words,
} from '../../support/fuse-messages.ts';
import { failure, MemoryFiles, S_IFDIR, S_IFREG } from '../../support/memory-files.ts';

const { E2BIG, EAGAIN, EEXIST, EFBIG, EINTR, EINVAL, EIO, ENAMETOOLONG, ENOENT, ENXIO } =
  constants.errno;
const { ENOTTY, EOPNOTSUPP, ESTALE } = constants.errno;
/** FS_IOC_ calls of linux/fs.h. */
const [GET_FLAGS, SET_FLAGS] = [0x8008_6601, 0x4008_6602];
const [GET_EXTENDED, SET_EXTENDED] = [0x801c_581f, 0x401c_5820];
const [UID, GID] = [1234, 567];
const text = new TextEncoder();

let files: MemoryFiles;
let port: RecordingPort;
let clock: ManualClock;
let gateway: Gateway;
let unique = 100;

/** Gives a request of user 1234 and waits until the service has settled. */
async function give(opcode: number, node: number, ...body: Uint8Array[]): Promise<void> {
  const view = message(opcode, { unique: (unique += 2), node, body: join(...body) });
  view.setUint32(24, UID, true);
  view.setUint32(28, GID, true);
  gateway.receive(view, view.byteLength);
  // What is written is used when the request is taken, not later.
  new Uint8Array(view.buffer).fill(0xee);
  await new Promise((done) => setImmediate(done));
}

async function expectError(errno: number, opcode: number, ...rest: Uint8Array[]): Promise<void> {
  await give(opcode, 1, ...rest);
  expect(port.last().error).toBe(-errno);
}

/** The reply's body. */
function body(): DataView {
  expect(port.last().error).toBe(0);
  return new DataView(port.last().body.buffer);
}

async function lookup(file: string): Promise<number> {
  await give(Opcode.LOOKUP, 1, name(file));
  return body().getUint32(0, true);
}

function content(file: string): string {
  const inode = files.files.get(2)?.children.get(file) ?? 0;
  const found = files.files.get(inode);
  return new TextDecoder().decode(found?.read(0, found.attributes.size) as Uint8Array);
}

function writeBody(offset: number, data: string, bits = 0, flags = 0): Uint8Array {
  const bytes = text.encode(data);
  return join(words(0, 0, offset, 0, bytes.length, bits, 0, 0, flags, 0), bytes);
}

/** SETATTR with these words of its body set. */
function setattrBody(valid: number, fields: Record<number, number>): Uint8Array {
  const all = new Uint32Array(22);
  all[0] = valid;
  for (const [at, value] of Object.entries(fields)) all[Number(at) / 4] = value;
  return new Uint8Array(all.buffer);
}

function lockBody(owner: number, type: number, range = [0, 99], flock = false): Uint8Array {
  const [start = 0, end = 0] = range;
  return words(0, 0, owner, 0, start, 0, end, 0, type, 4321, Number(flock), 0);
}

beforeEach(() => {
  files = new MemoryFiles();
  files.add('/file', S_IFREG | 0o644, text.encode('0123456789'));
  files.add('/dir', S_IFDIR | 0o755);
  port = new RecordingPort();
  clock = new ManualClock();
  gateway = new Gateway(files, port, clock, GATEWAY_DEFAULTS);
  const init = initMessage();
  gateway.receive(init, init.byteLength);
});

describe('INIT', () => {
  it('asks for locks, the umask and longer xattr requests, and no writeback', () => {
    const flags = body().getUint32(12, true);
    expect(flags & 0x3000_0442).toBe(0x3000_0442);
    expect(flags & 0x1003_0008).toBe(0x1000_0000);
  });
});

describe('what makes names', () => {
  it('creates and opens: the owner is who asks, the umask is left to the server', async () => {
    await give(Opcode.CREATE, 1, words(0o101, 0o100666, 0o027, 0), name('new'));

    const inode = body().getUint32(0, true);
    expect(port.last().body.length).toBe(128 + 16);
    expect(files.files.get(inode)?.attributes).toMatchObject({
      mode: 0o100640,
      uid: UID,
      gid: GID,
    });
    expect(files.holds.get(inode)).toBe(1);
    expect(gateway.nodes).toBe(1);
  });

  it('lets who created a name that is there look it up, unless O_EXCL is set', async () => {
    await expectError(ESTALE, Opcode.CREATE, words(0o101, 0o100644, 0, 0), name('file'));
    await expectError(EEXIST, Opcode.CREATE, words(0o301, 0o100644, 0, 0), name('file'));
  });

  it('lets the new file go when the kernel did not take the answer', async () => {
    port.refuse = -ENOENT;
    await give(Opcode.CREATE, 1, words(0o101, 0o100644, 0, 0), name('new'));
    expect(files.holds.size).toBe(0);
    expect(gateway.nodes).toBe(0);
  });

  it('makes nodes, directories, symbolic links and further names', async () => {
    await give(Opcode.MKNOD, 1, words(0o020600, 0x0105, 0, 0), name('device'));
    expect(body().getUint32(40 + 60, true)).toBe(0o020600);
    expect(body().getUint32(40 + 76, true)).toBe(0x0105);
    await give(Opcode.MKNOD, 1, words(0o644, 0, 0, 0), name('plain'));
    expect(body().getUint32(40 + 60, true)).toBe(0o100644);
    await give(Opcode.MKDIR, 1, words(0o777, 0o022), name('sub'));
    expect(body().getUint32(40 + 60, true)).toBe(0o040755);
    await give(Opcode.SYMLINK, 1, name('link'), name('to/there'));
    expect(body().getUint32(40 + 60, true)).toBe(0o120777);
    const node = await lookup('file');
    await give(Opcode.LINK, 1, words(node, 0), name('other'));
    expect(body().getUint32(40 + 64, true)).toBe(2);
    expect([...(files.files.get(2)?.children.keys() ?? [])]).toEqual(
      expect.arrayContaining(['device', 'plain', 'sub', 'link', 'other']),
    );
  });

  it('removes names', async () => {
    await give(Opcode.UNLINK, 1, name('file'));
    await give(Opcode.RMDIR, 1, name('dir'));
    expect(port.last().error).toBe(0);
    expect(files.files.get(2)?.children.size).toBe(0);
    await expectError(ENOENT, Opcode.UNLINK, name('file'));
  });

  it('renames, with flags and without', async () => {
    const dir = await lookup('dir');
    await give(Opcode.RENAME, 1, words(dir, 0), name('file'), name('moved'));
    expect(port.last().error).toBe(0);
    await give(Opcode.RENAME2, dir, words(1, 0, 1, 0), name('moved'), name('file'));
    expect(port.last().error).toBe(0);
    await expectError(EEXIST, Opcode.RENAME2, words(1, 0, 1, 0), name('file'), name('dir'));
  });
});

describe('what changes files', () => {
  it('writes where it is told, and at the end what is appended', async () => {
    const node = await lookup('file');
    await give(Opcode.WRITE, node, writeBody(2, 'ab'));
    expect(body().getUint32(0, true)).toBe(2);
    // O_APPEND, at an offset that is not the end.
    await give(Opcode.WRITE, node, writeBody(3, 'END', 0, 0o2001));
    expect(content('file')).toBe('01ab456789END');
    // What comes out of the page cache has its place.
    await give(Opcode.WRITE, node, writeBody(0, 'X', 1, 0o2001));
    expect(content('file')).toBe('X1ab456789END');
  });

  it('refuses writes that are too long, too far, or of another length than they say', async () => {
    const short = join(words(0, 0, 0, 0, 5, 0, 0, 0, 0, 0), text.encode('abc'));
    await expectError(EIO, Opcode.WRITE, short);
    await expectError(EINVAL, Opcode.WRITE, words(0, 0, 0, 0, 2 ** 21, 0, 0, 0, 0, 0));
    await expectError(EFBIG, Opcode.WRITE, words(0, 0, 0, 0xffff_ffff, 0, 0, 0, 0, 0, 0));
    await expectError(EFBIG, Opcode.FALLOCATE, words(0, 0, 0, 0xff_ffff, 9, 0, 0, 0));
    await expectError(EFBIG, Opcode.SETATTR, words(8, 0, 0, 0, 0, 0xff_ffff), new Uint8Array(64));
  });

  it('sets the attributes that are named valid, and no others', async () => {
    const node = await lookup('file');
    const all = { 16: 4, 24: 0, 32: 77, 40: 88, 56: 5, 60: 6, 68: 0o104711, 76: 42, 80: 43 };
    await give(Opcode.SETATTR, node, setattrBody(0x1 | 0x8 | 0x10, all));
    const { attributes } = files.files.get(node) ?? {};
    expect(attributes).toMatchObject({ mode: 0o104711, size: 4, uid: 0, gid: 0 });
    expect(attributes?.accessed).toEqual({ seconds: 77, nanoseconds: 5 });
    expect(body().getUint32(16 + 60, true)).toBe(0o104711);

    await give(Opcode.SETATTR, node, setattrBody(0x2 | 0x4 | 0x20, all));
    expect(attributes).toMatchObject({ mode: 0o104711, uid: 42, gid: 43 });
    expect(attributes?.modified).toEqual({ seconds: 88, nanoseconds: 6 });
  });

  it('leaves "now" to the server', async () => {
    const node = await lookup('file');
    const seen: unknown[] = [];
    const setAttributes = files.setAttributes.bind(files);
    files.setAttributes = async (file, change) => {
      seen.push(change);
      return setAttributes(file, change);
    };
    await give(Opcode.SETATTR, node, setattrBody(0x10 | 0x20 | 0x80 | 0x100 | 0x800, { 32: 9 }));
    expect(seen).toEqual([{ flags: 64 | 128 | 256 }]);
  });

  it('allocates, seeks and copies', async () => {
    const node = await lookup('file');
    await give(Opcode.FALLOCATE, node, words(0, 0, 8, 0, 4, 0, 0, 0));
    expect(files.files.get(node)?.attributes.size).toBe(12);
    await give(Opcode.FALLOCATE, node, words(0, 0, 8, 0, 4, 0, 3, 0));
    expect(port.last().error).toBe(-EOPNOTSUPP);
    await give(Opcode.LSEEK, node, words(0, 0, 3, 0, 4, 0));
    expect(body().getUint32(0, true)).toBe(12);
    await give(Opcode.LSEEK, node, words(0, 0, 99, 0, 3, 0));
    expect(port.last().error).toBe(-ENXIO);
    const copy = words(0, 0, 1, 0, node, 0, 0, 0, 10, 0, 3, 0, 0, 0);
    await give(Opcode.COPY_FILE_RANGE, node, copy);
    expect(body().getUint32(0, true)).toBe(3);
    await give(Opcode.COPY_FILE_RANGE_64, node, copy);
    expect(body().getBigUint64(0, true)).toBe(3n);
    expect(content('file').slice(10)).toBe('123');
  });

  it('sets and removes extended attributes', async () => {
    const node = await lookup('file');
    const value = text.encode('blue');
    await give(Opcode.SETXATTR, node, words(4, 1, 0, 0), name('user.color'), value);
    expect(port.last().error).toBe(0);
    expect(files.files.get(node)?.xattrs.get('user.color')).toEqual(value);
    await give(Opcode.SETXATTR, node, words(4, 1, 0, 0), name('user.color'), value);
    expect(port.last().error).toBe(-EEXIST);
    await give(Opcode.REMOVEXATTR, node, name('user.color'));
    expect(files.files.get(node)?.xattrs.size).toBe(0);
    await give(Opcode.SETXATTR, node, words(5, 0, 0, 0), name('user.a'), value);
    expect(port.last().error).toBe(-EIO);
    const huge = new Uint8Array(65_537);
    await give(Opcode.SETXATTR, node, words(65_537, 0, 0, 0), name('user.a'), huge);
    expect(port.last().error).toBe(-E2BIG);
  });

  it('syncs files and directories', async () => {
    await give(Opcode.FSYNC, await lookup('file'), words(0, 0, 1, 0));
    await give(Opcode.FSYNCDIR, 1, words(0, 0, 0, 0));
    expect(port.last().error).toBe(0);
    expect(files.calls.get('sync')).toBe(2);
  });
});

describe('open files', () => {
  it('are held, also without a name, until they are released', async () => {
    const node = await lookup('file');
    await give(Opcode.OPEN, node, words(2, 0));
    await give(Opcode.OPEN, node, words(0, 0));
    await give(Opcode.UNLINK, 1, name('file'));
    await give(Opcode.RELEASE, node, words(0, 0, 0, 0, 0, 0));
    await give(Opcode.GETATTR, node, words(0, 0, 0, 0));
    expect(body().getUint32(16 + 64, true)).toBe(0);
    await give(Opcode.RELEASE, node, words(0, 0, 0, 0, 0, 0));
    await give(Opcode.GETATTR, node, words(0, 0, 0, 0));
    expect(port.last().error).toBe(-ESTALE);
    expect(files.holds.size).toBe(0);
  });

  it('keep their pages while nobody changed them, and lose them otherwise', async () => {
    const node = await lookup('file');
    await give(Opcode.OPEN, node, words(0, 0));
    expect(body().getUint32(8, true)).toBe(2);

    const file = files.files.get(node);
    await files.write({ file: { inode: node, generation: 0 }, offset: 0 }, text.encode('x'), 0);
    expect(file?.attributes.size).toBe(10);
    const before = port.replies.length;
    await give(Opcode.OPEN, node, words(0, 0));

    const [notice, reply] = port.replies.slice(before);
    // The kernel is told to ask for the attributes: code 2, unique 0, the node, no pages.
    expect(notice?.hex).toBe(
      `2800000002000000${'00'.repeat(8)}0b00000000000000ffffffffffffffff${'00'.repeat(8)}`,
    );
    expect(new DataView((reply?.body ?? new Uint8Array(16)).buffer).getUint32(8, true)).toBe(0);
    await give(Opcode.OPEN, node, words(0, 0));
    expect(body().getUint32(8, true)).toBe(2);
  });

  it('are let go when the kernel did not take the answer', async () => {
    const node = await lookup('file');
    port.refuse = -ENOENT;
    await give(Opcode.OPEN, node, words(0, 0));
    expect(files.holds.size).toBe(0);
  });

  it('hold directories, too', async () => {
    const node = await lookup('dir');
    await give(Opcode.OPENDIR, node, words(0, 0));
    expect(files.holds.get(node)).toBe(1);
    await give(Opcode.RELEASEDIR, node, words(1, 0, 0, 0, 0, 0));
    expect(files.holds.size).toBe(0);
  });

  it('of what was removed last until the kernel has forgotten it', async () => {
    const node = await lookup('dir');
    await give(Opcode.RMDIR, 1, name('dir'));
    expect(files.holds.get(node)).toBe(1);
    await give(Opcode.FORGET, node, words(1, 0));
    expect(files.holds.size).toBe(0);
  });
});

describe('names', () => {
  it('of a file that is found to be gone are asked for anew', async () => {
    for (let i = 0; i < 5; i++) await lookup('file');
    const node = await lookup('file');
    await files.unlink({ parent: { inode: 2, generation: 0 }, name: text.encode('file') });
    // For a moment the name may be believed, but not by who found out.
    await lookup('file');
    await give(Opcode.OPEN, node, words(0, 0));
    expect(port.last().error).toBe(-ESTALE);

    await give(Opcode.LOOKUP, 1, name('file'));

    expect(port.last().error).toBe(-ENOENT);
  });
});

describe('attributes of a directory', () => {
  let node: number;

  /** How often the service is asked for them, and for how many ms they may be believed. */
  async function look(): Promise<[asked: number, validMs: number]> {
    const before = files.calls.get('getAttributes') ?? 0;
    await give(Opcode.GETATTR, node, words(0, 0, 0, 0));
    const reply = body();
    const validMs = reply.getUint32(0, true) * 1000 + reply.getUint32(8, true) / 1e6;
    return [(files.calls.get('getAttributes') ?? 0) - before, validMs];
  }

  beforeEach(async () => {
    for (const one of 'abcdef') files.add(`/dir/${one}`, S_IFREG | 0o644);
    files.add('/dir/g', S_IFDIR | 0o755);
    node = await lookup('dir');
  });

  it('are known from a removal, for as long as they may be believed', async () => {
    await give(Opcode.UNLINK, node, name('a'));
    clock.advance(400);
    expect(await look()).toEqual([0, 600]);
    clock.advance(600);
    expect(await look()).toEqual([1, 1000]);
  });

  it('are asked for after any other change of it', async () => {
    const changes: (readonly [number, ...Uint8Array[]])[] = [
      [Opcode.CREATE, words(0o101, 0o100666, 0, 0), name('new')],
      [Opcode.RMDIR, name('g')],
      [Opcode.RENAME, words(node, 0), name('f'), name('h')],
      [Opcode.SETATTR, setattrBody(1, { 68: 0o700 })],
      [Opcode.UNLINK, name('nothing')],
    ];
    for (const [index, [opcode, ...parts]] of changes.entries()) {
      await give(Opcode.UNLINK, node, name('abcde'[index] ?? ''));
      expect(await look()).toEqual([0, 1000]);
      await give(opcode, node, ...parts);
      expect(await look()).toEqual([1, 1000]);
    }
  });
});

describe('locks', () => {
  it('are told, taken and given up', async () => {
    const node = await lookup('file');
    await give(Opcode.SETLK, node, lockBody(7, 1));
    expect(port.last().error).toBe(0);
    await give(Opcode.SETLK, node, lockBody(8, 0));
    expect(port.last().error).toBe(-EAGAIN);
    await give(Opcode.GETLK, node, lockBody(8, 0));
    const found = body();
    expect([0, 8, 16, 20].map((at) => found.getUint32(at, true))).toEqual([0, 99, 1, 4321]);
    await give(Opcode.SETLK, node, lockBody(7, 2));
    await give(Opcode.SETLK, node, lockBody(8, 0));
    expect(port.last().error).toBe(0);
  });

  it('are answered when pages are dropped that may be older than the file', async () => {
    const dropping: (() => void)[] = [];
    const drop = async (): Promise<void> => {
      await new Promise<void>((done) => dropping.push(done));
    };
    const init = initMessage();
    const pages = Object.assign(port, { pages: { drop } });
    gateway = new Gateway(files, pages, clock, GATEWAY_DEFAULTS);
    gateway.receive(init, init.byteLength);
    const node = await lookup('file');
    const change = async (nanoseconds: number): Promise<void> => {
      const attributes = await files.getAttributes({ inode: node, generation: 0 });
      attributes.changed = { seconds: 5, nanoseconds };
    };
    await change(1);
    const before = port.replies.length;

    // Two who come together wait for the same.
    await give(Opcode.SETLK, node, lockBody(7, 0));
    await give(Opcode.SETLKW, node, lockBody(8, 0, [0, 99], true));

    expect([dropping.length, port.replies.length]).toEqual([1, before]);
    dropping.shift()?.();
    await new Promise((done) => setImmediate(done));
    expect(port.replies.length).toBe(before + 2);
    // Nothing has changed; and those who did not get one, or let go, need not know.
    await give(Opcode.SETLK, node, lockBody(9, 0));
    await change(2);
    await give(Opcode.SETLK, node, lockBody(10, 1));
    await give(Opcode.SETLK, node, lockBody(7, 2));
    expect([dropping.length, port.replies.length]).toEqual([0, before + 5]);
    await give(Opcode.SETLK, node, lockBody(7, 0));
    expect([dropping.length, port.replies.length]).toEqual([1, before + 5]);
  });

  it('make a mount with leases ask for attributes that may be old', async () => {
    const node = await lookup('file');
    const notices = (): number =>
      port.replies.filter(({ unique: number, error }) => number === 0n && error === 2).length;

    await give(Opcode.SETLK, node, lockBody(7, 0));

    expect(notices()).toBe(1);
  });

  it('are waited for while other requests go on', async () => {
    const node = await lookup('file');
    await give(Opcode.SETLK, node, lockBody(7, 1, [0, 99], true));
    const before = port.replies.length;
    await give(Opcode.SETLKW, node, lockBody(8, 1, [0, 99], true));
    expect(port.replies.length).toBe(before);
    await give(Opcode.GETATTR, node, words(0, 0, 0, 0));
    expect(port.replies.length).toBe(before + 1);
    // A close ends the flock of the open file, and only that.
    await give(Opcode.RELEASE, node, words(0, 0, 0, 2, 7, 0));
    const answers = port.replies.slice(before + 1).filter(({ unique: number }) => number !== 0n);
    expect(answers.map(({ error }) => error)).toEqual([0, 0]);
  });

  it('end a wait with EINTR, and are not taken later', async () => {
    const node = await lookup('file');
    await give(Opcode.SETLK, node, lockBody(7, 1));
    await give(Opcode.SETLKW, node, lockBody(8, 1));
    const waiter = unique;
    await give(Opcode.INTERRUPT, 0, words(waiter, 0));
    expect(port.last()).toMatchObject({ error: -EINTR, unique: BigInt(waiter) });
    await give(Opcode.SETLK, node, lockBody(7, 2));
    expect(files.locks.count).toBe(0);
    expect(gateway.outstanding).toBe(0);
  });

  it('end a wait that has not begun when the signal comes', async () => {
    const node = await lookup('file');
    await give(Opcode.SETLK, node, lockBody(7, 1));
    const asked = give(Opcode.SETLKW, node, lockBody(8, 1));
    const waiter = unique;
    const interrupted = give(Opcode.INTERRUPT, 0, words(waiter, 0));
    await Promise.all([asked, interrupted]);

    expect(port.last()).toMatchObject({ error: -EINTR, unique: BigInt(waiter) });
    expect(gateway.outstanding).toBe(0);
  });

  it('of a process end with its first close', async () => {
    const node = await lookup('file');
    await give(Opcode.FLUSH, node, words(0, 0, 0, 0, 7, 0));
    expect(files.calls.get('lock')).toBeUndefined();
    await give(Opcode.SETLK, node, lockBody(7, 1));
    await give(Opcode.FLUSH, node, words(0, 0, 0, 0, 7, 0));
    expect(port.last().error).toBe(0);
    expect(files.locks.count).toBe(0);
  });
});

describe('requests', () => {
  it('that change something are waited for, whatever signal comes', async () => {
    let settle = (): void => undefined;
    const directory = await files.getAttributes({ inode: 2, generation: 0 });
    files.unlink = async () =>
      new Promise((resolve) => {
        settle = () => {
          resolve({ directory });
        };
      });
    await give(Opcode.UNLINK, 1, name('file'));
    await give(Opcode.INTERRUPT, 0, words(unique, 0));
    clock.advance(10_000);
    expect(gateway.outstanding).toBe(1);
    settle();
    await new Promise((done) => setImmediate(done));
    expect(port.last().error).toBe(0);
  });

  it('fail with the code the service gave', async () => {
    files.failing.set('unlink', 'EDSTDIED');
    await expectError(EIO, Opcode.UNLINK, name('file'));
    files.rename = async () => Promise.reject(failure('EINVAL'));
    await expectError(EINVAL, Opcode.RENAME, words(1, 0), name('a'), name('b'));
  });

  it('with bodies that are cut, wrong names or unknown nodes are refused', async () => {
    for (const opcode of [Opcode.SETATTR, Opcode.WRITE, Opcode.SETLK, Opcode.CREATE]) {
      await expectError(EIO, opcode, words(1));
    }
    await expectError(EIO, Opcode.RENAME, words(1, 0), name('one'), text.encode('two'));
    await expectError(EIO, Opcode.SYMLINK, name('one'), text.encode('two'));
    await expectError(ENAMETOOLONG, Opcode.MKDIR, words(0, 0), name('n'.repeat(256)));
    await expectError(ENAMETOOLONG, Opcode.SYMLINK, name('n'), name('t'.repeat(4096)));
    await expectError(ESTALE, Opcode.LINK, words(99, 0), name('x'));
    await expectError(ESTALE, Opcode.RENAME, words(99, 0), name('a'), name('b'));
    await give(Opcode.UNLINK, 99, name('x'));
    expect(port.last().error).toBe(-ESTALE);
    const CUT = 40;
    const data = (bytes: number) => words(0, 0, 0, SET_FLAGS, 0, 0, bytes, 0);
    await expectError(EIO, Opcode.TMPFILE, words(0, 0, 0));
    await expectError(EIO, Opcode.STATX, words(0, 0));
    await expectError(EIO, Opcode.IOCTL, data(CUT), words(1));
    await expectError(EINVAL, Opcode.IOCTL, data(0));
    await expectError(ENOTTY, Opcode.IOCTL, words(0, 0, 0, 0x1234, 0, 0, 0, 0));
  });

  it('for a file without a name make one that is held', async () => {
    await give(Opcode.TMPFILE, 1, words(0o2, 0o100644, 0o022, 0), name('/'));

    const node = body().getUint32(0, true);
    expect(body().getUint32(40 + 64, true)).toBe(0);
    expect(files.holds.get(node)).toBe(1);
  });

  it('for the time of birth are answered as statx(2) wants it', async () => {
    const node = await lookup('file');
    await give(Opcode.STATX, node, words(0, 0, 0, 0, 0, 0xfff));

    const status = new DataView(body().buffer, 32);
    expect(body().byteLength).toBe(288);
    expect(status.getUint32(0, true)).toBe(0xfff);
    expect(status.getUint32(32, true)).toBe(node);
    expect([status.getUint32(80, true), status.getUint32(88, true)]).toEqual([5, 6]);
    files.born = undefined;
    await give(Opcode.STATX, node, words(0, 0, 0, 0, 0, 0xfff));
    expect(body().getUint32(32, true)).toBe(0x7ff);
  });

  it('for flags read and set them, in both forms', async () => {
    const node = await lookup('file');
    const ioctl = (command: number, ...data: number[]) =>
      give(Opcode.IOCTL, node, words(0, 0, 0, command, 0, 0, data.length * 4, 0, ...data));

    await ioctl(SET_FLAGS, 0x80030);
    expect(files.flags.get(node)).toBe(0x80030);
    expect(body().byteLength).toBe(16);
    await ioctl(GET_FLAGS);
    expect([body().getInt32(0, true), body().getUint32(16, true)]).toEqual([0, 0x80030]);
    await ioctl(GET_EXTENDED);
    expect([body().byteLength, body().getUint32(16, true)]).toEqual([16 + 28, 0x18]);
    await ioctl(SET_EXTENDED, 0x80, 0, 0, 0, 0, 0, 0);
    expect(files.flags.get(node)).toBe(0x80040);
    await ioctl(SET_EXTENDED, 0x200, 0, 0, 0, 0, 0, 0);
    expect(port.last().error).toBe(-EOPNOTSUPP);
    await ioctl(SET_EXTENDED, 0, 0, 0, 7, 0, 0, 0);
    expect(port.last().error).toBe(-EINVAL);
    await ioctl(SET_EXTENDED, 0);
    expect(port.last().error).toBe(-EINVAL);
  });

  it('that write wait in the kernel while too many are under way', async () => {
    const settle: (() => void)[] = [];
    files.write = async (at, data) =>
      new Promise((resolve) => {
        const { attributes } = files.files.get(at.file.inode) ?? {};
        if (attributes === undefined) throw failure('ESTALE');
        settle.push(() => {
          resolve({ bytes: data.length, attributes });
        });
      });
    const memory = { ...MOUNT_MEMORY, writes: 4 << 20 };
    gateway = new Gateway(files, port, clock, { ...GATEWAY_DEFAULTS, memory });
    const init = initMessage();
    gateway.receive(init, init.byteLength);
    const node = await lookup('file');
    const block = join(words(0, 0, 0, 0, 1 << 20, 0, 0, 0, 0, 0), new Uint8Array(1 << 20));
    for (let i = 0; i < 4; i++) await give(Opcode.WRITE, node, block);
    expect(gateway.isFull).toBe(true);
    expect(port.events).not.toContain('room');
    settle[0]?.();
    await new Promise((done) => setImmediate(done));
    expect(gateway.isFull).toBe(false);
    expect(port.events).toContain('room');
  });
});
