// Hostile requests against session and gateway: nothing throws, and whoever may expect a reply gets
// exactly one. Method: valid requests of every kind are mutated (bits, words, lengths, cuts) or
// made of noise from a fixed seed, against a file system in memory; after every batch the replies
// are matched with the requests.
import { beforeAll, describe, expect, it } from 'vitest';
import { Gateway, GATEWAY_DEFAULTS } from '../../src/vos/fuse/gateway.ts';
import { Opcode, SILENT_OPCODES } from '../../src/vos/fuse/wire.ts';
import {
  initMessage,
  join,
  ManualClock,
  message,
  name,
  RecordingPort,
  words,
} from '../support/fuse-messages.ts';
import { failure, MemoryFiles, S_IFDIR, S_IFLNK, S_IFREG } from '../support/memory-files.ts';

const REQUESTS = 80_000;
const BATCH = 200;
const SEED = 0x5eed_f05e;
const HEADER_BYTES = 40;
const OPCODES: number[] = Object.values(Opcode);
const INTERESTING = [0, 1, 2, 3, 11, 12, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 4096, 1 << 20];
const BODIES: Uint8Array[] = [
  name('file'),
  name('dir'),
  name('.'),
  name('..'),
  name('none'),
  name('n'.repeat(300)),
  words(0, 0, 0, 0, 4096, 0, 0, 0, 0, 0),
  words(0, 0, 2, 0, 200, 0, 0, 0, 0, 0),
  join(words(0, 0), name('user.a')),
  join(words(64, 0), name('user.a')),
  words(3, 0, 11, 0, 1, 0, 12, 0, 1, 0),
  words(7, 45, 4096, 0xffff_ffff),
  // Those that change something: names and sizes as in their bodies.
  join(words(0x41, 0o100644, 0, 0), name('file')),
  join(words(0o644, 0o022), name('new')),
  join(words(0o010644, 0, 0, 0), name('fifo')),
  join(name('link'), name('target')),
  join(words(11, 0), name('other')),
  join(words(12, 0), name('file'), name('moved')),
  join(words(1, 0, 1, 0), name('moved'), name('file')),
  join(words(0, 0, 3, 0, 4, 0, 0, 0, 0o2000, 0), words(7)),
  words(...Array.from({ length: 22 }, (_, at) => [0x1ff, 0, 0, 0, 100][at] ?? 7)),
  words(0, 0, 0, 0, 0, 0),
  words(0, 0, 7, 0, 0, 0, 9, 0, 1, 4321, 0, 0),
  join(words(4, 0, 0, 0), name('user.b'), words(5)),
  words(0, 0, 0, 0, 11, 0, 0, 0, 50, 0, 10, 0, 0, 0),
  new Uint8Array(0),
];

/** xorshift32: the same requests on every machine. */
function generator(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

type Random = (below: number) => number;

function pick<T>(random: Random, values: readonly T[]): T {
  const value = values[random(values.length)];
  if (value === undefined) throw new Error('nothing to pick from');
  return value;
}

function mutate(random: Random, view: DataView): void {
  for (let i = random(4); i > 0; i--) {
    const at = random(view.byteLength);
    if (random(2) === 0) view.setUint8(at, view.getUint8(at) ^ (1 << random(8)));
    else if (at + 4 <= view.byteLength) view.setUint32(at, pick(random, INTERESTING), true);
  }
}

/** One request; about half keep a header that can be trusted. */
function makeRequest(random: Random, unique: number): { view: DataView; length: number } {
  const opcode = random(8) === 0 ? random(70) : pick(random, OPCODES);
  const noise = Uint8Array.from({ length: random(100) }, () => random(256));
  const body = random(4) === 0 ? noise : pick(random, BODIES);
  const view = message(opcode, { unique, node: pick(random, INTERESTING), body });
  if (random(2) === 0) mutate(random, view);
  const length = random(20) === 0 ? random(view.byteLength + 50) : view.byteLength;
  return { view, length };
}

/** The number a reply must carry, or undefined when there must be none. */
function expectedReply(view: DataView, length: number): bigint | undefined {
  const trusted =
    length >= HEADER_BYTES && length <= view.byteLength && view.getUint32(0, true) === length;
  if (!trusted || SILENT_OPCODES.has(view.getUint32(4, true))) return undefined;
  return view.getBigUint64(8, true);
}

function makeFiles(random: Random): MemoryFiles {
  const files = new MemoryFiles();
  files.add('/file', S_IFREG | 0o644, new Uint8Array(10_000));
  files.add('/dir', S_IFDIR | 0o755);
  files.add('/dir/link', S_IFLNK | 0o777, new TextEncoder().encode('file'));
  const xattrs = files.files.get(11)?.xattrs;
  xattrs?.set('user.a', new Uint8Array(40));
  const read = files.read.bind(files);
  files.read = async (file, offset, bytes, use) => {
    const fate = random(4);
    if (fate === 0) throw failure('EDSTDIED');
    if (fate === 1) await Promise.resolve();
    await read(file, offset, bytes, use);
  };
  // Who waits for a lock would wait for the rest of the test.
  const lock = files.lock.bind(files);
  files.lock = async (file, request) => lock(file, request);
  return files;
}

/**
 * Sends one batch and waits until the service settled. Returns the numbers that replies must carry.
 */
async function sendBatch(gateway: Gateway, random: Random, first: number): Promise<bigint[]> {
  const expected: bigint[] = [];
  for (let i = 0; i < BATCH; i++) {
    const { view, length } = makeRequest(random, (first + i) * 2);
    gateway.receive(view, length);
    const unique = expectedReply(view, length);
    if (unique !== undefined) expected.push(unique);
  }
  await new Promise((done) => setImmediate(done));
  return expected;
}

describe('hostile FUSE requests', () => {
  const thrown: unknown[] = [];
  beforeAll(() => {
    process.on('unhandledRejection', (reason) => thrown.push(reason));
  });

  it.each([
    ['reads', { readOnly: true, constant: true }],
    ['writes', {}],
  ])(`never throw, and get exactly one reply each, from a mount that %s`, async (_, options) => {
    const random = generator(SEED);
    const port = new RecordingPort();
    const clock = new ManualClock();
    const gateway = new Gateway(makeFiles(random), port, clock, {
      ...GATEWAY_DEFAULTS,
      ...options,
    });
    const init = initMessage();
    gateway.receive(init, init.byteLength);
    const bySign = { good: 0, bad: 0 };

    for (let sent = 0; sent < REQUESTS; sent += BATCH) {
      port.replies.length = 0;
      const expected = await sendBatch(gateway, random, sent + 2);
      clock.advance(1000);

      // A notice is no reply: it has a code above zero.
      const replies = port.replies.filter(({ error }) => error <= 0);
      const got = replies.map((reply) => reply.unique);
      expect(got.sort(compare)).toEqual(expected.sort(compare));
      expect(gateway.outstanding).toBe(0);
      for (const reply of replies) {
        expect(reply.length).toBe(16 + reply.body.length);
        expect(reply.error).toBeGreaterThan(-512);
        if (reply.error === 0) bySign.good++;
        else bySign.bad++;
      }
    }

    expect(thrown).toEqual([]);
    // The mutations must not be so wild that only the refusals are tried.
    expect(bySign.good).toBeGreaterThan(REQUESTS / 40);
    expect(bySign.bad).toBeGreaterThan(REQUESTS / 20);
  });
});

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : Number(a > b);
}
