/**
 * The payload of HELLO: who speaks, and which containers it serves together with the one it speaks
 * to.
 *
 *   0   ABI version                  20  keepalive in ms
 *   4   node                         24  most bytes of a payload
 *   8   incarnation, 64 bits         28  number of DCs
 *   16  session                      32  name of the DVS, 16 bytes
 *   48  key for vouchers, 32 bytes   80  DC ids, 4 bytes each
 *
 * Little-endian. `session` is what the dialer proposes, then what the accepter decides. A HELLO on
 * a link that is up renews the DC ids; the rest stays as it was. What else a node has to say lies
 * in the command; see offer.ts.
 */
import { Limit } from '../dvk/abi/abi.gen.ts';
import { viewOf } from './frame.ts';

const FIXED_BYTES = 80;
/** More containers than this between two nodes are refused at the daemon, not here. */
export const HELLO_CONTAINERS_MAX = 1024;
export const HELLO_BYTES_MAX: number = FIXED_BYTES + 4 * HELLO_CONTAINERS_MAX;

const Offset = {
  abiVersion: 0,
  node: 4,
  incarnation: 8,
  session: 16,
  keepaliveMs: 20,
  chunkBytes: 24,
  containers: 28,
  dvs: 32,
  voucherKey: 48,
} as const;

export interface Hello {
  abiVersion: number;
  node: number;
  /** Random, new at each start of the node. 64 bits. */
  incarnation: bigint;
  /** 32 bits, never 0 once agreed. */
  session: number;
  /** The speaker says something at least this often. */
  keepaliveMs: number;
  /** Most bytes of payload that the speaker takes in one frame. */
  chunkBytes: number;
  dvs: string;
  /** What the listener signs requests for copies by third nodes with; see voucher.ts. 32 bytes. */
  voucherKey: Uint8Array;
  /** DCs that the speaker serves and of which the listener is a member. */
  containers: readonly number[];
}

/**
 * What every HELLO says about itself. Nodes of wire version 1 refuse another ABI version than the
 * one that they were built with; since then the wire has versions of its own.
 */
export const HELLO_CONSTANTS = {
  abiVersion: 3,
  chunkBytes: Limit.COPY_CHUNK_BYTES,
} as const;

/** Bytes of a HELLO payload. Names longer than 15 bytes are a caller's mistake. */
export function encodeHello(hello: Hello): Uint8Array {
  const name = new TextEncoder().encode(hello.dvs);
  if (name.length >= Limit.NAME_BYTES) throw new RangeError('a DVS name has at most 15 bytes');
  if (hello.containers.length > HELLO_CONTAINERS_MAX) throw new RangeError('too many containers');
  const bytes = new Uint8Array(FIXED_BYTES + 4 * hello.containers.length);
  const view = viewOf(bytes);
  view.setUint32(Offset.abiVersion, hello.abiVersion, true);
  view.setUint32(Offset.node, hello.node, true);
  view.setBigUint64(Offset.incarnation, hello.incarnation, true);
  view.setUint32(Offset.session, hello.session, true);
  view.setUint32(Offset.keepaliveMs, hello.keepaliveMs, true);
  view.setUint32(Offset.chunkBytes, hello.chunkBytes, true);
  view.setUint32(Offset.containers, hello.containers.length, true);
  bytes.set(name, Offset.dvs);
  bytes.set(hello.voucherKey, Offset.voucherKey);
  hello.containers.forEach((dc, i) => {
    view.setUint32(FIXED_BYTES + 4 * i, dc, true);
  });
  return bytes;
}

/**
 * Reads a HELLO payload; undefined when it is none. The ABI version comes first and is read from
 * any version.
 */
export function decodeHello(payload: Uint8Array): Hello | undefined {
  if (payload.length < FIXED_BYTES) return undefined;
  const view = viewOf(payload);
  const count = view.getUint32(Offset.containers, true);
  if (count > HELLO_CONTAINERS_MAX || payload.length !== FIXED_BYTES + 4 * count) return undefined;
  const name = payload.subarray(Offset.dvs, Offset.dvs + Limit.NAME_BYTES);
  const nameBytes = name.indexOf(0);
  if (nameBytes < 0) return undefined;
  const containers: number[] = [];
  for (let i = 0; i < count; i++) containers.push(view.getUint32(FIXED_BYTES + 4 * i, true));
  return {
    abiVersion: view.getUint32(Offset.abiVersion, true),
    node: view.getUint32(Offset.node, true),
    incarnation: view.getBigUint64(Offset.incarnation, true),
    session: view.getUint32(Offset.session, true),
    keepaliveMs: view.getUint32(Offset.keepaliveMs, true),
    chunkBytes: view.getUint32(Offset.chunkBytes, true),
    dvs: new TextDecoder().decode(name.subarray(0, nameBytes)),
    voucherKey: payload.slice(Offset.voucherKey, FIXED_BYTES),
    containers,
  };
}
