// The gateway over a file system in memory: each request becomes a call, each outcome a reply.
import { constants } from 'node:os';
import { beforeEach, describe, expect, it } from 'vitest';
import { Gateway, GATEWAY_DEFAULTS } from '../../../src/vos/fuse/gateway.ts';
import { errnoOf } from '../../../src/vos/fuse/io-errors.ts';
import { Opcode } from '../../../src/vos/fuse/wire.ts';
import { WriteFlag } from '../../../src/vos/protocol/fs-change.ts';
import {
  initMessage,
  join,
  ManualClock,
  message,
  name,
  readMessage,
  RecordingPort,
  words,
} from '../../support/fuse-messages.ts';
import { failure, MemoryFiles, S_IFDIR, S_IFLNK, S_IFREG } from '../../support/memory-files.ts';

const { EHOSTUNREACH, EINTR, EIO, ENODATA, ENOENT, ETIMEDOUT } = constants.errno;
const EHOSTDOWN = 112;
const EUCLEAN = 117;

let files: MemoryFiles;
let port: RecordingPort;
let clock: ManualClock;
let gateway: Gateway;

async function give(view: DataView): Promise<void> {
  gateway.receive(view, view.byteLength);
  await new Promise((done) => setImmediate(done));
}

async function lookup(text: string, node = 1): Promise<number> {
  await give(message(Opcode.LOOKUP, { node, body: name(text) }));
  expect(port.last().error).toBe(0);
  return new DataView(port.last().body.buffer).getUint32(0, true);
}

beforeEach(async () => {
  files = new MemoryFiles();
  port = new RecordingPort();
  clock = new ManualClock();
  gateway = new Gateway(files, port, clock, GATEWAY_DEFAULTS);
  await give(initMessage());
});

describe('calls', () => {
  it('reads a file that was looked up', async () => {
    files.add('/a', S_IFDIR | 0o755);
    files.add('/a/b', S_IFREG | 0o644, new TextEncoder().encode('0123456789'));

    const node = await lookup('b', await lookup('a'));
    await give(readMessage(20, node, 4, 3));

    expect(new TextDecoder().decode(port.last().body)).toBe('456');
    expect(gateway.nodes).toBe(2);
  });

  it('reads links, attributes, status and extended attributes', async () => {
    const file = files.add('/link', S_IFLNK | 0o777, new TextEncoder().encode('target'));
    file.xattrs.set('user.color', new TextEncoder().encode('blue'));
    const node = await lookup('link');

    await give(message(Opcode.READLINK, { node }));
    expect(new TextDecoder().decode(port.last().body)).toBe('target');
    await give(message(Opcode.GETATTR, { node, body: words(0, 0, 0, 0) }));
    expect(new DataView(port.last().body.buffer).getUint32(16 + 60, true)).toBe(0o120777);
    await give(message(Opcode.STATFS));
    expect(port.last().body.length).toBe(80);
    const body = join(words(100, 0), name('user.color'));
    await give(message(Opcode.GETXATTR, { node, body }));
    expect(new TextDecoder().decode(port.last().body)).toBe('blue');
    await give(message(Opcode.LISTXATTR, { node, body: words(100, 0) }));
    expect(new TextDecoder().decode(port.last().body)).toBe('user.color\0');
    file.xattrs.set('trusted.secret', new Uint8Array(1));
    const asked = message(Opcode.LISTXATTR, { node, body: words(0, 0) });
    await give(asked);
    expect(new DataView(port.last().body.buffer).getUint32(0, true)).toBe(26);
    asked.setUint32(24, 1000, true);
    await give(asked);
    expect(new DataView(port.last().body.buffer).getUint32(0, true)).toBe(11);
    const none = join(words(100, 0), name('user.none'));
    await give(message(Opcode.GETXATTR, { node, body: none }));
    expect(port.last().error).toBe(-ENODATA);
  });

  it('lists a large directory by cookies, each name once', async () => {
    for (let i = 0; i < 700; i++) files.add(`/file-${i}`, S_IFREG | 0o644);
    const seen: string[] = [];
    for (const opcode of [Opcode.READDIR, Opcode.READDIRPLUS]) {
      const skip = opcode === Opcode.READDIRPLUS ? 128 : 0;
      let cookie = 0;
      do {
        const body = words(0, 0, cookie, 0, 4096, 0, 0, 0, 0, 0);
        await give(message(opcode, { body }));
        const reply = port.last().body;
        const view = new DataView(reply.buffer);
        for (let at = skip; at < reply.length;) {
          const length = view.getUint32(at + 16, true);
          cookie = view.getUint32(at + 8, true);
          seen.push(new TextDecoder().decode(reply.subarray(at + 24, at + 24 + length)));
          at += ((24 + length + 7) & ~7) + skip;
        }
      } while (port.last().body.length > 0);
    }
    expect(seen.length).toBe(2 * 702);
    expect(new Set(seen).size).toBe(702);
    expect(gateway.nodes).toBe(700);
  });

  it('answers while others wait', async () => {
    let release: (data: Uint8Array) => void = () => undefined;
    files.add('/slow', S_IFREG | 0o644, {
      size: 9,
      read: async () => new Promise((done) => (release = done)),
    });
    const node = await lookup('slow');

    await give(readMessage(20, node, 0, 9));
    await give(message(Opcode.GETATTR, { unique: 22 }));
    expect(port.last().unique).toBe(22n);
    expect(gateway.outstanding).toBe(1);

    release(new Uint8Array(9));
    await new Promise((done) => setImmediate(done));
    expect(port.last().unique).toBe(20n);
    expect(gateway.outstanding).toBe(0);
  });
});

