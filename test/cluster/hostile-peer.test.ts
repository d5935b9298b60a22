// What a peer can say that it may not: each is counted, dropped, or ends the link, and touches
// nobody else. Rows 17, 18 and 42 of the fault matrix, promise S12.
//
// Method: a real proxy process, node 2, is the victim. It shares DC 5 with an honest node 0, and
// DC 6 with node 1, which is the test itself: it has a good certificate where links are sealed, and
// says what a case has it say. After each case the honest link is as it was, and DC 5 heard of
// nothing; after all of them the proxy has the descriptors and about the memory that it had before.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CommandKind, CommandLayout, Limit, ProbeLayout } from '../../src/dvk/abi/abi.gen.ts';
import { dcId, nodeId } from '../../src/dvk/index.ts';
import type { EngineStatistics, PeerStatistics } from '../../src/proxies/engine.ts';
import { FRAME_HEAD_BYTES, FrameLayout } from '../../src/proxies/frame.ts';
import { encodeHello, HELLO_CONSTANTS } from '../../src/proxies/hello.ts';
import type { DropReason } from '../../src/proxies/traffic.ts';
import { HostilePeer, withCommand, withHeader, type Wire } from '../support/hostile-peer.ts';
import type { CommandFields } from '../support/proxy-frames.ts';
import { ProxyNode } from '../support/proxy-node.ts';
import { TestSegment } from '../support/segments.ts';

const [HONEST, HOSTILE, VICTIM] = [0, 1, 2];
const DC = 6;
// Slots of the victim's table in DC 6: nodes have 48 each, from 64 on.
const SERVER = 10;
const [THEIRS, OURS, NOBODYS] = [64, 112, 5000];
const MIB = 1024 * 1024;
const { ACK, HELLO, NONE, SHUTDOWN } = CommandKind;

interface Sets {
  nodes: ProxyNode[];
  shared: TestSegment;
}

async function start({ transport, sealed }: Wire): Promise<Sets> {
  const options = { insecure: !sealed, transports: [transport] };
  const honest = new ProxyNode(HONEST, [VICTIM], options);
  const victim = new ProxyNode(VICTIM, [HONEST], options);
  const shared = new TestSegment({ nodeId: nodeId(VICTIM), dcId: dcId(DC) });
  shared.segment.addNode(nodeId(HOSTILE), 'n1');
  shared.segment.bind({ name: 'server', level: 'server', slot: SERVER });
  await honest.start([]);
  const absent = { node: HOSTILE, name: 'n1', host: '127.0.0.1', port: 1 };
  await victim.start([honest.address, absent]);
  // Each case connects anew.
  victim.tell({ type: 'set', settings: { handshakeBurst: 100_000 } });
  const own = { dcId: 5, path: victim.segment.path };
  victim.tell({ type: 'segments', segments: [own, { dcId: DC, path: shared.path }] });
  honest.tell({ type: 'peers', peers: [victim.address] });
  await victim.link(HONEST, 'up');
  // The lane for blocks comes a little later, and stays.
  while (transport === 'tcp' && accepted(victim.port) < 2) await turn();
  return { nodes: [honest, victim], shared };
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Established TCP connections to a port of this host, as the accepting end has them. */
function accepted(port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const lines = readFileSync('/proc/net/tcp', 'latin1').split('\n');
  return lines.filter((line) => {
    const [, address = '', , state] = line.trim().split(/\s+/);
    return address.endsWith(local) && state === '01';
  }).length;
}

function peerIn({ peers }: EngineStatistics, node: number): PeerStatistics {
  const found = peers.find((peer) => peer.node === node);
  if (!found) throw new Error(`no peer ${node}`);
  return found;
}

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
}

/** Open descriptors, but for the wake FIFOs that the core keeps once it has woken somebody. */
function descriptors(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  const targets = readdirSync(folder).map((fd) => {
    try {
      return readlinkSync(`${folder}/${fd}`);
    } catch {
      return '/wake/';
    }
  });
  return targets.filter((target) => !target.includes('/wake/')).length;
}

