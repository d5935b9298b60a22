// Whatever comes before two nodes know each other, and on the daemon's socket: decoders do not
// throw, machines end at most once and deliver nothing before or after, and nothing forged is
// taken. Method: fast-check, from a fixed seed; good inputs, damaged ones and any bytes.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DaemonClient, serve } from '../../src/cli/channel.ts';
import { CommandKind, CommandLayout, Limit } from '../../src/dvk/abi/abi.gen.ts';
import { aeadOpen, aeadSeal } from '../../src/dvk/aead.ts';
import { EpochSeal } from '../../src/proxies/datagram/epoch-seal.ts';
import { PacketLayout } from '../../src/proxies/datagram/packet.ts';
import type { Agreement } from '../../src/proxies/datagram/security.ts';
import { DEFAULT_SETTINGS as DATAGRAM_SETTINGS } from '../../src/proxies/datagram/settings.ts';
import { decodeHello, encodeHello, HELLO_CONSTANTS } from '../../src/proxies/hello.ts';
import { HELLO_CONTAINERS_MAX, type Hello } from '../../src/proxies/hello.ts';
import { keyExchange } from '../../src/proxies/key-exchange.ts';
import { DEFAULT_TIMES, Session } from '../../src/proxies/session.ts';
import { changeSettings, DEFAULT_SETTINGS, SETTING_RULES } from '../../src/proxies/settings.ts';
import { Vouchers } from '../../src/proxies/voucher.ts';
import { TestAuthority } from '../support/certificates.ts';
import { runInput } from '../support/kept-inputs.ts';
import { command, frame } from '../support/proxy-frames.ts';

const SEED = 0x4e110;
const runs = (numRuns: number): { seed: number; numRuns: number } => ({ seed: SEED, numRuns });

const uint32 = fc.oneof(
  fc.integer({ min: 0, max: 0xffff_ffff }),
  fc.constantFrom(0, 1, 2, 5, 0x7fff_ffff, 0xffff_ffff),
);

const anyHello: fc.Arbitrary<Hello> = fc.record({
  abiVersion: fc.oneof(fc.constant(HELLO_CONSTANTS.abiVersion), uint32),
  node: fc.oneof(fc.constantFrom(0, 1), uint32),
  incarnation: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  session: uint32,
  keepaliveMs: fc.oneof(fc.constant(500), uint32),
  chunkBytes: fc.oneof(fc.constant(Limit.COPY_CHUNK_BYTES), uint32),
  dvs: fc.oneof(fc.constant('lab'), fc.stringMatching(/^[a-z]{0,15}$/)),
  voucherKey: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  containers: fc.array(uint32, { maxLength: 40 }),
});

/** Flips bits, cuts, or lengthens. */
function damaged(bytes: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const edit = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 }));
  return fc
    .tuple(bytes, fc.array(edit, { maxLength: 4 }), fc.nat({ max: 20 }), fc.boolean())
    .map(([good, edits, tail, cuts]) => {
      const length = cuts ? Math.max(0, good.length - tail) : good.length + tail;
      const made = new Uint8Array(length);
      made.set(good.subarray(0, length));
      for (const [at, bits] of edits)
        if (length > 0) made[at % length] = (made[at % length] ?? 0) ^ bits;
      return made;
    });
}

const helloBytes = anyHello.map(encodeHello);
const payloads = fc.oneof(helloBytes, damaged(helloBytes), fc.uint8Array({ maxLength: 300 }));

describe('the decoder of HELLO', () => {
  it('reads what was written', () => {
    fc.assert(
      fc.property(anyHello, (hello) => {
        expect(decodeHello(encodeHello(hello))).toEqual(hello);
      }),
      runs(2000),
    );
  });

  it('takes nothing that is not as long as it says', () => {
    fc.assert(
      fc.property(payloads, (bytes) => {
        runInput('hello', bytes, () => {
          const hello = decodeHello(bytes);
          if (hello === undefined) return;
          expect(hello.containers.length).toBeLessThanOrEqual(HELLO_CONTAINERS_MAX);
          expect(bytes.length).toBe(80 + 4 * hello.containers.length);
          expect(hello.dvs.length).toBeLessThan(Limit.NAME_BYTES);
        });
      }),
      runs(20_000),
    );
  });
});

