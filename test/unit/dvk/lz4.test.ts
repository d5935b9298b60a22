// Blocks of LZ4: what goes in comes out, and the reference program reads ours and writes what we
// read. Method: its legacy frames, which are a magic number, then the length of each block and the
// block.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lz4Pack, lz4Unpack } from '../../../src/dvk/lz4.ts';

const LEGACY_MAGIC = 0x184c2102;

function packed(source: Uint8Array): Uint8Array {
  const room = new Uint8Array(source.length + Math.ceil(source.length / 255) + 16);
  return room.subarray(0, lz4Pack(source, room));
}

/** The program, or why there is none. */
function reference(args: string[], input: Uint8Array): Buffer {
  const { status, stdout, stderr } = spawnSync('lz4', args, { input, maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(`lz4 failed: ${stderr.toString()}`);
  return stdout;
}

const hasReference = spawnSync('lz4', ['--version']).status === 0;
if (!hasReference) process.stdout.write('skipped: the reference, there is no program lz4\n');

/** From noise to long runs, and a text. */
const sources: Uint8Array[] = [
  Uint8Array.of(1),
  Buffer.alloc(13, 1),
  Buffer.alloc(1_000_000, 0),
  Buffer.from('abcdefg'.repeat(50_000)),
  Uint8Array.from({ length: 200_000 }, (_, i) => Math.imul(i ^ (i >>> 7), 0x9e3779b1) >>> 24),
  Uint8Array.from({ length: 300_000 }, (_, i) => (i % 70_001) & (i >>> 9) & 0xff),
  readFileSync(new URL('../../../docs/wire.md', import.meta.url)),
];

describe('a block of LZ4', () => {
  it('unpacks to what was packed, and to nothing where there is less room', () => {
    const words = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 5 });
    const order = fc.array(fc.nat(4), { maxLength: 200 });
    fc.assert(
      fc.property(words, order, (parts, places) => {
        const source = Buffer.concat(places.map((place) => parts[place] ?? Buffer.of(place)));
        if (source.length === 0) return;
        const out = new Uint8Array(source.length);

        expect(lz4Unpack(packed(source), out)).toBe(source.length);
        expect(Buffer.compare(out, source)).toBe(0);
        expect(lz4Unpack(packed(source), out.subarray(1))).toBe(-1);
      }),
      { numRuns: 300 },
    );
  });

  it.skipIf(!hasReference)('is read by the reference program', () => {
    for (const source of sources) {
      const block = packed(source);
      const head = Buffer.alloc(8);
      head.writeUInt32LE(LEGACY_MAGIC, 0);
      head.writeUInt32LE(block.length, 4);

      const out = reference(['-d', '-c'], Buffer.concat([head, block]));

      expect(Buffer.compare(out, source)).toBe(0);
    }
  });

  it.skipIf(!hasReference)('is read when the reference program wrote it', () => {
    for (const source of sources) {
      for (const level of ['-1', '-9']) {
        const written = reference(['-l', level, '-c'], source);
        const block = written.subarray(8);
        const out = new Uint8Array(source.length);

        expect(written.readUInt32LE(0)).toBe(LEGACY_MAGIC);
        expect(written.readUInt32LE(4)).toBe(block.length);
        expect(lz4Unpack(block, out)).toBe(source.length);
        expect(Buffer.compare(out, source)).toBe(0);
      }
    }
  });
});
