// Group C of section 20: what the authors' programs do between two and three nodes, over real proxy
// processes that seal their links; and a cycle of waits over two nodes. Also rows 11 and 19 of the
// fault matrix: a proxy that is killed while all kinds of calls wait, and a receiver that stands
// still. Method: a node is a segment and a proxy process; most of its processes are bound by the
// test, and the one that stands still is a program of its own.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ANY, type Endpoint, type Process } from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import type { ProxyNode } from '../support/proxy-node.ts';
import { startNodes } from '../support/proxy-node.ts';

const [NUMBER, TWICE] = [2, 3];
const SLEEPER = 40;
const CALLERS = 40;
const KIB = 1024;

let nodes: ProxyNode[] = [];
const bound: Process[] = [];

beforeAll(async () => {
  // Short: what a session survives is for survival.test.ts.
  nodes = await startNodes(3, () => ({ holdMs: 500 }));
});

afterAll(async () => {
  for (const node of nodes) await node.remove();
});

afterEach(() => {
  for (const one of bound.splice(0)) one.unbind();
});

/** A server of `node` that the nodes `by` know; each test has slots of its own. */
async function server(node: number, slot: number, by = [0, 1, 2]): Promise<Process> {
  const { segment } = nodes[node]!.segment;
  const one = segment.bind({ name: `s${slot}`, level: 'server', slot });
  bound.push(one);
  for (const other of by) await nodes[other]!.knows(one.endpoint);
  return one;
}

function client(node: number): Process {
  const one = nodes[node]!.segment.segment.bind({ name: 'client' });
  bound.push(one);
  return one;
}

function say(process: Process, type: number, number: number): void {
  process.message.type = type;
  process.message.int32[NUMBER] = number;
}

/** Answers so many requests with twice their number; returns the numbers in order. */
async function serve(one: Process, count: number): Promise<number[]> {
  const numbers: number[] = [];
  for (let i = 0; i < count; i++) {
    await one.rcvrqst();
    const number = one.message.int32[NUMBER] ?? 0;
    numbers.push(number);
    one.message.int32[TWICE] = 2 * number;
    one.replySync(one.message.source);
  }
  return numbers;
}

/** What `caller` gets for a number. */
async function ask(caller: Process, whom: Endpoint, number: number): Promise<number | undefined> {
  say(caller, 7, number);
  await caller.sendrec(whom);
  return caller.message.int32[TWICE];
}

describe('20.C two and three nodes', () => {
  it('test_rmtsend: what is sent arrives in order, with its sender and content', async () => {
    const target = await server(1, 10);
    const senders = [client(0), client(2)];
    const sends = senders.map(async (sender, i) => {
      for (let n = 0; n < 100; n++) {
        say(sender, i, n);
        await sender.send(target.endpoint);
      }
    });

    const came: number[][] = [[], []];
    for (let n = 0; n < 200; n++) {
      await target.receive(ANY);
      const { source, type, int32 } = target.message;
      expect(source).toBe(senders[type]?.endpoint);
      came[type]?.push(int32[NUMBER] ?? -1);
    }
    await Promise.all(sends);

    const all = Array.from({ length: 100 }, (_, n) => n);
    expect(came).toEqual([all, all]);
  });

  it('rmtrqstrply, rmtnotify: requests are answered, and a notification comes along', async () => {
    const target = await server(1, 15);
    const [caller, notifier] = [client(0), await server(2, 16)];
    const served = serve(target, 50);
    for (let n = 0; n < 50; n++) expect(await ask(caller, target.endpoint, n)).toBe(2 * n);
    await served;

    notifier.notify(target.endpoint);
    await target.receive(ANY);

    expect([target.lastKind, target.message.source]).toEqual(['notify', notifier.endpoint]);
  });

  it('rmtdatain, rmtdataout, copies of three parties: of every size, whole', async () => {
    const [source, target] = [await server(1, 20), await server(2, 21)];
    const requester = await server(0, 22);
    for (const bytes of [1, 4096, 64 * KIB, 64 * KIB + 1, 1024 * KIB, 5120 * KIB + 3]) {
      const from = Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + bytes) & 0xff);
      const [to, back] = [new Uint8Array(bytes), new Uint8Array(bytes)];
      const [read, write] = [
        source.grant(from, 'read', requester.endpoint),
        target.grant(to, 'read-write', requester.endpoint),
      ];
      const theirs = { endpoint: target.endpoint, grant: write, at: 0 };

      const theirSource = { endpoint: source.endpoint, grant: read, at: 0 };
      expect(await requester.vcopy(theirSource, theirs, bytes)).toBe(bytes);
      expect(await requester.vcopy(theirs, back, bytes)).toBe(bytes);
      expect(Buffer.compare(from, to)).toBe(0);
      back.reverse();
      expect(await requester.vcopy(back, theirs, bytes)).toBe(bytes);

      expect(Buffer.compare(to, from.reverse())).toBe(0);
      source.revoke(read);
      target.revoke(write);
    }
  });

  it('ring: a message goes round three nodes, and each adds its own', async () => {
    const ring = [await server(0, 25), await server(1, 26), await server(2, 27)];
    const ROUNDS = 50;
    const hops = ring.map(async (own, at) => {
      const next = ring[(at + 1) % ring.length]!;
      for (let round = 0; round < ROUNDS; round++) {
        if (at === 0 && round === 0) say(own, 1, 0);
        else await own.receive(ANY);
        own.message.int32[NUMBER] = (own.message.int32[NUMBER] ?? 0) + 10 ** at;
        await own.send(next.endpoint);
      }
      if (at === 0) await own.receive(ANY);
    });

    await Promise.all(hops);

    const [first, , last] = ring;
    expect(first?.message.int32[NUMBER]).toBe(ROUNDS * 111);
    expect(first?.message.source).toBe(last?.endpoint);
  });
});

