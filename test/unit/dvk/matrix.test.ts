// Every call, tried in every state that a process can be in: it is allowed, or fails with this very
// code.
//
// The states: idle; an awaited receive, sendrec or send under way; unbound; the container ended.
// "allowed" covers EAGAIN, since the calls are tried with a time-out of 0.
import { describe, expect, it } from 'vitest';
import { ANY, errorName, isDvkError, type Process } from '../../../src/dvk/index.ts';
import { TestSegment } from '../../support/segments.ts';

interface Stage {
  subject: Process;
  peer: Process;
  test: TestSegment;
}

const ALLOWED = new Set(['EAGAIN', 'none', 'EDVSPROCSTS', 'EDVSGRANT']);

async function codeOf(action: () => unknown): Promise<string> {
  try {
    const result = await action();
    return typeof result === 'number' && result < 0 ? errorName(result) : 'none';
  } catch (error) {
    if (isDvkError(error)) return error.code;
    throw error;
  }
}

const calls: Record<string, (stage: Stage) => unknown> = {
  send: async ({ subject, peer }) => subject.send(peer.endpoint, { timeoutMs: 0 }),
  sendSync: ({ subject, peer }) => subject.sendRaw(peer.endpoint, 0),
  receive: async ({ subject }) => subject.receive(ANY, { timeoutMs: 0 }),
  receiveSync: ({ subject }) => subject.receiveRaw(ANY, 0),
  sendrec: async ({ subject, peer }) => subject.sendrec(peer.endpoint, { timeoutMs: 0 }),
  sendrecSync: ({ subject, peer }) => subject.sendrecRaw(peer.endpoint, 0),
  rcvrqst: async ({ subject }) => subject.rcvrqst({ timeoutMs: 0 }),
  rcvrqstSync: ({ subject }) => subject.rcvrqstRaw(0),
  replySync: ({ subject, peer }) => subject.replyRaw(peer.endpoint),
  replyReceive: async ({ subject, peer }) => subject.replyReceive(peer.endpoint, { timeoutMs: 0 }),
  replyReceiveSync: ({ subject, peer }) => subject.replyReceiveRaw(peer.endpoint, 0),
  relaySync: ({ subject, peer, test }) => {
    const next = test.segment.bind({ slot: 6, level: 'server', name: 'next' });
    return subject.relayRaw(peer.endpoint, next.endpoint);
  },
  notify: ({ subject, peer }) => subject.notifyRaw(peer.endpoint),
  notifyValue: ({ subject, peer }) => {
    subject.notify(peer.endpoint, { value: 1 });
  },
  waitForBind: async ({ subject }) => subject.waitForBind(9, { timeoutMs: 0 }),
  waitForBindSync: ({ subject }) => subject.waitForBindSync(9, 0),
  waitForUnbind: async ({ subject, peer }) =>
    subject.waitForUnbind(peer.endpoint, { timeoutMs: 0 }),
  waitForUnbindSync: ({ subject, peer }) => {
    subject.waitForUnbindSync(peer.endpoint, 0);
  },
  vcopySync: ({ subject, peer }) => {
    const grant = peer.grant(new Uint8Array(4), 'read', ANY);
    return subject.vcopySync({ endpoint: peer.endpoint, grant, at: 0 }, new Uint8Array(4), 4, 0);
  },
  grant: ({ subject }) => subject.grant(new Uint8Array(4), 'read', ANY),
  allocate: ({ subject }) => subject.allocate(4).length,
  wakeup: ({ subject, test }) => {
    test.segment.wakeup(subject.endpoint);
  },
};

const always = ['grant', 'allocate'];
const states: Record<
  string,
  { enter: (stage: Stage) => unknown; expected: string; but: string[] }
> = {
  idle: { enter: () => undefined, expected: 'allowed', but: [] },
  receiving: {
    enter: async ({ subject }) => subject.receive(ANY),
    expected: 'EBUSY',
    but: [...always, 'replySync', 'relaySync', 'notify', 'notifyValue', 'wakeup'],
  },
  calling: {
    enter: async ({ subject, peer }) => subject.sendrec(peer.endpoint),
    expected: 'EBUSY',
    but: [...always, 'replySync', 'relaySync', 'notify', 'notifyValue', 'wakeup'],
  },
  sending: {
    enter: async ({ subject, peer }) => subject.send(peer.endpoint),
    expected: 'EBUSY',
    but: [...always, 'replySync', 'relaySync', 'notify', 'notifyValue', 'wakeup'],
  },
  unbound: {
    enter: ({ subject }) => {
      subject.unbind();
    },
    expected: 'EDVSNOTBOUND',
    but: [],
  },
  ended: {
    enter: ({ test }) => {
      test.segment.endContainer();
    },
    expected: 'EDVSDCNOTRUN',
    but: [...always, 'wakeup'],
  },
};

describe.each(Object.keys(states))('a process that is %s', (name) => {
  it.each(Object.keys(calls))('tries %s', async (call) => {
    const test = new TestSegment();
    try {
      const { segment } = test;
      const subject = segment.bind({ slot: 5, level: 'server', name: 'subject' });
      const peer = segment.bind({ name: 'peer' });
      const state = states[name]!;
      const entered = codeOf(() => state.enter({ subject, peer, test }));

      const code = await codeOf(() => calls[call]!({ subject, peer, test }));

      // The receiver of a wakeup is gone in one state only, and its endpoint with it.
      const gone = name === 'unbound' && call === 'wakeup' ? 'EDEADSRCDST' : state.expected;
      const expected = state.but.includes(call) ? 'allowed' : gone;
      if (call.startsWith('replyReceive') && expected === 'EBUSY') expect(code).toBe('EBUSY');
      else expect(ALLOWED.has(code) ? 'allowed' : code).toBe(expected);
      subject.unbind();
      await entered;
    } finally {
      test.remove();
    }
  });
});
