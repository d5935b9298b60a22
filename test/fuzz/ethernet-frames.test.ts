// Whatever frames come, the decoder of their heads does not throw and never tells of bytes that are
// not there, and a transport goes on. Method: random payloads, heads with damage and heads that
// lie, from a fixed seed; then the same on a real socket of the loopback device.
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/dvk/clock.ts';
import { HEAD_BYTES, readHead, writeHead } from '../../src/proxies/ethernet-frame.ts';
import { ethernetTransport } from '../../src/proxies/ethernet.ts';
import { seeded } from '../support/datagram-network.ts';
import { loopbackPackets } from '../support/datagram-wires.ts';
import { runInput } from '../support/kept-inputs.ts';
import { whyNoPackets } from '../support/network-namespaces.ts';
import { TransportEnd } from '../support/transport-end.ts';

const INPUTS = 200_000;
const SEED = 0xf4a3e5;
const ADDRESSES = [0, 1, 0x02_00_00_00_00_01, 0x01_00_00_00_00_00, 2 ** 48 - 1];

type Random = (limit: number) => number;

function generator(seed: number): Random {
  const random = seeded(seed);
  return (limit) => Math.floor(random() * limit);
}

/** A payload of up to `most` bytes for `port`: right, damaged, lying or random. */
function payloadOf(random: Random, port: number, most: number): Uint8Array {
  const bytes = Uint8Array.from({ length: random(random(4) === 0 ? most : 80) }, () => random(256));
  const kind = random(5);
  if (kind === 0 || bytes.length < HEAD_BYTES) return bytes;
  const inside = bytes.length - HEAD_BYTES;
  const said = kind === 1 ? random(0x10000) : inside;
  writeHead(bytes, { to: port, from: random(0x10000) }, said);
  if (kind === 2) bytes[random(HEAD_BYTES)] = random(256);
  // As short frames are filled up.
  if (kind === 3) writeHead(bytes, { to: port, from: 1 + random(9) }, random(inside + 1));
  return bytes;
}

describe('the decoder of heads', () => {
  it(`survives ${INPUTS} inputs`, () => {
    const random = generator(SEED);
    const seen = new Set<string>();

    for (let input = 0; input < INPUTS; input++) {
      const payload = payloadOf(random, 7, 2000);
      const whole = payload.length + (random(20) === 0 ? random(3000) : 0);
      const address = ADDRESSES[random(ADDRESSES.length)] ?? 0;
      runInput('heads', payload, () => {
        const found = readHead(payload, whole, address);
        seen.add(typeof found === 'string' ? found : 'datagram');
        if (typeof found === 'string') return;
        if (found.port < 1 || found.port > 0xffff) throw new Error(`port ${found.port}`);
        if (HEAD_BYTES + found.bytes > payload.length) throw new Error(`${found.bytes} bytes`);
      });
    }

    // The inputs reach every refusal, and the other side of each.
    expect([...seen].sort()).toEqual(['datagram', 'length', 'short', 'source', 'version']);
  });
});

describe('a transport', () => {
  it('goes on, and keeps nothing, while such frames come', async (ctx) => {
    const skipped = whyNoPackets();
    if (skipped !== undefined) ctx.skip(skipped);
    const random = generator(SEED + 1);
    const transport = ethernetTransport(systemClock, { interface: 'lo' });
    const [dialer, accepter] = [new TransportEnd(), new TransportEnd()];
    let accepted = 0;
    const listener = await transport.listen({ host: '', port: 0 }, () => {
      accepted++;
      return accepter;
    });
    transport.connect({ host: '00:00:00:00:00:00', port: listener.port }, dialer);
    await Promise.all([dialer.untilOpen(), accepter.untilOpen()]);
    const stranger = loopbackPackets();

    for (let round = 0; round < 1000; round++) {
      for (let i = 0; i < 20; i++) {
        const payload = payloadOf(random, listener.port, 9000);
        stranger.space().set(payload);
        stranger.queue(payload.length, 0);
      }
      stranger.flush(() => undefined);
      await dialer.write(Uint8Array.of(round & 255));
    }
    await accepter.until(() => accepter.receivedBytes === 1000);
    stranger.close();
    const refused = Object.values(transport.counters ?? {}).reduce((sum, one) => sum + one, 0);

    expect(
      accepter.bytes().equals(Buffer.from(Array.from({ length: 1000 }, (_, i) => i & 255))),
    ).toBe(true);
    expect(accepted).toBe(1);
    expect(refused).toBeGreaterThan(10_000);
    dialer.connection?.destroy();
    listener.close();
  });
});
