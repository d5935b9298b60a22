// Leases around the FS calls: which answers give them, which changes take them back and wait, and
// what clients that lie or are late get. Method: the handlers over a volume in memory, by messages;
// a reply that waits is asked for again when something has happened.
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ChangingHandlers } from '../../../src/servers/fs/changing-handlers.ts';
import { ERRNO } from '../../../src/servers/fs/errors.ts';
import { type FsHandler, createHandlers } from '../../../src/servers/fs/handlers.ts';
import { LeaseHandlers } from '../../../src/servers/fs/lease-handlers.ts';
import { LeaseTable } from '../../../src/servers/fs/leases.ts';
import { WatchedWriter } from '../../../src/servers/fs/watched-writer.ts';
import type { Late, Wait } from '../../../src/vos/held-replies.ts';
import { type FsChange, RenameFlag, encodeChange } from '../../../src/vos/protocol/fs-change.ts';
import {
  LEASE_MS,
  LeaseKind,
  POLL_MS,
  type Recall,
  decodeRecalls,
  encodeJoin,
  encodePoll,
} from '../../../src/vos/protocol/fs-lease.ts';
import {
  FsCall,
  ROOT_INODE,
  decodeAttributes,
  encodeRequest,
} from '../../../src/vos/protocol/fs.ts';
import { freshImage, openChanged } from '../../support/changed-volume.ts';
import { seeded } from '../../support/datagram-network.ts';
import { imageObstacle } from '../../support/images.ts';

const SEED = 20261123;
const obstacle = imageObstacle();
const { ATTRIBUTES, DATA, NAMES } = LeaseKind;
const GRANT = 3;
const [READER, WRITER, OTHER] = [10, 20, 30];
/** Who asks on behalf of these. */
const channelOf = (client: number): number => client + 1;
const name = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));

