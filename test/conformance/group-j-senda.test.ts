// Group J of the conformance list: senda with its flags, and receive filters, which MINIX has
// beside M3-IPC. Method: processes of one event loop. Reference: dvs.md 16.3, 16.5 and 20.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ANY,
  isDvkError,
  KERNEL,
  Limit,
  makeEndpoint,
  type AsyncId,
  type Process,
} from '../../src/dvk/index.ts';
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

function post(type: number, options = {}): AsyncId {
  client.message.type = type;
  return client.senda(server.endpoint, options);
}

function codeOf(action: () => unknown): string {
  try {
    action();
    return 'none';
  } catch (error) {
    if (isDvkError(error)) return error.code;
    throw error;
  }
}

describe('20.J senda', () => {
  it('leaves messages that are received in order, and tells what became of each', () => {
    const ids = [1, 2, 3].map((type) => post(type));
    ids.forEach((id, i) => {
      expect(client.sendaStatus(id)).toEqual({ done: false });
      server.receiveSync(ANY, 0);
      expect(server.message.type).toBe(i + 1);
      expect(server.lastKind).toBe('async');
      expect(client.sendaStatus(id)).toEqual({ done: true, error: undefined });
      expect(codeOf(() => client.sendaStatus(id))).toBe('EINVAL');
    });
  });

  it('wakes an awaited receive, and may be called during an awaited call', async () => {
    const received = server.receive(client.endpoint);
    const waits = client.receive(ANY);
    post(4, { forget: true });
    await received;
    server.sendSync(client.endpoint, 1_000);
    await waits;

    expect(server.message.type).toBe(4);
  });

  it('notifies the sender when it is asked to', async () => {
    const id = post(1, { notify: 'done' });
    const told = client.receive(ANY);
    server.receiveSync(ANY, 0);
    await told;

    expect(client.lastKind).toBe('notify');
    expect(client.message.source).toBe(client.endpoint);
    expect(client.sendaStatus(id)).toEqual({ done: true, error: undefined });
  });

  it('asked to notify of failures alone, is silent when it was received', () => {
    const id = post(1, { notify: 'failed' });
    server.receiveSync(ANY, 0);

    expect(client.receiveRaw(ANY, 0)).toBe(-11);
    expect(client.sendaStatus(id)).toEqual({ done: true, error: undefined });
  });

  it('never satisfies the reply of a sendrec: NOREPLY of MINIX holds always', async () => {
    client.message.type = 1;
    const call = client.sendrec(server.endpoint);
    server.rcvrqstSync();
    server.message.type = 2;
    server.senda(client.endpoint, { forget: true });
    server.message.type = 3;
    server.replySync(client.endpoint);
    await call;

    expect(client.message.type).toBe(3);
    client.receiveSync(ANY, 0);
    expect([client.message.type, client.lastKind]).toEqual([2, 'async']);
  });

  it('is not for KERNEL, oneself, or who is not there', () => {
    const codes = [KERNEL, client.endpoint, makeEndpoint(9), ANY].map((to) =>
      codeOf(() => client.senda(to)),
    );

    expect(codes).toEqual(['EDVSBADDEST', 'EDVSBADDEST', 'EDEADSRCDST', 'ERANGE']);
  });

  it('ends with EDSTDIED when the receiver unbinds', () => {
    const id = post(1, { notify: 'failed' });
    server.unbind();
    client.receiveSync(ANY, 0);

    expect(client.sendaStatus(id)).toMatchObject({ done: true, error: { code: 'EDSTDIED' } });
    expect(codeOf(() => post(1))).toBe('EDEADSRCDST');
  });

  it('may be taken back until it was received', () => {
    const first = post(1);
    const second = post(2);
    client.sendaCancel(first);
    server.receiveSync(ANY, 0);

    expect(server.message.type).toBe(2);
    expect(client.sendaStatus(first)).toMatchObject({ done: true, error: { code: 'ECANCELED' } });
    expect(
      codeOf(() => {
        client.sendaCancel(second);
      }),
    ).toBe('EALREADY');
  });

  it('is bounded', () => {
    for (let i = 0; i < Limit.ASYNCS; i++) post(i, { forget: true });
    expect(codeOf(() => post(99))).toBe('ENOSPC');
    for (let i = 0; i < Limit.ASYNCS; i++) server.receiveSync(ANY, 0);
    post(99);
    expect(codeOf(() => post(1, { forget: true, notify: 'done' }))).toBe('EINVAL');
  });
});

describe('20.J a filter', () => {
  it('lets only what is allowed pass', async () => {
    const other = test.segment.bind({ name: 'other' });
    server.setFilter({ allow: [{ source: client.endpoint }, { type: 9 }] });
    other.message.type = 8;
    const waits = other.send(server.endpoint);
    expect(server.receiveRaw(ANY, 0)).toBe(-11);
    const received = server.receive(ANY);
    client.message.type = 8;
    await client.send(server.endpoint);
    await received;
    expect(server.message.source).toBe(client.endpoint);
    server.setFilter();
    server.receiveSync(ANY, 0);
    await waits;
  });

  it('keeps out what is denied, notifications too', () => {
    server.setFilter({ deny: [{ type: Limit.NOTIFY_TYPE, source: client.endpoint }] });
    client.notify(server.endpoint);
    expect(server.receiveRaw(ANY, 0)).toBe(-11);
    server.receiveSync(client.endpoint, 0);
    expect(server.lastKind).toBe('notify');
  });

  it('has at most eight rules, and stands still during a call', async () => {
    const rule = { type: 1 };
    expect(
      codeOf(() => {
        server.setFilter({ allow: Array(9).fill(rule) });
      }),
    ).toBe('EINVAL');
    const received = server.receive(ANY);
    expect(
      codeOf(() => {
        server.setFilter({ allow: [rule] });
      }),
    ).toBe('EBUSY');
    client.sendSync(server.endpoint, 1_000);
    await received;
  });
});
