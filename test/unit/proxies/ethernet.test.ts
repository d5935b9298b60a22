// What a frame of raw Ethernet carries, and how interfaces and their addresses are written.
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatMac, isInterfaceName, parseMac } from '../../../src/dvk/ethernet.ts';
import {
  formatStation,
  HEAD_BYTES,
  parseStation,
  readHead,
  writeHead,
} from '../../../src/proxies/ethernet-frame.ts';

const SEED = 0xe7e4;
const PEER = 0x02_00_00_00_00_01;

/** A payload with a datagram of `bytes`, and `filler` bytes after it. */
function payloadOf(bytes: number, filler = 0): Uint8Array {
  const payload = new Uint8Array(HEAD_BYTES + bytes + filler);
  writeHead(payload, { to: 0x1234, from: 0x5678 }, bytes);
  return payload;
}

function changed(payload: Uint8Array, at: number, value: number): Uint8Array {
  const bytes = Uint8Array.from(payload);
  bytes[at] = value;
  return bytes;
}

const read = (payload: Uint8Array, whole = payload.length, from = PEER): unknown =>
  readHead(payload, whole, from);

describe('the head of a frame', () => {
  it('has version, ports and length at fixed places, little-endian', () => {
    const payload = payloadOf(300).subarray(0, HEAD_BYTES);

    expect([...payload]).toEqual([1, 0, 0x34, 0x12, 0x78, 0x56, 44, 1]);
  });

  it('is read as it was written', () => {
    const port = fc.integer({ min: 1, max: 0xffff });
    fc.assert(
      fc.property(port, port, fc.integer({ min: 0, max: 16_384 }), (to, from, bytes) => {
        const payload = new Uint8Array(HEAD_BYTES + bytes);
        writeHead(payload, { to, from }, bytes);
        expect(read(payload)).toEqual({ port: from, bytes });
      }),
      { seed: SEED },
    );
  });

  it('tells the datagram from what fills a short frame up', () => {
    expect(read(payloadOf(20, 18))).toEqual({ port: 0x5678, bytes: 20 });
    expect(read(payloadOf(0, 38))).toEqual({ port: 0x5678, bytes: 0 });
  });

  it.each([
    ['nothing at all', new Uint8Array(0), 'short'],
    ['a head that is cut', payloadOf(40).subarray(0, HEAD_BYTES - 1), 'short'],
    ['another version', changed(payloadOf(40), 0, 2), 'version'],
    ['a version of two bytes', changed(payloadOf(40), 1, 1), 'version'],
    ['a datagram that is cut', payloadOf(100).subarray(0, 107), 'length'],
    ['more than the datagram in a frame of that length', payloadOf(100, 1), 'length'],
    ['more than a short frame is filled up to', payloadOf(20, 19), 'length'],
    ['the port of nobody', changed(changed(payloadOf(40), 4, 0), 5, 0), 'source'],
  ])('is refused with %s', (_, payload, fault) => {
    expect(read(payload)).toBe(fault);
  });

  it('is refused when the frame did not fit where it was put, or came from a group', () => {
    expect(read(payloadOf(100), 2000)).toBe('length');
    expect(read(payloadOf(100), 108, 0x01_00_5e_00_00_01)).toBe('source');
    expect(read(payloadOf(100), 108, 0xff_ff_ff_ff_ff_ff)).toBe('source');
  });
});

describe('the address of an interface', () => {
  it('is written with colons, and read again', () => {
    const address = fc
      .integer({ min: 0, max: 2 ** 48 - 1 })
      .filter((one) => Math.floor(one / 2 ** 40) % 2 === 0);
    fc.assert(
      fc.property(address, fc.integer({ min: 1, max: 0xffff }), (mac, port) => {
        expect(parseMac(formatMac(mac))).toBe(mac);
        const station = { address: mac, port };
        expect(parseStation(formatStation(station))).toEqual(station);
      }),
      { seed: SEED },
    );
    expect(formatMac(0x0a_0b_0c)).toBe('00:00:00:0a:0b:0c');
    expect(parseMac('02:AB:cd:00:00:ff')).toBe(0x02_ab_cd_00_00_ff);
  });

  it.each(['', '02:00:00:00:00', '02:00:00:00:00:00:00', '2:0:0:0:0:1', '02-00-00-00-00-01'])(
    'is not %j',
    (text) => {
      expect(parseMac(text)).toBeUndefined();
    },
  );

  it('is that of one station', () => {
    expect(parseMac('01:00:5e:00:00:01')).toBeUndefined();
    expect(parseMac('ff:ff:ff:ff:ff:ff')).toBeUndefined();
  });
});

describe('the name of an interface', () => {
  it.each(['eth0', 'v0.5', 'enp0s31f6', '-', 'fifteen-letters'])('can be %j', (name) => {
    expect(isInterfaceName(name)).toBe(true);
  });

  it.each(['', '.', '..', 'a/b', 'eth0:1', 'a b', 'sixteen-letters-', 'a\0b'])(
    'cannot be %j',
    (name) => {
      expect(isInterfaceName(name)).toBe(false);
    },
  );
});