describe.skipIf(obstacle !== undefined)(`leases around FS calls ${obstacle ?? ''}`, () => {
  const memory = new Uint8Array(1 << 21);
  const stage = new Uint8Array(1 << 20);
  const message = new DataView(new ArrayBuffer(64));
  const alive = new Set<number>();
  let image: Uint8Array;
  let calls: ReadonlyMap<number, FsHandler>;
  let leases: LeaseHandlers;
  let waits: Wait[];
  let late: Late | undefined;
  let nowMs: number;
  let file: number;
  let incarnations: Map<number, number>;

  beforeAll(() => {
    image = freshImage({ bytes: 4 << 20 });
  });

  beforeEach(() => {
    const { volume } = openChanged(image.slice());
    nowMs = 1000;
    waits = [];
    late = undefined;
    incarnations = new Map();
    for (const client of [READER, WRITER, OTHER]) alive.add(client).add(channelOf(client));
    let copied = new Uint8Array(0);
    const clients = {
      copyIn: (_: number, __: number, at: number, target: Uint8Array): void => {
        target.set(memory.subarray(at, at + target.length));
      },
      copyOut: (_: number, __: number, at: number, data: Uint8Array): void => {
        copied = data.slice();
        memory.set(data, at);
      },
      stage: (bytes: number): Uint8Array => stage.subarray(0, bytes),
    };
    leases = new LeaseHandlers(new LeaseTable(), {
      isAlive: (endpoint) => alive.has(endpoint),
      nowMs: () => nowMs,
      hold: (wait, how) => {
        waits.push(wait);
        late = how;
      },
      copied: () => copied,
    });
    const changing = new ChangingHandlers(volume, clients, {
      writer: new WatchedWriter(volume, (recall) => {
        leases.touch(recall);
      }),
      commit: () => undefined,
      isAlive: () => true,
      now: () => ({ seconds: 1, nanoseconds: 0 }),
      nowMs: () => nowMs,
    });
    calls = leases.around(new Map([...createHandlers(volume, clients), ...changing.table()]));
    join(READER);
    join(WRITER);
    file = decodeAttributes(change(WRITER, { call: FsCall.CREATE, mode: 0o100644 }, 'f')).inode;
    change(WRITER, { call: FsCall.MKDIR, mode: 0o755 }, 'd');
  });

  /** Sends the message; the replies before it are not looked at any more. */
  function send(source: number): number {
    waits = [];
    late = undefined;
    message.setInt32(0, source, true);
    return calls.get(message.getInt32(4, true))?.(message, message) ?? -1;
  }

  function join(client: number): number {
    encodeJoin(message, [channelOf(client)]);
    const result = send(client);
    incarnations.set(client, message.getUint32(8, true));
    return result;
  }

  function poll(client: number, done: number): number {
    encodePoll(message, incarnations.get(client) ?? 0, done);
    return send(client);
  }

  /** What the client is to forget; it says so. */
  function hear(client: number, done: number): readonly Recall[] {
    const count = poll(client, done);
    if (count <= 0) return [];
    const { number, recalls } = decodeRecalls(message, count);
    const before = waits;
    poll(client, number);
    waits = before;
    return recalls;
  }

  function change(
    client: number,
    request: Partial<FsChange> & { call: FsCall },
    ...names: string[]
  ): DataView {
    encodeChange(message, { inode: ROOT_INODE, grant: GRANT, ...request }, names.map(name));
    expect(send(channelOf(client))).toBeGreaterThanOrEqual(0);
    return message;
  }

  function ask(client: number, call: FsCall, inode: number, text?: string): number {
    const bytes = call === FsCall.READ || call === FsCall.READDIR ? 4096 : 0;
    const { length } = text ?? '';
    const request = { call, inode, generation: 0, offset: 0, grant: GRANT, grantBytes: bytes };
    encodeRequest(message, { ...request, nameBytes: length }, name(text ?? ''));
    return send(channelOf(client));
  }

  const isHeld = (): boolean => waits.some((wait) => wait() === undefined);
  const write = (client: number): DataView =>
    change(client, { call: FsCall.WRITE, inode: file, bytes: 4 });

  it('gives them with each answer, and takes back what a change touches, and no more', () => {
    const told = (): readonly Recall[] => hear(READER, leasesDone++);
    let leasesDone = 0;
    ask(READER, FsCall.GETATTR, file);
    change(WRITER, { call: FsCall.SETATTR, inode: file, flags: 1, mode: 0o600 });
    expect(isHeld()).toBe(true);
    const mine = waits;
    expect(told()).toEqual([{ inode: file, kinds: ATTRIBUTES }]);
    expect(mine.map((wait) => wait())).toEqual([0]);

    ask(READER, FsCall.READ, file);
    write(WRITER);
    expect(told()).toEqual([{ inode: file, kinds: DATA }]);
    write(WRITER);
    expect(isHeld()).toBe(false);

    ask(READER, FsCall.LOOKUP, ROOT_INODE, 'f');
    change(WRITER, { call: FsCall.CREATE, mode: 0o100644 }, 'g');
    expect(isHeld()).toBe(false);
    change(WRITER, { call: FsCall.UNLINK }, 'g');
    expect(told()).toEqual([{ inode: ROOT_INODE, kinds: NAMES, name: name('g') }]);
    change(
      WRITER,
      { call: FsCall.RENAME, other: ROOT_INODE, flags: RenameFlag.EXCHANGE },
      'f',
      'd',
    );
    expect(isHeld()).toBe(true);
    expect([told(), told(), told()].flat().map(({ kinds }) => kinds)).toEqual([
      ATTRIBUTES,
      NAMES,
      NAMES,
    ]);
  });

  it('gives them for what is listed', () => {
    ask(READER, FsCall.READDIR, ROOT_INODE);
    write(WRITER);
    expect(hear(READER, 0)).toEqual([{ inode: file, kinds: ATTRIBUTES }]);
  });

  it('gives none to who has not joined, and waits for none of one’s own', () => {
    ask(OTHER, FsCall.GETATTR, file);
    ask(WRITER, FsCall.GETATTR, file);
    write(WRITER);
    expect(isHeld()).toBe(false);
    write(OTHER);
    expect(isHeld()).toBe(true);
  });

  it('answers a poll when there is a recall, or after a while', () => {
    expect(poll(READER, 0)).toBe(0);
    const [ready] = waits;
    const poller = late;
    expect(ready?.()).toBeUndefined();
    ask(READER, FsCall.READ, file);
    expect(ready?.()).toBeUndefined();
    write(WRITER);
    expect(ready?.()).toBe(0);
    expect(poller?.fill(message)).toBe(1);
    expect(decodeRecalls(message, 1).recalls).toEqual([{ inode: file, kinds: DATA }]);
    expect(poll(READER, 1)).toBe(0);
    nowMs += POLL_MS;
    expect([waits[0]?.(), late?.fill(message)]).toEqual([0, 0]);
  });

  it('refuses who was late until he has joined anew', () => {
    ask(READER, FsCall.READ, file);
    write(WRITER);
    const held = waits;
    nowMs += LEASE_MS - 1;
    leases.expire();
    expect([leases.leftMs(), held[0]?.()]).toEqual([1, undefined]);
    nowMs += 1;
    leases.expire();
    expect(held[0]?.()).toBe(0);
    expect(ask(READER, FsCall.READ, file)).toBe(-ERRNO.EKEYEXPIRED);
    expect(poll(READER, 0)).toBe(-ERRNO.EKEYEXPIRED);
    expect(join(READER)).toBe(0);
    expect(ask(READER, FsCall.READ, file)).toBe(4);
    expect(leases.counters).toMatchObject({ lapsed: 1, refused: 2 });
  });

  it('refuses who was taken for gone and comes back, and serves channels not heard of', () => {
    alive.delete(channelOf(READER));
    leases.sweep();
    ask(READER, FsCall.READ, file);
    write(WRITER);
    expect(isHeld()).toBe(true);
    alive.delete(READER);
    leases.sweep();
    alive.add(READER);
    expect(ask(READER, FsCall.READ, file)).toBe(-ERRNO.EKEYEXPIRED);
    expect(join(READER)).toBe(0);
    expect(ask(READER, FsCall.READ, file)).toBe(4);
  });

  it('waits no more for who is gone', () => {
    ask(READER, FsCall.READ, file);
    write(WRITER);
    alive.delete(READER);
    leases.sweep();
    expect(isHeld()).toBe(false);
  });

  it('survives clients that lie', () => {
    expect(poll(READER, 7)).toBe(-ERRNO.EINVAL);
    expect(poll(OTHER, 0)).toBe(-ERRNO.EKEYEXPIRED);
    encodeJoin(message, []);
    message.setUint32(8, 1000, true);
    expect(send(OTHER)).toBe(-ERRNO.EINVAL);
    // One who says that he speaks for another does not get what that one is told.
    encodeJoin(message, [channelOf(READER)]);
    expect(send(OTHER)).toBe(-ERRNO.EBUSY);
    ask(READER, FsCall.READ, file);
    write(WRITER);
    expect(hear(READER, 0)).toHaveLength(1);
    const random = seeded(SEED);
    for (let i = 0; i < 2000; i++) {
      for (let at = 8; at < 64; at++) message.setUint8(at, Math.floor(random() * 256));
      message.setInt32(4, random() < 0.5 ? FsCall.LEASE_JOIN : FsCall.LEASE_POLL, true);
      expect(send(40 + (i % 5))).toBeLessThanOrEqual(0);
    }
    leases.sweep();
    expect(ask(READER, FsCall.READ, file)).toBe(4);
  });
});
