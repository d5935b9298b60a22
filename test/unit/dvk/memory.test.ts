// Grants, the arena and vcopy. Method: the parties are processes of one event loop, or another OS
// process for private memory; every error of a grant is provoked once.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runInNewContext } from 'node:vm';
import { setFlagsFromString } from 'node:v8';
import {
  addressOf,
  ANY,
  isDvkError,
  Limit,
  makeEndpoint,
  Segment,
  type GrantId,
  type Party,
  type Process,
} from '../../../src/dvk/index.ts';
import { ChildPeer } from '../../support/peers.ts';
import { TestSegment } from '../../support/segments.ts';

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (isDvkError(error)) return error.code;
    throw error;
  }
  return 'none';
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

function pattern(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (i * 7) & 0xff);
}

let test: TestSegment;
let segment: Segment;
let owner: Process;
let user: Process;
let server: Process;
beforeEach(() => {
  test = new TestSegment();
  segment = test.segment;
  owner = segment.bind({ name: 'owner' });
  user = segment.bind({ name: 'user' });
  server = segment.bind({ name: 'server', level: 'server', slot: 5 });
});
afterEach(() => {
  test.remove();
});

describe('vcopy within the arena and private memory', () => {
  const kinds = ['private', 'arena'] as const;
  const pairs = kinds.flatMap((from) => kinds.map((to) => [from, to] as const));

  function memory(process: Process, kind: 'private' | 'arena', bytes: number): Uint8Array {
    return kind === 'arena' ? process.allocate(bytes) : new Uint8Array(bytes);
  }

  it.each(pairs)('reads and writes from %s to %s', (from, to) => {
    const bytes = 70_001;
    const source = memory(owner, from, bytes);
    const target = memory(user, to, bytes);
    source.set(pattern(bytes));
    const read = owner.grant(source, 'read', user.endpoint);
    const write = user.grant(target, 'write', owner.endpoint);

    const place = { endpoint: owner.endpoint, grant: read, at: 0 };
    expect(user.vcopySync(place, target, bytes)).toBe(bytes);
    expect(Buffer.compare(source, target)).toBe(0);
    target.fill(0);
    const there = { endpoint: user.endpoint, grant: write, at: 1 };
    expect(owner.vcopySync(source.subarray(1), there, bytes - 1)).toBe(bytes - 1);
    expect(target[0]).toBe(0);
    expect(Buffer.compare(source.subarray(1), target.subarray(1))).toBe(0);
  });

  it.each(pairs)('lets a server copy between two others, from %s to %s', (from, to) => {
    const source = memory(owner, from, 200_000);
    const target = memory(user, to, 200_000);
    source.set(pattern(200_000));
    const read = owner.grant(source, 'read', server.endpoint);
    const write = user.grant(target, 'write', ANY);
    const parties: [Party, Party] = [
      { endpoint: owner.endpoint, grant: read, at: 0 },
      { endpoint: user.endpoint, grant: write, at: 0 },
    ];

    expect(server.vcopySync(...parties, 200_000)).toBe(200_000);
    expect(Buffer.compare(source, target)).toBe(0);
    expect(codeOf(() => segment.bind({ name: 'nosy' }).vcopySync(...parties, 1))).toBe('EPERM');
  });

  it('uses the address told by a client that waits for the reply', async () => {
    const text = Buffer.from('from the client');
    const call = user.sendrec(server.endpoint);
    server.rcvrqstSync(1000);
    const copy = new Uint8Array(text.length);
    const place = { endpoint: user.endpoint, address: addressOf(text) };

    server.vcopySync(place, copy, text.length);
    expect(Buffer.from(copy).toString()).toBe('from the client');
    server.replySync(user.endpoint);
    await call;
    expect(codeOf(() => server.vcopySync(place, copy, 1))).toBe('EDVSGRANT');
  });

  it('copies nothing when asked to', () => {
    const grant = owner.grant(new Uint8Array(1), 'read', ANY);
    const place = { endpoint: owner.endpoint, grant, at: 1 };
    expect(user.vcopySync(place, new Uint8Array(0), 0)).toBe(0);
  });
});

