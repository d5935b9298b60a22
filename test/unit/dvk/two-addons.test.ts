// The addon twice in one process, as two packages of a program may bring one each. Method: a copy
// of the file, which the loader takes for another one, beside the addon that the API uses; both in
// one segment.
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ANY, FOREVER, type Process } from '../../../src/dvk/index.ts';
import type { Binding } from '../../../src/dvk/native.ts';
import { TestSegment } from '../../support/segments.ts';

const ADDON = join(import.meta.dirname, '../../../native/build/Release/dvk.node');
const ANY_SLOT = Int32Array.of(-1, 1, 0, 0, 0, 0);

let directory: string;
let other: Binding;
let test: TestSegment;
let own: Process;
let segment: number;
let theirs: number;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'dvk-addon-'));
  const path = join(directory, 'copy.node');
  copyFileSync(ADDON, path);
  other = createRequire(import.meta.url)(path) as Binding;
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

beforeEach(() => {
  test = new TestSegment();
  own = test.segment.bind({ name: 'own', level: 'server' });
  segment = other.segmentOpen(test.path);
  theirs = other.bind(segment, ANY_SLOT, 'theirs', 0);
});

afterEach(() => {
  other.unbind(theirs);
  other.segmentClose(segment);
  test.remove();
});

describe('two addons in one process', () => {
  it('have processes of their own in one segment, which notify one another', () => {
    const endpoint = other.processEndpoint(theirs);
    expect(test.segment.processes()).toMatchObject([
      { name: 'own', endpoint: own.endpoint, pid: process.pid },
      { name: 'theirs', endpoint, pid: process.pid },
    ]);

    own.notify(endpoint as never);
    expect(other.receive(theirs, ANY, 0)).toBe(0);
    expect(other.notify(theirs, own.endpoint)).toBe(0);
    own.receiveSync(ANY, 0);

    expect(own.message.source).toBe(endpoint);
    expect(new Int32Array(other.processWindow(theirs))[0]).toBe(own.endpoint);
  });

  it('wake the event loop for calls that are awaited by the other one', async () => {
    const endpoint = other.processEndpoint(theirs);
    const sent = own.send(endpoint as never);
    expect(other.receive(theirs, ANY, FOREVER)).toBe(0);
    await sent;

    const received = own.receive(ANY);
    new Int32Array(other.processWindow(theirs))[1] = 77;
    expect(other.send(theirs, own.endpoint, FOREVER)).toBe(0);
    await received;

    expect([own.message.source, own.message.type]).toEqual([endpoint, 77]);
  });

  it('outlive one another', () => {
    other.unbind(theirs);
    other.segmentClose(segment);
    expect(test.segment.processes()).toMatchObject([{ name: 'own' }]);

    segment = other.segmentOpen(test.path);
    theirs = other.bind(segment, ANY_SLOT, 'again', 0);
    own.unbind();

    expect(test.segment.processes()).toMatchObject([{ name: 'again' }]);
  });
});
