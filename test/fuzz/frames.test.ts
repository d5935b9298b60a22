// Whatever bytes come, the decoder does not throw, does not grow, and closes the link when it must;
// nothing that was damaged reaches a session. Method: random bytes, damaged frames, packed blocks
// and frames with lying lengths, from a fixed seed, cut into random pieces.
import { describe, expect, it } from 'vitest';
import { CommandKind, Limit } from '../../src/dvk/abi/abi.gen.ts';
import { crc32c } from '../../src/dvk/crc32c.ts';
import { FrameDecoder, FrameLayout, FRAME_HEAD_BYTES } from '../../src/proxies/frame.ts';
import { HELLO_BYTES_MAX } from '../../src/proxies/hello.ts';
import { Session } from '../../src/proxies/session.ts';
import { nodeId, type Endpoint } from '../../src/dvk/endpoint.ts';
import { lz4Unpack } from '../../src/dvk/lz4.ts';
import { decodeTracking, encodeAnswer, encodeQuery } from '../../src/proxies/tracker-codec.ts';
import { runInput } from '../support/kept-inputs.ts';
import { frame, frameBytes, packedBytes } from '../support/proxy-frames.ts';

const INPUTS = 100_000;
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

function randomBytes(random: Random, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, () => random(256));
}

/** A header with numbers of our choosing and a right checksum. */
function lyingHeader(random: Random, good: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(good);
  const view = new DataView(bytes.buffer);
  const fields = [FrameLayout.payloadBytes, FrameLayout.session, FrameLayout.flags] as const;
  const values = [0, 1, 0x7fff_ffff, 0xffff_ffff, Limit.COPY_CHUNK_BYTES, random(2 ** 32)];
  view.setUint32(fields[random(3)] ?? 0, values[random(values.length)] ?? 0, true);
  const checksum = crc32c(bytes.subarray(0, FrameLayout.headerChecksum));
  view.setUint32(FrameLayout.headerChecksum, checksum, true);
  return bytes;
}

function flip(bytes: Uint8Array, at: number, bits: number): void {
  bytes[at] = (bytes[at] ?? 0) ^ bits;
}

function damage(random: Random, good: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(good);
  switch (random(4)) {
    case 0:
      flip(bytes, random(bytes.length), 1 << random(8));
      return bytes;
    case 1:
      return bytes.subarray(0, random(bytes.length));
    case 2:
      return Buffer.concat([bytes, randomBytes(random, random(100))]);
    default: {
      const at = random(bytes.length);
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random(40))]);
    }
  }
}

/** Feeds `bytes` in pieces and counts the frames that come out. */
function decode(decoder: FrameDecoder, bytes: Uint8Array, random: Random): number {
  let frames = 0;
  for (let at = 0; at < bytes.length;) {
    const space = decoder.space();
    expect(space.length).toBeGreaterThan(0);
    const part = bytes.subarray(at, at + Math.min(space.length, 1 + random(400)));
    space.set(part);
    decoder.filled(part.length);
    at += part.length;
    while (decoder.next()) frames++;
  }
  return frames;
}

