// Awaited calls that are answered at once: they go on without a turn of the event loop, but never
// for so long that timers and other events would starve. Method: chains of calls that end only when
// the loop has turned; the watchdog of the test is the proof that it does.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ANY, type Process } from '../../../src/dvk/index.ts';
import { ChildPeer } from '../../support/peers.ts';
import { QUIT } from '../../support/peer-roles.ts';
import { TestSegment } from '../../support/segments.ts';

const TURNS = 20;

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

/** Counts turns of the event loop until `stop`; `also` is done in each. */
class LoopWatch {
  turns = 0;
  #immediate: NodeJS.Immediate;

  constructor(also: () => void = () => undefined) {
    const turn = (): void => {
      this.turns++;
      also();
      this.#immediate = setImmediate(turn);
    };
    this.#immediate = setImmediate(turn);
  }

  stop(): void {
    clearImmediate(this.#immediate);
  }
}

describe('awaited calls that are answered at once', () => {
  it('let timers fire', async () => {
    let fired = 0;
    const timer = setInterval(() => fired++, 1);
    for (let i = 0; fired < TURNS; i++) {
      client.message.type = i;
      client.senda(server.endpoint, { forget: true });
      await server.receive(ANY);
      expect(server.message.type).toBe(i);
    }
    clearInterval(timer);
  });

  it('bring their own message, whatever the window is used for meanwhile', async () => {
    const watch = new LoopWatch(() => {
      server.message.bytes.fill(255);
    });
    for (let i = 0; watch.turns < TURNS; i++) {
      client.message.type = i;
      client.senda(server.endpoint, { forget: true });
      await server.receive(ANY);
      expect([server.message.type, server.message.source]).toEqual([i, client.endpoint]);
    }
    watch.stop();
  });

  it('are no time-outs though they had no time', async () => {
    const watch = new LoopWatch();
    for (let i = 0; watch.turns < TURNS; i++) {
      client.senda(server.endpoint, { forget: true });
      await server.receive(ANY, i % 2 === 0 ? {} : { timeoutMs: 0 });
      expect(server.message.source).toBe(client.endpoint);
    }
    watch.stop();
  });

  it('succeed though they are given up before the loop turns', async () => {
    const watch = new LoopWatch();
    for (let i = 0; watch.turns < TURNS; i++) {
      client.senda(server.endpoint, { forget: true });
      const control = new AbortController();
      const received = server.receive(ANY, { signal: control.signal });
      if (i % 2 === 0) control.abort();
      await received;
    }
    watch.stop();
  });
});

describe('awaited calls of a server that is quick', () => {
  it('let timers of both ends fire', async () => {
    const peer = new ChildPeer(test.path, 'echoAwaited');
    const quick = await peer.ready();
    const watch = new LoopWatch();
    for (let i = 0; watch.turns < TURNS; i++) {
      client.message.type = i;
      await client.sendrec(quick);
      expect(client.message.type).toBe(i + 1);
    }
    watch.stop();
    client.message.type = QUIT;
    await client.sendrec(quick);
  });
});
