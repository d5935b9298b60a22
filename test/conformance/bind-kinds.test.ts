// Every kind of bind: sections 5.1 and 5.7 of the notes on the authors' work. bind and tbind (self
// and thread), lclbind (another program), rmtbind, replbind and bkupbind, with what info tells of
// each. Method: Workers and processes of their own; for another node the test carries the commands.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ANY,
  makeEndpoint,
  nodeId,
  type BindOptions,
  type Endpoint,
  type Process,
} from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import { HandProxies } from '../support/hand-proxy.ts';
import { LocalDc } from '../support/local-dc.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { WorkerPeer } from '../support/peers.ts';

const SLOT = 10;
const ENDPOINT = makeEndpoint(SLOT);

describe('5.1 bind of a thread', () => {
  let dc: LocalDc;
  beforeEach(() => {
    dc = new LocalDc();
  });
  afterEach(async () => {
    await dc.remove();
  });

  it('gives each thread an endpoint of its own, and tells which it is', async () => {
    const main = dc.segment.bind({ name: 'main', thread: true });
    const program = dc.segment.bind({ name: 'program' });
    const worker = new WorkerPeer(dc.path, 'receiveOfThread');
    const endpoint = await worker.ready();
    const [first, second, third] = dc.segment.processes();

    expect(dc.segment.endpointsOf(process.pid)).toEqual([
      main.endpoint,
      program.endpoint,
      endpoint,
    ]);
    expect([first?.thread, second?.thread]).toEqual([process.pid, 0]);
    expect(third?.thread).toBeGreaterThan(0);
    expect(third?.thread).not.toBe(process.pid);
    await program.send(endpoint);
    expect(await worker.told('done')).toBe('0');
  });

  it('ends with the thread, though its program lives', async () => {
    const waiter = dc.segment.bind({ name: 'waiter' });
    const worker = new WorkerPeer(dc.path, 'receiveOfThread');
    const endpoint = await worker.ready();
    const waits = codeOf(() => waiter.receive(endpoint));
    await worker.terminate();

    expect(await waits).toBe('ESRCDIED');
    expect(dc.segment.isBound(endpoint)).toBe(false);
  });
});

describe('5.1 bind of another program', () => {
  let dc: LocalDc;
  beforeEach(() => {
    dc = new LocalDc();
  });
  afterEach(async () => {
    await dc.remove();
  });

  it('is seen until the program has taken its slot', async () => {
    const states: (boolean | undefined)[] = [];
    const child = await dc.boundMember((pid) => {
      dc.segment.bindFor(pid, { name: 'child', slot: SLOT });
      states.push(dc.segment.process(SLOT)?.handed);
    });
    states.push(dc.segment.process(SLOT)?.handed);

    expect(states).toEqual([true, false]);
    expect(dc.segment.process(SLOT)).toMatchObject({ name: 'child', pid: child.pid });
    await child.kill();
    expect(dc.segment.reap(SLOT, child.endpoint)).toBe(true);
  });

  it('keeps what was sent to it before', async () => {
    const sender = dc.segment.bind({ name: 'sender' });
    let sent: Promise<void> | undefined;
    const child = await dc.boundMember((pid) => {
      sender.message.type = 5;
      sent = sender.send(dc.segment.bindFor(pid, { name: 'child', slot: SLOT }));
    });

    expect(await child.ipc({ call: 'receive' })).toMatchObject({ type: 5 });
    await sent;
  });

  it('fails with its own errors', async () => {
    const { segment } = dc;
    const gone = await dc.member();
    await gone.kill();
    const bindFor = (pid: number, options: Partial<BindOptions> = {}): Promise<string> =>
      codeOf(() => segment.bindFor(pid, { name: 'other', slot: SLOT, ...options }));

    expect(await bindFor(gone.pid)).toBe('ESRCH');
    expect(await bindFor(0)).toBe('EINVAL');
    expect(await bindFor(process.ppid, { thread: true })).toBe('EINVAL');
    expect(await bindFor(process.ppid, { slot: 64 })).toBe('EDVSBADPROC');
    dc.server(SLOT);
    expect(await bindFor(process.ppid)).toBe('EDVSSLOTUSED');
    expect(await codeOf(() => segment.adoptSync({ timeoutMs: 0 }))).toBe('EAGAIN');
    expect(await codeOf(() => segment.adoptSync({ timeoutMs: 1 }))).toBe('ETIMEDOUT');
    segment.endContainer();
    expect(await codeOf(() => segment.adoptSync())).toBe('EDVSDCNOTRUN');
    expect(await bindFor(process.ppid)).toBe('EDVSDCNOTRUN');
  });
});

