// Which calls a process may use and whom it may reach: section 5.8 of the M3-IPC notes, with the
// ipc_from mask that the authors have and do not read. Method: all processes in one event loop; for
// another node the test carries the commands.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ALL_PEERS,
  ANY,
  CALL_NAMES,
  KERNEL,
  makeEndpoint,
  nodeId,
  peersIn,
  SELF,
  type CallName,
  type Level,
  type Privileges,
  type Process,
} from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import { HandProxies } from '../support/hand-proxy.ts';
import { TestSegment } from '../support/segments.ts';

const USER_CALLS: CallName[] = ['send', 'receive', 'sendrec', 'notify', 'vcopy', 'waitBind'];

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

function set(process: Process, change: Partial<Privileges>): void {
  const { segment } = test;
  segment.setPrivileges(process.endpoint, { ...segment.privileges(process.endpoint), ...change });
}

describe('a process of level', () => {
  it.each<[Level, readonly CallName[]]>([
    ['user', USER_CALLS],
    ['server', CALL_NAMES.filter((call) => call !== 'notifyKernel')],
    ['kernel', CALL_NAMES],
  ])('%s has its calls and every peer', (level, calls) => {
    const bound = test.segment.bind({ slot: 7, level, name: level });

    const found = test.segment.privileges(bound.endpoint);

    expect(found).toEqual({ calls, to: ALL_PEERS, from: ALL_PEERS });
  });
});

describe('a call that a process may not use', () => {
  const attempts: Record<CallName, () => unknown> = {
    send: async () => server.send(client.endpoint, { timeoutMs: 0 }),
    receive: async () => server.receive(ANY, { timeoutMs: 0 }),
    sendrec: () => {
      server.sendrecSync(client.endpoint, 0);
    },
    notify: () => {
      server.notify(client.endpoint);
    },
    rcvrqst: async () => server.rcvrqst({ timeoutMs: 0 }),
    reply: () => {
      server.replySync(client.endpoint);
    },
    relay: () => {
      server.relaySync(client.endpoint, makeEndpoint(9));
    },
    vcopy: () => server.vcopySync(new Uint8Array(0), { endpoint: client.endpoint, address: 1n }, 0),
    waitBind: async () => server.waitForBind(9, { timeoutMs: 0 }),
    notifySource: () => {
      server.notify(test.segment.bind({ name: 'third' }).endpoint, { source: client.endpoint });
    },
    notifyKernel: () => {
      server.notify(client.endpoint, { source: KERNEL });
    },
    privileges: () => {
      server.setPrivileges(SELF, test.segment.privileges(server.endpoint));
    },
  };

  it.each(CALL_NAMES)('fails with ETRAPDENIED: %s', async (name) => {
    set(server, { calls: CALL_NAMES });
    expect(await codeOf(attempts[name])).not.toBe('ETRAPDENIED');
    set(server, { calls: CALL_NAMES.filter((call) => call !== name) });

    expect(await codeOf(attempts[name])).toBe('ETRAPDENIED');
  });
});

describe('peers', () => {
  it('fail with ECALLDENIED when they are not in ipc_to', async () => {
    const other = test.segment.bind({ slot: 6, level: 'server', name: 'other' });
    set(client, { to: peersIn([5]) });

    expect(await codeOf(() => client.send(other.endpoint))).toBe('ECALLDENIED');
    expect(await codeOf(() => client.sendrec(other.endpoint))).toBe('ECALLDENIED');
    expect(client.notifyRaw(other.endpoint)).toBe(-210);
    expect(client.sendRaw(server.endpoint, 0)).toBe(-11);
    expect(client.sendRaw(test.segment.bind({ name: 'user' }).endpoint, 0)).toBe(-210);
    set(client, { to: peersIn([], true) });
    expect(client.sendRaw(test.segment.bind({ name: 'user' }).endpoint, 0)).toBe(-11);
  });

  it('fail with ECALLDENIED when the caller is not in their ipc_from', async () => {
    set(server, { from: peersIn([6]) });
    const other = test.segment.bind({ slot: 6, level: 'server', name: 'other' });

    expect(await codeOf(() => client.send(server.endpoint))).toBe('ECALLDENIED');
    expect(other.sendRaw(server.endpoint, 0)).toBe(-11);
  });

  it('reply to a client that takes messages of nobody', async () => {
    set(client, { from: peersIn([]) });
    const call = client.sendrec(server.endpoint);
    server.rcvrqstSync();
    server.replySync(client.endpoint);

    expect(await codeOf(() => call)).toBe('none');
  });

  it('are asked for at the other node too', async () => {
    const proxies = new HandProxies(2);
    try {
      const far = proxies.server(10, 1);
      const near = proxies.client(0);
      const now = proxies.segment(1).privileges(far.endpoint);
      proxies.segment(1).setPrivileges(far.endpoint, { ...now, from: peersIn([5]) });
      const denied = codeOf(() => near.sendrec(far.endpoint));
      proxies.settle();

      expect(await denied).toBe('ECALLDENIED');
      expect(await codeOf(() => proxies.segment(0).privileges(far.endpoint))).toBe('EDVSRMTPROC');
    } finally {
      await proxies.remove();
    }
  });
});

describe('setPrivileges', () => {
  it('lets a server change users, within what it has itself', async () => {
    const user = test.segment.privileges(client.endpoint);
    server.setPrivileges(client.endpoint, { ...user, calls: ['sendrec'] });
    expect(test.segment.privileges(client.endpoint).calls).toEqual(['sendrec']);

    const more: Privileges = { ...user, calls: ['notifyKernel'] };
    expect(await codeOf(() => server.setPrivileges(client.endpoint, more))).toBe('EPERM');
    const other = test.segment.bind({ slot: 6, level: 'server', name: 'other' });
    expect(await codeOf(() => server.setPrivileges(other.endpoint, user))).toBe('EPERM');
    expect(await codeOf(() => client.setPrivileges(SELF, user))).toBe('ETRAPDENIED');
  });

  it('lets a process of level kernel change any', () => {
    const kernel = test.segment.bind({ slot: 1, level: 'kernel', name: 'kernel' });
    kernel.setPrivileges(server.endpoint, {
      calls: ['notifyKernel'],
      to: ALL_PEERS,
      from: ALL_PEERS,
    });

    expect(test.segment.privileges(server.endpoint).calls).toEqual(['notifyKernel']);
  });

  it('fails for who is not there, or is on another node', async () => {
    const now = test.segment.privileges(client.endpoint);
    test.segment.addNode(nodeId(1), 'n1');
    test.segment.bindRemote(makeEndpoint(20), nodeId(1), 'server', 'far');

    const codes = await Promise.all(
      [makeEndpoint(20), makeEndpoint(21), ANY].map((endpoint) =>
        codeOf(() => test.segment.setPrivileges(endpoint, now)),
      ),
    );

    expect(codes).toEqual(['EDVSRMTPROC', 'EDEADSRCDST', 'ERANGE']);
    const tooMuch = { ...now, to: { fixed: 1n << 64n, dynamic: false } };
    expect(await codeOf(() => test.segment.setPrivileges(client.endpoint, tooMuch))).toBe('EINVAL');
    expect(() => peersIn([64])).toThrow(RangeError);
  });
});
