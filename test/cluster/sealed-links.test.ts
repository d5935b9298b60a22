// Sealed links and those who have no business on them: rows 42 and 45 of the fault matrix in part,
// promises S2 and S12 for TCP. Method: a real proxy process as the victim, which is linked to an
// honest one all the time; the test itself, or a proxy with wrong papers, as the hostile peer.
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { CommandKind } from '../../src/dvk/abi/abi.gen.ts';
import type { CredentialTexts } from '../../src/proxies/credentials.ts';
import type { EngineStatistics } from '../../src/proxies/engine.ts';
import { encodeHello, HELLO_CONSTANTS } from '../../src/proxies/hello.ts';
import { around, TestAuthority } from '../support/certificates.ts';
import { pattern } from '../support/dc-member.ts';
import { frameBytes } from '../support/proxy-frames.ts';
import { AUTHORITY, ProxyNode, startNodes } from '../support/proxy-node.ts';

const HOST = '127.0.0.1';

const nodes: ProxyNode[] = [];

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.remove();
});

/** Nodes 0 and 1, linked; 1 is the victim, and knows of node 2. */
async function victim(): Promise<[ProxyNode, ProxyNode]> {
  nodes.push(...(await startNodes(2)));
  const [honest, target] = nodes as [ProxyNode, ProxyNode];
  const absent = { node: 2, name: 'n2', host: HOST, port: 1 };
  target.tell({ type: 'peers', peers: [honest.address, target.address, absent] });
  return [honest, target];
}

