// The FUSE session: negotiation, what it answers by itself, byte-exact replies, lookup counts.
// The vectors were written by a C program that filled the structures of linux/fuse.h.
import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { Session } from '../../../src/vos/fuse/session.ts';
import type { ReadingRequest } from '../../../src/vos/fuse/requests.ts';
import { Opcode } from '../../../src/vos/fuse/wire.ts';
import type { DirectoryEntry, FileAttributes } from '../../../src/vos/protocol/fs.ts';
import {
  fromHex,
  initMessage,
  join,
  message,
  name,
  readMessage,
  RecordingPort,
  words,
} from '../../support/fuse-messages.ts';

const { EIO, EINVAL, ENAMETOOLONG, ENOENT, ENOSYS, EPROTO, ERANGE, EROFS, ESTALE } =
  constants.errno;
const EUCLEAN = 117;
const INODE = 0x0a0b_0c0d;
const ATTRIBUTES: FileAttributes = {
  inode: INODE,
  generation: 0xdead_beef,
  mode: 0o100644,
  links: 3,
  uid: 1000,
  gid: 1001,
  size: 0x12_3456_789a,
  sectors: 0x1122_3344,
  accessed: { seconds: -5, nanoseconds: 1 },
  modified: { seconds: 0x1_ffff_ffff, nanoseconds: 999_999_999 },
  changed: { seconds: 1_700_000_000, nanoseconds: 123_456_789 },
};
const ATTRIBUTES_HEX =
  '0d0c0b0a000000009a785634120000004433221100000000fbffffffffffffffffffffff01000000' +
  '00f153650000000001000000ffc99a3b15cd5b07a481000003000000e8030000e903000000000000' +
  '0010000000000000';
const ENTRY_HEX =
  '0d0c0b0a00000000efbeadde00000000010000000000000002000000000000000065cd1d80b2e60e' +
  ATTRIBUTES_HEX;

function start(missingMs = 0, constant = true): { session: Session; port: RecordingPort } {
  const port = new RecordingPort();
  const session = new Session(port, {
    validity: { entryMs: 1500, attributesMs: 2250 },
    missingMs,
    writeBytesMax: 1 << 20,
    backgroundMax: 16,
    readOnly: true,
    constant,
  });
  return { session, port };
}

function started(missingMs = 0): { session: Session; port: RecordingPort } {
  const both = start(missingMs);
  give(both.session, initMessage());
  return both;
}

function give(session: Session, view: DataView): ReadingRequest | undefined {
  const request = session.receive(view, view.byteLength);
  if (request?.change !== undefined) throw new Error('a read-only session changes nothing');
  return request;
}

/** Gives a request that has to wait for the service. */
function ask(session: Session, view: DataView): ReadingRequest {
  const request = give(session, view);
  if (request === undefined) throw new Error('answered at once');
  return request;
}

function entry(text: string, inode: number, nextCookie: number): DirectoryEntry {
  return {
    nextCookie,
    type: text === '.' ? 4 : 8,
    name: new TextEncoder().encode(text),
    attributes: { ...ATTRIBUTES, inode },
  };
}

describe('INIT', () => {
  it('settles the newest version and flags both sides know', () => {
    const { session, port } = start();

    const initIn =
      '680000001a000000020000000000000000000000000000000000000000000000000000000000000007000000' +
      `2d00000000000200ffffffff${'00'.repeat(48)}`;
    give(session, fromHex(initIn));

    expect(port.last().hex).toBe(
      '500000000000000002000000000000000700000026000000000000043170d60110000c0000001000' +
        `010000000001${'00'.repeat(34)}`,
    );
    expect(port.events).toEqual(['ready']);
  });

  it('asks for no more than the kernel offers', () => {
    const { session, port } = start();

    give(session, initMessage(31, 0x1));

    const reply = new DataView(port.last().body.buffer);
    expect(reply.getUint32(4, true)).toBe(31);
    expect(reply.getUint32(12, true)).toBe(0x1);
  });

  it('refuses a kernel older than 7.31', () => {
    const { session, port } = start();

    give(session, initMessage(30));

    expect(port.last().error).toBe(-EPROTO);
    expect(port.events).toEqual(['refused 7.30']);
  });

  it('answers a newer major version with its own and waits for another INIT', () => {
    const { session, port } = start();

    give(session, initMessage(0, 0, 8));
    expect(new DataView(port.last().body.buffer).getUint32(0, true)).toBe(7);
    expect(port.events).toEqual([]);

    give(session, initMessage());
    expect(port.events).toEqual(['ready']);
  });

  it('comes before everything else, and once', () => {
    const { session, port } = start();

    give(session, message(Opcode.GETATTR));
    expect(port.last().error).toBe(-EIO);

    give(session, initMessage());
    give(session, initMessage());
    expect(port.last().error).toBe(-EIO);
  });
});

