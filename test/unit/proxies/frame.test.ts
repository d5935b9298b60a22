// Frames survive any way of cutting the stream, and whatever is not a frame is refused by name.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CommandKind, CommandLayout, Limit } from '../../../src/dvk/abi/abi.gen.ts';
import { crc32c } from '../../../src/dvk/crc32c.ts';
import { lz4Pack, lz4Unpack } from '../../../src/dvk/lz4.ts';
import { FRAME_HEAD_BYTES, FrameDecoder, FrameLayout } from '../../../src/proxies/frame.ts';
import { frameBytes, packedBytes } from '../../support/proxy-frames.ts';

interface Taken {
  session: number;
  sequence: number;
  kind: number;
  payload: string;
}

function take(decoder: FrameDecoder): Taken[] {
  const taken: Taken[] = [];
  for (let frame = decoder.next(); frame; frame = decoder.next()) {
    taken.push({
      session: frame.session,
      sequence: frame.sequence,
      kind: frame.kind,
      payload: Buffer.from(frame.payload).toString('hex'),
    });
  }
  return taken;
}

/** Feeds `bytes` in pieces of the sizes given, over and over, and takes frames after each. */
function feed(decoder: FrameDecoder, bytes: Uint8Array, sizes: number[]): Taken[] {
  const taken: Taken[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const space = decoder.space();
    const wanted = Math.min(sizes[turn % sizes.length] ?? 1, bytes.length - at, space.length);
    space.set(bytes.subarray(at, at + wanted));
    decoder.filled(wanted);
    at += wanted;
    taken.push(...take(decoder));
  }
  return taken;
}

/** A frame with 32 bits changed, and the header's checksum made right again when `sealed`. */
function spoiled(offset: number, value: number, sealed: boolean): Uint8Array {
  const bytes = frameBytes({ kind: CommandKind.SEND_MSG }, new Uint8Array(100));
  const view = new DataView(bytes.buffer);
  view.setUint32(offset, value, true);
  if (sealed) {
    const checksum = crc32c(bytes.subarray(0, FrameLayout.headerChecksum));
    view.setUint32(FrameLayout.headerChecksum, checksum, true);
  }
  return bytes;
}