/** Without a link: what is said first, and why the connection is refused. */
const FIRST: [string, (peer: HostilePeer) => Uint8Array, string | RegExp][] = [
  ['bytes that are no frame', () => new Uint8Array(300).fill(0x99), 'malformed'],
  [
    'a frame of another protocol version',
    (peer) => withHeader(peer.hello(), 'version', 9),
    'version',
  ],
  ['a header of another size', (peer) => withHeader(peer.hello(), 'headerBytes', 64), 'malformed'],
  ['a damaged header', (peer) => withHeader(peer.hello(), 'headerChecksum', 1), 'malformed'],
  ['flags that there are not', (peer) => withHeader(peer.hello(), 'flags', 1), 'malformed'],
  [
    'a length of 4 GiB',
    (peer) => withHeader(peer.hello(), 'payloadBytes', 2 ** 32 - 1),
    'malformed',
  ],
  [
    'a length that only a link which is up takes',
    (peer) => withHeader(peer.hello(), 'payloadBytes', 65_536),
    'malformed',
  ],
  ['damaged data', (peer) => withHeader(peer.hello(), 'bodyChecksum', 1), 'malformed'],
  [
    'a command that claims other data than its frame',
    (peer) => withCommand(peer.hello(), CommandLayout.payloadBytes, 7),
    'malformed',
  ],
  ['a command before HELLO', (peer) => peer.frame({ kind: 1, dcId: DC }), 'malformed'],
  ['a keepalive before HELLO', (peer) => peer.frame({ kind: NONE }), 'malformed'],
  ['an answer to a HELLO', (peer) => peer.frame({ kind: HELLO | ACK }), 'malformed'],
  ['an empty HELLO', (peer) => peer.frame({ kind: HELLO }), 'malformed'],
  [
    'a HELLO that is cut',
    (peer) => peer.frame({ kind: HELLO }, helloBytes().subarray(0, -3)),
    'malformed',
  ],
  [
    'a HELLO that claims more DCs than it names',
    (peer) => {
      const payload = helloBytes();
      new DataView(payload.buffer).setUint32(28, 1000, true);
      return peer.frame({ kind: HELLO }, payload);
    },
    'malformed',
  ],
  [
    'a HELLO of a DVS whose name does not end',
    (peer) => peer.frame({ kind: HELLO }, helloBytes().fill(0x61, 32, 48)),
    'malformed',
  ],
  ['a HELLO of another DVS', (peer) => peer.hello({ dvs: 'other' }), 'dvs'],
  ['a HELLO of another ABI', (peer) => peer.hello({ abiVersion: 0xffff_ffff }), 'abi'],
  ['a HELLO that takes no data', (peer) => peer.hello({ chunkBytes: 0 }), 'abi'],
  ['a HELLO for another node', (peer) => peer.hello({}, { destinationNode: 0 }), 'node'],
  ['a HELLO of a node that there is not', (peer) => peer.hello({ node: 9 }), 'node'],
  ['a HELLO of the largest number', (peer) => peer.hello({ node: 0xffff_ffff }), 'node'],
  ['a HELLO of the victim itself', (peer) => peer.hello({ node: VICTIM }), /^(node|identity)$/],
  ['a HELLO with session 0', (peer) => peer.hello({ session: 0 }), 'malformed'],
  ['a HELLO that is silent for weeks', (peer) => peer.hello({ keepaliveMs: 2 ** 31 }), 'malformed'],
  ['a farewell before HELLO', (peer) => peer.frame({ kind: SHUTDOWN }), 'refused'],
];

function helloBytes(): Uint8Array {
  return encodeHello({
    ...HELLO_CONSTANTS,
    ...{ node: HOSTILE, incarnation: 7n, session: 1, keepaliveMs: 500, dvs: 'lab' },
    ...{ voucherKey: new Uint8Array(32), containers: [DC] },
  });
}

