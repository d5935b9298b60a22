// Floods and datagrams that nobody honest sends: promise S5, and rows 17 and 18 of the fault matrix
// below the frames. Method: real proxy processes. Node 0 is linked to node 1, the victim; over UDP
// through a relay, so that the test knows every datagram and can speak from the honest end's
// address as a host on the path would. A flood over TCP comes from another address of this host.
import { createSocket, type Socket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { connect as connectTls } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { crc32c } from '../../src/dvk/crc32c.ts';
import { encodeHandshake, PacketKind, PacketLayout } from '../../src/proxies/datagram/packet.ts';
import { plainSeal, writeUint48 } from '../../src/proxies/datagram/packet.ts';
import type { Handshake } from '../../src/proxies/datagram/packet.ts';
import { Suite } from '../../src/proxies/datagram/security.ts';
import type { EngineStatistics } from '../../src/proxies/engine.ts';
import { viewOf } from '../../src/proxies/frame.ts';
import { DatagramRelay } from '../support/datagram-relay.ts';
import { UDP_KIND } from '../support/datagram-wires.ts';
import { ProxyNode, startNodes } from '../support/proxy-node.ts';

const HOST = '127.0.0.1';
const ELSEWHERE = '127.0.0.2';
const MIB = 1024 * 1024;
const SEAL = plainSeal(crc32c);
// Higher than any number that the link has come to, and as high as numbers get.
const FRESH = 2 ** 40;

const nodes: ProxyNode[] = [];
let relay: DatagramRelay | undefined;

async function end(): Promise<void> {
  for (const node of nodes.splice(0)) await node.remove();
  relay?.close();
  relay = undefined;
}

async function statistics(
  node: ProxyNode,
  isRight: (one: EngineStatistics) => boolean,
): Promise<EngineStatistics> {
  for (;;) {
    const found = await node.statistics();
    if (isRight(found)) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function expectUntouched({ peers }: EngineStatistics): void {
  const drops = { container: 0, forged: 0, malformed: 0, refused: 0, probe: 0 };
  const nothing = { staleFrames: 0, duplicateFrames: 0, reconnects: 0, drops };
  expect(peers[0]).toMatchObject({ node: 0, state: 'up', ...nothing });
}

/** Node 0 dials node 1 through the relay. Returns node 1. */
async function relayed(sealed: boolean): Promise<ProxyNode> {
  const options = { transports: ['udp'], insecure: !sealed };
  const [honest, victim] = [
    new ProxyNode(0, [1], options),
    new ProxyNode(1, [0], options),
  ] as const;
  nodes.push(honest, victim);
  await victim.start([{ node: 0, name: 'n0', host: HOST, port: 1 }]);
  relay = await DatagramRelay.open(UDP_KIND, victim.port);
  await honest.start([{ ...victim.address, port: relay.port }]);
  await Promise.all([honest.link(1, 'up'), victim.link(0, 'up')]);
  return victim;
}

/** A datagram of the honest dialer's link, with a number of its own when `number` is given. */
function recorded(number?: number): Buffer {
  const isData = (bytes: Buffer): boolean => bytes[PacketLayout.kind] === PacketKind.DATA;
  const found = relay?.seen.find(({ from, bytes }) => from === 'dialer' && isData(bytes));
  if (!found) throw new Error('the link has said nothing');
  const bytes = Buffer.from(found.bytes);
  if (number !== undefined) writeUint48(viewOf(bytes), PacketLayout.number, number);
  return bytes;
}

function edited(bytes: Buffer, at: number, bits: number): Buffer {
  const place = at < 0 ? bytes.length + at : at;
  bytes[place] = (bytes[place] ?? 0) ^ bits;
  return bytes;
}

/** From the address of the honest end: what comes, and what it is counted as. */
const ON_PATH: [string, () => Buffer, string][] = [
  ['a number that is raised', () => recorded(FRESH), 'damaged'],
  ['the highest number', () => recorded(2 ** 48 - 1), 'damaged'],
  ['a damaged tag', () => edited(recorded(FRESH), -1, 1), 'damaged'],
  ['a damaged body', () => edited(recorded(FRESH), PacketLayout.BYTES + 2, 0x40), 'damaged'],
  ['another epoch', () => edited(recorded(FRESH), PacketLayout.epoch, 1), 'damaged'],
  ['a byte too many', () => Buffer.concat([recorded(FRESH), Buffer.alloc(1)]), 'damaged'],
  ['a byte too few', () => recorded(FRESH).subarray(0, -1), 'damaged'],
  ['another connection', () => edited(recorded(), PacketLayout.id, 1), 'unknown'],
  ['nothing but a header', () => recorded().subarray(0, PacketLayout.BYTES), 'short'],
  ['another magic', () => edited(recorded(), 0, 1), 'magic'],
  ['another version', () => edited(recorded(), PacketLayout.version, 0x80), 'version'],
  ['a type that there is not', () => edited(recorded(), PacketLayout.kind, 0x18), 'type'],
];

function packet(fields: Handshake): Buffer {
  return Buffer.from(encodeHandshake(fields, SEAL));
}

/** From anywhere: what comes, and what it is counted as. */
const STRANGE: [string, (suite: Suite) => Buffer, string][] = [
  ['an empty datagram', () => Buffer.alloc(0), 'short'],
  ['the longest datagram', () => Buffer.alloc(65_507, 0x99), 'magic'],
  ["a packet of the link's", () => recorded(), 'address'],
  ['a suite that there is not', () => edited(init(0), PacketLayout.suite, 0x70), 'type'],
  ['a damaged greeting', (suite) => edited(init(suite), 40, 1), 'damaged'],
  ['a greeting that is too long', (suite) => resealed(init(suite), 1400), 'malformed'],
  ['a greeting with a number', (suite) => numbered(init(suite)), 'malformed'],
  ['an opening without a cookie', (suite) => open(suite, Date.now()), 'cookie'],
  ['an opening of the future', (suite) => open(suite, 2 ** 48 - 1), 'cookie'],
  ['an answer to nobody', (suite) => answer(PacketKind.ACCEPT, suite), 'unknown'],
  ['a cookie for nobody', (suite) => answer(PacketKind.COOKIE, suite), 'unknown'],
  ['a refusal for nobody', (suite) => answer(PacketKind.REFUSE, suite), 'unknown'],
  ['the end of no connection', (suite) => answer(PacketKind.RESET, suite), 'unknown'],
];

function init(suite: number): Buffer {
  return packet({ kind: PacketKind.INIT, suite: suite as Suite, to: 0, value: 5 });
}

function open(suite: Suite, detail: number): Buffer {
  const cookie = new Uint8Array(16);
  return packet({ kind: PacketKind.OPEN, suite, to: 0, value: 5, detail, cookie });
}

function answer(kind: PacketKind, suite: Suite): Buffer {
  return packet({ kind, suite, to: 77, value: 77 });
}

function resealed(bytes: Buffer, length: number): Buffer {
  const made = Buffer.alloc(length);
  bytes.copy(made);
  SEAL.seal(made, 0, 0);
  return made;
}

function numbered(bytes: Buffer): Buffer {
  writeUint48(viewOf(bytes), PacketLayout.number, 3);
  return resealed(bytes, bytes.length);
}

describe.each([{ sealed: false }, { sealed: true }])('over UDP (sealed: $sealed)', ({ sealed }) => {
  const suite = sealed ? Suite.SEALED : Suite.PLAIN;
  let victim: ProxyNode;
  let stranger: Socket;

  beforeAll(async () => {
    stranger = createSocket('udp4');
    victim = await relayed(sealed);
  });

  afterAll(async () => {
    stranger.close();
    await end();
  });

  /** Lets something be said, which is counted once as `reason`, and changes nothing. */
  async function expectCounted(reason: string, say: () => Promise<void> | void): Promise<void> {
    const before = (await victim.statistics()).datagrams[reason] ?? 0;
    await say();
    const all = await statistics(victim, ({ datagrams }) => (datagrams[reason] ?? 0) > before);
    expect(all.datagrams[reason]).toBe(before + 1);
    expect(all.refused).toBe(0);
    expectUntouched(all);
  }

  it.each(ON_PATH)('a host on the path that makes %s is counted', async (_, make, reason) => {
    await expectCounted(reason, async () => relay?.replay(make()));
  });

  it.each(STRANGE)('a stranger that sends %s is counted', async (_, make, reason) => {
    await expectCounted(reason, () => {
      stranger.send(make(suite), victim.port, HOST);
    });
  });

  it('what is said again is taken once', async () => {
    const count = ({ peers }: EngineStatistics): number => peers[0]?.quality?.duplicates ?? 0;
    const before = count(await victim.statistics());

    for (let i = 0; i < 50; i++) await relay?.replay(recorded());

    expectUntouched(await statistics(victim, (all) => count(all) >= before + 50));
  });

  // In plain text a host on the path can end a connection.
  if (sealed) {
    it('a forged end is believed by no sealed link', async () => {
      // It names the connection as the victim's own packets do.
      const back = relay?.seen.find(({ from }) => from === 'listener');
      const value = back?.bytes.readUIntLE(PacketLayout.id, 6) ?? 0;

      await expectCounted('unknown', async () =>
        relay?.replay(packet({ kind: PacketKind.RESET, suite, to: 0, value })),
      );
    });
  }
});

describe('over TCP, sealed', () => {
  afterEach(end);

  /** Begins a handshake, and ends it without a certificate. */
  async function handshake(port: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const target = { host: HOST, port, localAddress: ELSEWHERE, rejectUnauthorized: false };
      const socket = connectTls(target);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        resolve();
      });
    });
  }

  it('a host that begins handshakes without end is slowed, and others are not', async () => {
    nodes.push(...(await startNodes(2)));
    const [honest, victim] = nodes as [ProxyNode, ProxyNode];
    const settings = { handshakeBurst: 10, handshakesPerSecond: 5 };
    victim.tell({ type: 'set', settings });
    const begunMs = performance.now();
    let isGoing = true;
    const flood = Array.from({ length: 20 }, async () => {
      while (isGoing) await handshake(victim.port);
    });
    await statistics(victim, ({ refusals }) => (refusals['rate'] ?? 0) > 200);

    await honest.killProxy([1]);
    await victim.link(0, 'down');
    await honest.start([victim.address]);
    await honest.link(1, 'up');
    isGoing = false;
    await Promise.all(flood);

    const { refusals, refused, peers } = await victim.statistics();
    const seconds = (performance.now() - begunMs) / 1000;
    const examined = refused - (refusals['rate'] ?? 0);
    // What was before the limits were lowered is in there, too.
    expect(examined).toBeLessThanOrEqual(64 + 10 + 5 * seconds + 20);
    expect(peers[0]).toMatchObject({ state: 'up', reconnects: 1 });
  });

  it('a thousand connections cost no memory that stays', async () => {
    nodes.push(...(await startNodes(2)));
    const [, victim] = nodes as [ProxyNode, ProxyNode];
    const resident = (): number => {
      const status = readFileSync(`/proc/${victim.pid}/status`, 'utf8');
      return 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
    };
    for (let i = 0; i < 100; i++) await handshake(victim.port);
    const before = resident();

    for (let i = 0; i < 50; i++) {
      await Promise.all(Array.from({ length: 20 }, async () => handshake(victim.port)));
    }

    expect(resident() - before).toBeLessThan(64 * MIB);
    expectUntouched(await victim.statistics());
  });
});
