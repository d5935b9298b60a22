// Death and departure: a peer that is killed, a Worker that is terminated, a process that exits.
// Method: the victim is in the middle of a call; what waits on it must end, and nothing may be left
// behind.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findProgram } from '../../../src/cli/programs.ts';
import { ANY, isDvkError, slotOf, type Segment } from '../../../src/dvk/index.ts';
import { ChildPeer, WorkerPeer } from '../../support/peers.ts';
import { TestSegment } from '../../support/segments.ts';

async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (isDvkError(error)) return error.code;
    throw error;
  }
  return 'none';
}

const obstacle = findProgram('prlimit') ? undefined : 'needs prlimit (util-linux)';

let test: TestSegment;
let segment: Segment;
beforeEach(() => {
  test = new TestSegment();
  segment = test.segment;
});
afterEach(() => {
  test.remove();
});

function names(): string[] {
  return segment.processes().map((info) => info.name);
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe('a killed process', () => {
  it('is reaped once, and its waiters get ESRCDIED or EDSTDIED', async () => {
    const receiver = segment.bind({ name: 'receiver' });
    const sender = segment.bind({ name: 'sender' });
    const caller = segment.bind({ name: 'caller' });
    // Not of one that waits for the victim: that would be a deadlock.
    const other = segment.bind({ name: 'other' });
    const peer = new ChildPeer(test.path, 'receiveFrom', other.endpoint);
    const victim = await peer.ready();
    const waits = [
      codeOf(() => receiver.receive(victim)),
      codeOf(() => sender.send(victim)),
      codeOf(() => caller.sendrec(victim)),
    ];
    const slot = segment.processes().find((info) => info.endpoint === victim)!.slot;
    expect(segment.reap(slot, victim)).toBe(false);
    await peer.kill();

    expect(segment.reap(slot, victim)).toBe(true);
    expect(await Promise.all(waits)).toEqual(['ESRCDIED', 'EDSTDIED', 'EDSTDIED']);
    expect(segment.reap(slot, victim)).toBe(false);
    expect(await codeOf(() => sender.send(victim))).toBe('EDEADSRCDST');
    expect(names()).toEqual(['receiver', 'sender', 'caller', 'other']);
  });

  it('ends the blocking call of its peer without a daemon', async () => {
    const peer = new ChildPeer(test.path, 'receive');
    const victim = await peer.ready();
    const waiting = new ChildPeer(test.path, 'receiveFrom', victim);
    await waiting.ready();
    await peer.kill();

    expect(await waiting.told('done')).toBe('ESRCDIED');
    expect(names()).not.toContain('receive');
  });

  it('that waited in its event loop leaves no FIFO after it was reaped', async () => {
    const peer = new ChildPeer(test.path, 'awaitReceive');
    const victim = await peer.ready();
    await until(() => segment.processes().some((info) => info.state === 'receiving any'));
    await until(() => test.fifos().length === 1);
    await peer.kill();

    expect(segment.reap(segment.processes()[0]!.slot, victim)).toBe(true);
    expect(test.fifos()).toHaveLength(0);
  });

  it('gives its arena memory back', async () => {
    const used = segment.bind({ name: 'owner' });
    used.allocate(10_000);
    const other = new ChildPeer(test.path, 'receive');
    const victim = await other.ready();
    await other.kill();
    segment.reap(segment.processes()[1]!.slot, victim);
    used.unbind();

    expect(segment.arenaUsed()).toBe(0);
  });
});

describe('a Worker that ends', () => {
  it.each(['receive', 'awaitReceive'])('by terminate() unbinds during %s', async (role) => {
    const peer = new WorkerPeer(test.path, role);
    const endpoint = await peer.ready();
    await until(() => segment.processes().some((info) => info.state === 'receiving any'));
    await peer.terminate();

    expect(segment.isBound(endpoint)).toBe(false);
    expect(test.fifos()).toHaveLength(0);
  });

  it('by itself leaves nothing bound', async () => {
    const peer = new WorkerPeer(test.path, 'leave');
    await peer.told('done');
    await until(() => names().length === 0);

    expect(test.fifos()).toHaveLength(0);
  });

  it('while its peer waits ends that wait', async () => {
    const waiting = segment.bind({ name: 'waiting' });
    const peer = new WorkerPeer(test.path, 'awaitReceive');
    const endpoint = await peer.ready();
    const call = codeOf(() => waiting.receive(endpoint));
    await peer.terminate();

    expect(await call).toBe('ESRCDIED');
  });
});

/** Lets the process `pid` map so many bytes more than it does now. */
function limitMemory(pid: number, bytes: number): void {
  const [pages = ''] = readFileSync(`/proc/${String(pid)}/statm`, 'utf8').split(' ');
  const limit = Number(pages) * 4096 + bytes;
  spawnSync('prlimit', ['--pid', String(pid), `--as=${String(limit)}`, '--core=0']);
}

// Fault row 9. What there is no memory for may be an exception, or the end of the whole program.
describe.skipIf(obstacle !== undefined)(`a process without memory ${obstacle ?? ''}`, () => {
  it.each(['exhaustBuffers', 'exhaustHeap'])(
    'with a request in hand is gone for its client: %s',
    async (role) => {
      const client = segment.bind({ name: 'client' });
      const peer = new ChildPeer(test.path, role);
      const victim = await peer.ready();
      limitMemory(peer.child.pid ?? 0, 1 << 26);

      const call = codeOf(() => client.sendrec(victim));
      expect(await peer.ended).not.toBe(0);
      // The part of the node daemon, where it did not come to unbind itself.
      segment.reap(slotOf(victim), victim);
      expect(await call).toBe('ESRCDIED');
      expect(names()).toEqual(['client']);
    },
  );
});

describe('a process that exits', () => {
  it.each([
    ['leave', 0],
    ['exitPending', 0],
    ['exitWithWorker', 0],
    ['exitThrowing', 1],
  ])('by %s leaves no slot and no FIFO', async (role, code) => {
    const peer = new ChildPeer(test.path, role);
    await peer.ready();

    expect(await peer.ended).toBe(code);
    expect(names()).toEqual([]);
    expect(test.fifos()).toHaveLength(0);
  });

  it('waits for an awaited call, and ends when it is done', async () => {
    const sender = segment.bind({ name: 'sender' });
    const peer = new ChildPeer(test.path, 'awaitReceive');
    sender.sendSync(await peer.ready(), 5000);

    expect(await peer.told('done')).toBe('0');
    expect(await peer.ended).toBe(0);
    expect(names()).toEqual(['sender']);
  });

  it('with a request in hand leaves its client with ESRCDIED', async () => {
    const client = segment.bind({ name: 'client' });
    const peer = new ChildPeer(test.path, 'receive');
    const endpoint = await peer.ready();

    expect(await codeOf(() => client.sendrec(endpoint))).toBe('ESRCDIED');
    expect(await peer.ended).toBe(0);
  });

  it('tells whoever waits for it', async () => {
    const client = segment.bind({ name: 'client' });
    const peer = new ChildPeer(test.path, 'send', client.endpoint);
    const endpoint = await peer.ready();
    client.receiveSync(endpoint, 5000);

    expect(await codeOf(() => client.receive(endpoint))).toMatch(/^E(SRCDIED|DEADSRCDST)$/);
    expect(client.receiveRaw(ANY, 0)).toBe(-11);
  });
});
