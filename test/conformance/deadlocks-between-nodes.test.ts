// Cycles of waits that cross nodes: MINIX's rules of deadlock hold there too, and one member of a
// cycle is told. Method: nodes with real segments and proxy engines, joined in memory and by TCP;
// awaited calls of one event loop, and blocking calls of processes of their own. Reference: dvs.md
// 16.2; which member it is, and when, is told in src/proxies/prober.ts.
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/dvk/clock.ts';
import { type Process } from '../../src/dvk/index.ts';
import { LoopbackNetwork } from '../../src/proxies/loopback.ts';
import { tcpTransport } from '../../src/proxies/tcp.ts';
import type { Transport } from '../../src/proxies/transport.ts';
import { codeOf } from '../support/codes.ts';
import { EngineNodes } from '../support/engine-nodes.ts';

type CallKind = 'send' | 'sendrec' | 'receive';

let nodes: EngineNodes | undefined;
afterEach(async () => {
  await nodes?.remove();
  nodes = undefined;
});

/** An awaited call, and what it came to. */
class Call {
  code: string | undefined;
  readonly ended: Promise<string>;

  constructor(waiter: Process, kind: CallKind, peer: Process) {
    this.ended = this.#end(() => waiter[kind](peer.endpoint));
  }

  async #end(call: () => Promise<void>): Promise<string> {
    return (this.code = await codeOf(call));
  }
}

/** Everybody calls the next one. Returns who got ELOCKED, and that nobody else ended. */
async function lockedOf(ring: Process[], kinds: CallKind[]): Promise<[number, Call[]]> {
  const calls: Call[] = ring.map(
    (waiter, i) => new Call(waiter, kinds[i] ?? 'sendrec', ring[(i + 1) % ring.length]!),
  );
  await Promise.race(calls.map(async (call) => call.ended));
  expect(calls.map(({ code }) => code).filter((code) => code !== undefined)).toEqual(['ELOCKED']);
  return [calls.findIndex(({ code }) => code === 'ELOCKED'), calls];
}

/** `who` does what the one before it in the ring waits for. */
async function serve(who: Process, kind: CallKind, before: Process): Promise<void> {
  if (kind === 'receive') {
    await who.send(before.endpoint);
    return;
  }
  await who.receive(before.endpoint);
  if (kind === 'sendrec') who.replySync(before.endpoint);
}

/** From the one that got ELOCKED on, each serves the one before it, until all calls are done. */
async function unwind(
  ring: Process[],
  kinds: CallKind[],
  locked: number,
  calls: Call[],
): Promise<void> {
  for (let back = 0; back + 1 < ring.length; back++) {
    const who = (locked - back + ring.length) % ring.length;
    const before = (who - 1 + ring.length) % ring.length;
    await serve(ring[who]!, kinds[before] ?? 'sendrec', ring[before]!);
    expect(await calls[before]?.ended).toBe('none');
  }
}

