// Lines for the operator about what programs see as EIO: which error it was, and few of them.
import { constants } from 'node:os';
import { beforeEach, describe, expect, it } from 'vitest';
import { DvkError, errorNumber } from '../../../src/dvk/errors.ts';
import { CODES_MAX, IoErrors, TELL_MS } from '../../../src/vos/fuse/io-errors.ts';
import { ManualClock } from '../../support/fuse-messages.ts';
import { failure } from '../../support/memory-files.ts';

const { EIO } = constants.errno;

let clock: ManualClock;
let lines: string[];
let counters: { ioErrors: number };
let errors: IoErrors;

const fail = (error: unknown): number => errors.errnoOf(error, () => 'READ of file 12');

beforeEach(() => {
  clock = new ManualClock();
  lines = [];
  counters = { ioErrors: 0 };
  errors = new IoErrors(clock, counters, (line) => lines.push(line));
});

describe('a line for the operator', () => {
  it('has the call, and the code that programs do not see', () => {
    expect(fail(new DvkError(errorNumber('EDSTDIED') ?? 0, 'fs'))).toBe(EIO);
    expect(lines).toEqual([expect.stringMatching(/^EIO for READ of file 12: EDSTDIED: \w/)]);
  });

  it('has what an outage was, and the reason of an EIO', () => {
    const cause = new DvkError(errorNumber('EDVSNOPROXY') ?? 0, 'fs');
    fail(new DvkError(-EIO, 'fs', { cause }));
    fail(new DvkError(-EIO, 'fs', { reason: 'the server was restarted meanwhile' }));

    expect(lines[0]).toMatch(/: EIO: .*; EDVSNOPROXY: /);
    expect(lines[1]).toMatch(/\(the server was restarted meanwhile\)$/);
  });

  it('is one line and short, whatever the error is', () => {
    for (const error of [
      undefined,
      7,
      { code: 7 },
      'x'.repeat(1000),
      new Error('a\nb\n'.repeat(99)),
    ]) {
      clock.advance(TELL_MS);
      fail(error);
    }
    expect(lines.length).toBe(5);
    for (const line of lines) expect(line).toMatch(/^.{1,300}$/);
  });
});

describe('failures of one kind', () => {
  it('are told once in a while, with how many there were', () => {
    for (let i = 0; i < 100; i++) fail(failure('EDSTDIED'));
    expect(lines).toEqual(['EIO for READ of file 12: EDSTDIED']);

    clock.advance(TELL_MS - 1);
    fail(failure('EDSTDIED'));
    expect(lines.length).toBe(1);
    clock.advance(1);
    fail(failure('EDSTDIED'));

    const more = 'EIO for READ of file 12: EDSTDIED (and 100 more since the last line)';
    expect(lines.slice(1)).toEqual([more]);
    expect(counters.ioErrors).toBe(102);
  });

  it('do not hide another kind', () => {
    fail(failure('EDSTDIED'));
    fail(failure('EDVSNOPROXY'));
    expect(lines.length).toBe(2);
  });

  it('are bounded: codes beyond many count as one', () => {
    for (let i = 0; i < 1000; i++) fail(failure(`E${i}`));
    expect(lines.length).toBe(CODES_MAX + 1);
    expect(counters.ioErrors).toBe(1000);
  });
});

it('says nothing of errors that programs are told by name', () => {
  for (const code of ['ENOENT', 'ETIMEDOUT', 'ENOTCONN']) expect(fail(failure(code))).not.toBe(EIO);
  expect([lines, counters.ioErrors]).toEqual([[], 0]);
});
