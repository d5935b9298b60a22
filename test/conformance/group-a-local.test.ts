// Group A of section 20 of the notes on the authors' work: the programs of section 14.1 that test
// calls within one node, each by its name, and what they are expected to show. Method: the parties
// are processes of their own, which do what the test says; "late" means that the other one waits
// in its call already. The copies are in group-a-copies.test.ts.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ANY,
  errorName,
  KERNEL,
  Limit,
  makeEndpoint,
  NONE,
  SELF,
  type Endpoint,
  type Process,
} from '../../src/dvk/index.ts';
import { codeOf } from '../support/codes.ts';
import type { DcMember } from '../support/dc-members.ts';
import { LocalDc } from '../support/local-dc.ts';

const FIRST = 10;
const SECOND = 11;
const CLOCK = 12;
/** The message of the authors' programs: m1 fields 1, 2, 3 and type 255. */
const SAMPLE = { type: 255, numbers: [1, 2, 3] };

let dc: LocalDc;
beforeEach(() => {
  dc = new LocalDc();
});
afterEach(async () => {
  await dc.remove();
});

/** Two servers in processes of their own. */
async function pair(): Promise<[DcMember, DcMember]> {
  return Promise.all([dc.member({ slot: FIRST }), dc.member({ slot: SECOND })]);
}

describe('messages', () => {
  it('20.A test_rs: a late receiver finds the senders queued at the tail', async () => {
    const [receiver, first] = await pair();
    const second = await dc.member();
    const sends: Promise<unknown>[] = [];
    for (const sender of [second, first]) {
      sends.push(sender.ipc({ call: 'send', peer: receiver.endpoint, ...SAMPLE }));
      await dc.reaches(sender.endpoint, 'sending');
    }

    const received = [
      await receiver.ipc({ call: 'receive' }),
      await receiver.ipc({ call: 'receive' }),
    ];

    const expected = { ...SAMPLE, kind: 'send' };
    expect(received).toEqual([
      { ...expected, source: second.endpoint },
      { ...expected, source: first.endpoint },
    ]);
    await Promise.all(sends);
  });

  it('20.A test_rs2: a late sender wakes the receiver', async () => {
    const [receiver, sender] = await pair();
    const received = receiver.ipc({ call: 'receive' });
    await dc.reaches(receiver.endpoint, 'receiving any');

    await sender.ipc({ call: 'send', peer: receiver.endpoint, ...SAMPLE });

    expect(await received).toEqual({ ...SAMPLE, source: sender.endpoint, kind: 'send' });
  });

  it('20.A test_rs3: several messages of one sender come one by one, in order', async () => {
    const [receiver, sender] = await pair();
    const sends = [1, 2, 3, 4, 5].map((n) =>
      sender.ipc({ call: 'send', peer: receiver.endpoint, type: n, numbers: [n] }),
    );
    const received = sends.map(() => receiver.ipc({ call: 'receive', peer: sender.endpoint }));

    expect((await Promise.all(received)).map(({ type }) => type)).toEqual([1, 2, 3, 4, 5]);
    await Promise.all(sends);
  });

  it('20.A test_sendrec: a late client is served by a server that waits', async () => {
    const [server, client] = await pair();
    const request = server.ipc({ call: 'receive' });
    await dc.reaches(server.endpoint, 'receiving any');
    const reply = client.ipc({ call: 'sendrec', peer: server.endpoint, ...SAMPLE });

    expect(await request).toEqual({ ...SAMPLE, source: client.endpoint, kind: 'call' });
    await server.ipc({ call: 'reply', peer: client.endpoint, type: 7, numbers: [4, 5, 6] });
    expect(await reply).toMatchObject({ source: server.endpoint, type: 7, numbers: [4, 5, 6] });
  });

  it('20.A test_sendrec2: a late server finds the request queued', async () => {
    const [server, client] = await pair();
    const reply = client.ipc({ call: 'sendrec', peer: server.endpoint, ...SAMPLE });
    await dc.reaches(client.endpoint, 'calling');

    const request = await server.ipc({ call: 'receive', peer: client.endpoint });
    await dc.reaches(client.endpoint, 'awaiting reply');
    await server.ipc({ call: 'send', peer: client.endpoint, type: 8 });

    expect(request).toMatchObject({ ...SAMPLE, kind: 'call' });
    expect(await reply).toMatchObject({ source: server.endpoint, type: 8 });
  });

  it('20.A test_rr_rply: rcvrqst takes requests alone, and reply answers them', async () => {
    const [server, sender] = await pair();
    const client = await dc.member();
    const sent = sender.ipc({ call: 'send', peer: server.endpoint, type: 1 });
    await dc.reaches(sender.endpoint, 'sending');
    const reply = client.ipc({ call: 'sendrec', peer: server.endpoint, type: 2 });
    dc.segment.notifyKernel(server.endpoint);

    expect(await server.ipc({ call: 'rcvrqst' })).toMatchObject({ type: 2, kind: 'call' });
    await server.ipc({ call: 'reply', peer: client.endpoint, type: 3 });
    expect(await reply).toMatchObject({ type: 3 });
    expect(await server.ipc({ call: 'receive' })).toMatchObject({ source: KERNEL });
    expect(await server.ipc({ call: 'receive' })).toMatchObject({ type: 1, kind: 'send' });
    await sent;
  });
});

