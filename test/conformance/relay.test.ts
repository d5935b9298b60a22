// relay: a server hands a request on to another server, whose reply goes to the first client. The
// authors name the call and leave it out. Method: all processes in one event loop; for other nodes
// the test carries the commands.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeEndpoint, type Process } from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import { HandProxies } from '../support/hand-proxy.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { TestSegment } from '../support/segments.ts';

let test: TestSegment;
let front: Process;
let back: Process;
let client: Process;
let clock: ManualClock;
beforeEach(() => {
  test = new TestSegment();
  clock = new ManualClock();
  front = test.segment.bind({ slot: 5, level: 'server', name: 'front' });
  back = test.segment.bind({ slot: 6, level: 'server', name: 'back' });
  client = test.segment.bind({ name: 'client', clock });
});
afterEach(() => {
  test.remove();
});

/** The client calls the front server, which has taken the request. */
function call(timeoutMs?: number): Promise<string> {
  const ended = codeOf(() =>
    client.sendrec(front.endpoint, timeoutMs === undefined ? {} : { timeoutMs }),
  );
  front.rcvrqstSync();
  return ended;
}

describe('relay', () => {
  it('gives the request to the second server, and its reply to the client', async () => {
    const ended = call();
    front.message.type = 42;
    front.relaySync(client.endpoint, back.endpoint);
    await back.rcvrqst();
    expect([back.message.source, back.message.type]).toEqual([client.endpoint, 42]);
    expect(back.lastKind).toBe('call');
    back.message.type = 43;
    back.replySync(client.endpoint);

    expect(await ended).toBe('none');
    expect([client.message.source, client.message.type]).toEqual([back.endpoint, 43]);
  });

  it('may be done during an awaited call', async () => {
    const ended = call();
    const next = codeOf(() => front.rcvrqst());
    front.relaySync(client.endpoint, back.endpoint);
    await back.rcvrqst();
    back.replySync(client.endpoint);

    expect(await ended).toBe('none');
    front.unbind();
    expect(await next).toBe('ECANCELED');
  });

  it('fails with the code of what is wrong', async () => {
    const ended = call();
    const relay = async (by: Process, from: number, to: number): Promise<string> =>
      codeOf(() => {
        by.relaySync(from as never, to as never);
      });

    expect(await relay(client, front.endpoint, back.endpoint)).toBe('ETRAPDENIED');
    expect(await relay(back, client.endpoint, front.endpoint)).toBe('EDVSPROCSTS');
    expect(await relay(front, client.endpoint, client.endpoint)).toBe('EDVSENDPOINT');
    expect(await relay(front, client.endpoint, front.endpoint)).toBe('EDVSENDPOINT');
    expect(await relay(front, client.endpoint, makeEndpoint(9))).toBe('EDEADSRCDST');
    front.replySync(client.endpoint);
    expect(await ended).toBe('none');
    expect(front.relayRaw(client.endpoint, back.endpoint)).toBe(-324);
  });

  it('tells the client when the second server dies', async () => {
    const ended = call();
    front.relaySync(client.endpoint, back.endpoint);
    await back.rcvrqst();
    back.unbind();

    expect(await ended).toBe('ESRCDIED');
  });

  it('does not need the front server any more', async () => {
    const ended = call();
    front.relaySync(client.endpoint, back.endpoint);
    front.unbind();
    await back.rcvrqst();
    back.replySync(client.endpoint);

    expect(await ended).toBe('none');
  });

  it("keeps the time-out of the client's call", async () => {
    const ended = call(50);
    front.relaySync(client.endpoint, back.endpoint);
    await back.rcvrqst();
    clock.advance(50);

    expect(await ended).toBe('ETIMEDOUT');
    expect(back.replyRaw(client.endpoint)).toBe(-324);
  });
});

describe('relay between nodes', () => {
  it.each([
    [0, 1, 1],
    [0, 1, 0],
    [0, 0, 1],
    [0, 1, 2],
    [2, 1, 0],
  ])('with client on %i, front on %i, back on %i', async (ofClient, ofFront, ofBack) => {
    const proxies = new HandProxies(3);
    try {
      const first = proxies.server(10, ofFront);
      const second = proxies.server(11, ofBack);
      const caller = proxies.client(ofClient);
      const ended = codeOf(() => caller.sendrec(first.endpoint));
      const requested = first.rcvrqst();
      proxies.settle();
      await requested;
      first.relaySync(caller.endpoint, second.endpoint);
      const handedOn = second.rcvrqst();
      while (!(await settled(handedOn))) proxies.settle();
      expect(second.message.source).toBe(caller.endpoint);
      second.message.type = 7;
      second.replySync(caller.endpoint);
      while (!(await settled(ended))) proxies.settle();

      expect(await ended).toBe('none');
      expect([caller.message.source, caller.message.type]).toEqual([second.endpoint, 7]);
    } finally {
      await proxies.remove();
    }
  });
});

/** Whether a promise has settled, after one turn of the event loop. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  const turn = new Promise<boolean>((resolve) => setImmediate(resolve, false));
  return Promise.race([promise.then(() => true), turn]);
}