describe('replies, byte for byte', () => {
  it('answers LOOKUP with an entry', () => {
    const { session, port } = started();
    const lookup = message(Opcode.LOOKUP, { unique: 0x1_0000_000an, body: name('x') });

    session.answers.entry(ask(session, lookup), ATTRIBUTES);

    expect(port.last().hex).toBe(`90000000000000000a00000001000000${ENTRY_HEX}`);
  });

  it('answers GETATTR; a device has a number and no size', () => {
    const { session, port } = started();

    const device = { ...ATTRIBUTES, mode: 0o060660, size: 0x80_0010 };
    session.answers.attributes(ask(session, message(Opcode.GETATTR)), device);

    expect(port.last().hex).toBe(
      '78000000000000000a00000000000000020000000000000080b2e60e000000000d0c0b0a00000000' +
        '00000000000000004433221100000000fbffffffffffffffffffffff0100000000f1536500000000' +
        '01000000ffc99a3b15cd5b07b061000003000000e8030000e9030000100080000010000000000000',
    );
  });

  it('answers STATFS', () => {
    const { session, port } = started();

    session.answers.status(ask(session, message(Opcode.STATFS)), {
      blockBytes: 4096,
      blocks: 0x10_0000_0001,
      blocksFree: 5,
      blocksAvailable: 4,
      inodes: 3,
      inodesFree: 2,
    });

    expect(port.last().hex).toBe(
      '60000000000000000a00000000000000010000001000000005000000000000000400000000000000' +
        `0300000000000000020000000000000000100000ff00000000100000${'00'.repeat(28)}`,
    );
  });

  it('answers READDIR with names and cookies', () => {
    const { session, port } = started();
    const body = words(0, 0, 0, 0, 4096, 0, 0, 0, 0, 0);
    const entries = [entry('.', 2, 1), entry('hello.txt', INODE, 0x2_0000_0003)];

    session.answers.directory(ask(session, message(Opcode.READDIR, { body })), entries);

    expect(port.last().hex).toBe(
      '58000000000000000a000000000000000200000000000000010000000000000001000000040000002e00' +
        '0000000000000d0c0b0a000000000300000002000000090000000800000068656c6c6f2e747874' +
        '00000000000000',
    );
    expect(session.answers.nodes.size).toBe(0);
  });

  it('answers READDIRPLUS with entries, and counts them as lookups', () => {
    const { session, port } = started();
    const body = words(0, 0, 0, 0, 4096, 0, 0, 0, 0, 0);

    const request = ask(session, message(Opcode.READDIRPLUS, { body }));
    session.answers.directory(request, [entry('hello.txt', INODE, 3)]);

    expect(port.last().hex).toBe(
      `b8000000000000000a00000000000000${ENTRY_HEX}0d0c0b0a0000000003000000000000000900000008` +
        '00000068656c6c6f2e74787400000000000000',
    );
    expect(session.answers.nodes.lookups(INODE)).toBe(1);
  });

  it('opens without state when the kernel cannot do without opens', () => {
    const { session, port } = start();
    give(session, initMessage(45, 0));

    give(session, message(Opcode.OPENDIR, { body: words(0o200000, 0) }));

    expect(port.last().hex).toBe(
      '20000000000000000a0000000000000000000000000000000a00000000000000',
    );
  });

  it('tells only the size of a value when no room is offered', () => {
    const { session, port } = started();
    const getxattrIn =
      '3b000000160000000c00000000000000010000000000000000000000000000000000000000000000' +
      '0000000000000000757365722e636f6c6f7200';

    const request = ask(session, fromHex(getxattrIn));
    expect(request).toMatchObject({ opcode: Opcode.GETXATTR, bytes: 0, unique: 12 });
    expect(new TextDecoder().decode(request.name)).toBe('user.color');
    session.answers.value(request, 77, new Uint8Array(0));

    expect(port.last().hex).toBe('18000000000000000c000000000000004d00000000000000');
  });
});

