// Packing pays, or is not done. Method: a network and a processor that the test makes up, with data
// whose ratio and speed change as the seed says; what a transfer takes is compared with what it
// takes when everything is packed, and when nothing is.
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../src/dvk/crc32c.ts';
import { Compression } from '../../../src/proxies/compression.ts';
import { FRAME_HEAD_BYTES, FrameLayout } from '../../../src/proxies/frame.ts';
import { SlabPool } from '../../../src/proxies/outbox.ts';
import { DEFAULT_SETTINGS, type ProxySettings } from '../../../src/proxies/settings.ts';
import { Lane, type Bandwidth } from '../../../src/proxies/transport.ts';
import { frameBytes } from '../../support/proxy-frames.ts';
import { seeded } from '../../support/datagram-network.ts';

const BLOCK_BYTES = 256 * 1024;
const block = frameBytes({ kind: 7 }, new Uint8Array(BLOCK_BYTES - FRAME_HEAD_BYTES));

/** A link of that many bytes a second, whose data has this ratio and takes so long to pack. */
class World {
  nowMs = 0;
  bytesPerSecond = 100e6;
  ratio = 0.5;
  nsPerByte = 2;
  /** What `pack` was given. */
  triedBytes = 0;
  isLimited = false;
  readonly settings: Pick<ProxySettings, 'compress' | 'compressSealed'>;
  readonly compression: Compression;

  constructor(settings: Partial<ProxySettings> = {}, isSealed = false) {
    this.settings = { ...DEFAULT_SETTINGS, ...settings };
    this.compression = new Compression({
      settings: this.settings,
      isSealed,
      pack: (source, target) => {
        this.triedBytes += source.length;
        this.nowMs += (source.length * this.nsPerByte) / 1e6;
        const bytes = Math.max(1, Math.floor(source.length * this.ratio));
        return bytes <= target.length ? bytes : 0;
      },
      checksum: crc32c,
      pool: new SlabPool(),
      nowMs: () => this.nowMs,
      bandwidth: (): Bandwidth | undefined =>
        this.bytesPerSecond === 0
          ? undefined
          : { bytesPerSecond: this.bytesPerSecond, isLimited: this.isLimited },
    });
  }

  /** Sends a block, and waits until it is there. Returns whether it went packed. */
  send(bytes = block, lane: Lane = Lane.BULK): boolean {
    const packed = this.compression.pack(bytes, lane);
    const count = packed?.bytes.length ?? bytes.length;
    this.nowMs += (1000 * count) / (this.bytesPerSecond === 0 ? 1e9 : this.bytesPerSecond);
    packed?.done();
    return packed !== undefined;
  }

  transfer(blocks: number): number {
    const before = this.nowMs;
    for (let i = 0; i < blocks; i++) this.send();
    return this.nowMs - before;
  }
}