describe('failures', () => {
  it('keep POSIX names and hide the others behind EIO', () => {
    const cases: [unknown, number][] = [
      [failure('ENOENT'), ENOENT],
      [failure('EUCLEAN'), EUCLEAN],
      [failure('ETIMEDOUT'), ETIMEDOUT],
      [failure('EHOSTUNREACH'), EHOSTUNREACH],
      [failure('EDSTDIED'), EIO],
      [failure('EDVSMIGRATING'), EIO],
      // The kernel's own word for a mount without a gateway, and its sign to stop asking.
      [failure('ENOTCONN'), EHOSTDOWN],
      [failure('ENOSYS'), EIO],
      [new Error('no code'), EIO],
      [{ code: 7 }, EIO],
      [undefined, EIO],
    ];
    for (const [error, errno] of cases) expect(errnoOf(error)).toBe(errno);
  });

  it('answer the request', async () => {
    files.failing.set('getAttributes', 'ETIMEDOUT');
    await give(message(Opcode.GETATTR));
    expect(port.last().error).toBe(-ETIMEDOUT);
  });

  it('answer a read whose data was never shown', async () => {
    files.add('/x', S_IFREG | 0o644, new Uint8Array(5));
    const node = await lookup('x');
    files.read = async () => Promise.resolve();

    await give(readMessage(20, node, 0, 5));

    expect(port.last()).toMatchObject({ error: -EIO, unique: 20n });
    expect(port.told).toEqual([`EIO for READ of file ${node}: the service gave no answer`]);
  });

  it('tell the operator what is behind an EIO, and count it', async () => {
    files.failing.set('getAttributes', 'EDSTDIED');
    await give(message(Opcode.GETATTR));

    expect(port.last().error).toBe(-EIO);
    expect(port.told).toEqual(['EIO for GETATTR of file 2: EDSTDIED']);
    expect(gateway.counters.ioErrors).toBe(1);
    for (const code of ['ETIMEDOUT', 'ENOENT']) {
      files.failing.set('getAttributes', code);
      await give(message(Opcode.GETATTR));
    }
    expect(port.told.length).toBe(1);
    expect(gateway.counters).toMatchObject({ errors: 3, ioErrors: 1 });
  });

  it('are not told of requests that nobody waits for any more', async () => {
    let fail: (error: Error) => void = () => undefined;
    files.read = async () => new Promise((_, reject) => (fail = reject));
    files.add('/x', S_IFREG | 0o644, new Uint8Array(5));
    await give(readMessage(20, await lookup('x'), 0, 5));
    gateway.abandon();

    fail(failure('EDSTDIED'));
    await new Promise((done) => setImmediate(done));

    expect(port.told).toEqual([]);
    expect(gateway.counters.ioErrors).toBe(0);
  });

  it('of a write that was answered early are told at once', async () => {
    files.grantsClaims = true;
    const body = join(words(0o101, 0o100666, 0, 0), name('new'));
    await give(message(Opcode.CREATE, { body }));
    const node = new DataView(port.last().body.buffer).getUint32(0, true);
    const write = async (index: number): Promise<void> => {
      const head = words(0, 0, index * 4, 0, 4, 0, 0, 0, 0, 0);
      await give(message(Opcode.WRITE, { node, body: join(head, new Uint8Array(4)) }));
    };
    for (let index = 0; index < 4; index++) await write(index);

    files.failing.set('write', 'EDVSNOPROXY');
    await write(4);

    expect(port.last().error).toBe(0);
    expect(port.told).toEqual(['EIO for a change that was answered early: EDVSNOPROXY']);
    await write(5);
    expect(port.last().error).toBe(-EIO);
  });
});

