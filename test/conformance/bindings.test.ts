// wait4bindep and wait4unbind: sections 5 and 5.7 of the M3-IPC notes. Method: awaited waits within
// one event loop, blocking ones for a child process; for another node the test carries the
// commands.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ANY, makeEndpoint, nodeId, SELF, type Process } from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import { HandProxies } from '../support/hand-proxy.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { SERVER_SLOT } from '../support/peer-roles.ts';
import { ChildPeer } from '../support/peers.ts';
import { TestSegment } from '../support/segments.ts';

let test: TestSegment;
let waiter: Process;
let clock: ManualClock;
beforeEach(() => {
  test = new TestSegment();
  clock = new ManualClock();
  waiter = test.segment.bind({ name: 'waiter', clock });
});
afterEach(() => {
  test.remove();
});

function bind(slot: number): Process {
  return test.segment.bind({ slot, level: 'server', name: 'server' });
}

describe('waitForBind', () => {
  it('gives the endpoint of a slot that is bound already', async () => {
    const { endpoint } = bind(0);
    expect(await waiter.waitForBind(0)).toBe(endpoint);
    expect(waiter.waitForBindSync(0)).toBe(endpoint);
    expect(await waiter.waitForBind(waiter.slot)).toBe(waiter.endpoint);
  });

  it('waits for the bind of that slot, and leaves the message alone', async () => {
    waiter.message.type = 77;
    const found = waiter.waitForBind(1);
    expect(test.segment.process(waiter.slot)?.state).toBe('awaiting bind');
    bind(2);
    const { endpoint } = bind(1);

    expect(await found).toBe(endpoint);
    expect(waiter.message.type).toBe(77);
  });

  it('lets several wait for one', async () => {
    const others = [1, 2, 3].map((i) => test.segment.bind({ name: `waiter${i}` }));
    const all = [waiter, ...others].map((process) => process.waitForBind(9));
    const { endpoint } = bind(9);

    expect(await Promise.all(all)).toEqual(all.map(() => endpoint));
  });

  it('blocks until another process binds', async () => {
    const peer = new ChildPeer(test.path, 'echo');
    const found = waiter.waitForBindSync(SERVER_SLOT, 10_000);

    expect(found).toBe(await peer.ready());
    await peer.kill();
    waiter.waitForUnbindSync(found, 10_000);
    expect(test.segment.process(SERVER_SLOT)).toBeUndefined();
  });

  it('fails with its own errors', async () => {
    expect(await codeOf(() => waiter.waitForBind(256))).toBe('EDVSBADPROC');
    expect(await codeOf(() => waiter.waitForBind(9, { timeoutMs: 0 }))).toBe('EAGAIN');
    expect(await codeOf(() => waiter.waitForBindSync(9, 0))).toBe('EAGAIN');
    expect(await codeOf(() => waiter.waitForBindSync(9, 1))).toBe('ETIMEDOUT');
    const timed = codeOf(() => waiter.waitForBind(9, { timeoutMs: 20 }));
    expect(await codeOf(() => waiter.send(makeEndpoint(9)))).toBe('EBUSY');
    clock.advance(20);
    expect(await timed).toBe('ETIMEDOUT');
    const stop = new AbortController();
    const stopped = codeOf(() => waiter.waitForBind(9, { signal: stop.signal }));
    stop.abort();
    expect(await stopped).toBe('ECANCELED');
    const ended = codeOf(() => waiter.waitForBind(9));
    test.segment.endContainer();
    expect(await ended).toBe('EDVSDCNOTRUN');
  });
});

describe('waitForUnbind', () => {
  it('waits for the unbind of that owner of the slot', async () => {
    const server = bind(5);
    const gone = waiter.waitForUnbind(server.endpoint);
    expect(test.segment.process(waiter.slot)).toMatchObject({
      state: 'awaiting unbind',
      peer: server.endpoint,
    });
    server.unbind();
    await gone;
    bind(5);

    expect(await codeOf(() => waiter.waitForUnbind(server.endpoint))).toBe('none');
  });

  it('hears of a death through whoever frees the slot', async () => {
    const peer = new ChildPeer(test.path, 'receive');
    const endpoint = await peer.ready();
    const gone = waiter.waitForUnbind(endpoint);
    await peer.kill();
    expect(test.segment.reap(endpoint & 0xffff, endpoint)).toBe(true);

    expect(await codeOf(() => gone)).toBe('none');
  });

  it('fails with its own errors', async () => {
    const { endpoint } = bind(5);
    expect(await codeOf(() => waiter.waitForUnbind(SELF))).toBe('EDVSENDPOINT');
    expect(await codeOf(() => waiter.waitForUnbind(ANY))).toBe('ERANGE');
    expect(await codeOf(() => waiter.waitForUnbindSync(endpoint, 1))).toBe('ETIMEDOUT');
    expect(await codeOf(() => waiter.waitForUnbind(endpoint, { timeoutMs: 0 }))).toBe('EAGAIN');
    const ended = codeOf(() => waiter.waitForUnbind(endpoint));
    test.segment.endContainer();
    expect(await ended).toBe('EDVSDCNOTRUN');
  });
});

describe('processes of another node', () => {
  it('are waited for by their descriptors', async () => {
    const proxies = new HandProxies(2);
    try {
      const near = proxies.client(0);
      const found = near.waitForBind(10);
      const far = proxies.server(10, 1);
      expect(await found).toBe(far.endpoint);

      const gone = codeOf(() => near.waitForUnbind(far.endpoint));
      far.unbind();
      proxies.settle();
      expect(await gone).toBe('none');

      const next = proxies.server(10, 1);
      const lost = codeOf(() => near.waitForUnbind(next.endpoint));
      proxies.segment(0).linkDown(nodeId(1));
      expect(await lost).toBe('ENOTCONN');
    } finally {
      await proxies.remove();
    }
  });
});

describe('what is told of processes', () => {
  it('names the endpoints of a pid, and one slot', () => {
    const server = bind(5);

    expect(test.segment.endpointsOf(process.pid)).toEqual([server.endpoint, waiter.endpoint]);
    expect(test.segment.endpointsOf(1)).toEqual([]);
    expect(test.segment.process(5)).toMatchObject({
      name: 'server',
      pid: process.pid,
      wakeupPending: false,
    });
    expect(test.segment.process(5)?.startTime).toBeGreaterThan(0);
    test.segment.wakeup(server.endpoint);
    expect(test.segment.process(5)?.wakeupPending).toBe(true);
    expect(test.segment.process(6)).toBeUndefined();
  });
});
