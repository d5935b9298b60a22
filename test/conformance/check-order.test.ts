// The order in which a call's faults are looked for: section 5.2 of the notes on the authors' work.
// Method: a call that has every fault at once; the faults are taken away one by one, and each time
// the call fails with the next. What stands between is ours: EBUSY, since a call may be awaited
// here, and ipc_from, which the authors do not read.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  CALL_NAMES,
  errorName,
  KERNEL,
  makeEndpoint,
  nodeId,
  peersIn,
  type Endpoint,
  type Privileges,
  type Process,
  type Segment,
} from '../../src/dvk/index.ts';
import { TestSegment } from '../support/segments.ts';

const SLOT = 5;
const PEER_SLOT = 6;
const BEYOND = makeEndpoint(256);

let test: TestSegment;
let segment: Segment;
let caller: Process;
let peer: Process;
beforeEach(() => {
  test = new TestSegment();
  segment = test.segment;
  caller = segment.bind({ slot: SLOT, level: 'server', name: 'caller' });
  peer = segment.bind({ slot: PEER_SLOT, level: 'server', name: 'peer' });
});
afterEach(() => {
  test.remove();
});

const CALLS: [string, (to: Endpoint) => string, string][] = [
  ['send', (to) => errorName(caller.sendRaw(to, 0)), 'EDVSBADDEST'],
  ['senda', (to) => thrown(() => caller.senda(to)), 'EDVSBADDEST'],
  ['sendrec', (to) => errorName(caller.sendrecRaw(to, 0)), 'EDVSENDPOINT'],
  ['notify', (to) => errorName(caller.notifyRaw(to)), 'EDVSENDPOINT'],
];

