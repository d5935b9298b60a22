// The records of a sealed lane: what was sealed comes out, whatever pieces it comes in; what was
// changed, left out, repeated or made up ends the lane, and nothing of it reaches the owner.
// Method: two lanes joined by hand, random writes, cuts and damage from a fixed seed.
import { Duplex } from 'node:stream';
import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { BulkLane, RECORD_BODY_BYTES } from '../../src/proxies/bulk-lane.ts';
import type { ConnectionEvents } from '../../src/proxies/transport.ts';

const ROUNDS = 300;
const SEED = 0x1badcafe;

/** xorshift32: quick, and the same everywhere. */
function generator(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

type Random = (limit: number) => number;

/** A socket that keeps what is written. */
class Wire extends Duplex {
  readonly written: Buffer[] = [];
  failure: Error | null = null;

  override _read(): void {
    // Nothing comes: tests hand bytes to the lane themselves.
  }

  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.written.push(Buffer.from(chunk));
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.failure = error;
    done(null);
  }
}

class Owner implements ConnectionEvents {
  readonly #buffer: Uint8Array;
  readonly #kept: Buffer[] = [];

  constructor(bytes: number) {
    this.#buffer = new Uint8Array(bytes);
  }

  opened(): void {
    // Not by a lane.
  }

  closed(): void {
    // Not by a lane.
  }

  space(): Uint8Array {
    return this.#buffer;
  }

  received(bytes: number): void {
    this.#kept.push(Buffer.from(this.#buffer.subarray(0, bytes)));
  }

  all(): Buffer {
    return Buffer.concat(this.#kept);
  }
}

function secret(fill: number): Uint8Array {
  return new Uint8Array(32).fill(fill);
}

function laneOf(owner: Owner, send: number, receive: number): { lane: BulkLane; wire: Wire } {
  const secrets = { send: secret(send), receive: secret(receive) };
  const lane = new BulkLane({ name: 'lane', secrets }, owner);
  const wire = new Wire();
  lane.attach(wire as unknown as Socket);
  return { lane, wire };
}

/** The records of some random writes, and all that was written. */
async function sealed(random: Random): Promise<{ records: Buffer[]; plain: Buffer }> {
  const { lane, wire } = laneOf(new Owner(1), 1, 2);
  const writes = Array.from({ length: 1 + random(6) }, () => {
    const limit = [10, 1000, 2 * RECORD_BODY_BYTES][random(random(8) === 0 ? 3 : 2)] ?? 10;
    return Buffer.alloc(1 + random(limit), random(256));
  });
  await Promise.all(
    writes.map(
      async (bytes) =>
        new Promise<void>((resolve) => {
          lane.write(bytes, resolve);
        }),
    ),
  );
  return { records: wire.written, plain: Buffer.concat(writes) };
}

/** Gives `bytes` to a lane in random pieces. */
function feed(lane: BulkLane, bytes: Buffer, random: Random): void {
  for (let at = 0; at < bytes.length;) {
    const space = lane.space();
    if (space.length === 0) throw new Error('the lane has no room');
    const most = random(4) === 0 ? 10 : bytes.length;
    const part = bytes.subarray(at, at + Math.min(space.length, 1 + random(most)));
    space.set(part);
    at += part.length;
    lane.received(part.length);
  }
}

describe('the records of a sealed lane', () => {
  it('come out as they were written, whatever the pieces', async () => {
    const random = generator(SEED);
    for (let round = 0; round < ROUNDS; round++) {
      const { records, plain } = await sealed(random);
      const owner = new Owner(1 + random(100_000));
      const { lane, wire } = laneOf(owner, 2, 1);

      feed(lane, Buffer.concat(records), random);

      expect(owner.all().equals(plain), `round ${round}`).toBe(true);
      expect(wire.destroyed).toBe(false);
    }
  });

  it('end the lane when they are not what was sealed, and nothing of them comes out', async () => {
    const random = generator(SEED + 1);
    const kinds = [0, 0, 0, 0, 0];
    for (let round = 0; round < ROUNDS; round++) {
      const { records, plain } = await sealed(random);
      const at = random(records.length);
      const good = records.slice(0, at);
      const victim = records[at] ?? Buffer.alloc(0);
      const kind = random(kinds.length);
      kinds[kind] = (kinds[kind] ?? 0) + 1;
      const bad = [
        // A bit, the record twice, garbage, one that is left out, and one for the other direction.
        () => {
          const index = random(victim.length);
          victim[index] = (victim[index] ?? 0) ^ (1 << random(8));
          return [victim, Buffer.alloc(4 * RECORD_BODY_BYTES)];
        },
        () => [victim, victim],
        () => [Buffer.from(Array.from({ length: 5000 }, () => random(256)))],
        () => [...records.slice(at + 1), victim],
        () => [victim],
      ];
      const owner = new Owner(1 + random(100_000));
      const { lane, wire } = laneOf(owner, 2, kind === 4 ? 3 : 1);
      const isOnly = kind === 3 && at === records.length - 1;

      feed(lane, Buffer.concat([...good, ...(bad[kind]?.() ?? [])]), random);

      const came = owner.all();
      expect(plain.subarray(0, came.length).equals(came), `round ${round}`).toBe(true);
      // A record that claims to be long is waited for until more than it can be has come.
      if (kind !== 2 && !isOnly) expect(wire.destroyed, `round ${round}, ${kind}`).toBe(true);
      if (wire.destroyed) expect(wire.failure?.message).toMatch(/^a record /);
      lane.destroy();
    }
    expect(Math.min(...kinds)).toBeGreaterThan(0);
  });
});
