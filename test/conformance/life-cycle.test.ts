// The life of a DVS, a DC, its nodes and proxies, and every call that informs: sections 5, 6.4 and
// 6.6 of the notes on the authors' work, each call under its name there. Starting and ending a DVS
// (dvs_init, dvs_end) is `dvk up` and `dvk down`, see test/cluster. Method: segments of one
// process.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ABI_VERSION,
  ANY,
  dcId,
  makeEndpoint,
  nodeId,
  Segment,
  type NodeId,
} from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import { LocalDc } from '../support/local-dc.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { PseudoNode } from '../support/pseudo-node.ts';
import { TestSegment } from '../support/segments.ts';

const N1 = nodeId(1);
const ABSENT = nodeId(3);
const BEYOND = nodeId(4);

let test: TestSegment;
let segment: Segment;
beforeEach(() => {
  test = new TestSegment();
  segment = test.segment;
});
afterEach(() => {
  test.remove();
});

describe('6.6 DC', () => {
  it('dc_init: is made once, with limits and names that can be', async () => {
    const create = (path: string, options: object = {}): Promise<string> =>
      codeOf(() => {
        Segment.create(path, {
          dcId: dcId(0),
          nodeId: nodeId(0),
          dcName: 'dc',
          dvsName: 'dvs',
          ...options,
        });
      });
    const other = `${test.path}-other`;
    expect(await create(test.path)).toBe('EEXIST');
    expect(await create(other, { dcName: 'a name that is long' })).toBe('EINVAL');
    expect(await create(other, { processes: 65 })).toBe('EINVAL');
    expect(await create(other, { nodeId: nodeId(32) })).toBe('EINVAL');
    expect(await create(other, { processes: 128, nodes: 2, arenaBytes: 4096 })).toBe('none');
  });

  it('dc_end: ends every call, refuses new ones, and waits until all have unbound', async () => {
    const first = segment.bind({ name: 'first' });
    const second = segment.bind({ name: 'second' });
    const call = codeOf(() => first.receive(ANY));
    expect(await codeOf(() => segment.untilUnbound(0))).toBe('EAGAIN');
    segment.endContainer();
    expect(await call).toBe('EDVSDCNOTRUN');
    expect(await codeOf(() => second.send(first.endpoint))).toBe('EDVSDCNOTRUN');
    expect(await codeOf(() => segment.bind({ name: 'late' }))).toBe('EDVSDCNOTRUN');
    expect(segment.info().state).toBe('ended');

    const clock = new ManualClock();
    const timed = codeOf(() => segment.untilUnbound(50, clock));
    while (clock.waiting > 0) {
      clock.advance(50);
      await Promise.resolve();
    }
    expect(await timed).toBe('ETIMEDOUT');
    const ended = codeOf(() => segment.untilUnbound());
    first.unbind();
    second.unbind();
    expect(await ended).toBe('none');
  });

  it('dc_end: waits for no process that died', async () => {
    const dc = new LocalDc();
    try {
      const member = await dc.member();
      await member.kill();
      dc.segment.endContainer();
      await dc.segment.untilUnbound();
      expect(dc.segment.processes()).toEqual([]);
    } finally {
      await dc.remove();
    }
  });
});