/** The code of what `call` throws, or `none`. */
function thrown(call: () => unknown): string {
  try {
    call();
    return 'none';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

function set(process: Process, change: Partial<Privileges>): void {
  segment.setPrivileges(process.endpoint, { ...segment.privileges(process.endpoint), ...change });
}

describe.each(CALLS)('5.2 %s', (name, codeOf, selfError) => {
  it('looks for faults of the caller in the order of the authors, and first', () => {
    set(caller, { calls: [] });
    segment.endContainer();
    expect(codeOf(KERNEL)).toBe('ETRAPDENIED');
    set(caller, { calls: CALL_NAMES });
    expect(codeOf(KERNEL)).toBe('EDVSDCNOTRUN');
    set(caller, { calls: [] });
    caller.unbind();
    expect(codeOf(KERNEL)).toBe('EDVSNOTBOUND');
  });

  it('is busy before it looks at the peer', () => {
    const waits = caller.receive(peer.endpoint);
    const neverWaits = name === 'notify' || name === 'senda';
    expect(codeOf(KERNEL)).toBe(neverWaits ? 'EDVSBADDEST' : 'EBUSY');
    peer.notify(caller.endpoint);
    return waits;
  });

  it('refuses KERNEL and numbers out of range, then itself, before it asks ipc_to', () => {
    set(caller, { to: peersIn([]) });
    expect([KERNEL, BEYOND, caller.endpoint].map(codeOf)).toEqual([
      'EDVSBADDEST',
      'ERANGE',
      selfError,
    ]);
  });

  it('asks ipc_to, then whether the endpoint lives, then ipc_from', () => {
    const { endpoint } = peer;
    peer.unbind();
    const next = segment.bind({ slot: PEER_SLOT, level: 'server', name: 'next' });
    set(next, { from: peersIn([]) });
    set(caller, { to: peersIn([]) });
    expect(codeOf(endpoint)).toBe('ECALLDENIED');
    set(caller, { to: peersIn([PEER_SLOT]) });
    expect(codeOf(endpoint)).toBe('EDEADSRCDST');
    expect(codeOf(next.endpoint)).toBe('ECALLDENIED');
  });

  it('asks for the endpoint, then for the proxy, then for the link', () => {
    const node = nodeId(1);
    const remote = makeEndpoint(20);
    segment.addNode(node, 'n1');
    segment.bindRemote(remote, node, 'server', 'remote');
    expect(codeOf(makeEndpoint(20, 1))).toBe('EDEADSRCDST');
    expect(codeOf(remote)).toBe('EDVSNOPROXY');
    segment.attachProxy(node, () => undefined);
    expect(codeOf(remote)).toBe('ENOTCONN');
    segment.removeNode(node);
    expect(codeOf(remote)).toBe('EDEADSRCDST');
  });
});

const WAITS: [string, (from: Endpoint) => string][] = [
  ['receive', (from) => errorName(caller.receiveRaw(from, 0))],
  ['rcvrqst', () => errorName(caller.rcvrqstRaw(0))],
];

describe.each(WAITS)('5.2 %s', (name, codeOf) => {
  it('looks for faults of the caller in the order of the authors, then for the source', () => {
    const dead = makeEndpoint(200);
    set(caller, { to: peersIn([]) });
    const sources = [BEYOND, caller.endpoint, dead].map(codeOf);
    // A receive needs no right to send. rcvrqst takes requests of anyone.
    const wrong = ['ERANGE', 'EDVSENDPOINT', 'EDEADSRCDST'];
    expect(sources).toEqual(name === 'receive' ? wrong : ['EAGAIN', 'EAGAIN', 'EAGAIN']);
    expect(codeOf(peer.endpoint)).toBe('EAGAIN');
    segment.endContainer();
    expect(codeOf(BEYOND)).toBe('EDVSDCNOTRUN');
    set(caller, { calls: [] });
    expect(codeOf(BEYOND)).toBe('ETRAPDENIED');
    caller.unbind();
    expect(codeOf(BEYOND)).toBe('EDVSNOTBOUND');
  });
});

describe('5.2 reply', () => {
  it('looks for faults in the same order, and for the state of the client last', () => {
    const client = segment.bind({ name: 'client' });
    const { endpoint } = client;
    const code = (to: Endpoint): string => errorName(caller.replyRaw(to));
    set(caller, { to: peersIn([]) });
    expect([KERNEL, BEYOND, caller.endpoint].map(code)).toEqual([
      'EDVSBADDEST',
      'ERANGE',
      'EDVSENDPOINT',
    ]);
    // A reply needs no right to send: the client has asked for it.
    expect(code(endpoint)).toBe('EDVSPROCSTS');
    client.unbind();
    expect(code(endpoint)).toBe('EDEADSRCDST');
  });
});

describe('5.2 relay', () => {
  it('looks for faults of the caller, the client, the next server, then for a request', () => {
    const client = segment.bind({ slot: 7, name: 'client' });
    const code = (from: Endpoint, to: Endpoint): string => errorName(caller.relayRaw(from, to));
    set(caller, { to: peersIn([]) });
    const clients = [KERNEL, BEYOND, caller.endpoint, makeEndpoint(200)];
    expect(clients.map((from) => code(from, from))).toEqual([
      'EDVSBADDEST',
      'ERANGE',
      'EDVSENDPOINT',
      'EDEADSRCDST',
    ]);
    const servers = [client.endpoint, KERNEL, BEYOND, caller.endpoint, makeEndpoint(PEER_SLOT, 9)];
    expect(servers.map((to) => code(client.endpoint, to))).toEqual([
      'EDVSENDPOINT',
      'EDVSBADDEST',
      'ERANGE',
      'EDVSENDPOINT',
      'ECALLDENIED',
    ]);
    set(caller, { to: peersIn([PEER_SLOT]) });
    set(peer, { from: peersIn([SLOT]) });
    expect(code(client.endpoint, makeEndpoint(PEER_SLOT, 9))).toBe('EDEADSRCDST');
    // It is the client that the next server has to take messages of.
    expect(code(client.endpoint, peer.endpoint)).toBe('ECALLDENIED');
    set(peer, { from: peersIn([7]) });
    expect(code(client.endpoint, peer.endpoint)).toBe('EDVSPROCSTS');

    segment.endContainer();
    expect(code(KERNEL, KERNEL)).toBe('EDVSDCNOTRUN');
    set(caller, { calls: [] });
    expect(code(KERNEL, KERNEL)).toBe('ETRAPDENIED');
    caller.unbind();
    expect(code(KERNEL, KERNEL)).toBe('EDVSNOTBOUND');
  });
});

describe('5.4 vcopy', () => {
  it('looks for faults of the caller, of the size, then of the parties', () => {
    const third = segment.bind({ name: 'third' });
    const memory = new Uint8Array(8);
    const at = (endpoint: Endpoint): { endpoint: Endpoint; grant: never; at: number } => ({
      endpoint,
      grant: 31 as never,
      at: 0,
    });
    const code = (by: Process, from: Endpoint, to: Endpoint): string =>
      thrown(() => by.vcopySync(at(from), at(to), memory.length));
    const dead = makeEndpoint(200);
    expect(code(third, dead, dead)).toBe('EDVSENDPOINT');
    expect(code(third, dead, peer.endpoint)).toBe('EPERM');
    expect(code(caller, dead, peer.endpoint)).toBe('EDEADSRCDST');
    expect(code(caller, third.endpoint, peer.endpoint)).toBe('EDVSGRANT');
    segment.endContainer();
    expect(code(third, dead, dead)).toBe('EDVSDCNOTRUN');
    set(third, { calls: [] });
    expect(code(third, dead, dead)).toBe('ETRAPDENIED');
    third.unbind();
    expect(code(third, dead, dead)).toBe('EDVSNOTBOUND');
  });
});
