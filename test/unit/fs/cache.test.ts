import { describe, expect, it } from 'vitest';
import { BlockCache } from '../../../src/servers/fs/cache.ts';
import { FsError, damaged } from '../../../src/servers/fs/errors.ts';
import { MemoryDevice } from '../../support/memory-device.ts';
import { pattern } from '../../support/trees.ts';

const UNIT = 4096;

function setUp(
  lines: number,
  bytes = 20 * UNIT + 100,
): { device: MemoryDevice; cache: BlockCache } {
  const device = new MemoryDevice(pattern(bytes, 1));
  return { device, cache: new BlockCache(device, new Uint8Array(lines * UNIT), UNIT) };
}

describe('BlockCache', () => {
  it('shows the bytes of the device, inside a line, across lines and at the end', () => {
    const { device, cache } = setUp(4);
    for (const [at, bytes] of [
      [0, 10],
      [UNIT - 5, 10],
      [3 * UNIT + 1, 3 * UNIT],
      [20 * UNIT + 90, 10],
    ] as const) {
      expect(cache.view(at, bytes)).toEqual(device.content.slice(at, at + bytes));
    }
  });

  it('reads each line once while it stays', () => {
    const { device, cache } = setUp(4);
    for (let round = 0; round < 3; round++) {
      for (let line = 0; line < 4; line++) cache.view(line * UNIT + round, 8);
    }
    expect([device.reads, cache.misses, cache.hits]).toEqual([4, 4, 8]);
  });

  it('keeps metadata in use while file data streams through', () => {
    const { device, cache } = setUp(4);
    cache.view(0, 8);
    for (let line = 1; line < 20; line++) {
      cache.view(0, 8);
      cache.read(new Uint8Array(UNIT), line * UNIT);
    }
    const reads = device.reads;
    cache.view(0, 8);
    expect(device.reads).toBe(reads);
  });

  it('keeps the views right through any sequence of requests', () => {
    const { device, cache } = setUp(3);
    let state = 7;
    for (let step = 0; step < 3000; step++) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      const at = state % (device.bytes - 9000);
      const bytes = (state >>> 8) % 9000;
      const wanted = device.content.subarray(at, at + bytes);
      expect(Buffer.compare(cache.view(at, bytes), wanted)).toBe(0);
    }
  });

  it('shows what is written through any sequence of requests, and writes it out ascending', () => {
    const { device, cache } = setUp(6);
    const model = device.content.slice();
    const order: number[] = [];
    device.before = (_, at) => void order.push(at);
    let state = 11;
    const random = (bound: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * bound);
    };
    for (let step = 0; step < 4000; step++) {
      const at = random(device.bytes);
      const bytes = random(Math.min(9000, device.bytes - at));
      const target = new Uint8Array(bytes);
      const kind = random(6);
      if (kind < 2) {
        target.fill(step);
        model.set(target, at);
        cache.write(target, at, device);
        continue;
      }
      if (kind === 2) cache.read(target, at);
      else if (kind === 3) cache.readPast(target, at);
      else if (kind === 4) target.set(cache.view(at, bytes));
      else if (random(20) === 0) {
        order.length = 0;
        cache.writeOut(device);
        expect(order).toEqual(order.toSorted((one, other) => one - other));
        expect(Buffer.compare(device.content, model)).toBe(0);
        continue;
      } else continue;
      expect(Buffer.compare(target, model.subarray(at, at + bytes))).toBe(0);
    }
  });

  it('keeps what cannot be written, writes the rest, and tells', () => {
    const { device, cache } = setUp(6);
    device.before = (_, at) => {
      if (at === UNIT) throw new FsError('EIO', 'a bad sector');
    };
    cache.write(new Uint8Array(10).fill(1), UNIT, device);
    cache.write(new Uint8Array(10).fill(2), 3 * UNIT, device);
    expect(() => {
      cache.writeOut(device);
    }).toThrow('EIO: a bad sector');
    expect(device.content[3 * UNIT]).toBe(2);

    device.before = () => undefined;
    cache.writeOut(device);

    expect(device.content[UNIT]).toBe(1);
  });

  it('returns what cannot be written over older contents, unless new blocks are beside it', () => {
    const { device, cache } = setUp(6);
    device.before = (_, at) => {
      if (at < 2 * UNIT) throw new FsError('EIO', 'a bad sector');
    };
    cache.overwrite(new Uint8Array(10).fill(1), UNIT, device);
    cache.overwrite(new Uint8Array(10).fill(2), 3 * UNIT, device);
    const late = cache.writeOut(device);
    expect(late.map(({ at, error }) => [at, error.message])).toEqual([[UNIT, 'EIO: a bad sector']]);
    expect(device.content[3 * UNIT]).toBe(2);
    cache.write(new Uint8Array(1024).fill(3), UNIT, device);
    expect(() => {
      cache.writeOut(device);
    }).toThrow('EIO: a bad sector');

    device.before = () => undefined;
    expect(cache.writeOut(device)).toEqual([]);

    expect(device.content[UNIT]).toBe(3);
  });

  it('takes contents while some wait that cannot be written, unless there are too many', () => {
    const { device, cache } = setUp(8);
    const bad = new Set([0, 1, 2, 3, 4, 5].map((line) => line * UNIT));
    device.before = (_, at) => {
      if (bad.has(at)) throw new FsError('EIO', 'a bad sector');
    };
    const write = (line: number): void => {
      cache.overwrite(new Uint8Array(UNIT).fill(line), line * UNIT, device);
    };
    for (const line of [0, 1, 2]) write(line);
    for (let line = 6; line < 12; line++) write(line);
    expect(() => {
      for (const line of [3, 4, 5]) write(line);
    }).toThrow('EIO: a bad sector');
    bad.clear();
    cache.writeOut(device);
    expect([0, 1, 2, 6, 11].map((line) => device.content[line * UNIT])).toEqual([0, 1, 2, 6, 11]);
  });

  it('refuses what is outside the device', () => {
    const { device, cache } = setUp(2);
    for (const [at, bytes] of [
      [device.bytes, 1],
      [-1, 2],
      [device.bytes - 4, 8],
    ] as const) {
      expect(() => cache.view(at, bytes)).toThrow(/^EIO/);
      expect(() => cache.peek(at, bytes)).toThrow(/^EIO/);
    }
  });

  it('still reads what lies beside a byte that cannot be read', () => {
    const { device, cache } = setUp(2);
    device.badByte = 100;
    expect(cache.view(200, 50)).toEqual(device.content.slice(200, 250));
    expect(cache.view(UNIT - 5, 10)).toEqual(device.content.slice(UNIT - 5, UNIT + 5));
    expect(() => cache.view(90, 20)).toThrow(/^EIO/);
    expect(() => {
      cache.read(new Uint8Array(20), 90);
    }).toThrow(/^EIO/);
  });

  it('verifies a block once for each load', () => {
    const { cache } = setUp(2);
    let verified = 0;
    const check = {
      tag: 1,
      verify: (): void => {
        verified++;
      },
    };
    for (let round = 0; round < 5; round++) cache.checked(1024, 1024, check);
    expect(verified).toBe(1);

    for (let line = 1; line < 4; line++) cache.view(line * UNIT, 1);
    cache.checked(1024, 1024, check);
    expect(verified).toBe(2);
  });

  it('verifies a block again for another owner, and at each use if it spans lines', () => {
    const { cache } = setUp(2);
    const seen: string[] = [];
    const check = (tag: number): Parameters<BlockCache['checked']>[2] => ({
      tag,
      verify: (block) => void seen.push(`${String(tag)}: ${String(block.length)}`),
    });
    cache.checked(0, 1024, check(1));
    cache.checked(0, 1024, check(2));
    cache.checked(0, 2 * UNIT, check(3));
    cache.checked(0, 2 * UNIT, check(3));
    expect(seen).toEqual(['1: 1024', '2: 1024', '3: 8192', '3: 8192']);
  });

  it('does not remember a block that failed', () => {
    const { cache } = setUp(2);
    const fails = {
      tag: 1,
      verify: () => {
        throw damaged`block ${0}: bad`;
      },
    };
    expect(() => cache.checked(0, 1024, fails)).toThrow('EUCLEAN: block 0: bad');
    expect(() => cache.checked(0, 1024, fails)).toThrow(/^EUCLEAN/);
  });

  it('gives views whose slices are copies, whatever the memory is', () => {
    const device = new MemoryDevice(pattern(3 * UNIT, 1));
    const cache = new BlockCache(device, Buffer.alloc(2 * UNIT), UNIT);
    const copy = cache.view(0, 8).slice();
    for (let line = 1; line < 3; line++) cache.view(line * UNIT, 8);
    expect(copy).toEqual(device.content.slice(0, 8));
  });

  it('needs whole kibibytes and two lines', () => {
    const device = new MemoryDevice(new Uint8Array(10));
    expect(() => new BlockCache(device, new Uint8Array(9000), 1000)).toThrow(RangeError);
    expect(() => new BlockCache(device, new Uint8Array(5000), UNIT)).toThrow(RangeError);
  });
});
