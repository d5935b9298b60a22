// The calls of M3-IPC between processes of one DC. Method: the blocking calls need a peer that runs
// at the same time, so it is a child process or a Worker; the awaited ones work within one event
// loop.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ANY,
  isDvkError,
  Limit,
  makeEndpoint,
  NONE,
  SELF,
  type Process,
  type Segment,
} from '../../../src/dvk/index.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { ChildPeer, WorkerPeer } from '../../support/peers.ts';
import { QUIT } from '../../support/peer-roles.ts';
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

let test: TestSegment;
let segment: Segment;
beforeEach(() => {
  test = new TestSegment();
  segment = test.segment;
});
afterEach(() => {
  test.remove();
});

describe.each([
  ['another process', 'echo', (path: string, role: string) => new ChildPeer(path, role)],
  ['a Worker', 'echo', (path: string, role: string) => new WorkerPeer(path, role)],
  ['an event loop', 'echoAwaited', (path: string, role: string) => new ChildPeer(path, role)],
])('a server in %s', (_, role, start) => {
  it('answers blocking and awaited requests', async () => {
    const client = segment.bind({ name: 'client' });
    const server = await start(test.path, role).ready();

    for (let i = 0; i < 200; i++) {
      client.message.type = i;
      if (i % 2 === 0) client.sendrecSync(server);
      else await client.sendrec(server);
      expect(client.message.type).toBe(i + 1);
      expect(client.message.source).toBe(server);
      expect(client.lastKind).toBe('send');
    }
    client.message.type = QUIT;
    client.sendrecSync(server);
  });
});

describe('blocking calls between processes', () => {
  it('receive what another process sends', async () => {
    const receiver = segment.bind({ name: 'receiver' });
    const peer = new ChildPeer(test.path, 'send', receiver.endpoint);
    receiver.receiveSync(ANY, 10_000);

    expect(receiver.message.source).toBe(await peer.ready());
    expect(await peer.told('done')).toBe('0');
  });

  it('end with EINTR at a signal that was asked for', async () => {
    const peer = new ChildPeer(test.path, 'interruptible');
    await peer.told('armed');
    peer.child.kill('SIGTERM');

    expect(await peer.told('interrupted')).toBe('true');
    expect(await peer.told('done')).toBe('EINTR');
    expect(await peer.ended).toBe(0);
  });

  it('end with EDVSDCNOTRUN when the container ends', async () => {
    const peer = new ChildPeer(test.path, 'receive');
    await peer.ready();
    segment.endContainer();

    expect(await peer.told('done')).toBe('EDVSDCNOTRUN');
  });

  it('end with EDVSWOKENUP at a wakeup', async () => {
    const peer = new ChildPeer(test.path, 'receive');
    segment.wakeup(await peer.ready());

    expect(await peer.told('done')).toBe('EDVSWOKENUP');
  });
});