describe('interrupts', () => {
  const hanging = { size: 9, read: async () => new Promise<Uint8Array>(() => undefined) };

  it('end a request that hangs, after the grace', async () => {
    files.add('/hang', S_IFREG | 0o644, hanging);
    await give(readMessage(20, await lookup('hang'), 0, 9));
    await give(message(Opcode.INTERRUPT, { unique: 21, body: words(20, 0) }));

    clock.advance(GATEWAY_DEFAULTS.interruptGraceMs - 1);
    expect(gateway.outstanding).toBe(1);
    clock.advance(1);

    expect(port.last()).toMatchObject({ error: -EINTR, unique: 20n });
    expect(gateway.outstanding).toBe(0);
  });

  it('leave the request of a process alone that goes on, until it ends', async () => {
    files.add('/hang', S_IFREG | 0o644, hanging);
    const ending = new Set<number>();
    port.isEnding = (pid) => ending.has(pid);
    const request = readMessage(20, await lookup('hang'), 0, 9);
    request.setUint32(32, 4321, true);
    await give(request);
    await give(message(Opcode.INTERRUPT, { unique: 21, body: words(20, 0) }));

    clock.advance(10_000);
    expect(gateway.outstanding).toBe(1);
    ending.add(4321);
    clock.advance(GATEWAY_DEFAULTS.interruptGraceMs);

    expect(port.last()).toMatchObject({ error: -EINTR, unique: 20n });
  });

  it('leave a request alone that is answered in time', async () => {
    let release: (data: Uint8Array) => void = () => undefined;
    files.add('/slow', S_IFREG | 0o644, {
      size: 9,
      read: async () => new Promise((done) => (release = done)),
    });
    await give(readMessage(20, await lookup('slow'), 0, 9));
    await give(message(Opcode.INTERRUPT, { unique: 21, body: words(20, 0) }));

    release(new Uint8Array(9));
    await new Promise((done) => setImmediate(done));
    const count = port.replies.length;
    clock.advance(10_000);

    expect(port.last()).toMatchObject({ error: 0, unique: 20n });
    expect(port.replies.length).toBe(count);
  });
});

it('answers a write, once, when enough of those before it has arrived', async () => {
  files.grantsClaims = true;
  const written: (() => void)[] = [];
  files.write = async ({ file }, data, flags) => {
    await new Promise<void>((resolve) => written.push(resolve));
    const attributes = await files.getAttributes(file);
    return { bytes: data.length, attributes, claimed: (flags & WriteFlag.CLAIM) !== 0 };
  };
  await give(message(Opcode.CREATE, { body: join(words(0o101, 0o100666, 0, 0), name('new')) }));
  const node = new DataView(port.last().body.buffer).getUint32(0, true);
  const bytes = 2 ** 20;
  const write = async (index: number): Promise<void> => {
    const head = words(0, 0, index * bytes, 0, bytes, 0, 0, 0, 0, 0);
    const body = join(head, new Uint8Array(bytes));
    await give(message(Opcode.WRITE, { unique: 100 + index, node, body }));
  };
  const answered = (): number[] =>
    port.replies.map(({ unique }) => Number(unique) - 100).filter((index) => index >= 0);
  for (let i = 0; i < 3; i++) {
    await write(i);
    written.shift()?.();
    await new Promise((done) => setImmediate(done));
  }
  for (let i = 3; i < 8; i++) await write(i);
  expect(answered()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  written.shift()?.();
  await new Promise((done) => setImmediate(done));
  expect(answered()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  for (const resolve of written) resolve();
  await new Promise((done) => setImmediate(done));
  expect(answered()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});
