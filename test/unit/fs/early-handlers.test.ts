// Files that clients tell of before they have made them: TAKE_NAMES and CREATE_MANY. Method: the
// handlers over a volume in memory, by messages as a client sends them; at the end e2fsck finds
// nothing wrong.
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ChangingHandlers } from '../../../src/servers/fs/changing-handlers.ts';
import { ERRNO } from '../../../src/servers/fs/errors.ts';
import { createHandlers, type FsHandler } from '../../../src/servers/fs/handlers.ts';
import type { FsChange } from '../../../src/vos/protocol/fs-change.ts';
import { CLAIMED, CreateFlag, encodeChange } from '../../../src/vos/protocol/fs-change.ts';
import {
  decodeManyMade,
  decodeTaken,
  encodeEarlyFiles,
  encodeTake,
  type EarlyFile,
} from '../../../src/vos/protocol/fs-early.ts';
import {
  FsCall,
  ROOT_INODE,
  decodeAttributes,
  encodeRequest,
} from '../../../src/vos/protocol/fs.ts';
import {
  checkImage,
  freshImage,
  openChanged,
  type ChangedVolume,
} from '../../support/changed-volume.ts';
import { imageObstacle } from '../../support/images.ts';

const obstacle = imageObstacle();
const CLIENT = 7;
const OTHER_CLIENT = 8;
const REGULAR = 0o100000;
const TIME = { seconds: 1_234_567_889, nanoseconds: 77 };
const name = (text: string): Uint8Array => Buffer.from(text);
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe.skipIf(obstacle !== undefined)(`files that were told of before ${obstacle ?? ''}`, () => {
  const memory = new Uint8Array(1 << 16);
  const stage = new Uint8Array(1 << 20);
  const request = new DataView(new ArrayBuffer(64));
  const reply = new DataView(new ArrayBuffer(64));
  let image: Uint8Array;
  let changed: ChangedVolume;
  let table: ReadonlyMap<number, FsHandler>;
  let handlers: ChangingHandlers;

  function send(): number {
    return table.get(request.getInt32(4, true))?.(request, reply) ?? -1;
  }

  function call(change: Partial<FsChange> & { call: FsCall }, ...names: string[]): number {
    encodeChange(request, { inode: ROOT_INODE, grant: 3, ...change }, names.map(name));
    request.setInt32(0, CLIENT, true);
    return send();
  }

  /** The inode number of what a call has made. */
  function made(change: Partial<FsChange> & { call: FsCall }, text: string): number {
    expect(call(change, text)).toBe(0);
    return decodeAttributes(reply).inode;
  }

  function create(text: string): number {
    return made({ call: FsCall.CREATE, mode: REGULAR | 0o644 }, text);
  }

  function lookup(text: string): number {
    return changed.volume.lookup(changed.volume.inode(ROOT_INODE, 0), name(text))?.number ?? 0;
  }

  function take(count: number, client = CLIENT, inode = ROOT_INODE): number {
    encodeTake(request, { inode, generation: 0, client, count, speakers: [client] });
    request.setInt32(0, client, true);
    return send();
  }

  /** Takes the names, and returns inode numbers for files. */
  function numbers(count: number): number[] {
    expect(take(count)).toBe(count);
    const { runs } = decodeTaken(reply);
    return runs.flatMap(({ first, count: more }) => range(more).map((i) => first + i));
  }

  function early(text: string, inode: number, more: Partial<EarlyFile> = {}): EarlyFile {
    const owner = { uid: 5, gid: 6, generation: 99, flags: 0, mode: REGULAR | 0o640 };
    return { inode, time: TIME, ...owner, name: name(text), ...more };
  }

  function createMany(files: readonly EarlyFile[], count: number = files.length, cut = 0): number {
    const data = encodeEarlyFiles(files);
    memory.set(data);
    const bytes = data.length - cut;
    return call({ call: FsCall.CREATE_MANY, client: CLIENT, count, bytes });
  }

  beforeAll(() => {
    image = freshImage({ bytes: 16 << 20 });
  });

  beforeEach(() => {
    changed = openChanged(image.slice());
    const clients = {
      copyIn: (_: number, __: number, at: number, target: Uint8Array): void => {
        target.set(memory.subarray(at, at + target.length));
      },
      copyOut: (): void => undefined,
      stage: (bytes: number): Uint8Array => stage.subarray(0, bytes),
    };
    handlers = new ChangingHandlers(changed.volume, clients, {
      writer: changed.volume,
      commit: () => undefined,
      isAlive: () => true,
      now: () => ({ seconds: 1_234_567_890, nanoseconds: 5 }),
      nowMs: () => 0,
      follow: (time) => time,
    });
    table = new Map([...createHandlers(changed.volume, clients), ...handlers.table()]);
  });

  afterEach(() => {
    changed.close();
    checkImage(changed.device.content);
  });

  it('are made with one call, as they were told of', () => {
    const [a = 0, b = 0, c = 0] = numbers(3);
    expect(createMany([early('a', a), early('b', b)])).toBe(2 + CLAIMED);
    expect(createMany([early('c', c, { flags: CreateFlag.HOLD })])).toBe(1 + CLAIMED);
    expect(decodeManyMade(reply)).toMatchObject({ size: 1024, errno: 0 });
    expect([lookup('a'), lookup('b'), lookup('c')]).toEqual([a, b, c]);
    const told = { generation: 99, mode: REGULAR | 0o640, uid: 5, gid: 6, links: 1 };
    const times = { accessed: TIME, modified: TIME, changed: TIME };
    expect(changed.volume.attributes(changed.volume.inode(a, 99))).toMatchObject({
      ...told,
      ...times,
    });
    for (const text of ['b', 'c']) expect(call({ call: FsCall.UNLINK }, text)).toBe(0);
    // It was held open, the other one was not.
    expect(call({ call: FsCall.INFO, inode: c })).toBe(0);
    expect(call({ call: FsCall.INFO, inode: b })).toBe(-ERRNO.ESTALE);
    expect(call({ call: FsCall.RELEASE, inode: c, client: CLIENT, count: 1 })).toBe(0);
    expect(call({ call: FsCall.INFO, inode: c })).toBe(-ERRNO.ESTALE);
  });

  it('have names of any length', () => {
    const longest = range(128).map((i) => String(i).padStart(255, 'n'));
    const given = numbers(128);
    const files = longest.map((text, i) => early(text, given[i] ?? 0));
    expect(createMany(files)).toBe(128 + CLAIMED);
    expect(longest.map(lookup)).toEqual(given);
  });

  it('have another generation each time that numbers are given', () => {
    const [a = 0] = numbers(1);
    const { generation } = decodeTaken(reply);
    expect(createMany([early('a', a, { generation })])).toBe(1 + CLAIMED);
    expect(call({ call: FsCall.UNLINK }, 'a')).toBe(0);
    expect(numbers(1)).toEqual([a]);
    expect(decodeTaken(reply).generation).not.toBe(generation);
  });

  it('have numbers that no other file gets until the names are given back', () => {
    const given = numbers(600);
    expect(new Set(given).size).toBe(600);
    expect(numbers(100).some((number) => given.includes(number))).toBe(false);
    for (let i = 0; i < 20; i++) expect(given).not.toContain(create(`f${i}`));
    expect(call({ call: FsCall.UNCLAIM, client: CLIENT })).toBe(0);
    expect(given).toContain(create('last'));
  });

  it('are made up to the first that cannot be, and all of one call or none before', () => {
    const [a = 0, b = 0, c = 0] = numbers(3);
    create('b');
    expect(createMany([early('a', a), early('b', b), early('c', c)])).toBe(1 + CLAIMED);
    expect(decodeManyMade(reply).errno).toBe(-ERRNO.EEXIST);
    expect([lookup('a'), lookup('c')]).toEqual([a, 0]);
    const bad: [EarlyFile, number][] = [
      [early('a', c), ERRNO.EEXIST],
      [early('x', a), ERRNO.EINVAL],
      [early('x', 3), ERRNO.EINVAL],
      [early('x', 2 ** 31), ERRNO.EINVAL],
      [early('x/y', c), ERRNO.EINVAL],
      [early('', c), ERRNO.EINVAL],
      [early('x', c, { mode: 0o40755 }), ERRNO.EINVAL],
    ];
    for (const [file, errno] of bad) {
      expect(createMany([file])).toBe(CLAIMED);
      expect(decodeManyMade(reply).errno).toBe(-errno);
    }
    for (const count of [0, 2, 129]) {
      expect(createMany([early('x', c)], count)).toBe(-ERRNO.EINVAL);
    }
    expect(createMany([early('x', c)], 1, 4)).toBe(-ERRNO.EINVAL);
    for (let i = 0; i < 2; i++) expect(createMany([early('c', c)])).toBe(1 + CLAIMED);
  });

  it('keep others, and the removal of the directory, waiting', () => {
    const guarded = handlers.guarded(table);
    expect(take(1)).toBe(1);
    expect(take(1, OTHER_CLIENT)).toBe(0);
    expect(take(1)).toBe(0);
    const ask = (client: number): number => {
      const about = { call: FsCall.LOOKUP, inode: ROOT_INODE, generation: 0, offset: 0 };
      const named = { ...about, grant: -1, grantBytes: 0, nameBytes: 4 };
      encodeRequest(request, named, name('none'));
      request.setInt32(0, client, true);
      return guarded.get(FsCall.LOOKUP)?.(request, reply) ?? 1;
    };
    expect([ask(CLIENT), ask(OTHER_CLIENT)]).toEqual([-ERRNO.ENOENT, -ERRNO.EALREADY]);
    call({ call: FsCall.UNCLAIM, client: CLIENT });
    expect(ask(OTHER_CLIENT)).toBe(-ERRNO.ENOENT);

    const inode = made({ call: FsCall.MKDIR, mode: 0o755 }, 'd');
    expect(take(1, CLIENT, inode)).toBe(1);
    expect(call({ call: FsCall.RMDIR }, 'd')).toBe(-ERRNO.EALREADY);
    made({ call: FsCall.MKDIR, mode: 0o755 }, 'e');
    const rename = { call: FsCall.RENAME, other: ROOT_INODE };
    expect(call(rename, 'e', 'd')).toBe(-ERRNO.EALREADY);
    expect(call({ call: FsCall.UNCLAIM, inode, client: CLIENT })).toBe(0);
    expect(call(rename, 'e', 'd')).toBe(0);
  });

  it('are not told of where somebody has to wait for them, or there is too little', () => {
    const inode = made({ call: FsCall.MKDIR, mode: 0o755 }, 'd');
    const mask = 0x10000; // DIRSYNC
    for (const flags of [mask, 0]) {
      expect(call({ call: FsCall.SET_FLAGS, inode, flags, mask })).toBe(0);
      expect(take(1, CLIENT, inode)).toBe(flags === 0 ? 1 : 0);
    }
    expect(take(1025)).toBe(-ERRNO.EINVAL);
    expect(take(1024)).toBe(0);
    expect(take(1, CLIENT, create('f'))).toBe(-ERRNO.ENOTDIR);
  });
});
