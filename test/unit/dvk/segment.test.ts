// Segments: made, opened, refused, closed; who is bound in them.
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  dcId,
  DvkError,
  generationOf,
  isDvkError,
  makeEndpoint,
  nodeId,
  Segment,
  slotOf,
} from '../../../src/dvk/index.ts';
import { TestSegment } from '../../support/segments.ts';

const identity = { dcId: dcId(0), nodeId: nodeId(0), dcName: 'dc0', dvsName: 'test' };

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (isDvkError(error)) return error.code;
    throw error;
  }
  return 'none';
}

describe('Segment', () => {
  let test: TestSegment;
  let segment: Segment;
  beforeEach(() => {
    test = new TestSegment({ dcId: dcId(3), nodeId: nodeId(1) });
    segment = test.segment;
  });
  afterEach(() => {
    test.remove();
  });

  it('tells what it was created with', () => {
    expect(segment.info()).toMatchObject({
      path: test.path,
      directory: test.directory,
      dcId: 3,
      nodeId: 1,
      dcName: 'dc0',
      dvsName: 'test',
      processes: 256,
      nodes: 4,
      arenaBytes: 1 << 22,
      state: 'running',
    });
    expect(segment.arena).toHaveLength(1 << 22);
  });

  it('is created once', () => {
    expect(codeOf(() => Segment.create(test.path, identity))).toBe('EEXIST');
  });

  it('is not created with limits that cannot be, nor with long names', () => {
    const path = join(test.directory, 'other');
    const bad = [{ processes: 100 }, { processes: 1 << 20 }, { nodes: 0 }, { arenaBytes: 100 }];

    for (const limits of bad) {
      expect(codeOf(() => Segment.create(path, { ...identity, ...limits }))).toBe('EINVAL');
    }
    const long = { ...identity, dcName: 'a name of 16 byt' };
    expect(codeOf(() => Segment.create(path, long))).toBe('EINVAL');
    expect(existsSync(path)).toBe(false);
  });

  it('is refused with the reason when the file is no segment', () => {
    const path = join(test.directory, 'bad');
    writeFileSync(path, 'no segment');
    expect(() => Segment.open(path)).toThrow(/^EDVSBADSEGMENT: .*too short/);
    const bytes = readFileSync(test.path);
    bytes.writeUInt32LE(99, 8);
    writeFileSync(path, bytes);
    expect(() => Segment.open(path)).toThrow(/another version/);
    truncateSync(test.path, 8192);
    expect(() => Segment.open(test.path)).toThrow(/^EDVSBADSEGMENT: .*size/);
    truncateSync(test.path, bytes.length);
    expect(() => Segment.open(join(test.directory, 'none'))).toThrow(/^ENOENT: /);
  });

  it('is refused without permission', () => {
    chmodSync(test.directory, 0o755);
    chmodSync(test.path, 0o600);
    // Root may do everything, so it becomes nobody for the call.
    const isRoot = process.getuid?.() === 0;
    if (isRoot) process.seteuid?.(65534);
    else chmodSync(test.path, 0);
    try {
      expect(codeOf(() => Segment.open(test.path))).toBe('EACCES');
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });

  it('keeps the arena mapped for views that outlive it', () => {
    const other = Segment.open(test.path);
    const { arena } = other;
    other.close();

    segment.arena[5] = 77;

    expect(arena[5]).toBe(77);
  });

  it('fails with EBADF after close', () => {
    segment.close();
    segment.close();
    for (const call of [
      () => segment.info(),
      () => segment.bind({ name: 'late' }),
      () => segment.processes(),
      () => segment.links(),
      () => segment.lookup(3),
      () => segment.arenaUsed(),
      () => {
        segment.endContainer();
      },
      () => {
        segment.addNode(nodeId(2), 'late');
      },
    ]) {
      expect(codeOf(call)).toBe('EBADF');
    }
  });

  it('is checked for what may not be in it', () => {
    const process = segment.bind({ name: 'p' });
    process.allocate(5000);
    expect(segment.check()).toEqual([]);
    expect(segment.check(1)).toEqual([]);
    // A free slot whose life says that its owner is being unbound; see ProcessSlot in docs/wire.md.
    const file = openSync(test.path, 'r+');
    writeSync(file, Uint8Array.of(4), 0, 1, 4096 + 70 * 512);
    closeSync(file);

    expect(segment.check(1)).toEqual(['slot 70: the end of its process was cut short']);
    expect(segment.sweep()).toBe(1);
    expect(segment.check()).toEqual([]);
  });

  it('says how much of the arena is allocated', () => {
    const process = segment.bind({ name: 'p' });
    const view = process.allocate(5000);
    expect(segment.arenaUsed()).toBe(8192);
    process.free(view);
    expect(segment.arenaUsed()).toBe(0);
  });
});

describe('bind', () => {
  let test: TestSegment;
  let segment: Segment;
  beforeEach(() => {
    test = new TestSegment();
    segment = test.segment;
  });
  afterEach(() => {
    test.remove();
  });

  it('takes the fixed slot asked for, once', () => {
    const server = segment.bind({ slot: 7, level: 'server', name: 'fs' });

    expect(server.endpoint).toBe(makeEndpoint(7));
    expect(codeOf(() => segment.bind({ slot: 7, name: 'fs2' }))).toBe('EDVSSLOTUSED');
    expect(segment.lookup(7)).toBe(server.endpoint);
    expect(segment.isBound(server.endpoint)).toBe(true);
  });

  it('gives slots beyond the fixed ones, and a new generation to the next owner', () => {
    const first = segment.bind({ name: 'a', slot: 9 });
    first.unbind();
    const second = segment.bind({ name: 'b', slot: 9 });

    expect(slotOf(segment.bind({ name: 'c' }).endpoint)).toBeGreaterThanOrEqual(64);
    expect(generationOf(second.endpoint)).toBe(generationOf(first.endpoint) + 1);
    expect(segment.isBound(first.endpoint)).toBe(false);
    expect(segment.isBound(second.endpoint)).toBe(true);
  });

  it('refuses slots and names that cannot be', () => {
    expect(codeOf(() => segment.bind({ slot: 64, name: 'x' }))).toBe('EDVSBADPROC');
    expect(codeOf(() => segment.bind({ slot: -7, name: 'x' }))).toBe('EDVSBADPROC');
    expect(codeOf(() => segment.bind({ name: 'sixteen bytes ..' }))).toBe('EINVAL');
    expect(codeOf(() => segment.lookup(99_999))).toBe('EDVSBADPROC');
    expect(segment.lookup(3)).toBeUndefined();
  });

  it('says EDVSNOSLOT when the node has none left', () => {
    const share = (256 - 64) / 4;
    for (let i = 0; i < share; i++) segment.bind({ name: `p${i}` });

    expect(codeOf(() => segment.bind({ name: 'over' }))).toBe('EDVSNOSLOT');
  });

  it('is seen in the list of processes', () => {
    const server = segment.bind({ slot: 7, level: 'server', name: 'fs' });
    segment.bind({ name: 'client' });

    expect(segment.processes()).toMatchObject([
      { slot: 7, name: 'fs', level: 'server', life: 'local', state: 'running', node: 0 },
      { name: 'client', level: 'user', pid: process.pid },
    ]);
    server.unbind();
    server.unbind();
    expect(segment.processes()).toHaveLength(1);
  });

  it('fails with EDVSDCNOTRUN after the container has ended', () => {
    segment.endContainer();
    expect(codeOf(() => segment.bind({ name: 'late' }))).toBe('EDVSDCNOTRUN');
    expect(segment.info().state).toBe('ended');
  });

  it('tells the watcher', async () => {
    const changes: string[][] = [];
    const seen = new Promise<void>((resolve) => {
      segment.watchBinds(() => {
        changes.push(segment.processes().map((info) => info.name));
        resolve();
      });
    });

    segment.bind({ name: 'seen' });
    await seen;

    expect(changes).toEqual([['seen']]);
  });

  it('does not tell a watcher that has stopped', async () => {
    let calls = 0;
    const stop = segment.watchBinds(() => calls++);
    stop();
    segment.bind({ name: 'unseen' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toBe(0);
  });
});

describe('a process of another node', () => {
  it('is bound, listed and forgotten', () => {
    const test = new TestSegment();
    try {
      const { segment } = test;
      const endpoint = makeEndpoint(120, 4);
      expect(codeOf(() => segment.bindRemote(endpoint, nodeId(2), 'user', 'far'))).toBe(
        'EDVSNODCNODE',
      );
      segment.addNode(nodeId(2), 'n2');
      segment.bindRemote(endpoint, nodeId(2), 'server', 'far');

      expect(segment.isBound(endpoint)).toBe(true);
      expect(segment.processes()).toMatchObject([
        { endpoint, node: 2, life: 'remote', level: 'server', pid: 0, name: 'far' },
      ]);
      expect(segment.links()).toMatchObject([
        { node: 0, state: 'local' },
        { node: 2, state: 'down', name: 'n2' },
      ]);
      segment.unbindRemote(endpoint);
      expect(segment.isBound(endpoint)).toBe(false);
      expect(codeOf(() => segment.unbindRemote(endpoint))).toBe('EDVSNOTBOUND');
      expect(codeOf(() => segment.addNode(nodeId(2), 'n2'))).toBe('EEXIST');
      expect(codeOf(() => segment.addNode(nodeId(9), 'n9'))).toBe('EDVSBADNODEID');
      segment.removeNode(nodeId(2));
      expect(segment.links()).toHaveLength(1);
    } finally {
      test.remove();
    }
  });
});

it('DvkError is the only error of a segment', () => {
  expect(() => Segment.open('/nowhere/dc0')).toThrow(DvkError);
});
