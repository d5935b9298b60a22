// The addon takes nothing on trust: every function is called with wrong things, and must throw
// TypeError or RangeError, or return an error, and must not crash.
import { openSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as fc from 'fast-check';
import { native, type Binding } from '../../../src/dvk/native.ts';
import { TestSegment } from '../../support/segments.ts';

// These act on the whole process whatever they are given.
const EXCLUDED = new Set([
  ...['closeFd', 'interruptOn', 'dieWithParent', 'leaveNoDump', 'setAffinity', 'pollStart'],
]);
const EXCLUDED_PREFIX = 'fuse';
// These write to a descriptor, read from it or change it, whoever's it is: the one by which vitest
// hears of this test, too.
const ON_DESCRIPTORS = new Set([
  ...['sendAtOnce', 'tcpCongestion', 'lockFile', 'punchHole', 'tuneDatagramSocket'],
  ...['udpOpen', 'udpReceive', 'udpSend', 'packetAttach', 'packetReceive', 'packetSend'],
]);
const DESCRIPTORS = 65_536;
const NOBODYS = openSync('/dev/null', 'r+');

type AnyFunction = (...parameters: unknown[]) => unknown;

const names = Object.keys(native()).filter(
  (name) => !EXCLUDED.has(name) && !name.startsWith(EXCLUDED_PREFIX),
);

function call(name: string, parameters: unknown[]): void {
  const [first, ...rest] = parameters;
  // As the addon reads a number.
  const fd = typeof first === 'number' ? first | 0 : -1;
  const isOpen = ON_DESCRIPTORS.has(name) && fd >= 0 && fd < DESCRIPTORS;
  try {
    (native()[name as keyof Binding] as AnyFunction)(isOpen ? NOBODYS : first, ...rest);
  } catch (error) {
    expect(error).toSatisfy((e) => e instanceof TypeError || e instanceof RangeError);
  }
}

describe('the addon', () => {
  it('throws TypeError without arguments, or needs none', () => {
    const free = new Set([
      ...['segmentReason', 'crc32cAccelerated', 'clearInterrupt', 'abiLayout', 'canLend'],
      ...['yieldCpu', 'interrupt'],
    ]);
    for (const name of names.filter((each) => !free.has(each))) {
      const { [name as keyof Binding]: target } = native();
      expect(() => (target as AnyFunction)(), name).toThrow(TypeError);
    }
  });

  it('gives an error for handles that nobody made', () => {
    for (const handle of [-1, 0, 1, 65535, 65536, 0x7fffffff, NaN, 1e99]) {
      expect(native().send(handle, 1, 0)).toBe(-310);
      expect(native().segmentInfo(handle)).toBe(-9);
      expect(native().wakerFd(handle)).toBe(-9);
      expect(native().unbind(handle)).toBe(-310);
    }
  });

  it('survives any mixture of arguments', () => {
    const test = new TestSegment();
    const process = test.segment.bind({ name: 'victim', awaitable: true });
    const buffers = [new Uint8Array(4), new Uint8Array(176), new Int32Array(8), new Uint8Array(0)];
    const something = fc.oneof(
      fc.integer({ min: -2, max: 300 }),
      fc.integer(),
      fc.double(),
      fc.bigInt(),
      fc.boolean(),
      fc.string({ maxLength: 20 }),
      fc.constantFrom<unknown>(null, undefined, {}, [], process, Symbol.iterator, ...buffers),
      fc.constant(() => undefined),
    );
    // Blocking calls get a short time-out where they would take a long one, by being left out.
    const blocking = new Set([
      ...['send', 'receive', 'sendrec', 'rcvrqst', 'replyReceive', 'vcopy'],
      ...['waitBind', 'waitUnbind', 'adopt'],
    ]);
    const paths = new Set(['segmentCreate', 'segmentOpen']);
    const tried = names.filter((name) => !blocking.has(name) && !paths.has(name));
    try {
      fc.assert(
        fc.property(fc.constantFrom(...tried), fc.array(something, { maxLength: 9 }), call),
        { numRuns: 20_000 },
      );
    } finally {
      test.remove();
    }
  });
});