describe('frames', () => {
  it('come out as they went in, however the stream is cut', () => {
    const frames = fc.array(
      fc.record({
        kind: fc.integer({ min: 1, max: 9 }),
        session: fc.nat(0xffff_ffff),
        sequence: fc.nat(0xffff_ffff),
        payload: fc.uint8Array({ maxLength: 3000 }),
      }),
      { minLength: 1, maxLength: 20 },
    );
    const cuts = fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 10 });

    fc.assert(
      fc.property(frames, cuts, fc.boolean(), (sent, sizes, oneByOne) => {
        const decoder = new FrameDecoder(crc32c, 3000, { oneByOne });
        const stream = Buffer.concat(
          sent.map(({ kind, payload, ...stamp }) => frameBytes({ kind }, payload, stamp)),
        );

        const taken = feed(decoder, stream, sizes);

        expect(taken).toEqual(
          sent.map((frame) => ({ ...frame, payload: Buffer.from(frame.payload).toString('hex') })),
        );
        expect(decoder.fault).toBeUndefined();
      }),
      { numRuns: 200 },
    );
  });

  it('of the longest kind fit, and are views of the buffer that they were read into', () => {
    const decoder = new FrameDecoder(crc32c, Limit.COPY_CHUNK_BYTES);
    const payload = Buffer.alloc(Limit.COPY_CHUNK_BYTES, 0xa5);
    const bytes = frameBytes({ kind: CommandKind.COPYIN_DATA }, payload);

    const space = decoder.space();
    space.set(bytes);
    decoder.filled(bytes.length);
    const frame = decoder.next();

    expect(frame?.payload.buffer).toBe(space.buffer);
    expect(Buffer.compare(frame?.payload ?? new Uint8Array(0), payload)).toBe(0);
  });

  it('that are read one by one lie in the same place, whatever was read of the next one', () => {
    const decoder = new FrameDecoder(crc32c, Limit.COPY_CHUNK_BYTES, { oneByOne: true });
    const payload = Buffer.alloc(131_072, 0xa5);
    const one = frameBytes({ kind: CommandKind.COPYIN_DATA }, payload);
    const stream = Buffer.concat(Array.from({ length: 6 }, () => one));
    const places: number[] = [];

    for (let at = 0; at < stream.length;) {
      const space = decoder.space();
      const part = stream.subarray(at, at + Math.min(space.length, at === 0 ? 140_000 : 100_000));
      space.set(part);
      decoder.filled(part.length);
      at += part.length;
      for (let frame = decoder.next(); frame; frame = decoder.next()) {
        places.push(frame.payload.byteOffset);
      }
    }

    // The first read is of any length: what it has of the second frame stays where it is.
    expect(new Set(places.slice(2))).toEqual(new Set([places[0]]));
    expect(places).toHaveLength(6);
  });

  it('keep their tail when the decoder gets a larger buffer', () => {
    const decoder = new FrameDecoder(crc32c, 100);
    const first = frameBytes({ kind: 1 }, new Uint8Array(100), { sequence: 1 });
    const second = frameBytes({ kind: 2 }, Buffer.alloc(5000, 7), { sequence: 2 });

    decoder.space().set(first);
    decoder.filled(first.length);
    const early = decoder.next();
    decoder.space().set(second.subarray(0, 40));
    decoder.filled(40);
    decoder.expand(5000, 0);
    const rest = feed(decoder, second.subarray(40), [700]);

    expect(early?.sequence).toBe(1);
    expect(rest.map((frame) => frame.sequence)).toEqual([2]);
  });

  it.each([
    ['magic', spoiled(FrameLayout.magic, 0x11223344, true)],
    ['version', spoiled(FrameLayout.version, 0x0020_0063, true)],
    ['header-bytes', spoiled(FrameLayout.version, 0x0040_0001, true)],
    ['flags', spoiled(FrameLayout.flags, 1, true)],
    ['header-checksum', spoiled(FrameLayout.sequence, 77, false)],
    ['length', spoiled(FrameLayout.payloadBytes, 0xffff_ffff, true)],
    ['length', spoiled(FrameLayout.payloadBytes, Limit.COPY_CHUNK_BYTES + 1, true)],
    ['body-checksum', spoiled(FrameLayout.BYTES + CommandLayout.source, 5, false)],
    ['body-checksum', spoiled(FRAME_HEAD_BYTES + 50, 5, false)],
    ['body-checksum', spoiled(FrameLayout.payloadBytes, 99, true)],
  ] as const)('with a wrong %s are refused, and nothing after them is read', (code, bytes) => {
    const decoder = new FrameDecoder(crc32c, Limit.COPY_CHUNK_BYTES);
    const capacity = decoder.capacityBytes;
    const good = frameBytes({ kind: 1 });

    const taken = feed(decoder, Buffer.concat([bytes, good]), [4096]);

    expect(taken).toEqual([]);
    expect(decoder.fault?.code).toBe(code);
    expect(decoder.capacityBytes).toBe(capacity);
  });

  it('whose command claims another length than the header are refused', () => {
    const decoder = new FrameDecoder(crc32c, Limit.COPY_CHUNK_BYTES);
    const bytes = frameBytes({ kind: 1 }, new Uint8Array(8));
    const view = new DataView(bytes.buffer);
    view.setUint32(FrameLayout.BYTES + CommandLayout.payloadBytes, 4, true);
    view.setUint32(FrameLayout.bodyChecksum, crc32c(bytes.subarray(FrameLayout.BYTES)), true);
    view.setUint32(
      FrameLayout.headerChecksum,
      crc32c(bytes.subarray(0, FrameLayout.headerChecksum)),
      true,
    );

    const taken = feed(decoder, bytes, [1000]);

    expect(taken).toEqual([]);
    expect(decoder.fault).toEqual({ code: 'length', found: 4 });
  });
});