describe('a session', () => {
  const kinds = [...Object.values(CommandKind), CommandKind.ACK, 999];
  const steps = fc.array(
    fc.record({
      kind: fc.oneof(
        { weight: 3, arbitrary: fc.constant(CommandKind.HELLO as number) },
        { weight: 2, arbitrary: fc.constantFrom<number>(...kinds) },
      ),
      acks: fc.boolean(),
      // Relative to what is expected.
      session: fc.constantFrom(0, 0, 0, 0, 1, -1),
      ahead: fc.constantFrom(0, 0, 0, 0, 0, -1, 1, 7),
      payload: payloads,
      passMs: fc.constantFrom(0, 0, 1, 600, 2000),
      destination: fc.constantFrom(0, 0, 1, 9),
    }),
    { maxLength: 30 },
  );

  it.each([
    ['dials', 1],
    ['accepts', undefined],
  ])('that %s ends at most once, and delivers only while it is up', (_, peer) => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(steps, (list) => {
        const events: string[] = [];
        let sent = 0;
        const session = new Session(
          {
            dvs: 'lab',
            node: 0,
            incarnation: 5n,
            lastSession: () => 3,
            lastLedger: () => undefined,
            pathFault: () => undefined,
            containersFor: () => [7],
            nameOf: (node) => (node < 2 ? `n${node}` : undefined),
            newKey: () => new Uint8Array(32),
          },
          {
            isBusy: false,
            send: () => sent++,
            up: () => events.push('up'),
            containersChanged: () => events.push('renewed'),
            chosen: () => undefined,
            deliver: () => events.push('deliver'),
            down: ({ code }) => events.push(`down ${code}`),
          },
          0,
          { peer },
        );
        session.start();
        let [nowMs, sequence] = [0, 0];
        for (const step of list) {
          nowMs += step.passMs;
          if (step.passMs > 0) session.tick(nowMs);
          const bytes = command({
            kind: step.kind | (step.acks ? CommandKind.ACK : 0),
            destinationNode: step.destination,
          });
          const stamp = {
            session: (session.number + step.session) >>> 0,
            sequence: (sequence + step.ahead) >>> 0,
          };
          session.noteReceived(nowMs);
          session.receive(frame(bytes, step.payload, stamp), nowMs);
          if (step.session === 0 && step.ahead === 0) sequence++;
        }

        const ups = events.filter((event) => event === 'up').length;
        const end = events.findIndex((event) => event.startsWith('down'));
        expect(ups).toBeLessThanOrEqual(1);
        if (events.length > 0 && ups === 0) expect(end).toBe(0);
        if (end >= 0) expect(end).toBe(events.length - 1);
        if (ups === 1) expect(events[0]).toBe('up');
        expect(sent).toBeLessThanOrEqual(2 * list.length + 2);
        expect(session.state === 'closed').toBe(end >= 0);
        for (const event of events) seen.add(event);
      }),
      runs(4000),
    );

    expect([...seen]).toContain('down malformed');
    expect([...seen]).toContain('down sequence');
  });
});

describe('a voucher', () => {
  const [key, own] = [randomBytes(32), randomBytes(32)];
  const request = command({
    ...{ kind: CommandKind.COPYRMT_RQST, dcId: 5, callId: 9, requester: 70, requesterNode: 0 },
    ...{ sourceNode: 0, destinationNode: 1, copySource: 80, copyDestination: 90 },
    ...{ copyDestinationNode: 2, copyBytes: 4096 },
  });
  const asker = new Vouchers(0);
  asker.add(2, own, key);
  asker.issue(request);

  /** The command as the node of the source passes it on to node 2. */
  function passedOn(): Uint8Array {
    const bytes = request.slice();
    const view = new DataView(bytes.buffer);
    view.setUint32(CommandLayout.kind, CommandKind.COPYIN_RQST, true);
    view.setUint32(CommandLayout.sourceNode, 1, true);
    view.setUint32(CommandLayout.destinationNode, 2, true);
    return bytes;
  }

  function taker(): Vouchers {
    const made = new Vouchers(2);
    made.add(0, key, own);
    return made;
  }

  it('is good once, as it was signed', () => {
    const vouchers = taker();

    expect([vouchers.accepts(passedOn()), vouchers.accepts(passedOn())]).toEqual([true, false]);
  });

  it('is good for nothing else: every bit that matters is signed', () => {
    const at = CommandLayout.copySource;
    const signed = [
      ...[CommandLayout.dcId, CommandLayout.callId, CommandLayout.requester],
      ...[CommandLayout.requesterNode, CommandLayout.sourceNode],
      ...Array.from({ length: 9 }, (_, i) => at + 4 * i),
      ...Array.from({ length: 8 }, (_, i) => CommandLayout.message + 4 * i),
    ];
    fc.assert(
      fc.property(fc.constantFrom(...signed), fc.nat({ max: 31 }), (place, bit) => {
        const bytes = passedOn();
        const byte = place + (bit >> 3);
        bytes[byte] = (bytes[byte] ?? 0) ^ (1 << (bit & 7));
        expect(taker().accepts(bytes)).toBe(false);
      }),
      runs(1000),
    );
  });
});