describe('notifications', () => {
  it('20.A test_notify: a late receiver finds the pending bit, once', async () => {
    const [receiver, source] = await pair();
    await source.ipc({ call: 'notify', peer: receiver.endpoint });
    await source.ipc({ call: 'notify', peer: receiver.endpoint });

    const received = await receiver.ipc({ call: 'receive' });

    expect(received).toMatchObject({
      source: source.endpoint,
      type: Limit.NOTIFY_TYPE,
      kind: 'notify',
    });
    expect(await receiver.codeOf({ call: 'receive', timeoutMs: 0 })).toBe('EAGAIN');
  });

  it('20.A test_notify2: a late notifier wakes the receiver', async () => {
    const [receiver, source] = await pair();
    const received = receiver.ipc({ call: 'receive', peer: source.endpoint });
    await dc.reaches(receiver.endpoint, 'receiving from');
    await source.ipc({ call: 'notify', peer: receiver.endpoint });

    expect(await received).toMatchObject({ source: source.endpoint, kind: 'notify' });
  });

  it('20.A test_src_notify: a server notifies in the name of CLOCK', async () => {
    const receiver = await dc.member();
    const clock = dc.server(CLOCK);
    const source = dc.server(FIRST);
    const received = receiver.ipc({ call: 'receive', peer: clock.endpoint });
    await dc.reaches(receiver.endpoint, 'receiving from');
    source.notify(receiver.endpoint, { source: clock.endpoint });

    expect(await received).toMatchObject({ source: clock.endpoint, kind: 'notify' });
  });

  it('20.A test_hdw_notify: who is not bound notifies as the hardware', async () => {
    const receiver = await dc.member();
    const received = receiver.ipc({ call: 'receive' });
    await dc.reaches(receiver.endpoint, 'receiving any');
    dc.segment.notifyKernel(receiver.endpoint, 6);

    expect(await received).toMatchObject({ source: KERNEL, kind: 'notify', numbers: [6, 0, 0] });
  });
});

describe('waits', () => {
  it('20.A test_receive_T: a receive ends with the code of the time-out', async () => {
    const [receiver, sender] = await pair();

    expect(await receiver.codeOf({ call: 'receive', timeoutMs: 1 })).toBe('ETIMEDOUT');
    expect(await receiver.codeOf({ call: 'receive', timeoutMs: 0 })).toBe('EAGAIN');
    const received = receiver.ipc({ call: 'receive', timeoutMs: 20_000 });
    await sender.ipc({ call: 'send', peer: receiver.endpoint, ...SAMPLE });
    expect(await received).toMatchObject(SAMPLE);
  });

  it('20.A test_wakeup: a receive returns the code of the wake-up, now or next time', async () => {
    const receiver = await dc.member();
    const code = receiver.codeOf({ call: 'receive' });
    await dc.reaches(receiver.endpoint, 'receiving any');
    dc.segment.wakeup(receiver.endpoint);
    expect(await code).toBe('EDVSWOKENUP');

    dc.segment.wakeup(receiver.endpoint);
    expect(await receiver.codeOf({ call: 'receive' })).toBe('EDVSWOKENUP');
    expect(await receiver.codeOf({ call: 'receive', timeoutMs: 0 })).toBe('EAGAIN');
  });

  it('20.A test_wait4bind: a child waits until its parent binds it', async () => {
    let endpoint: Endpoint | undefined;
    const child = await dc.boundMember((pid) => {
      endpoint = dc.segment.bindFor(pid, { name: 'child', level: 'server', slot: FIRST });
    });

    expect(child.endpoint).toBe(endpoint);
    const received = child.ipc({ call: 'receive' });
    await dc.server(SECOND).send(child.endpoint);
    expect(await received).toMatchObject({ kind: 'send' });
  });

  it('20.A test_wait4bind: who waits for the bind of another gets its endpoint', async () => {
    const waiter = await dc.member();
    const found = waiter.order({ do: 'awaitBind', slot: FIRST });
    await dc.reaches(waiter.endpoint, 'awaiting bind');
    const bound = dc.server(FIRST);

    expect(await found).toBe(bound.endpoint);
  });
});