describe('a cycle of waits over two nodes', () => {
  it.each([
    ['sendrec', 'sendrec'],
    ['send', 'sendrec'],
  ] as const)('of a %s and a %s: one gets ELOCKED, and serves the other one', async (...kinds) => {
    const pair = [await server(0, 41), await server(1, 42)] as const;
    const codes: (string | undefined)[] = [undefined, undefined];
    const calls = pair.map(async (one, i) => {
      const next = pair[i === 0 ? 1 : 0];
      say(one, 1, i);
      codes[i] = await codeOf(() => one[kinds[i] ?? 'send'](next.endpoint));
    });

    await Promise.race(calls);
    const locked = codes.indexOf('ELOCKED');
    expect(codes.filter((code) => code !== undefined)).toEqual(['ELOCKED']);
    const [told, waiting] = locked === 0 ? pair : [pair[1], pair[0]];
    await told.receive(waiting.endpoint);
    if (told.lastKind === 'call') told.replySync(waiting.endpoint);
    await Promise.all(calls);

    expect([told.message.source, codes[1 - locked]]).toEqual([waiting.endpoint, 'none']);
  });
});

describe('a receiver that stands still (row 19)', () => {
  it('holds up its callers and nobody else, and answers each once when it goes on', async () => {
    const sleeper = await nodes[1]!.member({ slot: SLEEPER });
    const target = await server(1, 30);
    await nodes[0]!.knows(sleeper.endpoint);
    const echo = sleeper.order<{ served: number; repeated: number }>({
      ...{ do: 'echo', count: CALLERS },
    });
    process.kill(sleeper.pid, 'SIGSTOP');
    const crowd = Array.from({ length: CALLERS }, (_, i) => client(i % 2 === 0 ? 0 : 2));
    let answered = 0;
    const answers = crowd.map(async (one, i) => {
      const answer = await ask(one, sleeper.endpoint, i);
      answered++;
      return answer;
    });

    const served = serve(target, 500);
    const other = client(0);
    for (let n = 0; n < 500; n++) expect(await ask(other, target.endpoint, n)).toBe(2 * n);
    await served;
    const during = answered;
    const { peers } = await nodes[0]!.statistics();
    process.kill(sleeper.pid, 'SIGCONT');

    expect(during).toBe(0);
    for (const { queue, traffic } of peers) {
      expect(queue?.bufferedBytes).toBeLessThan(64 * KIB);
      for (const { queued, queueLimit } of traffic) expect(queued).toBeLessThan(queueLimit);
    }
    expect(await Promise.all(answers)).toEqual(crowd.map((_, i) => 2 * i));
    expect(await echo).toEqual({ served: CALLERS, repeated: 0 });
  });
});

describe('20.C a proxy that is killed in the middle (row 11)', () => {
  it('lets all go that wait for its node or on it, with ENOTCONN; then they go on', async () => {
    const [a, b, c] = nodes as [ProxyNode, ProxyNode, ProxyNode];
    const [there, here] = [await server(1, 35), await server(0, 36)];
    const memory = new Uint8Array(64 * KIB);
    const grant = there.grant(memory, 'read-write', ANY);
    // A call that was received, calls that are queued, and one of the node itself.
    const taken = client(0);
    const outcomes = [codeOf(() => ask(taken, there.endpoint, 1))];
    await there.rcvrqst();
    const callers = [client(0), client(2), client(0), client(2), client(1)];
    outcomes.push(
      ...[0, 1].map(async (i) => codeOf(() => callers[i]!.sendrec(there.endpoint))),
      ...[2, 3].map(async (i) => codeOf(() => callers[i]!.send(there.endpoint))),
      codeOf(() => callers[4]!.sendrec(here.endpoint)),
    );
    const waits = (node: ProxyNode): number =>
      node.segment.segment.processes().filter(({ state }) => state === 'remote').length;
    while (waits(a) + waits(c) < 5) await new Promise((resolve) => setTimeout(resolve, 2));

    await b.killProxy([0, 2]);

    expect(await Promise.all(outcomes)).toEqual(Array(6).fill('ENOTCONN'));
    expect(await codeOf(() => there.replySync(taken.endpoint))).toBe('EDVSPROCSTS');
    await Promise.all([a.link(1, 'down'), c.link(1, 'down')]);
    const last = client(0);
    expect(await codeOf(() => last.send(there.endpoint))).toBe('ENOTCONN');
    // What does not go by way of that node goes on.
    const third = await server(2, 33, [0]);
    const answered = serve(third, 1);
    expect(await ask(taken, third.endpoint, 5)).toBe(10);
    await answered;

    await b.start([a.address, c.address]);
    await Promise.all([a.link(1, 'up'), c.link(1, 'up')]);
    for (const node of [a, c]) await node.knows(there.endpoint);
    const served = serve(there, 2);
    expect(await ask(taken, there.endpoint, 21)).toBe(42);
    expect(await ask(callers[1]!, there.endpoint, 22)).toBe(44);
    // No request of before the kill is among them.
    expect(await served).toEqual([21, 22]);
    const theirs = { endpoint: there.endpoint, grant, at: 0 };
    expect(await here.vcopy(new Uint8Array(64 * KIB).fill(9), theirs, 64 * KIB)).toBe(64 * KIB);
    expect(memory.every((byte) => byte === 9)).toBe(true);
  });
});