describe('packed blocks', () => {
  const MAX = 100_000;
  const decoder = (payloadBytesMax = 5000): FrameDecoder => {
    const made = new FrameDecoder(crc32c, payloadBytesMax);
    made.takePacked(lz4Unpack, MAX);
    return made;
  };
  const few = (count: number): Uint8Array =>
    Buffer.concat(
      Array.from({ length: count }, (_, sequence) =>
        frameBytes({ kind: 1 }, Buffer.alloc(20 * sequence, 7), { sequence }),
      ),
    );

  it('come out as the frames that went in, however the stream is cut', () => {
    const frames = fc.array(
      fc.record({
        kind: fc.integer({ min: 1, max: 9 }),
        session: fc.nat(0xffff_ffff),
        sequence: fc.nat(0xffff_ffff),
        payload: fc.uint8Array({ maxLength: 900 }),
      }),
      { minLength: 1, maxLength: 12 },
    );
    const cuts = fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 6 });

    fc.assert(
      fc.property(fc.array(frames, { maxLength: 4 }), cuts, (blocks, sizes) => {
        const bytesOf = (sent: (typeof blocks)[0]): Uint8Array =>
          Buffer.concat(
            sent.map(({ kind, payload, ...stamp }) => frameBytes({ kind }, payload, stamp)),
          );
        // Packed and plain ones take turns.
        const stream = Buffer.concat(
          blocks.map((sent, at) => (at % 2 === 0 ? packedBytes(bytesOf(sent)) : bytesOf(sent))),
        );
        const made = decoder();

        const taken = feed(made, stream, sizes);

        expect(taken).toEqual(
          blocks
            .flat()
            .map((frame) => ({ ...frame, payload: Buffer.from(frame.payload).toString('hex') })),
        );
        expect(made.fault).toBeUndefined();
      }),
      { numRuns: 150 },
    );
  });

  it('are refused by a decoder that was not told of them', () => {
    const strict = new FrameDecoder(crc32c, 5000);

    expect(feed(strict, packedBytes(few(3)), [4096])).toEqual([]);
    expect(strict.fault).toEqual({ code: 'flags', found: 2 });
  });

  const lying = (unpackedBytes: number): Uint8Array => packedBytes(few(3), { unpackedBytes });
  const whole = few(3);
  it.each([
    ['packing', 'claims one byte too many', lying(whole.length + 1)],
    ['packing', 'claims one byte too few', lying(whole.length - 1)],
    ['packing', 'claims more than is allowed', lying(MAX + 1)],
    ['packing', 'claims 4 GiB', lying(0xffff_ffff)],
    ['packing', 'is longer than what it claims', lying(20)],
    ['packing', 'ends within a frame', packedBytes(whole.subarray(0, whole.length - 1))],
    ['packing', 'ends within a header', packedBytes(Buffer.concat([whole, whole.subarray(0, 9)]))],
    ['packing', 'is no block', packedBytes(whole, { block: Buffer.alloc(50, 0xff) })],
    ['flags', 'is packed twice', packedBytes(Buffer.concat([packedBytes(whole), whole]))],
    ['magic', 'has no frames', packedBytes(Buffer.alloc(900, 5))],
    [
      'length',
      'has a frame that is too long',
      packedBytes(frameBytes({ kind: 1 }, Buffer.alloc(5001))),
    ],
  ] as const)('are refused by their %s when one %s', (code, _, bytes) => {
    const made = decoder();
    const capacity = made.capacityBytes;

    const taken = feed(made, Buffer.concat([bytes, frameBytes({ kind: 9 })]), [4096]);

    expect(taken.map(({ kind }) => kind)).not.toContain(9);
    expect(made.fault?.code).toBe(code);
    expect(made.capacityBytes).toBe(capacity);
  });

  it('that were damaged are refused', () => {
    const good = packedBytes(whole);
    for (let at = 0; at < good.length; at++) {
      const bad = Uint8Array.from(good);
      bad[at] = (bad[at] ?? 0) ^ 0x10;
      const made = decoder();

      const taken = feed(made, Buffer.concat([bad, whole]), [4096]);

      expect([taken.length, made.fault === undefined]).toEqual([0, false]);
    }
  });

  it('make the packer say so when they do not get shorter', () => {
    const noise = Uint8Array.from({ length: 500 }, (_, i) => (i * i * 7919) >>> 3);

    expect(lz4Pack(noise, new Uint8Array(450))).toBe(0);
  });
});