describe('requests', () => {
  it('reads a READ of the kernel', () => {
    const { session } = started();
    session.answers.nodes.remember(INODE, 7);

    const request = ask(
      session,
      fromHex(
        '500000000f0000000a000000010000000d0c0b0a0000000001000000020000000300000000000000' +
          '09000000000000000000000003000000000002000000000008000000000000000080000000000000',
      ),
    );

    expect(request).toMatchObject({
      opcode: Opcode.READ,
      unique: 0x1_0000_000a,
      file: { inode: INODE, generation: 7 },
      offset: 0x3_0000_0000,
      bytes: 131_072,
    });
  });

  it('names the root 2, in any generation', () => {
    const { session } = started();
    const { file } = ask(session, message(Opcode.GETATTR));
    expect(file).toEqual({ inode: 2, generation: 0 });
  });

  it('fails with ESTALE for a node the kernel was never told of', () => {
    const { session, port } = started();
    for (const node of [0, 2, 99, 2 ** 40, 0xffff_ffff_ffff_ffffn]) {
      give(session, message(Opcode.GETATTR, { node }));
      expect(port.last().error).toBe(-ESTALE);
    }
  });

  it('lets an NFS server look for a forgotten file by its number', () => {
    const { session } = started();
    const request = ask(session, message(Opcode.LOOKUP, { node: 99, body: name('.') }));
    expect(request.file).toEqual({ inode: 99, generation: 0 });
  });

  it('refuses names that are too long, unterminated, empty or in two parts', () => {
    const { session, port } = started();
    const cases: [Uint8Array, number][] = [
      [name('n'.repeat(256)), ENAMETOOLONG],
      [new Uint8Array([65, 66]), EIO],
      [new Uint8Array([0]), EIO],
      [new Uint8Array([0, 0]), EIO],
      [name('a\0b'), EIO],
    ];
    for (const [body, errno] of cases) {
      expect(give(session, message(Opcode.LOOKUP, { body }))).toBeUndefined();
      expect(port.last().error).toBe(-errno);
    }
    const longest = message(Opcode.LOOKUP, { body: name('n'.repeat(255)) });
    expect(ask(session, longest).name.length).toBe(255);
  });

  it('refuses what writes with EROFS, and what is unknown with ENOSYS', () => {
    const { session, port } = started();
    const writing = ['SETATTR', 'MKDIR', 'UNLINK', 'RENAME2', 'WRITE', 'CREATE'] as const;
    for (const opcode of writing) {
      give(session, message(Opcode[opcode]));
      expect(port.last().error).toBe(-EROFS);
    }
    give(session, message(Opcode.OPEN, { body: words(1, 0) }));
    expect(port.last().error).toBe(-EROFS);
    for (const opcode of [Opcode.FLUSH, Opcode.FSYNC, Opcode.ACCESS, Opcode.LSEEK, 999]) {
      give(session, message(opcode));
      expect(port.last().error).toBe(-ENOSYS);
    }
  });

  it('answers opens with ENOSYS, so that the kernel stops asking', () => {
    const { session, port } = started();
    for (const opcode of [Opcode.OPEN, Opcode.OPENDIR]) {
      give(session, message(opcode, { body: words(0, 0) }));
      expect(port.last().error).toBe(-ENOSYS);
    }
  });

  it('tells opens where others change what is there, and refuses what writes all the same', () => {
    const { session, port } = start(0, false);
    give(session, initMessage());
    const flagsCall = (command: number): DataView =>
      message(Opcode.IOCTL, { body: words(0, 0, 0, command, 0, 0, 4, 4, 0) });
    const told = [
      message(Opcode.OPEN, { body: words(0, 0) }),
      message(Opcode.OPENDIR, { body: words(0, 0) }),
      flagsCall(0x8008_6601),
    ].map((view, i) => {
      view.setUint32(8, 100 + i, true);
      return session.receive(view, view.byteLength)?.change;
    });
    expect(told).toMatchObject([{ kind: 'open' }, { kind: 'open' }, { kind: 'flags' }]);

    for (const view of [message(Opcode.WRITE), message(Opcode.TMPFILE), flagsCall(0x4008_6602)]) {
      give(session, view);
      expect(port.last().error).toBe(-EROFS);
    }
  });

  it('answers DESTROY and the releases with success', () => {
    const { session, port } = started();
    for (const opcode of [Opcode.RELEASE, Opcode.RELEASEDIR, Opcode.DESTROY]) {
      give(session, message(opcode));
      expect(port.last()).toMatchObject({ error: 0, length: 16 });
    }
  });

  it('refuses a READ beyond the largest transfer rather than cutting it', () => {
    const { session, port } = started();
    session.answers.nodes.remember(12, 1);
    give(session, readMessage(20, 12, 0, 2 ** 20 + 1));
    expect(port.last().error).toBe(-EINVAL);
  });

  it('drops a message whose header lies about its length', () => {
    const { session, port } = started();
    const before = port.replies.length;
    const view = message(Opcode.GETATTR);

    expect(session.receive(view, 39)).toBeUndefined();
    view.setUint32(0, 41, true);
    expect(session.receive(view, 40)).toBeUndefined();
    expect(session.receive(view, 41)).toBeUndefined();

    expect(port.replies.length).toBe(before);
    expect(session.answers.counters.dropped).toBe(3);
  });

  it('answers a second request with the number of one that waits with EIO', () => {
    const { session, port } = started();
    const request = ask(session, message(Opcode.GETATTR, { unique: 8 }));

    give(session, message(Opcode.GETATTR, { unique: 8 }));
    expect(port.last()).toMatchObject({ error: -EIO, unique: 8n });

    session.answers.attributes(request, ATTRIBUTES);
    expect(port.last()).toMatchObject({ error: 0, unique: 8n });
  });
});

