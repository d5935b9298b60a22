// Awaited copies: the bytes of a blocking copy, and the event loop gets its turns. Method: both
// parties are processes of one event loop, or of two nodes whose commands the test carries; turns
// are counted, and the clock is the test's.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ANY, isDvkError, Limit, type Party, type Process } from '../../../src/dvk/index.ts';
import { HandProxies } from '../../support/hand-proxy.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { TestSegment } from '../../support/segments.ts';

const CHUNK = Limit.COPY_CHUNK_BYTES;

async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    if (isDvkError(error)) return error.code;
    throw error;
  }
  return 'none';
}

function pattern(bytes: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
}

/** Counts the turns of the event loop until `call` settles. */
async function turnsDuring(call: Promise<unknown>): Promise<number> {
  let turns = 0;
  const ended = call.then(
    () => true,
    () => true,
  );
  const next = async (): Promise<boolean> =>
    new Promise((resolve) =>
      setImmediate(() => {
        resolve(false);
      }),
    );
  while (!(await Promise.race([ended, next()]))) turns++;
  return turns;
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

let test: TestSegment;
let owner: Process;
let user: Process;
let clock: ManualClock;
beforeEach(() => {
  test = new TestSegment();
  clock = new ManualClock();
  owner = test.segment.bind({ name: 'owner' });
  user = test.segment.bind({ name: 'user', clock });
});
afterEach(() => {
  test.remove();
});

function granted(memory: Uint8Array): Party {
  const grant = owner.grant(memory, 'read-write', user.endpoint);
  return { endpoint: owner.endpoint, grant, at: 0 };
}

describe('an awaited copy', () => {
  it.each([0, 1, 4095, 4096, 4097, 65_537, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])(
    'moves %d bytes in both directions',
    async (bytes) => {
      const source = pattern(bytes);
      const middle = new Uint8Array(bytes);
      const target = new Uint8Array(bytes);
      const there = granted(middle);

      expect(await user.vcopy(source, there, bytes)).toBe(bytes);
      expect(await user.vcopy(there, target, bytes)).toBe(bytes);
      expect(source.equals(target)).toBe(true);
      expect(user.copied).toBe(bytes);
    },
  );

  it('gives the event loop a turn between two chunks', async () => {
    const bytes = 32 * CHUNK;
    const copy = user.vcopy(granted(new Uint8Array(bytes)), new Uint8Array(bytes), bytes);

    expect(await turnsDuring(copy)).toBeGreaterThanOrEqual(31);
    expect(await copy).toBe(bytes);
  });

  it('ends at a signal, and tells the whole chunks that arrived', async () => {
    const bytes = 8 * CHUNK;
    const source = new Uint8Array(bytes).fill(3);
    const target = new Uint8Array(bytes);
    const stop = new AbortController();
    const copy = user.vcopy(granted(source), target, bytes, { signal: stop.signal });
    for (let turns = 0; turns < 3; turns++) await turn();
    stop.abort();

    expect(await codeOf(copy)).toBe('ECANCELED');
    expect(user.copied % CHUNK).toBe(0);
    expect(user.copied).toBeGreaterThan(0);
    expect(user.copied).toBeLessThan(bytes);
    const arrived = user.copied;
    await turn();
    expect(target.indexOf(0)).toBe(arrived);
    expect(await user.vcopy(granted(source), target, bytes)).toBe(bytes);
  });

  it('ends at its time-out, which is for the whole of it', async () => {
    const bytes = 8 * CHUNK;
    const target = new Uint8Array(bytes);
    const copy = user.vcopy(granted(new Uint8Array(bytes)), target, bytes, { timeoutMs: 50 });
    await turn();
    clock.advance(30);
    await turn();
    clock.advance(20);

    expect(await codeOf(copy)).toBe('ETIMEDOUT');
    expect(user.copied).toBeLessThan(bytes);
    expect(clock.waiting).toBe(0);
  });

  it('is the one call of its process, and ends with it', async () => {
    const bytes = 4 * CHUNK;
    const there = granted(new Uint8Array(bytes));
    const copy = user.vcopy(there, new Uint8Array(bytes), bytes);

    expect(await codeOf(user.vcopy(there, new Uint8Array(1), 1))).toBe('EBUSY');
    expect(await codeOf(user.receive(ANY))).toBe('EBUSY');
    user.notify(owner.endpoint);
    user.unbind();
    expect(await codeOf(copy)).toBe('ECANCELED');
    expect(await codeOf(user.vcopy(there, new Uint8Array(1), 1))).toBe('EDVSNOTBOUND');
  });

  it('fails as a blocking one', async () => {
    const there = granted(new Uint8Array(100));
    const target = new Uint8Array(200);
    expect(await codeOf(user.vcopy(there, target, 101))).toBe('EDVSGRANT');
    expect(await codeOf(user.vcopy(target, target, 1))).toBe('EDVSENDPOINT');
    await expect(user.vcopy(there, target, 201)).rejects.toThrow(RangeError);
    await expect(user.vcopy(there, target, -1)).rejects.toThrow(RangeError);
    const aborted = user.vcopy(there, target, 1, { signal: AbortSignal.abort() });
    expect(await codeOf(aborted)).toBe('ECANCELED');
    expect(await codeOf(user.vcopy(there, target, 100))).toBe('none');
  });

  it('fails in the middle when its grant is revoked there', async () => {
    const bytes = 8 * CHUNK;
    const grant = owner.grant(new Uint8Array(bytes), 'read', ANY);
    const there = { endpoint: owner.endpoint, grant, at: 0 };
    const copy = user.vcopy(there, new Uint8Array(bytes), bytes);
    await turn();
    await turn();
    owner.revoke(grant);

    expect(await codeOf(copy)).toBe('EDVSGRANT');
    expect(user.copied).toBeGreaterThan(0);
    expect(user.copied).toBeLessThan(bytes);
  });

  it('fails in the middle when the other process ends there', async () => {
    const bytes = 8 * CHUNK;
    const copy = user.vcopy(granted(new Uint8Array(bytes)), new Uint8Array(bytes), bytes);
    await turn();
    owner.unbind();

    expect(await codeOf(copy)).toBe('EDEADSRCDST');
    expect(user.copied % CHUNK).toBe(0);
    expect(user.copied).toBeLessThan(bytes);
  });
});

describe('an awaited copy between nodes', () => {
  const bytes = 2 * CHUNK + 7;
  let nodes: HandProxies;
  let near: Process;
  let far: Process;
  let memory: Buffer;
  let there: Party;
  beforeEach(() => {
    nodes = new HandProxies(2);
    far = nodes.server();
    near = nodes.segment(0).bind({ name: 'near', clock });
    memory = Buffer.alloc(bytes);
    there = { endpoint: far.endpoint, grant: far.grant(memory, 'read-write', ANY), at: 0 };
  });
  afterEach(async () => {
    await nodes.remove();
  });

  it('is made of calls to that node', async () => {
    const source = pattern(bytes);
    const target = Buffer.alloc(bytes);
    const carryAll = async (): Promise<void> => {
      for (let chunk = 0; chunk < 3; chunk++) {
        await nodes.carry(0, 1);
        await nodes.carry(1, 0);
      }
    };

    const copy = near.vcopy(source, there, bytes);
    await carryAll();
    expect(await copy).toBe(bytes);
    const back = near.vcopy(there, target, bytes);
    await carryAll();

    expect(await back).toBe(bytes);
    expect(target.equals(source)).toBe(true);
  });

  it('ends at a time-out or a signal in the middle, and tells how far it came', async () => {
    const stop = new AbortController();
    const options = { timeoutMs: 100, signal: stop.signal };
    for (const code of ['ETIMEDOUT', 'ECANCELED']) {
      const copy = near.vcopy(pattern(bytes), there, bytes, options);
      await nodes.carry(0, 1);
      await nodes.carry(1, 0);
      await nodes.take(0, 1);
      if (code === 'ETIMEDOUT') clock.advance(100);
      else stop.abort();
      expect(await codeOf(copy)).toBe(code);
      expect(near.copied).toBe(CHUNK);
    }
  });

  it('ends with ENOTCONN when the link goes', async () => {
    const copy = near.vcopy(pattern(bytes), there, bytes);
    await nodes.carry(0, 1);
    await nodes.carry(1, 0);
    nodes.segment(0).linkDown(1 as never);

    expect(await codeOf(copy)).toBe('ENOTCONN');
    expect(near.copied).toBe(CHUNK);
  });
});