describe('a grant', () => {
  const bytes = 1000;
  let memory: Uint8Array;
  let grant: GrantId;
  beforeEach(() => {
    memory = pattern(bytes);
    grant = owner.grant(memory, 'read', user.endpoint);
  });

  function read(by: Process, at: number, count: number, id: GrantId = grant): string {
    const place = { endpoint: owner.endpoint, grant: id, at };
    return codeOf(() => by.vcopySync(place, new Uint8Array(count), count));
  }

  it('covers its range and nothing beyond', () => {
    expect(read(user, 0, bytes)).toBe('none');
    expect(read(user, bytes - 1, 1)).toBe('none');
    expect(read(user, 0, bytes + 1)).toBe('EDVSGRANT');
    expect(read(user, bytes, 1)).toBe('EDVSGRANT');
    expect(read(user, 2 ** 53 - 1, 1)).toBe('EDVSGRANT');
  });

  it('is for its grantee', () => {
    const place = { endpoint: owner.endpoint, grant, at: 0 };
    expect(codeOf(() => server.vcopySync(place, new Uint8Array(1), 1))).toBe('EDVSGRANT');
  });

  it('is for its direction', () => {
    const place = { endpoint: owner.endpoint, grant, at: 0 };
    expect(codeOf(() => user.vcopySync(new Uint8Array(1), place, 1))).toBe('EDVSGRANT');
    const both = owner.grant(memory, 'read-write', user.endpoint);
    expect(read(user, 0, 1, both)).toBe('none');
  });

  it('ends with revoke, and its id is not given again soon', () => {
    owner.revoke(grant);
    expect(read(user, 0, 1)).toBe('EDVSGRANT');
    const next = owner.grant(memory, 'read', user.endpoint);
    expect(next).not.toBe(grant);
    expect(read(user, 0, 1)).toBe('EDVSGRANT');
    expect(
      codeOf(() => {
        owner.revoke(grant);
      }),
    ).toBe('EDVSGRANT');
  });

  it('ends with its process', () => {
    owner.unbind();
    expect(read(user, 0, 1)).toBe('EDEADSRCDST');
  });

  it('is one of a limited number', () => {
    for (let i = 1; i < Limit.GRANTS; i++) owner.grant(memory, 'read', ANY);
    expect(codeOf(() => owner.grant(memory, 'read', ANY))).toBe('ENOSPC');
  });

  it('keeps its memory through a garbage collection', () => {
    const kept = owner.grant(pattern(1 << 20), 'read', ANY);
    for (let i = 0; i < 5; i++) {
      collectGarbage();
      new Uint8Array(1 << 20).fill(255);
    }
    const copy = new Uint8Array(1 << 20);
    user.vcopySync({ endpoint: owner.endpoint, grant: kept, at: 0 }, copy, 1 << 20);

    expect(Buffer.compare(copy, pattern(1 << 20))).toBe(0);
  });

  it('keeps its memory from being given to another thread', () => {
    try {
      // Node 20 copies instead of transferring; later ones throw.
      structuredClone(memory, { transfer: [memory.buffer as ArrayBuffer] });
    } catch (error) {
      expect(error).toHaveProperty('name', 'DataCloneError');
    }
    expect(memory.byteLength).toBe(bytes);
    expect(read(user, 0, bytes)).toBe('none');
  });
});

describe('vcopy', () => {
  it('refuses what cannot be', () => {
    const view = new Uint8Array(10);
    const grant = owner.grant(view, 'read', ANY);
    const place = { endpoint: owner.endpoint, grant, at: 0 };
    expect(codeOf(() => user.vcopySync(view, new Uint8Array(10), 10))).toBe('EDVSENDPOINT');
    expect(() => user.vcopySync(place, view, 11)).toThrow(RangeError);
    expect(() => user.vcopySync(place, view, -1)).toThrow(RangeError);
    expect(() => user.vcopySync(place, view, Limit.COPY_BYTES_MAX + 1)).toThrow(RangeError);
    expect(() => user.vcopySync({ ...place, at: -1 }, view, 1)).toThrow(RangeError);
    const dead = { ...place, endpoint: makeEndpoint(99, 5) };
    expect(codeOf(() => user.vcopySync(dead, view, 1))).toBe('EDEADSRCDST');
    const mine = { endpoint: user.endpoint, address: 16n };
    expect(codeOf(() => user.vcopySync(mine, place, 1))).toBe('EINVAL');
    const theirs = { endpoint: owner.endpoint, address: addressOf(view) };
    expect(codeOf(() => user.vcopySync(theirs, view, 1))).toBe('EPERM');
    const text = 'bytes' as unknown as Uint8Array;
    expect(() => user.vcopySync(place, text, 1)).toThrow(TypeError);
  });

  it('gives EFAULT for memory that is not there', async () => {
    const call = user.sendrec(server.endpoint);
    server.rcvrqstSync(1000);
    const nowhere = { endpoint: user.endpoint, address: 16n };
    expect(codeOf(() => server.vcopySync(nowhere, new Uint8Array(8), 8))).toBe('EFAULT');
    server.replySync(user.endpoint);
    await call;
  });

  it('reaches the private memory of another process, until it dies', async () => {
    const peer = new ChildPeer(test.path, 'granter', server.endpoint);
    server.rcvrqstSync(10_000);
    const endpoint = server.message.source;
    const grant = server.message.int32[2] as GrantId;
    const copy = new Uint8Array(1 << 16);

    server.vcopySync({ endpoint, grant, at: 0 }, copy, copy.length);
    expect(copy.every((byte) => byte === 7)).toBe(true);
    server.vcopySync(new Uint8Array([99]), { endpoint, grant, at: 0 }, 1);
    server.replySync(endpoint);
    server.receiveSync(endpoint, 10_000);
    expect(server.message.int32[2]).toBe(99);
    await peer.ended;
    expect(codeOf(() => server.vcopySync({ endpoint, grant, at: 0 }, copy, 1))).toBe('EDEADSRCDST');
  });

  it('gives ESRCDIED for a killed process that nobody has reaped', async () => {
    const peer = new ChildPeer(test.path, 'granter', server.endpoint);
    server.rcvrqstSync(10_000);
    const endpoint = server.message.source;
    const grant = server.message.int32[2] as GrantId;
    await peer.kill();

    const place = { endpoint, grant, at: 0 };
    expect(codeOf(() => server.vcopySync(place, new Uint8Array(8), 8))).toBe('ESRCDIED');
  });
});