describe.each([
  ['in memory', (): LoopbackNetwork => new LoopbackNetwork()],
  ['by TCP', (): undefined => undefined],
] as const)('a cycle of waits across nodes that are joined %s', (_, network) => {
  async function start(count: number): Promise<EngineNodes> {
    const memory = network();
    const transport = (): Transport => memory?.transport() ?? tcpTransport(systemClock);
    return (nodes = await EngineNodes.start(count, transport));
  }

  it('of two gets ELOCKED once, and the other goes on when it is served', async () => {
    const world = await start(2);
    const ring = [await world.server(0, 10), await world.server(1, 11)];
    for (const kinds of [
      ['sendrec', 'sendrec'],
      ['send', 'send'],
      ['send', 'sendrec'],
      ['receive', 'receive'],
    ] as CallKind[][]) {
      const [locked, calls] = await lockedOf(ring, kinds);
      await unwind(ring, kinds, locked, calls);
    }
  });

  it('of two is none when one sends and the other receives', async () => {
    const world = await start(2);
    const [one, two] = [await world.server(0, 10), await world.server(1, 11)];
    const received = new Call(one, 'receive', two);
    await world.frames(1, 20);
    expect(await codeOf(() => two.send(one.endpoint))).toBe('none');
    expect(await received.ended).toBe('none');
  });

  it('of two is none when a server calls the client that awaits its answer', async () => {
    const world = await start(2);
    const [client, server] = [await world.server(0, 10), await world.server(1, 11)];
    const request = new Call(client, 'sendrec', server);
    await server.rcvrqst();
    const back = new Call(server, 'sendrec', client);
    expect(await request.ended).toBe('none');
    expect([client.message.source, client.lastKind]).toEqual([server.endpoint, 'call']);
    client.replySync(server.endpoint);
    expect(await back.ended).toBe('none');
  });

  it('of three nodes, with waits on one node in it, gets ELOCKED once', async () => {
    const world = await start(3);
    const places = [0, 0, 1, 2, 2, 2, 0, 1];
    const ring: Process[] = [];
    for (const [i, node] of places.entries()) ring.push(await world.server(node, 10 + i));
    for (const kinds of [
      places.map(() => 'sendrec'),
      places.map((__, i) => (['send', 'receive', 'sendrec'] as const)[i % 3]),
    ] as CallKind[][]) {
      const [locked, calls] = await lockedOf(ring, kinds);
      await unwind(ring, kinds, locked, calls);
    }
  });

  it('is one when a server has a request, and the client is called by others', async () => {
    const world = await start(3);
    const [client, server, helper] = [
      await world.server(0, 12),
      await world.server(1, 10),
      await world.server(2, 11),
    ];
    const request = new Call(client, 'sendrec', server);
    await server.rcvrqst();
    const second = new Call(helper, 'sendrec', client);
    const first = new Call(server, 'sendrec', helper);
    // Of equal levels the lowest slot gives up: the server, which still owes its answer.
    expect(await first.ended).toBe('ELOCKED');
    server.replySync(client.endpoint);
    expect(await request.ended).toBe('none');
    await client.rcvrqst();
    client.replySync(helper.endpoint);
    expect(await second.ended).toBe('none');
  });

  it('goes through the server that a request was relayed to', async () => {
    const world = await start(3);
    const [client, front, back, other] = [
      await world.server(0, 13),
      await world.server(1, 10),
      await world.server(2, 11),
      await world.server(1, 12),
    ];
    const request = new Call(client, 'sendrec', front);
    await front.rcvrqst();
    front.relaySync(client.endpoint, back.endpoint);
    await back.rcvrqst();
    const second = new Call(other, 'send', client);
    const first = new Call(back, 'sendrec', other);
    expect(await first.ended).toBe('ELOCKED');
    expect([request.code, second.code]).toEqual([undefined, undefined]);
    back.replySync(client.endpoint);
    expect(await request.ended).toBe('none');
    await client.receive(other.endpoint);
    expect(await second.ended).toBe('none');
  });

  it('is told to processes that block, as to those that await', async () => {
    const world = await start(2);
    const members = [await world.member(0, 10), await world.member(1, 11)] as const;
    const [one, two] = members.map(async (member, i) =>
      member.order({ do: 'call', server: members[1 - i]?.endpoint ?? 0, type: 7 }),
    );
    await expect(one).rejects.toThrow('ELOCKED');
    const served = members[0].order({ do: 'echo', count: 1 });
    expect(await two).toBe(7);
    expect(await served).toEqual({ served: 1, repeated: 0 });
  });

  it('is not seen where a server is slow', async () => {
    const world = await start(3);
    const [client, server, back] = [
      await world.server(0, 10),
      await world.server(1, 11),
      await world.server(2, 12),
    ];
    const request = new Call(client, 'sendrec', server);
    await server.rcvrqst();
    const behind = new Call(server, 'sendrec', back);
    await back.rcvrqst();
    await world.frames(2, 40);
    expect([request.code, behind.code]).toEqual([undefined, undefined]);
    back.replySync(server.endpoint);
    expect(await behind.ended).toBe('none');
    server.replySync(client.endpoint);
    expect(await request.ended).toBe('none');
  });
});