describe('5.1 binds to other nodes', () => {
  let nodes: HandProxies;
  let primary: Process;
  let client: Process;
  beforeEach(() => {
    nodes = new HandProxies(3);
    primary = nodes.server(SLOT, 0);
    client = nodes.client(1);
  });
  afterEach(async () => {
    await nodes.remove();
  });

  const standBy = (options: Partial<BindOptions> = {}): Process =>
    nodes.segment(1).bind({
      name: 'backup',
      level: 'server',
      backup: { endpoint: ENDPOINT, node: nodeId(0) },
      ...options,
    });

  it('rmtbind: a descriptor is of one endpoint on one other node', async () => {
    const { segment } = nodes.nodes[2]!;
    const bindRemote = (endpoint: Endpoint, node: number): Promise<string> =>
      codeOf(() => {
        segment.bindRemote(endpoint, nodeId(node), 'server', 'far');
      });
    nodes.segment(2).bind({ name: 'here', slot: 11 });

    expect(await bindRemote(makeEndpoint(12), 1)).toBe('none');
    expect(segment.process(12)).toMatchObject({ life: 'remote', node: 1, pid: 0, backup: false });
    expect(await bindRemote(makeEndpoint(11), 1)).toBe('EDVSSLOTUSED');
    expect(await bindRemote(makeEndpoint(13), 2)).toBe('EDVSLCLPROC');
    expect(await bindRemote(makeEndpoint(13), 3)).toBe('EDVSNODCNODE');
    expect(await bindRemote(makeEndpoint(13), 4)).toBe('EDVSBADNODEID');
    expect(await bindRemote(makeEndpoint(256), 1)).toBe('EDVSBADPROC');
  });

  it('replbind: replicas are local processes, with one endpoint on several nodes', async () => {
    const endpoint = makeEndpoint(20, 3);
    const replicas = [0, 1].map((node) =>
      nodes.segment(node).bind({ name: 'replica', level: 'server', replica: endpoint }),
    );
    nodes.settle();

    for (const node of [0, 1]) {
      expect(nodes.segment(node).process(20)).toMatchObject({
        endpoint,
        node,
        life: 'local',
        replica: true,
      });
    }
    const received = replicas[1]!.receive(ANY);
    await client.send(endpoint);
    await received;
    const again = (): unknown =>
      nodes.segment(1).bind({ name: 'replica', level: 'server', replica: endpoint });
    expect(await codeOf(again)).toBe('EDVSSLOTUSED');
    const dynamic = (): unknown =>
      nodes.segment(1).bind({ name: 'replica', replica: makeEndpoint(70) });
    expect(await codeOf(dynamic)).toBe('EDVSBADPROC');
  });

  it('bkupbind: messages go to the primary, and info tells of the backup', async () => {
    standBy();
    expect(nodes.segment(1).process(SLOT)).toMatchObject({
      endpoint: ENDPOINT,
      life: 'remote',
      node: 0,
      pid: process.pid,
      backup: true,
      state: 'standing by',
    });
    expect(nodes.segment(1).endpointsOf(process.pid)).toContain(ENDPOINT);

    const request = primary.rcvrqst();
    const call = client.sendrec(ENDPOINT);
    nodes.settle();
    await request;
    primary.message.type = 3;
    primary.replySync(client.endpoint);
    nodes.settle();
    await call;
    expect(client.message.type).toBe(3);
  });

  it('a call of a backup waits until it is promoted, and is served then', async () => {
    const backup = standBy();
    const request = backup.rcvrqst();
    nodes.segment(1).linkDown(nodeId(0));
    nodes.segment(1).promote(ENDPOINT);
    const call = client.sendrec(ENDPOINT);
    await request;
    backup.message.type = 4;
    backup.replySync(client.endpoint);
    await call;

    expect([client.message.type, client.message.source]).toEqual([4, ENDPOINT]);
    expect(nodes.segment(1).process(SLOT)).toMatchObject({
      life: 'local',
      node: 1,
      backup: false,
    });
  });

  it('a call of a backup is ended by its time, by a signal, by unbind, and by the DC', async () => {
    const clock = new ManualClock();
    const backup = standBy({ clock });
    const timed = codeOf(() => backup.receive(ANY, { timeoutMs: 50 }));
    clock.advance(50);
    expect(await timed).toBe('ETIMEDOUT');
    expect(await codeOf(() => backup.receive(ANY, { timeoutMs: 0 }))).toBe('EAGAIN');
    const stop = new AbortController();
    const stopped = codeOf(() => backup.send(client.endpoint, { signal: stop.signal }));
    stop.abort();
    expect(await stopped).toBe('ECANCELED');
    const called = codeOf(() => backup.receive(ANY));
    backup.unbind();
    expect(await called).toBe('ECANCELED');
    expect(nodes.segment(1).process(SLOT)).toMatchObject({
      life: 'remote',
      backup: false,
      pid: 0,
    });

    const next = codeOf(() => standBy().waitForBind(40));
    nodes.segment(1).endContainer();
    expect(await next).toBe('EDVSDCNOTRUN');
  });

  it('what never waits fails with EDVSSTANDBY until then', async () => {
    const backup = standBy();
    const attempts: (() => unknown)[] = [
      () => {
        backup.notify(client.endpoint);
      },
      () => {
        backup.replySync(client.endpoint);
      },
      () => {
        backup.relaySync(client.endpoint, makeEndpoint(11));
      },
      () => backup.senda(client.endpoint),
      () => backup.grant(new Uint8Array(8), 'read', ANY),
      () => backup.allocate(8),
      () => backup.vcopySync({ endpoint: client.endpoint, address: 1n }, new Uint8Array(8), 8),
    ];
    for (const attempt of attempts) expect(await codeOf(attempt)).toBe('EDVSSTANDBY');
    nodes.segment(1).promote(ENDPOINT);

    const codes = await Promise.all(attempts.map(codeOf));
    expect(codes).not.toContain('EDVSSTANDBY');
  });

  it('promotion ends what is under way to the primary, and lets no late answer in', async () => {
    const backup = standBy();
    const served = codeOf(() => client.sendrec(ENDPOINT));
    const request = primary.rcvrqst();
    nodes.settle();
    await request;
    const queued = nodes.client(1);
    const waits = codeOf(() => queued.send(ENDPOINT));
    nodes.segment(1).promote(ENDPOINT);

    expect(['ESRCDIED', 'EDSTDIED']).toContain(await served);
    expect(['ESRCDIED', 'EDSTDIED']).toContain(await waits);
    primary.message.type = 9;
    expect(primary.replyRaw(client.endpoint)).toBe(0);
    const again = client.sendrec(ENDPOINT);
    nodes.settle();
    backup.rcvrqstSync();
    backup.message.type = 10;
    backup.replySync(client.endpoint);
    await again;
    expect(client.message.type).toBe(10);
  });

  it('other nodes find the new owner once the primary has unbound', async () => {
    const backup = standBy();
    const far = nodes.client(2);
    primary.unbind();
    nodes.settle();
    expect(nodes.segment(1).process(SLOT)).toMatchObject({ backup: true });
    nodes.segment(1).promote(ENDPOINT);
    nodes.settle();

    expect(nodes.segment(2).process(SLOT)).toMatchObject({ endpoint: ENDPOINT, node: 1 });
    const received = backup.receive(ANY);
    const sent = far.send(ENDPOINT);
    nodes.settle();
    await received;
    nodes.settle();
    await sent;
    expect(backup.message.source).toBe(far.endpoint);
  });

  it('bkupbind and promote fail with their own errors', async () => {
    const { segment } = nodes.nodes[1]!;
    const backup = (endpoint: Endpoint, node: number): Promise<string> =>
      codeOf(() => segment.bind({ name: 'backup', backup: { endpoint, node: nodeId(node) } }));
    const free = makeEndpoint(30);
    expect(await backup(makeEndpoint(70), 0)).toBe('EDVSBADPROC');
    expect(await backup(free, 4)).toBe('EDVSBADNODEID');
    expect(await backup(free, 1)).toBe('EDVSLCLPROC');
    expect(await backup(free, 3)).toBe('EDVSNODCNODE');
    segment.detachProxy(nodeId(2));
    expect(await backup(free, 2)).toBe('EDVSNOPROXY');
    expect(await backup(makeEndpoint(SLOT, 1), 0)).toBe('EDVSSLOTUSED');
    standBy();
    expect(await backup(ENDPOINT, 0)).toBe('EDVSSLOTUSED');
    const promote = (endpoint: Endpoint): Promise<string> =>
      codeOf(() => {
        segment.promote(endpoint);
      });
    expect(await promote(client.endpoint)).toBe('EDVSPROCSTS');
    expect(await promote(free)).toBe('EDEADSRCDST');
    expect(await promote(ANY)).toBe('ERANGE');
    const both = { name: 'both', thread: true, replica: free };
    expect(() => segment.bind(both)).toThrow(TypeError);
  });
});