describe('the key exchange', () => {
  const authority = new TestAuthority();
  const [a, b] = [authority.credentials(0), authority.credentials(1)];
  const exchange = (own: typeof a): ReturnType<typeof keyExchange> =>
    keyExchange({ credentials: () => own, randomKey: () => randomBytes(32), nowMs: Date.now });

  it('makes keys of any share or none, and does not throw', () => {
    const share = exchange(a).begin();
    const small = fc.constantFrom(new Uint8Array(32), new Uint8Array(32).fill(1, 0, 1));
    const shares = fc.oneof(fc.uint8Array({ minLength: 32, maxLength: 32 }), small);
    const others = fc.uint8Array({ maxLength: 70 });
    fc.assert(
      fc.property(fc.oneof(shares, others), (bytes) => {
        const packets = { open: new Uint8Array(9), accept: new Uint8Array(9) };
        const made = share.agree('dialer', bytes, packets);
        if (
          bytes.length !== 32 ||
          bytes.every((byte, i) => byte === 0 || (i === 0 && byte === 1))
        ) {
          expect(made).toBeUndefined();
        }
      }),
      runs(500),
    );
  });

  it('comes to other keys when any bit of the packets was changed', () => {
    const [one, other] = [exchange(a).begin(), exchange(b).begin()];
    const packets = { open: randomBytes(100), accept: randomBytes(100) };
    const opens = (there: Agreement | undefined): boolean => {
      const here = one.agree('dialer', other.bytes, packets);
      if (here === undefined || there === undefined) throw new Error('no keys');
      const packet = new Uint8Array(64);
      here.send.seal(packet, 16, 1);
      return there.receive.open(packet, 16, 1);
    };
    expect(opens(other.agree('accepter', one.bytes, packets))).toBe(true);
    fc.assert(
      fc.property(fc.boolean(), fc.nat({ max: 799 }), (inOpen, bit) => {
        const changed = { open: Buffer.from(packets.open), accept: Buffer.from(packets.accept) };
        const bytes = inOpen ? changed.open : changed.accept;
        bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(opens(other.agree('accepter', one.bytes, changed))).toBe(false);
      }),
      runs(200),
    );
  });
});

