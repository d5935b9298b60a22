/**
 * What a frame of raw Ethernet carries: a head, which does what UDP's does, and a datagram. No I/O,
 * and nothing in a frame is trusted.
 *
 *   0  version of this head           4  port of the sender
 *   1  0                              6  bytes of the datagram
 *   2  port of the receiver           8  the datagram
 *
 * Numbers are little-endian. Frames that are shorter than Ethernet's shortest are filled up on
 * their way, so a datagram has its length with it. The head is not protected: a wrong port or
 * length costs the datagram, whose own seal covers all the rest.
 */
import { formatMac, isGroup, parseMac, PAYLOAD_BYTES_MIN } from '../dvk/ethernet.ts';

/** Raised when the head changes. */
export const HEAD_VERSION = 1;
export const HEAD_BYTES = 8;

const AT_TO = 2;
const AT_FROM = 4;
const AT_BYTES = 6;

/** `short`: no head; `version`: another one; `length`: not as long as it says; `source`: nobody. */
export type EthernetFault = 'short' | 'version' | 'length' | 'source';

/** Where a frame goes, or comes from. */
export interface Station {
  /** 48 bits, the first byte the highest. */
  address: number;
  port: number;
}

/** Writes the head of a datagram of `bytes` bytes. */
export function writeHead(
  payload: Uint8Array,
  ports: { to: number; from: number },
  bytes: number,
): void {
  writeUint16(payload, 0, HEAD_VERSION);
  writeUint16(payload, AT_TO, ports.to);
  writeUint16(payload, AT_FROM, ports.from);
  writeUint16(payload, AT_BYTES, bytes);
}

// A DataView for each frame would cost more than all the rest of this file.
function writeUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value & 255;
  bytes[at + 1] = value >> 8;
}

function readUint16(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
}

/**
 * The sender's port, and how long the datagram behind the head is; or what is wrong. `whole` is how
 * long the payload was on the wire, and `from` the address of the sender. `payload` may be longer.
 */
export function readHead(
  payload: Uint8Array,
  whole: number,
  from: number,
): { port: number; bytes: number } | EthernetFault {
  if (Math.min(payload.length, whole) < HEAD_BYTES) return 'short';
  if (readUint16(payload, 0) !== HEAD_VERSION) return 'version';
  const port = readUint16(payload, AT_FROM);
  const bytes = readUint16(payload, AT_BYTES);
  const end = HEAD_BYTES + bytes;
  if (whole > payload.length || end > whole) return 'length';
  if (end < whole && whole > PAYLOAD_BYTES_MIN) return 'length';
  return port === 0 || isGroup(from) ? 'source' : { port, bytes };
}

/** A station as `02:00:00:00:00:01:49152`. */
export function formatStation({ address, port }: Station): string {
  return `${formatMac(address)}:${port}`;
}

/** What `formatStation` wrote. */
export function parseStation(name: string): Station {
  const at = name.lastIndexOf(':');
  return { address: parseMac(name.slice(0, at)) ?? 0, port: Number(name.slice(at + 1)) };
}
