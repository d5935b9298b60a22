// Sealed links over UDP and raw Ethernet, and those who have no business on them: promises S2 to S6
// for datagrams.
// Method: real proxy processes; a relay on the path that records, repeats and damages datagrams; a
// proxy with wrong papers, and the test itself, as strangers.
import { X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { crc32c } from '../../src/dvk/crc32c.ts';
import { plainSeal } from '../../src/proxies/datagram/packet.ts';
import type { EngineStatistics } from '../../src/proxies/engine.ts';
import { TestAuthority } from '../support/certificates.ts';
import { DatagramRelay } from '../support/datagram-relay.ts';
import { DATAGRAM_KINDS } from '../support/datagram-wires.ts';
import { pattern } from '../support/dc-member.ts';
import { AUTHORITY, ProxyNode, startNodes } from '../support/proxy-node.ts';

const nodes: ProxyNode[] = [];
const relays: DatagramRelay[] = [];

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.remove();
  for (const relay of relays.splice(0)) relay.close();
});

const other = new TestAuthority();

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

async function statistics(
  node: ProxyNode,
  isRight: (one: EngineStatistics) => boolean,
): Promise<EngineStatistics> {
  for (;;) {
    const found = await node.statistics();
    if (isRight(found)) return found;
    await pause(10);
  }
}

/** Fills memory of both nodes with different things, and copies a's to b's. Whether that worked. */
async function copyOver(a: ProxyNode, b: ProxyNode, bytes = 65_536): Promise<boolean> {
  const [holder, copier] = [await b.member({ slot: 10 }), await a.member()];
  await a.knows(holder.endpoint);
  await holder.order({ do: 'fill', bytes, seed: 1 });
  await copier.order({ do: 'fill', bytes, seed: 9 });
  const grant = await holder.order({ do: 'grant', access: 'write' });
  const to = { endpoint: holder.endpoint, grant, at: 0 };
  await copier.order({ do: 'vcopy', from: 'own', to, bytes });
  const sent = await copier.order<string>({ do: 'hash' });
  return (await holder.order<string>({ do: 'hash' })) === sent;
}