describe('ends', () => {
  it('20.A test_unbind: a queued sender gets EDSTDIED (-109 of M3-IPC)', async () => {
    const [gone, sender] = await pair();
    const code = sender.codeOf({ call: 'send', peer: gone.endpoint });
    await dc.reaches(sender.endpoint, 'sending');
    await gone.ipc({ call: 'unbind' });

    expect(await code).toBe('EDSTDIED');
    expect(await sender.codeOf({ call: 'send', peer: gone.endpoint })).toBe('EDEADSRCDST');
    expect(await gone.codeOf({ call: 'receive' })).toBe('EDVSNOTBOUND');
  });

  it('20.A test_unbind2: who receives from one that unbinds gets ESRCDIED (-108)', async () => {
    const [gone, receiver] = await pair();
    const code = receiver.codeOf({ call: 'receive', peer: gone.endpoint });
    await dc.reaches(receiver.endpoint, 'receiving from');
    await gone.ipc({ call: 'unbind' });

    expect(await code).toBe('ESRCDIED');
  });

  it('20.A test_unbind3: a pending notification goes with its destination', async () => {
    const [gone, source] = await pair();
    await source.ipc({ call: 'notify', peer: gone.endpoint });
    await gone.ipc({ call: 'unbind' });
    const next = dc.server(FIRST);

    expect(next.endpoint).not.toBe(gone.endpoint);
    expect(next.receiveRaw(ANY, 0)).toBe(-11);
  });

  it('20.A test_unbind4: a queued sendrec gets EDSTDIED (-109)', async () => {
    const [gone, client] = await pair();
    const code = client.codeOf({ call: 'sendrec', peer: gone.endpoint });
    await dc.reaches(client.endpoint, 'calling');
    await gone.ipc({ call: 'unbind' });

    expect(await code).toBe('EDSTDIED');
  });

  it('20.A test_unbind5: a request that was received and not answered gets ESRCDIED', async () => {
    const [gone, client] = await pair();
    const code = client.codeOf({ call: 'sendrec', peer: gone.endpoint });
    await gone.ipc({ call: 'rcvrqst' });
    await gone.ipc({ call: 'unbind' });

    expect(await code).toBe('ESRCDIED');
  });

  it('20.A test_exit: an exit unbinds, and tells who waits', async () => {
    const [gone, receiver] = await pair();
    const code = receiver.codeOf({ call: 'receive', peer: gone.endpoint });
    await dc.reaches(receiver.endpoint, 'receiving from');
    await gone.exit();

    expect(await code).toBe('ESRCDIED');
    expect(dc.segment.isBound(gone.endpoint)).toBe(false);
    expect(dc.segment.lookup(FIRST)).toBeUndefined();
  });
});

describe('privileges', () => {
  it('20.A test_priv: a child is denied a call without the right, not with it', async () => {
    const [child, parent] = await pair();
    const all = dc.segment.privileges(child.endpoint);
    dc.segment.setPrivileges(child.endpoint, { ...all, calls: [] });
    const send = { call: 'send', peer: parent.endpoint, timeoutMs: 0 } as const;
    expect(await child.codeOf(send)).toBe('ETRAPDENIED');

    dc.segment.setPrivileges(child.endpoint, { ...all, calls: ['send'] });
    expect(await child.codeOf(send)).toBe('EAGAIN');
    expect(await child.codeOf({ call: 'receive', timeoutMs: 0 })).toBe('ETRAPDENIED');
  });
});

