// A reply answers the call that it is for, and no later one of the same client. Method: client and
// server in one event loop; the client gives up its first call and calls again.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { errorName, isDvkError, type Process } from '../../src/dvk/index.ts';
import { TestSegment } from '../support/segments.ts';

let test: TestSegment;
let server: Process;
let client: Process;
beforeEach(() => {
  test = new TestSegment();
  server = test.segment.bind({ slot: 5, level: 'server', name: 'server' });
  client = test.segment.bind({ name: 'client' });
});
afterEach(() => {
  test.remove();
});

async function giveUp(type: number): Promise<void> {
  const stop = new AbortController();
  client.message.type = type;
  const call = client.sendrec(server.endpoint, { signal: stop.signal });
  server.rcvrqstSync();
  stop.abort();
  await call.catch((error: unknown) => {
    if (!isDvkError(error, 'ECANCELED')) throw error;
  });
}

describe('a late reply', () => {
  it('is refused while the next request is on its way', async () => {
    await giveUp(1);
    const next = server.rcvrqst();
    client.message.type = 2;
    const call = client.sendrec(server.endpoint);

    expect(errorName(server.replyRaw(client.endpoint))).toBe('EDVSPROCSTS');
    await next;
    expect(server.message.type).toBe(2);
    server.message.type = 22;
    server.replySync(client.endpoint);
    await call;
    expect(client.message.type).toBe(22);
  });

  it('is a relay of that call alone, when it is named', async () => {
    const back = test.segment.bind({ slot: 9, level: 'server', name: 'back' });
    await giveUp(1);
    const first = server.lastCall;
    const call = client.sendrec(server.endpoint);
    server.rcvrqstSync();

    expect(errorName(server.relayRaw(client.endpoint, back.endpoint))).toBe('EDVSPROCSTS');
    expect(errorName(server.relayRaw(client.endpoint, back.endpoint, first))).toBe('EDVSPROCSTS');
    server.relaySync(client.endpoint, back.endpoint, server.lastCall);
    await back.rcvrqst();
    back.message.type = 33;
    back.replySync(client.endpoint);
    await call;
    expect(client.message.type).toBe(33);
  });

  it('is refused after the next request, which is answered by its number', async () => {
    await giveUp(1);
    const first = server.lastCall;
    const call = client.sendrec(server.endpoint);
    server.rcvrqstSync();
    const second = server.lastCall;

    expect(second).not.toBe(first);
    expect(errorName(server.replyRaw(client.endpoint))).toBe('EDVSPROCSTS');
    expect(() => {
      server.replySync(client.endpoint, first);
    }).toThrow(/^EDVSPROCSTS: /);
    server.message.type = 22;
    server.replySync(client.endpoint, second);
    await call;
    expect(client.message.type).toBe(22);
  });
});