describe('sealed packets', () => {
  const secret = randomBytes(44);
  const number = fc.oneof(fc.nat(), fc.constantFrom(0, 2 ** 32, 2 ** 48 - 1, 2 ** 53 - 1));

  it('open as they were sealed, and with no bit changed', () => {
    const bytes = fc.uint8Array({ minLength: 32, maxLength: 200 });
    fc.assert(
      fc.property(bytes, number, fc.nat({ max: 16 }), fc.nat(), (packet, at, head, bit) => {
        const sealed = Uint8Array.from(packet);
        aeadSeal(secret, sealed, head, at);
        const changed = Uint8Array.from(sealed);
        const place = (bit >> 3) % changed.length;
        changed[place] = (changed[place] ?? 0) ^ (1 << (bit & 7));
        expect(aeadOpen(secret, changed, head, at)).toBe(false);
        expect(aeadOpen(secret, sealed, head, at)).toBe(true);
        expect(sealed.subarray(0, -16)).toEqual(packet.subarray(0, -16));
      }),
      runs(3000),
    );
  });

  it('are refused with impossible arguments, which are read nowhere', () => {
    const wild = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(-1, 2 ** 53, NaN, Infinity));
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 60 }),
        fc.nat({ max: 100 }),
        wild,
        (packet, head, at) => {
          const isSensible =
            packet.length >= head + 16 && Number.isInteger(at) && at >= 0 && at < 2 ** 53;
          if (isSensible) expect(aeadOpen(secret, packet, head, at)).toBe(false);
          else expect(() => aeadOpen(secret, packet, head, at)).toThrow(RangeError);
        },
      ),
      runs(3000),
    );
  });

  it('of a connection are opened after any that are not its own', () => {
    const authority = new TestAuthority();
    const [one, other] = [0, 1].map((node) =>
      keyExchange({
        credentials: () => authority.credentials(node),
        randomKey: () => randomBytes(32),
        nowMs: Date.now,
      }).begin(),
    );
    if (!one || !other) throw new Error('no shares');
    const packets = { open: new Uint8Array(1), accept: new Uint8Array(1) };
    const from = one.agree('dialer', other.bytes, packets);
    const to = other.agree('accepter', one.bytes, packets);
    if (!from || !to) throw new Error('no keys');
    const sender = new EpochSeal(from.send, from.receive, DATAGRAM_SETTINGS, 0);
    const receiver = new EpochSeal(to.send, to.receive, DATAGRAM_SETTINGS, 0);
    let next = 1;
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 40, maxLength: 90 }), number, (junk, at) => {
        expect(receiver.open(junk, at, next)).toBe(false);
        const packet = new Uint8Array(PacketLayout.BYTES + 30 + sender.tagBytes);
        sender.seal(packet, next, next);
        expect(receiver.open(packet, next, next)).toBe(true);
        next++;
      }),
      runs(2000),
    );
  });
});

describe('the settings of a proxy', () => {
  it('stay sensible whatever is asked for', () => {
    const settings = { ...DEFAULT_SETTINGS, ...DEFAULT_TIMES };
    const names = fc.oneof(fc.constantFrom(...Object.keys(SETTING_RULES)), fc.string());
    const values = fc.oneof(
      fc.integer({ min: -1, max: 70_000 }),
      fc.constantFrom('on', 'copies'),
      fc.jsonValue(),
      fc.double(),
    );
    fc.assert(
      fc.property(fc.dictionary(names, values, { maxKeys: 4 }), (wanted) => {
        const before = { ...settings };
        try {
          changeSettings(settings, wanted);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
          expect(settings).toEqual(before);
        }
        expect(settings.deadMs).toBeGreaterThanOrEqual(3 * settings.keepaliveMs);
        expect(Object.keys(settings)).toEqual(Object.keys(before));
        for (const [name, rule] of Object.entries(SETTING_RULES)) {
          const value = settings[name as keyof typeof settings];
          if ('choices' in rule) {
            expect(rule.choices).toContain(value);
          } else {
            const number = Number.isSafeInteger(value) ? Number(value) : NaN;
            expect(number >= rule.min && number <= rule.max).toBe(true);
          }
        }
      }),
      runs(5000),
    );
  });
});

describe("the daemon's socket", () => {
  it('answers after any bytes, and closes what is no request', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'dvk-channel-'));
    const path = join(directory, 'daemon.sock');
    const server = await serve(path, { echo: (parameters) => parameters });
    const request = fc
      .record({
        id: fc.oneof(fc.nat(), fc.jsonValue()),
        call: fc.oneof(
          fc.constantFrom('echo', 'constructor', '__proto__', 'toString'),
          fc.string(),
        ),
        arguments: fc.jsonValue(),
      })
      .map((value) => JSON.stringify(value));
    const line = fc.oneof(request, fc.json(), fc.string());
    const bytes = fc.oneof(
      fc.array(line, { maxLength: 5 }).map((lines) => Buffer.from(`${lines.join('\n')}\n`)),
      fc.uint8Array({ maxLength: 200 }).map((any) => Buffer.from(any)),
    );

    await fc.assert(
      fc.asyncProperty(bytes, async (sent) => {
        await new Promise<void>((resolve) => {
          const socket = createConnection(path, () => socket.end(sent));
          socket.on('error', () => undefined);
          socket.on('close', () => {
            resolve();
          });
          socket.resume();
        });
      }),
      runs(300),
    );

    const client = await DaemonClient.connect(path, 'node 0');
    expect(await client?.call('echo', { a: 1 })).toEqual({ a: 1 });
    client?.close();
    server.close();
    rmSync(directory, { recursive: true });
  });
});