describe('packing, as links do it by themselves', () => {
  it('is nearly as quick as the better of always and never, whatever comes (seeded)', () => {
    const random = seeded(4711);
    const between = (low: number, high: number): number => low * (high / low) ** random();
    let [packed, plain] = [0, 0];
    for (let round = 0; round < 60; round++) {
      const worlds = (['auto', 'on', 'off'] as const).map((compress) => new World({ compress }));
      const sums = [0, 0, 0];
      for (let change = 0; change < 3; change++) {
        const made = {
          bytesPerSecond: between(1e6, 10e9),
          nsPerByte: between(0.1, 4),
          ratio: Math.min(1.01, between(0.02, 1.6)),
        };
        worlds.forEach((world, at) => {
          Object.assign(world, made);
          // What the data and the network are now is found out first.
          for (let i = 0; i < 60; i++) {
            world.send();
            world.nowMs += 50;
          }
          sums[at] = (sums[at] ?? 0) + world.transfer(100);
        });
      }
      const [auto = 0, on = 0, off = 0] = sums;
      if (on < off) packed++;
      else plain++;
      // A little may be won and is not: it would be for the peer to unpack.
      expect(auto, `round ${round}: always ${on}, never ${off}`).toBeLessThan(off * 1.02);
      if (on < off / 1.7) expect(auto).toBeLessThan(on * 1.6);
    }
    expect(Math.min(packed, plain)).toBeGreaterThan(8);
  });

  it('halves the time of a slow link from the first block on', () => {
    const world = new World({ compress: 'auto' });
    world.bytesPerSecond = 25e6;

    expect(world.send()).toBe(true);
    expect(world.compression.state).toMatchObject({ isPacking: true, ratio: 0.5 });
  });

  it('costs next to nothing for data that does not get shorter, and finds out when it does', () => {
    const world = new World();
    Object.assign(world, { bytesPerSecond: 25e6, ratio: 1 });

    world.transfer(1000);
    expect(world.triedBytes).toBeLessThan((1000 * BLOCK_BYTES) / 100);
    expect(world.compression.counters).toMatchObject({ packedBlocks: 0, plainBlocks: 1000 });

    world.ratio = 0.3;
    const before = world.nowMs;
    while (!world.send()) expect(world.nowMs).toBeLessThan(before + 3000);
    world.ratio = 1;
    for (let i = 0; i < 20; i++) world.send();
    expect(world.send()).toBe(false);
  });

  it('is not done on a network that is faster, nor where nobody knows how fast it is', () => {
    const world = new World();
    world.bytesPerSecond = 3e9;
    world.transfer(100);
    world.bytesPerSecond = 0;
    const other = new World();
    other.isLimited = true;
    other.transfer(100);

    expect(world.compression.counters.packedBlocks).toBe(0);
    expect(other.compression.counters.packedBlocks).toBe(0);
  });

  it('ends when the network gets faster, also while it waits for what is to be sent', () => {
    const world = new World();
    world.bytesPerSecond = 25e6;
    world.transfer(50);
    expect(world.compression.state.isPacking).toBe(true);

    Object.assign(world, { bytesPerSecond: 3e9, isLimited: true });
    world.transfer(100);

    expect(world.compression.state.isPacking).toBe(false);
  });
});

describe('what is packed', () => {
  const commands = Buffer.concat(Array.from({ length: 20 }, () => frameBytes({ kind: 1 })));
  const twoCopies = Buffer.concat([block, block]).subarray(0, 2 * block.length);

  it.each([
    ['off', 'all', false, [false, false, false]],
    ['on', 'off', false, [true, true, true]],
    ['on', 'off', true, [false, false, false]],
    ['on', 'copies', true, [true, false, false]],
    ['on', 'all', true, [true, true, true]],
  ] as const)(
    'with compress %s, compressSealed %s, sealed %s: a copy, two copies, commands: %j',
    (compress, compressSealed, isSealed, expected) => {
      const world = new World({ compress, compressSealed }, isSealed);

      const sent = [
        world.send(block, Lane.BULK),
        world.send(twoCopies, Lane.BULK),
        world.send(commands, Lane.URGENT),
      ];

      expect(sent).toEqual(expected);
    },
  );

  it('is what is long enough, and no longer than the peer takes', () => {
    const world = new World({ compress: 'on' });

    expect(world.send(frameBytes({ kind: 1 }), Lane.URGENT)).toBe(false);
    expect(world.send(block, Lane.URGENT)).toBe(false);
    expect(world.send(Buffer.alloc(1024 * 1024 * 2), Lane.BULK)).toBe(false);
  });

  it('gives every slab back', () => {
    const pool = new SlabPool();
    const compression = new Compression({
      settings: { compress: 'on', compressSealed: 'all' },
      isSealed: false,
      pack: (source) => source.length >> 1,
      checksum: crc32c,
      pool,
      nowMs: () => 0,
      bandwidth: () => undefined,
    });
    const slab = pool.take();
    pool.giveBack(slab);

    const under = Array.from({ length: 40 }, () => compression.pack(block, Lane.BULK));
    for (const one of under)
      expect(one?.bytes.length).toBe(FrameLayout.BYTES + (block.length >> 1));
    compression.close();
    for (const one of under) one?.done();

    expect(slab).toMatchObject({ used: 0, writes: 0 });
  });
});