describe('answers', () => {
  it('are given once', () => {
    const { session, port } = started();
    const request = ask(session, message(Opcode.GETATTR));

    session.answers.error(request, EIO);
    const count = port.replies.length;
    session.answers.attributes(request, ATTRIBUTES);
    session.answers.error(request, EIO);

    expect(port.replies.length).toBe(count);
    expect(session.answers.outstanding).toBe(0);
  });

  it('count a lookup only if the kernel took the reply', () => {
    const { session, port } = started();
    const request = ask(session, message(Opcode.LOOKUP, { body: name('x') }));

    port.refuse = -ENOENT;
    session.answers.entry(request, ATTRIBUTES);

    expect(session.answers.nodes.size).toBe(0);
    expect(session.answers.counters.unsent).toBe(1);
  });

  it('remember a missing name when asked to', () => {
    const { session, port } = started(3000);
    const request = ask(session, message(Opcode.LOOKUP, { body: name('x') }));

    session.answers.error(request, ENOENT);

    const reply = new DataView(port.last().body.buffer);
    expect(port.last()).toMatchObject({ error: 0, length: 144 });
    expect([reply.getUint32(0, true), reply.getUint32(16, true)]).toEqual([0, 3]);
  });

  it('refuse an entry with an impossible inode, and the root in a directory', () => {
    const { session, port } = started();
    for (const inode of [0, 1, 2]) {
      const request = ask(session, message(Opcode.LOOKUP, { body: name('x') }));
      session.answers.entry(request, { ...ATTRIBUTES, inode });
      expect(port.last().error).toBe(-EUCLEAN);
    }
  });

  it('give the root as the parent of a directory, in generation 0', () => {
    const { session, port } = started();
    session.answers.nodes.remember(12, 1);
    const request = ask(session, message(Opcode.LOOKUP, { node: 12, body: name('..') }));

    session.answers.entry(request, { ...ATTRIBUTES, inode: 2 });

    const reply = new DataView(port.last().body.buffer);
    expect([reply.getUint32(0, true), reply.getUint32(8, true)]).toEqual([1, 0]);
    expect(session.answers.nodes.size).toBe(1);
  });

  it('cut data to what was asked', () => {
    const { session, port } = started();
    session.answers.nodes.remember(12, 1);
    const request = ask(session, readMessage(20, 12, 0, 3));

    session.answers.data(request, new Uint8Array([1, 2, 3, 4]));

    expect([...port.last().body]).toEqual([1, 2, 3]);
    expect(port.last().length).toBe(19);
  });

  it('put as many entries into a reply as fit, and fail when none does', () => {
    const { session, port } = started();
    const entries = [entry('a', 20, 1), entry('b', 21, 2), entry('c', 22, 3)];

    const two = message(Opcode.READDIRPLUS, { body: words(0, 0, 0, 0, 479, 0, 0, 0, 0, 0) });
    session.answers.directory(ask(session, two), entries);
    expect(port.last().length).toBe(16 + 2 * 160);
    expect(session.answers.nodes.size).toBe(2);

    const none = message(Opcode.READDIRPLUS, { body: words(0, 0, 0, 0, 159, 0, 0, 0, 0, 0) });
    session.answers.directory(ask(session, none), entries);
    expect(port.last().error).toBe(-EINVAL);

    const end = message(Opcode.READDIRPLUS, { body: words(0, 0, 3, 0, 4096, 0, 0, 0, 0, 0) });
    session.answers.directory(ask(session, end), []);
    expect(port.last()).toMatchObject({ error: 0, length: 16 });
  });

  it('tell no attributes of ".", ".." and what could not be read', () => {
    const { session, port } = started();
    const body = words(0, 0, 0, 0, 4096, 0, 0, 0, 0, 0);
    const unreadable = entry('x', 33, 3);
    unreadable.attributes.mode = 0;

    const request = ask(session, message(Opcode.READDIRPLUS, { body }));
    session.answers.directory(request, [entry('.', 12, 1), entry('..', 2, 2), unreadable]);

    const reply = new DataView(port.last().body.buffer);
    expect([0, 160, 320].map((at) => reply.getUint32(at, true))).toEqual([0, 0, 0]);
    expect(session.answers.nodes.size).toBe(0);
  });

  it('refuse a value larger than the room, and an impossible link', () => {
    const { session, port } = started();
    const body = join(words(4, 0), name('user.a'));
    const value = ask(session, message(Opcode.GETXATTR, { body }));
    session.answers.value(value, 5, new Uint8Array(5));
    expect(port.last().error).toBe(-ERANGE);

    for (const bytes of [0, 4096]) {
      const link = ask(session, message(Opcode.READLINK));
      session.answers.link(link, new Uint8Array(bytes));
      expect(port.last().error).toBe(-EUCLEAN);
    }
  });

  it('are ignored after the end of the session', () => {
    const { session, port } = started();
    const request = ask(session, message(Opcode.GETATTR));
    const count = port.replies.length;

    session.answers.abandon();
    session.answers.attributes(request, ATTRIBUTES);

    expect(port.replies.length).toBe(count);
  });
});

