// What a proxy counts, what can be changed of it, and how often a host may begin a handshake.
import { describe, expect, it } from 'vitest';
import { CommandKind, CommandLayout } from '../../../src/dvk/abi/abi.gen.ts';
import { Admission, TokenBucket } from '../../../src/proxies/admission.ts';
import { DEFAULT_TIMES } from '../../../src/proxies/session.ts';
import { changeSettings, DEFAULT_SETTINGS } from '../../../src/proxies/settings.ts';
import { ThroughputMeter } from '../../../src/proxies/throughput.ts';
import { Traffic } from '../../../src/proxies/traffic.ts';
import { command } from '../../support/proxy-frames.ts';

const { ACK, COPYIN_DATA, COPYOUT_RQST, SNDREC_MSG } = CommandKind;

describe('the traffic of a container', () => {
  it('is counted by kind, with its data and its errors', () => {
    const traffic = new Traffic();

    traffic.noteSent(command({ kind: SNDREC_MSG }));
    traffic.noteSent(command({ kind: SNDREC_MSG }));
    traffic.noteSent(command({ kind: COPYIN_DATA, payloadBytes: 1 << 20 }));
    traffic.noteSent(command({ kind: SNDREC_MSG | ACK, result: -5 >>> 0 }));
    const data = command({ kind: COPYOUT_RQST | ACK, result: 0 });
    traffic.noteReceived(COPYOUT_RQST | ACK, data, 70_000);

    expect(traffic.sent).toEqual([
      { kind: 'SNDREC_MSG', commands: 2, dataBytes: 0, errors: 0 },
      { kind: 'COPYIN_DATA', commands: 1, dataBytes: 1 << 20, errors: 0 },
      { kind: 'SNDREC_ACK', commands: 1, dataBytes: 0, errors: 1 },
    ]);
    expect(traffic.received).toEqual([
      { kind: 'COPYOUT_DATA', commands: 1, dataBytes: 70_000, errors: 0 },
    ]);
  });

  it.each([31, 32, 99, 8191, ACK + 32, 0x4001, 0xffff_ffff])(
    'has a place for a kind that there is not (%i)',
    (kind) => {
      const traffic = new Traffic();

      traffic.noteReceived(kind, new Uint8Array(CommandLayout.BYTES), 3);

      expect(traffic.received).toEqual([{ kind: 'OTHER', commands: 1, dataBytes: 3, errors: 0 }]);
    },
  );

  it('names every kind that there is, and its answer', () => {
    const traffic = new Traffic();
    const kinds = Object.values(CommandKind).filter((kind) => kind !== ACK);

    for (const kind of kinds) {
      traffic.noteReceived(kind, command({ kind }), 0);
      traffic.noteReceived(kind | ACK, command({ kind: kind | ACK }), 0);
    }

    const names = traffic.received.map(({ kind }) => kind);
    expect(new Set(names).size).toBe(2 * kinds.length);
    expect(names).not.toContain('OTHER');
  });
});

describe('the throughput of a link', () => {
  it('is that of the last seconds', () => {
    const meter = new ThroughputMeter();
    expect(meter.measure(0, 0, 0).overMs).toBe(0);

    for (let at = 0; at <= 20_000; at += 100) meter.note(at, at * 10, at > 10_000 ? 0 : 1);

    expect(meter.measure(20_500, 205_000, 451)).toEqual({
      overMs: 4500,
      sentBytesPerSecond: 10_000,
      receivedBytesPerSecond: 100,
    });
  });
});

describe('the settings of a proxy', () => {
  const fresh = (): typeof settings => ({ ...settings });
  const settings = { ...DEFAULT_SETTINGS, ...DEFAULT_TIMES };

  it('are changed together, and what was is told', () => {
    const own = fresh();

    const changes = changeSettings(own, { keepaliveMs: 1000, deadMs: 3000 });

    expect(changes).toEqual([
      { name: 'keepaliveMs', before: 500, after: 1000 },
      { name: 'deadMs', before: 1500, after: 3000 },
    ]);
    expect(own).toEqual({ ...settings, keepaliveMs: 1000, deadMs: 3000 });
  });

  it.each([
    [{ speed: 1 }, 'there is no setting speed; there are keepaliveMs, deadMs'],
    [{ toString: 1 }, 'there is no setting toString'],
    [{ badBurst: 5, deadMs: 1e9 }, 'deadMs is a whole number from 30 to 3600000 ms'],
    [{ badBurst: 5, deadMs: 1499 }, 'deadMs (1499) is less than 3 times keepaliveMs (500)'],
    [{ handshakeMs: 100.5 }, 'handshakeMs is a whole number from 100 to 60000 ms'],
    [{ handshakeMs: '1000' }, 'handshakeMs is a whole number'],
  ])('stay as they are when one of them is wrong: %o', (wanted, reason) => {
    const own = fresh();

    expect(() => changeSettings(own, wanted)).toThrow(reason);

    expect(own).toEqual(settings);
  });
});

describe('the admission of handshakes', () => {
  it('gives each host a burst, then so many a second', () => {
    const admission = new Admission({ handshakeBurst: 10, handshakesPerSecond: 5 });
    const count = (host: string, atMs: number): number =>
      Array.from({ length: 100 }, () => admission.allows(host, atMs)).filter(Boolean).length;

    expect(count('10.0.0.1', 0)).toBe(10);
    expect(count('::ffff:10.0.0.1', 1000)).toBe(5);
    expect(count('10.0.0.2', 1000)).toBe(10);
    expect(count('10.0.0.1', 100_000)).toBe(10);
  });

  it('takes a network of IPv6 for one host, and different ones for different ones', () => {
    const admission = new Admission({ handshakeBurst: 1, handshakesPerSecond: 1 });

    const allowed = [
      ...['fd00:1:2:3::1', 'fd00:1:2:3:4:5:6:7', 'fd00:1:2:4::1', '[fd00:1:2:3::9]'],
      ...['::1', '::2', 'fe80::1%eth0', 'fe80::2'],
    ].map((host) => admission.allows(host, 0));

    expect(allowed).toEqual([true, false, true, false, true, false, true, false]);
  });

  it('follows limits that change', () => {
    const limits = { handshakeBurst: 1, handshakesPerSecond: 1 };
    const admission = new Admission(limits);
    expect([admission.allows('a', 0), admission.allows('a', 0)]).toEqual([true, false]);

    limits.handshakesPerSecond = 1000;
    limits.handshakeBurst = 100;

    expect(admission.allows('a', 5)).toBe(true);
  });

  it('gains nothing from a clock that goes back', () => {
    const bucket = new TokenBucket(1, 1000);

    const taken = [1000, 500, 400, 300].map((ms) => bucket.take({ burst: 1, perSecond: 1 }, ms));

    expect(taken).toEqual([true, false, false, false]);
  });
});