describe.each(DATAGRAM_KINDS)('over %s', (_, kind) => {
  const { options, host } = kind;

  beforeEach((ctx) => {
    if (kind.skipped !== undefined) ctx.skip(kind.skipped);
  });

  /** Nodes 0 and 1, linked; node 1 knows of node 2. */
  async function victim(): Promise<[ProxyNode, ProxyNode]> {
    nodes.push(...(await startNodes(2, () => options)));
    const [honest, target] = nodes as [ProxyNode, ProxyNode];
    const absent = { node: 2, name: 'n2', host: host, port: 1 };
    target.tell({ type: 'peers', peers: [honest.address, target.address, absent] });
    return [honest, target];
  }

  /** Node 0 dials node 1 through a relay. */
  async function relayed(): Promise<{ a: ProxyNode; b: ProxyNode; relay: DatagramRelay }> {
    const [a, b] = [new ProxyNode(0, [1], options), new ProxyNode(1, [0], options)] as const;
    nodes.push(a, b);
    await b.start([{ node: 0, name: 'n0', host: host, port: 1 }]);
    const relay = await DatagramRelay.open(kind, b.port);
    relays.push(relay);
    await a.start([{ ...b.address, port: relay.port }]);
    await Promise.all([a.link(1, 'up'), b.link(0, 'up')]);
    return { a, b, relay };
  }

  describe('a node', () => {
    it('tells that the node it reached has another CA', async () => {
      const [a, b] = [new ProxyNode(0, [1], options), new ProxyNode(1, [0], options)] as const;
      nodes.push(a, b);
      b.credentials = other.texts(1);
      await b.start([a.address]);
      await a.start([b.address]);

      const { peer, reason } = await a.told('link-failed');

      expect(peer).toBe(1);
      expect(reason).toMatch(/^certificate: .* made by another CA/);
    });

    it('tells that the node it reached is another one, and says no HELLO', async () => {
      const [a, b] = [new ProxyNode(0, [1], options), new ProxyNode(2, [0], options)] as const;
      nodes.push(a, b);
      await b.start([]);
      await a.start([{ ...b.address, node: 1, name: 'n1' }]);

      const { reason } = await a.told('link-failed');

      const expected = 'identity: it speaks for node 1, but its certificate is for node 2 (n2)';
      expect(reason).toBe(expected);
    });

    it('cannot speak for another node', async () => {
      const [, target] = await victim();
      const intruder = new ProxyNode(0, [1], options);
      nodes.push(intruder);
      // A good certificate, of node 0 of the DVS, but of one that is called differently there.
      intruder.credentials = AUTHORITY.texts(0, { identity: { name: 'x' } });
      await intruder.start([target.address]);

      const { reason } = await intruder.told('link-failed');
      const { lastRefused, peers } = await statistics(target, ({ refused }) => refused > 0);

      const expected = 'its certificate is for node 0 (x), and node 0 is called n0 here';
      expect(reason).toContain(expected);
      expect(lastRefused).toEqual({ code: 'identity', detail: expected });
      expect(peers[0]).toMatchObject({ node: 0, state: 'up', reconnects: 0, dropped: 0 });
    });

    it('is refused when it is denied; its own end says where to look', async () => {
      const [honest, target] = await victim();
      const late = new ProxyNode(0, [1], options);
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

    it.each([
      ['the dialer', 0],
      ['the accepter', 1],
    ])('in plain text and a sealed one refuse each other (%s is insecure)', async (_, insecure) => {
      const pair = [new ProxyNode(0, [1], options), new ProxyNode(1, [0], options)] as const;
      nodes.push(...pair);
      pair[insecure]!.credentials = undefined;
      await pair[1].start([pair[0].address]);
      await pair[0].start([pair[1].address]);

      const { reason } = await pair[0].told('link-failed', ({ reason: why }) =>
        why.startsWith('security'),
      );
      const { lastRefused } = await statistics(pair[1], ({ refused }) => refused > 0);

      expect(reason).toMatch(insecure === 0 ? /takes sealed links only/ : /speaks plain text/);
      expect(lastRefused?.code).toBe('security');
      expect(lastRefused?.detail).toContain('--insecure');
    });
  });

  describe('a link that is up', () => {
    it('is closed when the certificate of the peer is denied, until it has another', async () => {
      const [honest, target] = await victim();
      const { certificate } = (await target.statistics()).peers[0]!;

      await target.renew({ ...AUTHORITY.texts(1), denied: certificate!.serial });
      const reason = await target.link(0, 'down');
      expect(reason).toContain('is on the deny list; `dvk cert issue 0` makes another');
      expect(await honest.renew(AUTHORITY.texts(0))).toBeUndefined();
      await target.link(0, 'up');

      expect((await target.statistics()).peers[0]?.certificate?.serial).not.toBe(
        certificate!.serial,
      );
    });

    it('is closed when the certificate of the peer expires', async () => {
      const pair = [new ProxyNode(0, [1], options), new ProxyNode(1, [0], options)] as const;
      nodes.push(...pair);
      const validity = { fromMs: Date.now() - 1000, toMs: Date.now() + 3000 };
      pair[0].credentials = AUTHORITY.texts(0, { validity });
      await pair[1].start([pair[0].address]);
      await pair[0].start([pair[1].address]);
      await pair[1].link(0, 'up');

      const reason = await pair[1].link(0, 'down');

      expect(reason).toMatch(/^certificate: the certificate of node 0 .* expired at/);
    });

    it('says nothing in the clear', async () => {
      const { a, b, relay } = await relayed();

      expect(await copyOver(a, b)).toBe(true);

      const seen = Buffer.concat(relay.seen.map(({ bytes }) => bytes));
      const marker = Buffer.from(pattern(65_536, 9).subarray(1000, 1032));
      expect(seen.length).toBeGreaterThan(65_536);
      for (const secret of [marker, Buffer.from('DVKF'), Buffer.from('dvk://lab')]) {
        expect(seen.includes(secret)).toBe(false);
      }
    });

    it('takes nothing twice, a thousand times over, nor after a restart', async () => {
      const { a, b, relay } = await relayed();
      expect(await copyOver(a, b)).toBe(true);
      const recorded = relay.seen.filter(({ from }) => from === 'dialer').slice(-20);

      for (let round = 0; round < 1000; round++) {
        for (const { bytes } of recorded) await relay.replay(bytes);
      }
      const after = (
        await statistics(b, ({ peers }) => (peers[0]?.quality?.duplicates ?? 0) > 1000)
      ).peers[0]!;
      const nothing = { dropped: 0, forged: 0, staleFrames: 0, duplicateFrames: 0, reconnects: 0 };
      expect(after).toMatchObject({ state: 'up', ...nothing });

      await a.killProxy([1]);
      await b.link(0, 'down');
      await b.killProxy([0]);
      await b.start([{ node: 0, name: 'n0', host: host, port: 1 }]);
      for (const { bytes } of recorded) await relay.replay(bytes);
      const fresh = await statistics(b, ({ datagrams }) => (datagrams['unknown'] ?? 0) > 0);
      expect(fresh.refused).toBe(0);
      expect(fresh.peers[0]).toMatchObject({ state: 'down', framesReceived: 0 });
    });

    it('copies rightly while datagrams are lost, doubled, swapped and damaged', async () => {
      const { a, b, relay } = await relayed();
      relay.faults = { loss: 0.03, duplicate: 0.05, damage: 0.05, swap: 0.1 };

      expect(await copyOver(a, b, 16 * 1024 * 1024)).toBe(true);

      relay.faults = { loss: 0, duplicate: 0, damage: 0, swap: 0 };
      const { datagrams, peers } = await b.statistics();
      expect(relay.damaged).toBeGreaterThan(20);
      expect(datagrams['damaged']).toBeGreaterThan(0);
      expect(peers[0]).toMatchObject({ state: 'up', reconnects: 0, dropped: 0, forged: 0 });
    });

    it('is made while strangers open handshakes without end', async () => {
      const [honest, target] = await victim();
      const stranger = await kind.open();
      const seal = plainSeal(crc32c);
      let isGoing = true;
      let count = 0;
      const flood = (): void => {
        if (!isGoing) return;
        for (let i = 0; i < 20; i++) {
          const kind = 1 + (count % 7);
          const datagram = Buffer.alloc(1200, count++ & 255);
          datagram.set([0x44, 2, kind, kind === 7 ? 0 : 1]);
          seal.seal(datagram, 0, 0);
          void stranger.send(datagram, target.port);
        }
        setImmediate(flood);
      };
      flood();

      await honest.killProxy([1]);
      await target.link(0, 'down');
      await honest.start([target.address]);
      await honest.link(1, 'up');

      isGoing = false;
      stranger.close();
      expect((await target.statistics()).peers[0]).toMatchObject({ state: 'up', reconnects: 1 });
    });
  });
});