/** On a link that is up: what is said, and why the link ends. */
const FATAL: [string, (peer: HostilePeer) => Uint8Array, string][] = [
  ['bytes that are no frame', () => new Uint8Array(300).fill(0x99), 'malformed'],
  ['a frame of another version', (peer) => withHeader(peer.frame({}), 'version', 9), 'version'],
  ['a damaged header', (peer) => withHeader(peer.frame({}), 'headerChecksum', 1), 'malformed'],
  ['flags that there are not', (peer) => withHeader(peer.frame({}), 'flags', 2 ** 31), 'malformed'],
  ['damaged data', (peer) => withHeader(peer.frame({}), 'bodyChecksum', 1), 'malformed'],
  [
    'a byte more than the longest data',
    (peer) => withHeader(peer.frame({}), 'payloadBytes', Limit.COPY_CHUNK_BYTES + 1),
    'malformed',
  ],
  [
    'a frame after a gap',
    (peer) => {
      peer.sequence += 3;
      return peer.frame({ kind: NONE });
    },
    'sequence',
  ],
  ['a HELLO of another node', (peer) => peer.hello({ node: HONEST }), 'malformed'],
  ['a HELLO of another start', (peer) => peer.hello({ incarnation: 8n }), 'malformed'],
  ['a HELLO that is none', (peer) => peer.frame({ kind: HELLO }), 'malformed'],
  ['a command of another node', (peer) => say(peer, { sourceNode: HONEST }), 'identity'],
  ['a command of no node', (peer) => say(peer, { sourceNode: 0xffff_ffff }), 'identity'],
  ['a command for another node', (peer) => say(peer, { destinationNode: HONEST }), 'identity'],
  [
    'a farewell full of control characters',
    (peer) =>
      peer.frame(
        { kind: SHUTDOWN },
        Uint8Array.from({ length: 4000 }, (_, i) => i & 255),
      ),
    'shutdown',
  ],
];

function say(peer: HostilePeer, fields: CommandFields): Uint8Array {
  return peer.frame({ kind: CommandKind.SEND_MSG, dcId: DC, source: OURS, ...fields });
}

const to: CommandFields = { destination: SERVER };
const copy: CommandFields = {
  ...{ source: OURS, requester: OURS, requesterNode: HOSTILE, copySource: OURS },
  ...{ copyDestination: SERVER, copyDestinationNode: VICTIM, copyBytes: 64 },
};

/** On a link that is up: what is dropped, and for which reason; the link stays. */
const DROPPED: [string, CommandFields, number, DropReason][] = [
  ['a command for a DC of others', { dcId: 5 }, 0, 'container'],
  ['a command for no DC', { dcId: 0xffff_ffff }, 0, 'container'],
  ['a kind that there is not', { kind: 999 }, 0, 'malformed'],
  ['a kind with every bit', { kind: 0xffff_ffff }, 0, 'malformed'],
  ['an answer to an announcement', { kind: CommandKind.PROCBIND | ACK }, 0, 'malformed'],
  ['a message with data', { ...to }, 100, 'malformed'],
  ['a message of an endpoint beyond the table', { source: NOBODYS, ...to }, 0, 'malformed'],
  ['a message of ANY', { source: 0x7fff_ffff, ...to }, 0, 'malformed'],
  ["a message of another node's process", { source: THEIRS, ...to }, 0, 'malformed'],
  ["a message of the victim's process", { source: SERVER, ...to }, 0, 'refused'],
  ['an answer of nobody', { kind: CommandKind.REPLY_MSG, source: -1, ...to }, 0, 'malformed'],
  [
    'a success that is none',
    { kind: CommandKind.SNDREC_MSG | ACK, source: OURS, ...to, result: 0 },
    0,
    'malformed',
  ],
  ['a withdrawal for another', { kind: CommandKind.WITHDRAW, source: SERVER }, 0, 'malformed'],
  ['data that nobody vouched for', { kind: CommandKind.COPYIN_RQST, ...copy }, 64, 'forged'],
  [
    'a copy in the name of another',
    { kind: CommandKind.COPYIN_DATA, ...copy, requester: SERVER },
    64,
    'malformed',
  ],
  [
    'a copy of more than may be',
    { kind: CommandKind.COPYIN_DATA, ...copy, copyBytes: Limit.COPY_CHUNK_BYTES + 1 },
    64,
    'malformed',
  ],
  [
    'data of another length than it claims',
    { kind: CommandKind.COPYOUT_RQST | ACK, ...copy, ...to, result: 65 },
    64,
    'malformed',
  ],
  [
    "a process in another node's slot",
    { kind: CommandKind.PROCBIND, source: THEIRS, level: 1 },
    0,
    'malformed',
  ],
  [
    'a process in a slot that is taken',
    { kind: CommandKind.PROCBIND, source: SERVER, level: 1 },
    0,
    'refused',
  ],
  ['a query for no slot', { kind: CommandKind.PROCINFO, destination: -7 }, 0, 'malformed'],
  [
    'an answer that names another slot',
    { kind: CommandKind.PROCINFO | ACK, source: OURS, ...to },
    0,
    'malformed',
  ],
  [
    'an answer that names no endpoint',
    { kind: CommandKind.PROCINFO | ACK, source: -1, ...to },
    0,
    'malformed',
  ],
  ['a process beyond the table', { kind: CommandKind.PROCBIND, source: -7 }, 0, 'malformed'],
];