describe('calls within one event loop', () => {
  let server: Process;
  let client: Process;
  beforeEach(() => {
    server = segment.bind({ slot: 5, level: 'server', name: 'server' });
    client = segment.bind({ name: 'client' });
  });

  it('hand a message to a receiver that waits', async () => {
    const received = server.receive(ANY);
    client.message.type = 42;
    client.message.bytes.fill(9, 8);
    client.sendSync(server.endpoint);
    await received;

    expect(server.message.type).toBe(42);
    expect(server.message.source).toBe(client.endpoint);
    expect([...server.message.bytes.subarray(8)]).toEqual(Array<number>(56).fill(9));
    expect(server.lastKind).toBe('send');
  });

  it('queue senders in the order they came', async () => {
    const others = [1, 2, 3].map((i) => segment.bind({ name: `sender${i}` }));
    const sent = [others[2], others[0], others[1]].map((sender, i) => {
      sender!.message.type = i;
      return sender!.send(server.endpoint);
    });
    for (let i = 0; i < 3; i++) {
      server.receiveSync(ANY);
      expect(server.message.type).toBe(i);
    }
    await Promise.all(sent);
  });

  it('take the message at the call, so that the window may be used again', async () => {
    client.message.type = 1;
    const sent = client.send(server.endpoint);
    client.message.type = 2;
    server.receiveSync(ANY);
    await sent;

    expect(server.message.type).toBe(1);
  });

  it('receive from one source only', async () => {
    const other = segment.bind({ name: 'other' });
    const sent = other.send(server.endpoint);
    expect(await codeOf(() => server.receive(client.endpoint, { timeoutMs: 0 }))).toBe('EAGAIN');
    server.receiveSync(other.endpoint, 0);
    await sent;
  });

  it('write the true source into the message', () => {
    const received = server.receive(ANY);
    client.message.view.setInt32(0, server.endpoint, true);
    client.sendSync(server.endpoint);
    return received.then(() => {
      expect(server.message.source).toBe(client.endpoint);
    });
  });

  it('merge notifications, and mark them as such', async () => {
    client.notify(server.endpoint);
    client.notify(server.endpoint);
    await server.receive(ANY);

    expect(server.lastKind).toBe('notify');
    expect(server.message.source).toBe(client.endpoint);
    expect(server.message.type).toBe(Limit.NOTIFY_TYPE);
    expect(server.receiveRaw(ANY, 0)).toBe(-11);
  });

  it('give requests to rcvrqst and leave other messages queued', async () => {
    const other = segment.bind({ name: 'other' });
    const sent = other.send(server.endpoint);
    const request = server.rcvrqst();
    const call = client.sendrec(server.endpoint);
    await request;
    expect(server.message.source).toBe(client.endpoint);
    expect(server.lastKind).toBe('call');
    server.message.type = 5;
    server.replySync(client.endpoint);
    await call;
    server.receiveSync(ANY, 0);
    await sent;

    expect(client.message.type).toBe(5);
  });

  it('answer one client while the next request is awaited', async () => {
    const first = client.sendrec(server.endpoint);
    await server.rcvrqst();
    const next = server.rcvrqst();
    server.replySync(client.endpoint);
    await first;
    const other = segment.bind({ name: 'other' });
    const second = other.sendrec(server.endpoint);
    await next;

    expect(server.message.source).toBe(other.endpoint);
    server.replySync(other.endpoint);
    await second;
  });

  it('answer one client and await the next request in one call', async () => {
    const first = client.sendrec(server.endpoint);
    await server.rcvrqst();
    server.message.type = 6;
    const next = server.replyReceive(client.endpoint);
    server.message.type = 99;
    await first;
    expect(client.message.type).toBe(6);
    client.message.type = 7;
    const second = client.sendrec(server.endpoint);
    await next;
    expect([server.message.type, server.lastKind]).toEqual([7, 'call']);
    server.replySync(client.endpoint);
    await second;
  });

  it('are one at a time', async () => {
    const pending = client.receive(ANY);
    expect(await codeOf(() => client.receive(ANY))).toBe('EBUSY');
    expect(await codeOf(() => client.send(server.endpoint))).toBe('EBUSY');
    expect(client.sendRaw(server.endpoint, 0)).toBe(-16);
    expect(client.receiveRaw(ANY, 0)).toBe(-16);
    client.notify(server.endpoint);
    server.notify(client.endpoint);
    await pending;
  });

  it('fail with the error that M3-IPC gives', async () => {
    const { endpoint } = server;
    const dead = makeEndpoint(200, 7);
    expect(await codeOf(() => client.send(dead))).toBe('EDEADSRCDST');
    expect(await codeOf(() => client.send(client.endpoint))).toBe('EDVSBADDEST');
    expect(await codeOf(() => client.send(SELF))).toBe('EDVSBADDEST');
    expect(await codeOf(() => client.sendrec(NONE))).toBe('ERANGE');
    expect(await codeOf(() => client.receive(dead))).toBe('EDEADSRCDST');
    expect(await codeOf(() => client.rcvrqst())).toBe('ETRAPDENIED');
    expect(client.replyRaw(endpoint)).toBe(-211);
    expect(server.replyRaw(client.endpoint)).toBe(-324);
    expect(client.notifyRaw(dead)).toBe(-202);
    server.unbind();
    expect(await codeOf(() => client.send(endpoint))).toBe('EDEADSRCDST');
    expect(await codeOf(() => server.send(client.endpoint))).toBe('EDVSNOTBOUND');
    expect(() => {
      server.receiveSync(ANY);
    }).toThrow(/^EDVSNOTBOUND: /);
  });

  it('time out, by the clock that the process was given', async () => {
    const clock = new ManualClock();
    const timed = segment.bind({ name: 'timed', clock });
    const codes: string[] = [];
    const call = codeOf(() => timed.receive(ANY, { timeoutMs: 50 })).then((code) => {
      codes.push(code);
    });
    clock.advance(49);
    await Promise.resolve();
    expect(codes).toEqual([]);
    clock.advance(1);
    await call;

    expect(codes).toEqual(['ETIMEDOUT']);
    expect(clock.waiting).toBe(0);
  });

  it('time out when they block', () => {
    const started = performance.now();
    expect(client.receiveRaw(ANY, 20)).toBe(-110);
    expect(performance.now() - started).toBeGreaterThanOrEqual(20);
    expect(client.sendRaw(server.endpoint, 0)).toBe(-11);
    expect(client.sendrecRaw(server.endpoint, 1)).toBe(-110);
  });

  it('stop their timer when they are done', async () => {
    const clock = new ManualClock();
    const timed = segment.bind({ name: 'timed', clock });
    const call = timed.receive(ANY, { timeoutMs: 50 });
    expect(clock.waiting).toBe(1);
    client.sendSync(timed.endpoint);
    await call;

    expect(clock.waiting).toBe(0);
  });

  it('are called off by a signal, with its reason as the cause', async () => {
    const stop = new AbortController();
    const call = client.receive(ANY, { signal: stop.signal });
    stop.abort('no longer needed');

    await expect(call).rejects.toMatchObject({ code: 'ECANCELED', cause: 'no longer needed' });
    await expect(client.receive(ANY, { signal: stop.signal })).rejects.toMatchObject({
      code: 'ECANCELED',
    });
    expect(client.receiveRaw(ANY, 0)).toBe(-11);
  });

  it('are called off by unbind, and their peers are told', async () => {
    const waits = codeOf(() => client.receive(server.endpoint));
    const call = codeOf(() => server.receive(ANY));
    server.unbind();

    expect(await call).toBe('ECANCELED');
    expect(await waits).toBe('ESRCDIED');
  });

  it('end with EDVSWOKENUP at a wakeup, also at one that came before', async () => {
    const call = codeOf(() => client.receive(ANY));
    segment.wakeup(client.endpoint);
    expect(await call).toBe('EDVSWOKENUP');
    segment.wakeup(client.endpoint);
    expect(client.receiveRaw(ANY, 0)).toBe(-348);
    expect(client.receiveRaw(ANY, 0)).toBe(-11);
    expect(await codeOf(() => segment.wakeup(makeEndpoint(200, 7)))).toBe('EDEADSRCDST');
  });

  it('count what went through', async () => {
    for (let i = 0; i < 3; i++) {
      const received = server.receive(ANY);
      client.sendSync(server.endpoint);
      await received;
    }
    client.notify(server.endpoint);

    expect(segment.processes()).toMatchObject([
      { name: 'server', received: 3, sent: 0 },
      { name: 'client', sent: 3, notified: 1 },
    ]);
  });

  it('show in the list of processes what a process waits for', async () => {
    const receiving = server.receive(ANY);
    const sending = segment.bind({ name: 'sender' });
    const call = codeOf(() => sending.receive(client.endpoint));
    expect(segment.processes()).toMatchObject([
      { name: 'server', state: 'receiving any' },
      { name: 'client', state: 'running' },
      { name: 'sender', state: 'receiving from', peer: client.endpoint },
    ]);
    client.sendSync(server.endpoint);
    client.unbind();
    await receiving;
    expect(await call).toBe('ESRCDIED');
  });

  it('settle hundreds of calls from one wake', async () => {
    const many = Array.from({ length: 40 }, (_, i) => segment.bind({ name: `p${i}` }));
    const again = Array.from({ length: 58 }, (_, i) =>
      segment.bind({ slot: 6 + i, name: `s${i}` }),
    );
    const all = [...many, ...again];
    const calls = all.map((process) => process.receive(ANY));
    for (const process of all) client.notify(process.endpoint);
    await Promise.all(calls);

    expect(all.every((process) => process.lastKind === 'notify')).toBe(true);
  });

  it('keep the wake FIFO while it is used, and no longer', async () => {
    expect(test.fifos()).toHaveLength(0);
    const call = client.receive(ANY);
    expect(test.fifos()).toHaveLength(1);
    server.notify(client.endpoint);
    await call;
    segment.close();

    expect(test.fifos()).toHaveLength(0);
  });
});