describe('the frame decoder', () => {
  it(`survives ${INPUTS} inputs`, () => {
    const random = generator(SEED);
    const good = [0, 1, 48, 500].map((bytes) =>
      frameBytes({ kind: CommandKind.SEND_MSG }, randomBytes(random, bytes)),
    );
    const capacity = new FrameDecoder(crc32c, HELLO_BYTES_MAX).capacityBytes;
    const faults = new Map<string, number>();
    let whole = 0;

    for (let input = 0; input < INPUTS; input++) {
      const decoder = new FrameDecoder(crc32c, HELLO_BYTES_MAX);
      const frame = good[random(good.length)] ?? new Uint8Array(0);
      const kind = random(3);
      const bytes =
        kind === 0
          ? randomBytes(random, random(64))
          : kind === 1
            ? damage(random, frame)
            : lyingHeader(random, frame);

      runInput('frames', Buffer.concat([Uint8Array.of(0), bytes]), () => {
        whole += decode(decoder, bytes, random);
        if (decoder.capacityBytes !== capacity) throw new Error('it grew');
      });

      const { code } = decoder.fault ?? { code: 'none' };
      faults.set(code, (faults.get(code) ?? 0) + 1);
    }

    // The inputs reach every refusal, and whole frames among the damaged ones still come out.
    expect([...faults.keys()].sort()).toEqual([
      'body-checksum',
      'flags',
      'header-bytes',
      'header-checksum',
      'length',
      'magic',
      'none',
      'version',
    ]);
    expect(whole).toBeGreaterThan(1000);
  }, 60_000);

  it('survives packed blocks that lie, or are damaged with right checksums', () => {
    const random = generator(SEED + 3);
    const max = 8192;
    const faults = new Map<string, number>();
    let capacity = 0;
    let whole = 0;
    for (let input = 0; input < 5000; input++) {
      const decoder = new FrameDecoder(crc32c, HELLO_BYTES_MAX);
      decoder.takePacked(lz4Unpack, max);
      capacity ||= decoder.capacityBytes;
      const count = random(4);
      const inside = Array.from({ length: count }, () =>
        frameBytes({ kind: CommandKind.SEND_MSG }, new Uint8Array(random(2500))),
      );
      let frames: Uint8Array = Buffer.concat(inside);
      if (random(4) === 0) frames = damage(random, Buffer.concat([frames, packedBytes(frames)]));
      const lengths = [frames.length, frames.length + random(3) - 1, random(2 ** 32), max, 0];
      const unpackedBytes = lengths[random(random(3) === 0 ? 5 : 1)] ?? 0;
      const packed = packedBytes(frames, { unpackedBytes });
      // Damage within the block, or of all of it.
      const block = damage(random, packed.subarray(FrameLayout.BYTES));
      const bytes = [packed, packedBytes(frames, { unpackedBytes, block }), damage(random, packed)];

      const chosen = bytes[random(3)] ?? packed;
      runInput('frames', Buffer.concat([Uint8Array.of(4), chosen]), () => {
        whole += decode(decoder, chosen, random);
        if (decoder.capacityBytes !== capacity) throw new Error('it grew');
      });

      const { code } = decoder.fault ?? { code: 'none' };
      faults.set(code, (faults.get(code) ?? 0) + 1);
    }
    const seen = ['none', 'packing', 'body-checksum', 'header-checksum', 'flags', 'magic'];
    expect([...faults.keys()]).toEqual(expect.arrayContaining(seen));
    expect(whole).toBeGreaterThan(1000);
  }, 60_000);

  it('gives nothing after a damaged frame, however much follows', () => {
    const random = generator(SEED + 1);
    const good = frameBytes({ kind: CommandKind.SEND_MSG }, randomBytes(random, 64));

    for (let input = 0; input < 2000; input++) {
      const bad = Uint8Array.from(good);
      flip(bad, random(bad.length), 1 + random(255));
      const decoder = new FrameDecoder(crc32c, HELLO_BYTES_MAX);

      const frames = decode(decoder, Buffer.concat([good, bad, good, good]), random);

      if (frames !== 1 || !decoder.fault) throw new Error(`input ${input}: ${frames} frames`);
    }
  });
});

describe('commands of trackers', () => {
  it('are read as they were written, or not at all, whatever comes', () => {
    const random = generator(SEED + 4);
    const route = { dcId: 5, from: nodeId(1), to: nodeId(2) };
    const query = { number: 7, slot: 70 };
    const endpoint = 70 as Endpoint;
    const owner = { endpoint, level: 'server', name: 'fs', replica: true } as const;
    const good = [
      encodeQuery(query, route),
      encodeAnswer({ ...query, owner: 'none' }, route),
      encodeAnswer({ ...query, owner }, route),
    ];
    let read = 0;
    for (let input = 0; input < 10_000; input++) {
      const bytes = Uint8Array.from(good[random(3)] ?? []);
      for (let i = random(4); i > 0; i--) bytes[random(bytes.length)] = random(256);

      runInput('trackers', bytes, () => {
        const told = decodeTracking(bytes);
        if (told === undefined) return;
        read++;
        const again =
          'query' in told ? encodeQuery(told.query, route) : encodeAnswer(told.answer, route);
        expect(decodeTracking(again)).toEqual(told);
      });
    }
    expect(read).toBeGreaterThan(2000);
  });
});

describe('a session', () => {
  it('survives frames that are whole and make no sense', () => {
    const random = generator(SEED + 2);
    let closed = 0;

    for (let input = 0; input < 20_000; input++) {
      const frames: Uint8Array[] = [];
      const session: Session = new Session(
        {
          dvs: 'lab',
          node: 1,
          incarnation: 1n,
          lastSession: () => 0,
          lastLedger: () => undefined,
          pathFault: () => undefined,
          containersFor: () => [],
          nameOf: (node) => `n${node}`,
          newKey: () => new Uint8Array(32),
        },
        {
          isBusy: false,
          send: (_, command) => void frames.push(command),
          up: () => undefined,
          containersChanged: () => undefined,
          chosen: () => undefined,
          deliver: () => {
            throw new Error('nothing may be delivered before a HELLO');
          },
          down: () => closed++,
        },
        0,
      );
      const kinds = Object.values(CommandKind);
      const payload = randomBytes(random, random(80));
      const bytes = frameBytes(
        { kind: kinds[random(kinds.length)] ?? 0, destinationNode: 1 },
        payload,
      );

      const stamp = { session: random(2), sequence: random(2) };
      session.receive(
        frame(bytes.subarray(FrameLayout.BYTES, FRAME_HEAD_BYTES), payload, stamp),
        0,
      );

      expect(session.state).not.toBe('up');
    }
    expect(closed).toBeGreaterThan(1000);
  });
});