/** On a link that is up: what changes nothing at all. */
const IGNORED: [string, CommandFields][] = [
  ['an answer to a keepalive that was not sent', { kind: NONE | ACK, callId: 77 }],
  ['an answer to a call that was not made', { kind: CommandKind.SEND_MSG | ACK, ...to }],
  [
    'data that nobody asked for',
    { kind: CommandKind.COPYOUT_RQST | ACK, source: OURS, ...to, result: 0 },
  ],
  [
    'an answer about a process that nobody looks for',
    { kind: CommandKind.PROCINFO | ACK, source: OURS, destination: OURS & 0xffff },
  ],
  ['the end of a process of the victim', { kind: CommandKind.PROCUNBIND, source: SERVER }],
  ['the end of a process of another', { kind: CommandKind.PROCUNBIND, source: THEIRS }],
  ['a notification to nobody', { kind: CommandKind.NTFY_MSG, source: OURS, destination: 200 }],
];

describe.each<Wire>([
  { transport: 'tcp', sealed: false },
  { transport: 'tcp', sealed: true },
  { transport: 'udp', sealed: false },
  { transport: 'udp', sealed: true },
])('a hostile peer over $transport (sealed: $sealed)', (wire) => {
  let world: Sets;
  let [fds, bytes] = [0, 0];

  const victim = (): ProxyNode => world.nodes[1]!;
  const part = (): { node: number; victim: number; port: number } => ({
    node: HOSTILE,
    victim: VICTIM,
    port: victim().port,
  });

  beforeAll(async () => {
    world = await start(wire);
    // The first link has the proxy open what it keeps.
    await left(await linked());
    [fds, bytes] = [descriptors(victim().pid), residentBytes(victim().pid)];
  });

  afterAll(async () => {
    for (const node of world.nodes) await node.remove();
    world.shared.remove();
  });

  /** Looks until something is so. */
  async function until(
    isSo: (hostile: PeerStatistics, all: EngineStatistics) => boolean,
  ): Promise<EngineStatistics> {
    for (;;) {
      const all = await victim().statistics();
      if (isSo(peerIn(all, HOSTILE), all)) return all;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  /** Node 0 and DC 5 have noticed nothing. */
  function expectUntouched(all: EngineStatistics): void {
    const honest = peerIn(all, HONEST);
    const drops = { container: 0, forged: 0, malformed: 0, refused: 0, probe: 0 };
    expect(honest).toMatchObject({ state: 'up', reconnects: 0, drops, containers: [5] });
    expect(honest.traffic).toMatchObject([{ dcId: 5, drops, received: [] }]);
    expect(peerIn(all, HOSTILE).traffic.every(({ dcId: dc }) => dc === DC)).toBe(true);
  }

  async function linked(): Promise<HostilePeer> {
    const peer = await HostilePeer.link(wire, part(), [DC]);
    await until(({ containers }) => containers.includes(DC));
    return peer;
  }

  async function left(peer: HostilePeer): Promise<EngineStatistics> {
    if (!peer.isClosed) peer.drop();
    await peer.untilClosed();
    return until(({ state }) => state === 'down');
  }

  it.each(FIRST)('is refused when it begins with %s', async (_, build, code) => {
    const before = await victim().statistics();
    const peer = await HostilePeer.connect(wire, part());

    peer.send(build(peer));
    await peer.untilClosed();

    const all = await until((_hostile, { refused }) => refused > before.refused);
    expect(all.lastRefused?.code).toMatch(code);
    const counted = all.lastRefused?.code ?? '';
    expect(all.refusals[counted]).toBe((before.refusals[counted] ?? 0) + 1);
    expectUntouched(all);
  });

  // In plain text peers are believed.
  if (wire.sealed) {
    it('is refused when it speaks for the honest node', async () => {
      const before = await victim().statistics();
      const peer = await HostilePeer.connect(wire, part());

      peer.send(peer.hello({ node: HONEST, containers: [5] }));
      const reason = await peer.farewell();
      await peer.untilClosed();

      expect(reason).toMatch(/^identity: it speaks for node 0, but its certificate is for node 1/);
      const all = await until((_hostile, { refused }) => refused > before.refused);
      expectUntouched(all);
    });
  }

  it.each(FATAL)('loses its link with %s', async (_, build, code) => {
    const peer = await linked();

    peer.send(build(peer));
    await peer.untilClosed();

    const all = await until(({ state }) => state === 'down');
    const { lastDown } = peerIn(all, HOSTILE);
    expect(lastDown?.code).toBe(code);
    expect(lastDown?.detail).toMatch(/^[\x20-\x7e]{1,250}$/);
    expectUntouched(all);
  });

  it.each(DROPPED)('has %s dropped and counted', async (_, fields, dataBytes, reason) => {
    const peer = await linked();
    const before = peerIn(await victim().statistics(), HOSTILE);

    const { SEND_MSG: kind } = CommandKind;
    const data = new Uint8Array(dataBytes);
    peer.send(peer.frame({ kind, dcId: DC, source: OURS, ...fields }, data));
    const all = await until(({ drops }) => drops[reason] > before.drops[reason]);

    const after = peerIn(all, HOSTILE);
    expect(after.drops).toEqual({ ...before.drops, [reason]: before.drops[reason] + 1 });
    expect(after).toMatchObject({ state: 'up', reconnects: before.reconnects });
    expectUntouched(all);
    await left(peer);
  });

  it.each(IGNORED)('changes nothing by %s', async (_, fields) => {
    const peer = await linked();
    const before = peerIn(await victim().statistics(), HOSTILE);

    peer.send(peer.frame({ dcId: DC, source: OURS, ...fields }));
    peer.send(peer.frame({ kind: NONE, callId: 5 }));
    await peer.answer(NONE | ACK);

    const all = await victim().statistics();
    expect(peerIn(all, HOSTILE)).toMatchObject({ state: 'up', drops: before.drops });
    expect(world.shared.segment.isBound(SERVER as never)).toBe(true);
    expectUntouched(all);
    await left(peer);
  });

  it('has a probe that is none dropped and counted', async () => {
    const peer = await linked();
    const { drops } = peerIn(await victim().statistics(), HOSTILE);

    const frame = peer.frame({ kind: CommandKind.PROBE, dcId: DC, source: OURS, ...to });
    peer.send(withCommand(frame, CommandLayout.message + 8 + ProbeLayout.stage, 7));
    const all = await until((hostile) => hostile.drops.probe > drops.probe);

    expect(peerIn(all, HOSTILE)).toMatchObject({ state: 'up', drops: { ...drops, probe: 1 } });
    expectUntouched(all);
    await left(peer);
  });

  it('has frames of another session dropped', async () => {
    const peer = await linked();
    const { staleFrames } = peerIn(await victim().statistics(), HOSTILE);
    const { session } = peer;

    peer.session = session - 1;
    peer.send(peer.frame({ kind: NONE }), peer.frame({ kind: SHUTDOWN }));
    const all = await until((hostile) => hostile.staleFrames === staleFrames + 2);

    expect(peerIn(all, HOSTILE).state).toBe('up');
    expectUntouched(all);
    await left(peer);
  });

  it('has frames that came already dropped', async () => {
    const peer = await linked();
    const { duplicateFrames } = peerIn(await victim().statistics(), HOSTILE);

    const message = say(peer, { ...to });
    peer.send(message, message, message, peer.frame({ kind: NONE, callId: 9 }));
    await peer.answer(NONE | ACK);

    const all = await victim().statistics();
    const hostile = peerIn(all, HOSTILE);
    expect(hostile).toMatchObject({ state: 'up', duplicateFrames: duplicateFrames + 2 });
    const sent = hostile.traffic[0]?.received.find(({ kind }) => kind === 'SEND_MSG');
    expect(sent?.commands).toBeGreaterThan(0);
    expectUntouched(all);
    await left(peer);
  });

  it('gets an error for a message to nobody, and for a copy without a grant', async () => {
    const peer = await linked();

    peer.send(say(peer, { kind: CommandKind.SNDREC_MSG, destination: 200, callId: 3 }));
    const call = await peer.answer(CommandKind.SNDREC_MSG | ACK);
    const { COPYIN_DATA: kind } = CommandKind;
    peer.send(peer.frame({ kind, dcId: DC, ...copy }, new Uint8Array(64)));
    const copied = await peer.answer(kind | ACK);

    expect(call).toBeLessThan(0);
    expect(copied).toBeLessThan(0);
    expectUntouched(await left(peer));
  });

  it('brings no DC up that it is no member of, however many it names', async () => {
    const peer = await linked();
    const many = Array.from({ length: 1024 }, (_, i) => i);

    peer.send(peer.hello({ containers: many }), say(peer, { dcId: 5 }));
    peer.send(peer.frame({ kind: NONE }));
    await peer.answer(NONE | ACK);

    const all = await victim().statistics();
    expect(peerIn(all, HOSTILE).containers).toEqual([DC]);
    expectUntouched(all);
    await left(peer);
  });

  it('may cut a frame anywhere, and leaves nothing behind', async () => {
    for (const cut of [1, FrameLayout.BYTES - 1, FrameLayout.BYTES, FRAME_HEAD_BYTES, 400]) {
      const peer = await linked();
      const whole = peer.frame({ kind: 5, dcId: DC }, new Uint8Array(4000));

      peer.send(whole.subarray(0, cut), peer.frame({ kind: NONE }).subarray(0, 0));
      const all = await left(peer);

      expect(peerIn(all, HOSTILE).lastDown?.code).toBe('connection');
      expectUntouched(all);
    }
  });

  it('loses its link when it floods what no honest node sends', async () => {
    const peer = await linked();

    for (let i = 0; i < 1500; i++) peer.send(say(peer, { source: THEIRS }));
    await peer.untilClosed();

    const all = await until(({ state }) => state === 'down');
    const { lastDown, drops } = peerIn(all, HOSTILE);
    expect(lastDown?.code).toBe('rate');
    expect(drops.malformed).toBeGreaterThan(1000);
    expectUntouched(all);
  });

  it('has cost no descriptor and no memory, and harmed no table', async () => {
    const { pid } = victim();
    while (descriptors(pid) > fds) await turn();

    expect(residentBytes(pid) - bytes).toBeLessThan(96 * MIB);
    expect(world.shared.segment.check()).toEqual([]);
    expect(victim().segment.segment.check()).toEqual([]);
    const [server, client] = [await victim().member({ slot: 10 }), await world.nodes[0]!.member()];
    await world.nodes[0]!.knows(server.endpoint);
    const echo = server.order<{ served: number }>({ do: 'echo', count: 100 });
    const calls = { do: 'calls', server: server.endpoint, count: 100, start: 0 } as const;
    expect((await client.order<{ right: number }>(calls)).right).toBe(100);
    expect((await echo).served).toBe(100);
  });
});