describe('expected results', () => {
  it('20.A senders are served in the order in which they came, whatever their slots', async () => {
    const receiver = dc.server(FIRST);
    const senders = Array.from({ length: 6 }, (_, i) =>
      dc.segment.bind({ name: `sender${String(i)}` }),
    );
    const order = [3, 0, 5, 1, 4, 2];
    const sends = order.map((i) => senders[i]!.send(receiver.endpoint));
    const sources = order.map(() => {
      receiver.receiveSync(ANY, 0);
      return receiver.message.source;
    });

    expect(sources).toEqual(order.map((i) => senders[i]!.endpoint));
    await Promise.all(sends);
  });

  it('20.A a source is the caller, whatever the caller has written there', async () => {
    const server = dc.server(FIRST);
    const other = dc.server(SECOND);
    const client = dc.segment.bind({ name: 'client' });
    const forge = (process: Process, source: Endpoint): void => {
      process.message.view.setInt32(0, source, true);
    };
    const seen: Endpoint[] = [];
    const receive = (): void => {
      server.receiveSync(ANY, 0);
      seen.push(server.message.source);
    };
    forge(client, other.endpoint);
    client.senda(server.endpoint);
    receive();
    forge(client, KERNEL);
    const sent = client.send(server.endpoint);
    receive();
    await sent;
    forge(client, server.endpoint);
    const call = client.sendrec(server.endpoint);
    receive();
    forge(server, other.endpoint);
    server.replySync(client.endpoint);
    await call;

    expect(seen).toEqual([client.endpoint, client.endpoint, client.endpoint]);
    expect(client.message.source).toBe(server.endpoint);
  });

  it('20.A a call that would wait ends with EAGAIN, or with ETIMEDOUT', () => {
    const server = dc.server(FIRST);
    const client = dc.segment.bind({ name: 'client' });
    const calls: [string, (timeoutMs: number) => number][] = [
      ['send', (ms) => client.sendRaw(server.endpoint, ms)],
      ['sendrec', (ms) => client.sendrecRaw(server.endpoint, ms)],
      ['receive', (ms) => client.receiveRaw(ANY, ms)],
      ['receive of one', (ms) => client.receiveRaw(server.endpoint, ms)],
      ['rcvrqst', (ms) => server.rcvrqstRaw(ms)],
    ];

    const results = calls.map(([name, call]) => [name, call(0), call(1)]);

    expect(results).toEqual(calls.map(([name]) => [name, -11, -110]));
  });

  it('20.A a reply to a client that does not wait for it fails with EDVSPROCSTS', async () => {
    const server = dc.server(FIRST);
    const other = dc.server(SECOND);
    const client = dc.segment.bind({ name: 'client' });
    const reply = (to: Endpoint): Promise<string> =>
      codeOf(() => {
        server.replySync(to);
      });
    expect(await reply(client.endpoint)).toBe('EDVSPROCSTS');

    const receiving = client.receive(server.endpoint);
    expect(await reply(client.endpoint)).toBe('EDVSPROCSTS');
    server.sendSync(client.endpoint);
    await receiving;

    const call = client.sendrec(other.endpoint);
    expect(await reply(client.endpoint)).toBe('EDVSPROCSTS');
    other.rcvrqstSync();
    expect(await reply(client.endpoint)).toBe('EDVSPROCSTS');
    other.replySync(client.endpoint);
    await call;
    expect(await reply(client.endpoint)).toBe('EDVSPROCSTS');
  });

  it('20.A rcvrqst and reply of a user process fail with ETRAPDENIED', async () => {
    const user = await dc.member();
    const server = dc.server(FIRST);

    expect(await user.codeOf({ call: 'rcvrqst' })).toBe('ETRAPDENIED');
    expect(await user.codeOf({ call: 'reply', peer: server.endpoint })).toBe('ETRAPDENIED');
  });

  const stale = makeEndpoint(FIRST, 7);
  it.each<[string, Endpoint, string[]]>([
    // For send, sendrec, notify, reply and receive.
    ['ANY', ANY, ['ERANGE', 'ERANGE', 'ERANGE', 'ERANGE', 'EAGAIN']],
    ['NONE', NONE, ['ERANGE', 'ERANGE', 'ERANGE', 'ERANGE', 'ERANGE']],
    ['SELF', SELF, ['EDVSBADDEST', ...Array<string>(4).fill('EDVSENDPOINT')]],
    ['the hardware', KERNEL, [...Array<string>(4).fill('EDVSBADDEST'), 'EAGAIN']],
    ['a slot beyond the table', makeEndpoint(256), Array<string>(5).fill('ERANGE')],
    ['a free slot', makeEndpoint(200), Array<string>(5).fill('EDEADSRCDST')],
    ['a former owner of a slot', stale, Array<string>(5).fill('EDEADSRCDST')],
  ])('20.A a call to %s fails with its code', (_, endpoint, expected) => {
    dc.server(FIRST);
    const caller = dc.server(SECOND);
    const calls: (() => number)[] = [
      () => caller.sendRaw(endpoint, 0),
      () => caller.sendrecRaw(endpoint, 0),
      () => caller.notifyRaw(endpoint),
      () => caller.replyRaw(endpoint),
      () => caller.receiveRaw(endpoint, 0),
    ];

    expect(calls.map((call) => errorName(call()))).toEqual(expected);
  });

  it('20.A a call to the caller by its endpoint fails as one to SELF', () => {
    const caller = dc.server(SECOND);
    const { endpoint } = caller;

    expect(errorName(caller.sendRaw(endpoint, 0))).toBe('EDVSBADDEST');
    expect(errorName(caller.sendrecRaw(endpoint, 0))).toBe('EDVSENDPOINT');
    expect(errorName(caller.notifyRaw(endpoint))).toBe('EDVSENDPOINT');
    expect(errorName(caller.replyRaw(endpoint))).toBe('EDVSENDPOINT');
    expect(errorName(caller.receiveRaw(endpoint, 0))).toBe('EDVSENDPOINT');
  });
});