describe('the arena', () => {
  it('is the same memory in every opening of the segment', () => {
    const view = owner.allocate(100);
    view.fill(5);
    const other = Segment.open(test.path);
    expect(other.arena[view.byteOffset]).toBe(5);
    other.close();
  });

  it('gives memory that does not overlap, and takes it back', () => {
    const one = owner.allocate(1);
    const two = owner.allocate(4097);
    expect([one.length, two.length]).toEqual([1, 4097]);
    expect(Math.abs(two.byteOffset - one.byteOffset)).toBeGreaterThanOrEqual(4096);
    expect(segment.arenaUsed()).toBe(3 * 4096);
    const theft = (): void => {
      user.free(one);
    };
    expect(codeOf(theft)).toBe('EINVAL');
    owner.free(one);
    expect(
      codeOf(() => {
        owner.free(one);
      }),
    ).toBe('EINVAL');
    owner.unbind();
    expect(segment.arenaUsed()).toBe(0);
  });

  it('refuses what it does not have', () => {
    expect(codeOf(() => owner.allocate((1 << 22) + 1))).toMatch(/^E(INVAL|NOMEM)$/);
    owner.allocate(1 << 22);
    expect(codeOf(() => user.allocate(1))).toBe('ENOMEM');
    expect(() => owner.allocate(0)).toThrow(RangeError);
    expect(() => owner.allocate(1.5)).toThrow(RangeError);
    expect(() => {
      owner.free(new Uint8Array(4096));
    }).toThrow(TypeError);
  });
});

describe('grants of grants', () => {
  it('give what both give, and end with either', () => {
    const memory = pattern(100);
    const first = owner.grant(memory, 'read', server.endpoint);
    const second = server.grantIndirect(owner.endpoint, first, 'read', user.endpoint);
    const place = { endpoint: server.endpoint, grant: second, at: 90 };
    const target = new Uint8Array(10);

    expect(user.vcopySync(place, target, 10)).toBe(10);
    expect(target).toEqual(memory.subarray(90));
    expect(codeOf(() => user.vcopySync(target, place, 10))).toBe('EDVSGRANT');
    expect(codeOf(() => user.grantIndirect(owner.endpoint, first, 'read', ANY))).toBe('EDVSGRANT');
    owner.revoke(first);
    expect(codeOf(() => user.vcopySync(place, target, 10))).toBe('EDVSGRANT');
  });
});

describe('a scattered copy', () => {
  it('does its elements in order, up to the first error, and tells how far it came', () => {
    const memory = pattern(1000);
    const grant = owner.grant(memory, 'read', user.endpoint);
    const from = (at: number): Party => ({ endpoint: owner.endpoint, grant, at });
    const target = new Uint8Array(300);
    const elements = [0, 1, 2].map((i) => ({
      source: from(700 - 100 * i),
      destination: target.subarray(100 * i),
      bytes: 100,
    }));

    expect(user.vcopyVectorSync(elements)).toBe(300);
    expect(user.copied).toBe(300);
    for (const i of [0, 1, 2]) {
      const part = target.subarray(100 * i, 100 * i + 100);
      expect(part).toEqual(memory.subarray(700 - 100 * i, 800 - 100 * i));
    }
    const bad = { source: from(950), destination: target, bytes: 100 };
    expect(codeOf(() => user.vcopyVectorSync([...elements, bad]))).toBe('EDVSGRANT');
    expect(user.copied).toBe(300);
    const many = Array.from({ length: 65 }, () => bad);
    expect(codeOf(() => user.vcopyVectorSync(many))).toBe('ERANGE');
    expect(user.vcopyVectorSync([])).toBe(0);
    const short = { source: from(0), destination: new Uint8Array(1), bytes: 2 };
    expect(() => user.vcopyVectorSync([short])).toThrow(RangeError);
  });
});