describe('INTERRUPT', () => {
  it('reports the request that waits, once, and sends nothing itself', () => {
    const { session, port } = started();
    ask(session, message(Opcode.GETATTR, { unique: 6 }));
    const count = port.replies.length;

    for (let i = 0; i < 2; i++) {
      give(session, message(Opcode.INTERRUPT, { unique: 7, body: words(6, 0) }));
    }

    expect(port.events).toEqual(['ready', 'interrupt 6']);
    expect(port.replies.length).toBe(count);
  });

  it('ignores a request that was answered', () => {
    const { session, port } = started();
    give(session, message(Opcode.INTERRUPT, { unique: 7, body: words(6, 0) }));
    expect(port.events).toEqual(['ready']);
  });
});

describe('FORGET', () => {
  it('takes lookups back, alone and in batches, and never replies', () => {
    const { session, port } = started();
    const { nodes } = session.answers;
    for (const inode of [12, 12, 12, 13]) nodes.remember(inode, 1);
    const count = port.replies.length;

    give(session, message(Opcode.FORGET, { node: 12, body: words(1, 0) }));
    expect(nodes.lookups(12)).toBe(2);
    const batch =
      '500000002a0000000e00000000000000000000000000000000000000000000000000000000000000' +
      '02000000000000000c0000000000000002000000000000000d000000000000000100000000000000';
    give(session, fromHex(batch));

    expect(nodes.size).toBe(0);
    expect(port.replies.length).toBe(count);
  });

  it('believes the length of a batch, not its count', () => {
    const { session } = started();
    session.answers.nodes.remember(12, 1);
    const body = words(1000, 0, 12, 0, 1, 0);
    give(session, message(Opcode.BATCH_FORGET, { body }));
    expect(session.answers.nodes.size).toBe(0);
  });
});