async function refusals(node: ProxyNode, count: number): Promise<EngineStatistics> {
  for (;;) {
    const statistics = await node.statistics();
    if (statistics.refused >= count) return statistics;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Everything that a socket brings until it is closed. */
async function answer(socket: Socket | TLSSocket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  socket.on('error', () => undefined);
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(pieces);
}

function hello(node: number): Uint8Array {
  const payload = encodeHello({
    ...HELLO_CONSTANTS,
    node,
    incarnation: 7n,
    session: 1000,
    keepaliveMs: 500,
    dvs: 'lab',
    voucherKey: new Uint8Array(32),
    containers: [5],
  });
  const { HELLO } = CommandKind;
  return frameBytes({ kind: HELLO, sourceNode: node, destinationNode: 1 }, payload);
}

function seal(port: number, texts: Partial<CredentialTexts>, more: ConnectionOptions): TLSSocket {
  return connectTls({
    host: HOST,
    port,
    rejectUnauthorized: false,
    ...(texts.ca !== undefined && { ca: texts.ca }),
    ...(texts.certificate !== undefined && { cert: texts.certificate }),
    ...(texts.key !== undefined && { key: texts.key }),
    ...more,
  });
}

const other = new TestAuthority();
const old = { validity: around(-3) };
const coming = { validity: around(3) };

describe('a peer that is refused by its certificate hears nothing, and the reason is told', () => {
  it.each([
    ['shows none', {}, 'the peer showed no certificate'],
    ['has one of another CA', other.texts(2), /was made by another CA \(O=lab CN=dvk CA\)/],
    ['has one of its own making', selfMade(), /was made by another CA/],
    [
      'has one that expired',
      AUTHORITY.texts(2, old),
      /node 2 \(n2, serial \w+\) expired at 2\d{3}-/,
    ],
    ['has one of tomorrow', AUTHORITY.texts(2, coming), /is valid only from 2\d{3}-/],
    ['is the CA itself', { ...AUTHORITY.pair }, /is not that of a node/],
    [
      'is of another DVS',
      AUTHORITY.texts(2, { identity: { dvs: 'x' } }),
      /node 2 of DVS x, not lab/,
    ],
  ])('when it %s', async (_, texts: Partial<CredentialTexts>, reason) => {
    const [honest, target] = await victim();

    const socket = seal(target.port, texts, {});
    socket.once('secureConnect', () => socket.write(hello(2)));
    const said = await answer(socket);

    expect(said.length).toBe(0);
    const { lastRefused, peers } = await refusals(target, 1);
    expect(lastRefused?.code).toBe('certificate');
    expect(lastRefused?.detail).toMatch(reason);
    expect(peers[0]).toMatchObject({ node: 0, state: 'up', reconnects: 0, dropped: 0 });
    expect((await honest.statistics()).peers[0]?.state).toBe('up');
  });
});

/** A certificate whose issuer has the name of our CA, and another key. */
function selfMade(): CredentialTexts {
  return { ...new TestAuthority().texts(2), ca: AUTHORITY.pair.certificate };
}

describe('a node with a good certificate', () => {
  it.each([0, 1, 2])('cannot speak for another node (%i)', async (claimed) => {
    const [, target] = await victim();
    target.tell({
      type: 'peers',
      peers: [0, 2, 3].map((node) => ({ node, name: `n${node}`, host: HOST, port: 1 })),
    });

    const socket = seal(target.port, AUTHORITY.texts(3), {});
    socket.once('secureConnect', () => socket.write(hello(claimed)));
    const said = (await answer(socket)).toString('latin1');

    const { lastRefused, peers } = await refusals(target, 1);
    const expected = `it speaks for node ${claimed}, but its certificate is for node 3 (n3)`;
    const whom = claimed === 1 ? 'node 1 is not expected here' : expected;
    expect(lastRefused?.detail).toBe(whom);
    expect(said).toContain(whom);
    expect(peers.find(({ node }) => node === 0)).toMatchObject({ state: 'up', reconnects: 0 });
  });

  it('is let in as itself', async () => {
    const [, target] = await victim();
    target.tell({ type: 'peers', peers: [{ node: 0, name: 'n0', host: HOST, port: 1 }] });

    const texts = AUTHORITY.texts(0);
    const socket = seal(target.port, texts, {});
    socket.once('secureConnect', () => socket.write(hello(0)));
    await target.link(0, 'up');
    const { peers } = await target.statistics();

    expect(peers[0]?.certificate).toMatchObject({ dvs: 'lab', node: 0, name: 'n0' });
    expect(socket.getProtocol()).toBe('TLSv1.3');
    socket.destroy();
  });
});

describe('a peer that speaks no TLS 1.3', () => {
  it('is refused with TLS 1.2', async () => {
    const [, target] = await victim();

    const said = await answer(seal(target.port, AUTHORITY.texts(2), { maxVersion: 'TLSv1.2' }));

    const { lastRefused } = await refusals(target, 1);
    expect(said.length).toBe(0);
    expect(lastRefused).toEqual({ code: 'tls', detail: 'TLS failed: unsupported protocol' });
  });

  it('gets an alert of TLS and not a byte more for a recorded HELLO in plain text', async () => {
    const [, target] = await victim();
    const socket = connect({ host: HOST, port: target.port });
    socket.write(hello(0));

    const said = await answer(socket);

    const { lastRefused, peers } = await refusals(target, 1);
    expect([...said]).toEqual([0x15, 3, 3, 0, 2, 2, 70]);
    expect(lastRefused?.code).toBe('security');
    expect(lastRefused?.detail).toContain('plain text, as after --insecure');
    expect(peers[0]).toMatchObject({ state: 'up', reconnects: 0 });
  });

  it.each([
    ['garbage', Buffer.alloc(5000, 0x99)],
    ['a request of the web', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a TLS record without sense', Buffer.from([0x16, 3, 1, 0, 10, ...Array<number>(10).fill(1)])],
    ['a handshake of 16 MiB', Buffer.from([0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff])],
  ])('is refused with %s', async (_, bytes) => {
    const [, target] = await victim();
    const socket = connect({ host: HOST, port: target.port });
    const flood = setInterval(() => socket.write(Buffer.alloc(65536)), 1);
    socket.write(bytes);

    const said = await answer(socket);
    clearInterval(flood);

    // At most an alert.
    expect(said.length).toBeLessThan(10);
    const { lastRefused, peers } = await refusals(target, 1);
    expect(['malformed', 'tls', 'handshake-time-out', 'connection']).toContain(lastRefused?.code);
    expect(peers[0]).toMatchObject({ state: 'up', reconnects: 0 });
  });

  it('is closed in time when it sends a byte now and then', async () => {
    const [, target] = await victim();
    const sockets = Array.from({ length: 20 }, () => connect({ host: HOST, port: target.port }));
    const drips = setInterval(() => {
      for (const socket of sockets) socket.write(Buffer.from([0x16]));
    }, 50);

    await Promise.all(sockets.map(answer));
    clearInterval(drips);

    const { refused, peers } = await refusals(target, sockets.length);
    expect(refused).toBe(sockets.length);
    expect(peers[0]).toMatchObject({ state: 'up', reconnects: 0 });
  });

  it('does not keep others out by connections without end', async () => {
    const [honest, target] = await victim();
    let going = true;
    const sockets = new Set<Socket>();
    const open = (): void => {
      if (!going) return;
      const socket = connect({ host: HOST, port: target.port });
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        sockets.delete(socket);
        open();
      });
    };
    for (let i = 0; i < 100; i++) open();

    await honest.killProxy([1]);
    await target.link(0, 'down');
    await honest.start([target.address]);
    await honest.link(1, 'up');

    going = false;
    for (const socket of sockets) socket.destroy();
    expect((await target.statistics()).peers[0]).toMatchObject({ state: 'up', reconnects: 1 });
  });
});

describe('a sealed node and one in plain text', () => {
  it.each([
    ['the dialer', 0],
    ['the accepter', 1],
  ])('refuse each other, and both tell why (%s is insecure)', async (_, insecure) => {
    const pair = [new ProxyNode(0, [1]), new ProxyNode(1, [0])] as const;
    nodes.push(...pair);
    pair[insecure]!.credentials = undefined;
    await pair[1].start([pair[0].address]);
    await pair[0].start([pair[1].address]);

    const { reason } = await pair[0].told('link-failed', ({ reason: why }) =>
      why.startsWith('security'),
    );
    const { lastRefused } = await refusals(pair[1], 1);

    expect(reason).toMatch(insecure === 0 ? /the peer speaks TLS/ : /the answer is plain text/);
    expect(lastRefused?.code).toBe('security');
    expect(lastRefused?.detail).toContain('--insecure');
  });
});

describe('a dialer', () => {
  it('tells that the node it reached is another one, and says no HELLO', async () => {
    const [a, b] = [new ProxyNode(0, [1]), new ProxyNode(2, [0])] as const;
    nodes.push(a, b);
    await b.start([]);
    await a.start([{ ...b.address, node: 1, name: 'n1' }]);

    const { reason } = await a.told('link-failed');

    const expected = 'identity: it speaks for node 1, but its certificate is for node 2 (n2)';
    expect(reason).toBe(expected);
  });

  it('tells of a server that has another CA', async () => {
    const [a, b] = [new ProxyNode(0, [1]), new ProxyNode(1, [0])] as const;
    nodes.push(a, b);
    b.credentials = other.texts(1);
    await b.start([a.address]);
    await a.start([b.address]);

    const { peer, reason } = await a.told('link-failed');

    expect(peer).toBe(1);
    expect(reason).toMatch(/^certificate: .* made by another CA/);
  });

  it('gives up a server that takes the connection and says nothing', async () => {
    const server = createServer(() => undefined);
    await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
    const { port } = server.address() as AddressInfo;
    const a = new ProxyNode(0, [1]);
    nodes.push(a);

    await a.start([{ node: 1, name: 'n1', host: HOST, port }]);
    const { reason } = await a.told('link-failed');

    expect(reason).toBe('handshake-time-out: no HELLO came');
    server.close();
  });

  it('is told by its peer why it is refused, and says where to look', async () => {
    const [honest, target] = await victim();
    const late = new ProxyNode(0, [1]);
    nodes.push(late);
    await honest.killProxy([1]);
    await target.link(0, 'down');
    const texts = AUTHORITY.texts(0);
    late.credentials = texts;
    const serial = new X509Certificate(texts.certificate).serialNumber;
    await target.renew({ ...AUTHORITY.texts(1), denied: `${serial} # lost\n` });

    await late.start([target.address]);
    const there = await target.told('link-failed', ({ reason }) => reason.startsWith('cert'));
    const here = await late.told('link-failed', ({ reason }) => reason.includes('handshake'));

    expect(there.peer).toBe(0);
    expect(there.reason).toContain(`node 0 (n0, serial ${serial}) is on the deny list`);
    expect(here.reason).toContain("it may refuse this node's certificate; `dvk proxy info 1`");
  });
});

describe('a link that is up', () => {
  it('is closed when the certificate of the peer is denied, until it has another', async () => {
    const [honest, target] = await victim();
    const { certificate } = (await target.statistics()).peers[0]!;

    await target.renew({ ...AUTHORITY.texts(1), denied: certificate!.serial.toLowerCase() });
    const reason = await target.link(0, 'down');
    expect(reason).toContain('is on the deny list; `dvk cert issue 0` makes another');
    expect(await honest.renew(AUTHORITY.texts(0))).toBeUndefined();
    await target.link(0, 'up');

    expect((await target.statistics()).peers[0]?.certificate?.serial).not.toBe(certificate!.serial);
  });

  it('is closed when the certificate of the peer expires', async () => {
    const pair = [new ProxyNode(0, [1]), new ProxyNode(1, [0])] as const;
    nodes.push(...pair);
    const validity = { fromMs: Date.now() - 1000, toMs: Date.now() + 3000 };
    pair[0].credentials = AUTHORITY.texts(0, { validity });
    await pair[1].start([pair[0].address]);
    await pair[0].start([pair[1].address]);
    await pair[1].link(0, 'up');

    const reason = await pair[1].link(0, 'down');

    expect(reason).toMatch(/^certificate: the certificate of node 0 .* expired at/);
    expect(reason).toContain('`dvk cert issue 0` makes another');
  });

  it('keeps its certificates when the new ones cannot be used', async () => {
    const [, target] = await victim();

    const foreign = await target.renew(AUTHORITY.texts(2));
    const broken = await target.renew({ ...AUTHORITY.texts(1), key: AUTHORITY.texts(1).key });

    expect(foreign).toContain('is for node 2 of DVS lab, not for node 1 of lab');
    expect(broken).toContain('the key is not that of the certificate');
    expect((await target.statistics()).peers[0]).toMatchObject({ state: 'up', reconnects: 0 });
  });
});

describe('a proxy', () => {
  it.each([
    ['an expired certificate', AUTHORITY.texts(0, old), /certificate: the cert.* expired at/],
    [
      'the certificate of another node',
      AUTHORITY.texts(1),
      /is for node 1 of DVS lab, not for node 0/,
    ],
    ['a damaged one', { ...AUTHORITY.texts(0), certificate: 'x' }, /certificate: /],
    [
      'a deny list that is none',
      AUTHORITY.texts(0, { denied: 'all\n' }),
      /line 1 of the deny list/,
    ],
  ])('does not start with %s, and says why', async (_, texts, reason) => {
    const node = new ProxyNode(0, []);
    nodes.push(node);
    node.credentials = texts;

    void node.start([]);
    const failed = await node.told('failed');
    await once(node.proxy, 'exit');

    expect(failed.reason).toMatch(reason);
  });
});

describe('what is on the wire', () => {
  it('has nothing of what is said', async () => {
    const marker = Buffer.from(pattern(65536, 9).subarray(1000, 1032));
    const [honest, target] = await victim();
    const seen: Buffer[] = [];
    const relay = createServer((socket) => {
      const onward = connect({ host: HOST, port: target.port });
      for (const [from, to] of [
        [socket, onward],
        [onward, socket],
      ] as const) {
        from.on('data', (bytes: Buffer) => {
          seen.push(bytes);
          to.write(bytes);
        });
        from.on('error', () => undefined);
        from.on('close', () => to.destroy());
      }
    });
    await new Promise<void>((resolve) => relay.listen(0, HOST, resolve));
    const { port } = relay.address() as AddressInfo;
    await honest.killProxy([1]);
    await target.link(0, 'down');
    await honest.start([{ ...target.address, port }]);
    await honest.link(1, 'up');
    const [server, client] = [await target.member({ slot: 10 }), await honest.member()];
    await honest.knows(server.endpoint);
    await server.order({ do: 'fill', bytes: 65536, seed: 1 });
    await client.order({ do: 'fill', bytes: 65536, seed: 9 });
    const grant = await server.order({ do: 'grant', access: 'write' });

    const to = { endpoint: server.endpoint, grant, at: 0 };
    await client.order({ do: 'vcopy', from: 'own', to, bytes: 65536 });

    const bytes = Buffer.concat(seen);
    expect(await server.order<string>({ do: 'hash' })).toBe(
      await client.order<string>({ do: 'hash' }),
    );
    expect(bytes.length).toBeGreaterThan(65536);
    expect(bytes.includes(marker)).toBe(false);
    expect(bytes.includes('DVKF')).toBe(false);
    relay.close();
  });
});
