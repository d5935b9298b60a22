// Endpoints, errors and the message window: what needs no segment.
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ERRORS } from '../../../src/dvk/abi/schema.ts';
import {
  ANY,
  check,
  dcId,
  DvkError,
  errorName,
  errorNumber,
  fail,
  formatEndpoint,
  generationOf,
  isDvkError,
  isSpecial,
  KERNEL,
  makeEndpoint,
  Message,
  nodeId,
  NONE,
  PAYLOAD_BYTES,
  SELF,
  slotOf,
} from '../../../src/dvk/index.ts';

describe('endpoint', () => {
  it('gives slot and generation back', () => {
    fc.assert(
      fc.property(fc.nat(65535), fc.nat(32766), (slot, generation) => {
        const endpoint = makeEndpoint(slot, generation);
        expect(slotOf(endpoint)).toBe(slot);
        expect(generationOf(endpoint)).toBe(generation);
        expect(endpoint).toBeGreaterThanOrEqual(0);
        expect(isSpecial(endpoint)).toBe(false);
      }),
    );
  });

  it('equals its slot in generation 0', () => {
    expect(makeEndpoint(70)).toBe(70);
  });

  it('is written as slot and generation, or by name', () => {
    expect([makeEndpoint(70, 3), ANY, NONE, SELF, KERNEL].map(formatEndpoint)).toEqual([
      '70.3',
      'ANY',
      'NONE',
      'SELF',
      'KERNEL',
    ]);
  });

  it('refuses numbers out of range', () => {
    expect(() => makeEndpoint(65536)).toThrow(RangeError);
    expect(() => makeEndpoint(-1)).toThrow(RangeError);
    expect(() => makeEndpoint(1.5)).toThrow(RangeError);
    expect(() => makeEndpoint(1, 32767)).toThrow(RangeError);
    expect(() => nodeId(1024)).toThrow(RangeError);
    expect(() => dcId(-1)).toThrow(RangeError);
  });
});

describe('DvkError', () => {
  it('has the name and the sentence of the schema', () => {
    for (const [name, [number, sentence]] of Object.entries(ERRORS)) {
      const error = new DvkError(-number, 'send');
      expect(error.code).toBe(name);
      expect(error.errno).toBe(-number);
      expect(error.message).toBe(`${name}: ${sentence}`);
      expect(errorNumber(name)).toBe(-number);
    }
  });

  it('names POSIX errors as the host does', () => {
    expect(errorName(-110)).toBe('ETIMEDOUT');
    expect(errorName(11)).toBe('EAGAIN');
    expect(errorNumber('ENOENT')).toBe(-2);
    expect(errorName(-9999)).toBe('E9999');
    expect(errorNumber('ENOSUCHNAME')).toBeUndefined();
  });

  it('tells what the call was about', () => {
    const cause = new Error('why');
    const error = new DvkError(-354, 'vcopy', { endpoint: makeEndpoint(70, 1), cause });

    expect(error).toMatchObject({ syscall: 'vcopy', endpoint: makeEndpoint(70, 1), cause });
    expect(error.message).toContain('endpoint 70.1');
    expect('node' in error).toBe(false);
  });

  it('is matched by its code', () => {
    const error = new DvkError(-202, 'send');

    expect(isDvkError(error)).toBe(true);
    expect(isDvkError(error, 'EDEADSRCDST')).toBe(true);
    expect(isDvkError(error, 'EBUSY')).toBe(false);
    expect(isDvkError(new Error('EDEADSRCDST'))).toBe(false);
  });

  it('is thrown by fail, and by check for a negative result only', () => {
    expect(() => fail(-310, 'unbind')).toThrow(DvkError);
    expect(() => check(-310, 'unbind')).toThrow(/^EDVSNOTBOUND: /);
    expect(check(5, 'lookup')).toBe(5);
  });
});

describe('Message', () => {
  it('shows the same 64 bytes in three ways', () => {
    const message = new Message();
    message.type = -5;
    message.view.setInt32(8, 0x01020304, true);

    expect(message.bytes).toHaveLength(64);
    expect(PAYLOAD_BYTES).toBe(56);
    expect(message.view.getInt32(4, true)).toBe(-5);
    expect(message.int32[2]).toBe(0x01020304);
    expect([...message.bytes.subarray(8, 12)]).toEqual([4, 3, 2, 1]);
  });

  it('is cleared and copied as a whole', () => {
    const one = new Message();
    const two = new Message();
    one.type = 9;
    one.bytes.fill(1, 8);

    two.copyFrom(one);
    one.clear();

    expect(two.type).toBe(9);
    expect(two.bytes[63]).toBe(1);
    expect([...one.bytes].every((byte) => byte === 0)).toBe(true);
  });
});