describe('6.6 nodes', () => {
  const nodeCall = (node: NodeId, call: (node: NodeId) => void): Promise<string> =>
    codeOf(() => {
      call(node);
    });

  it('add_node, del_node: change who is a member of the DC', async () => {
    const add = (node: NodeId): Promise<string> =>
      nodeCall(node, (id) => {
        segment.addNode(id, 'node');
      });
    const remove = (node: NodeId): Promise<string> =>
      nodeCall(node, (id) => {
        segment.removeNode(id);
      });
    expect(await add(N1)).toBe('none');
    expect(segment.links().map(({ node, state }) => [node, state])).toEqual([
      [0, 'local'],
      [1, 'down'],
    ]);
    expect(await add(N1)).toBe('EEXIST');
    expect(await add(nodeId(0))).toBe('EDVSBADNODEID');
    expect(await add(BEYOND)).toBe('EDVSBADNODEID');
    expect(await remove(ABSENT)).toBe('EDVSNODCNODE');
    expect(await remove(BEYOND)).toBe('EDVSBADNODEID');
    expect(await remove(N1)).toBe('none');
    expect(segment.link(N1)).toBeUndefined();
  });

  it('del_node: ends what waits for the node, and forgets its processes', async () => {
    const node = new PseudoNode();
    try {
      const remote = makeEndpoint(20);
      const client = node.segment.bind({ name: 'client' });
      node.segment.bindRemote(remote, N1, 'server', 'remote');
      const call = codeOf(() => client.sendrec(remote));
      node.segment.removeNode(N1);
      expect(await call).toBe('ENOTCONN');
      expect(node.segment.isBound(remote)).toBe(false);
    } finally {
      await node.remove();
    }
  });

  it('node_up, node_down: are of members alone', async () => {
    segment.addNode(N1, 'n1');
    const up = (node: NodeId): Promise<string> =>
      nodeCall(node, (id) => {
        segment.linkUp(id, 7);
      });
    const down = (node: NodeId): Promise<string> =>
      nodeCall(node, (id) => {
        segment.linkDown(id);
      });
    expect([await up(N1), segment.link(N1)?.state, segment.link(N1)?.session]).toEqual([
      'none',
      'up',
      7,
    ]);
    expect([await down(N1), segment.link(N1)?.state]).toEqual(['none', 'down']);
    expect([await up(ABSENT), await up(BEYOND)]).toEqual(['EDVSNODCNODE', 'EDVSBADNODEID']);
    expect([await down(ABSENT), await down(BEYOND)]).toEqual(['EDVSNODCNODE', 'EDVSBADNODEID']);
  });

  it('proxies_bind, proxies_unbind: one proxy serves a node, and calls need it', async () => {
    const attach = (node: NodeId): Promise<string> =>
      nodeCall(node, (id) => {
        segment.attachProxy(id, () => undefined);
      });
    const client = segment.bind({ name: 'client' });
    const remote = makeEndpoint(20);
    segment.addNode(N1, 'n1');
    segment.bindRemote(remote, N1, 'server', 'remote');
    expect(await codeOf(() => client.send(remote))).toBe('EDVSNOPROXY');
    expect([await attach(N1), segment.link(N1)?.proxyPid]).toEqual(['none', process.pid]);
    expect(await codeOf(() => client.send(remote))).toBe('ENOTCONN');
    expect([await attach(ABSENT), await attach(BEYOND)]).toEqual(['EDVSNODCNODE', 'EDVSBADNODEID']);
    segment.linkUp(N1, 1);
    segment.bindRemote(remote, N1, 'server', 'remote');
    const call = codeOf(() => client.send(remote));
    segment.detachProxy(N1);
    expect(await call).toBe('ENOTCONN');
    expect([segment.link(N1)?.proxyPid, segment.link(N1)?.state]).toEqual([0, 'down']);
    expect(await codeOf(() => client.send(remote))).toBe('EDVSNOPROXY');
  });
});

describe('6.4 what the calls tell that inform', () => {
  it('getdvsinfo, getdcinfo', () => {
    expect(segment.info()).toMatchObject({
      dvsName: 'test',
      dcName: 'dc0',
      dcId: 0,
      nodeId: 0,
      nodes: 4,
      processes: 256,
      abiVersion: ABI_VERSION,
      state: 'running',
    });
  });

  it('getprocinfo', async () => {
    const bound = segment.bind({ name: 'server', level: 'server', slot: 5 });

    expect(segment.process(5)).toMatchObject({
      endpoint: bound.endpoint,
      slot: 5,
      node: 0,
      life: 'local',
      level: 'server',
      state: 'running',
      pid: process.pid,
      thread: 0,
      name: 'server',
      sent: 0,
      received: 0,
    });
    expect(segment.process(6)).toBeUndefined();
    expect(await codeOf(() => segment.process(256))).toBe('EDVSBADPROC');
    expect(segment.processes()).toEqual([segment.process(5)]);
  });

  it('getep', async () => {
    const bound = segment.bind({ name: 'server', slot: 5 });

    expect(segment.endpointsOf(process.pid)).toEqual([bound.endpoint]);
    expect(segment.endpointsOf(1)).toEqual([]);
    expect(segment.lookup(5)).toBe(bound.endpoint);
    expect(segment.lookup(6)).toBeUndefined();
    expect(await codeOf(() => segment.lookup(256))).toBe('EDVSBADPROC');
  });

  it('getnodeinfo, getproxyinfo', async () => {
    segment.addNode(N1, 'n1');
    segment.attachProxy(N1, () => undefined);

    expect(segment.link(N1)).toEqual({
      node: 1,
      name: 'n1',
      state: 'down',
      session: 0,
      proxyPid: process.pid,
      sent: 0,
      received: 0,
      sentBytes: 0,
      receivedBytes: 0,
      dropped: 0,
      queued: 0,
      queueLimit: 256,
    });
    expect(segment.link(nodeId(0))).toMatchObject({ state: 'local' });
    expect(segment.link(ABSENT)).toBeUndefined();
    expect(await codeOf(() => segment.link(BEYOND))).toBe('EDVSBADNODEID');
    expect(segment.links()).toEqual([segment.link(nodeId(0)), segment.link(N1)]);
  });

  it('getpriv', async () => {
    const bound = segment.bind({ name: 'server', level: 'server', slot: 5 });
    segment.addNode(N1, 'n1');
    segment.bindRemote(makeEndpoint(20), N1, 'server', 'remote');
    const get = (endpoint: number): Promise<string> =>
      codeOf(() => segment.privileges(endpoint as never));

    expect(segment.privileges(bound.endpoint).calls).toContain('rcvrqst');
    expect(await get(makeEndpoint(20))).toBe('EDVSRMTPROC');
    expect(await get(makeEndpoint(21))).toBe('EDEADSRCDST');
    expect(await get(ANY)).toBe('ERANGE');
  });
});
