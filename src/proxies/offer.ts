/**
 * What version 2 of the wire added to HELLO: the versions and features that a node has, and the
 * session that it would go on with.
 *
 *   0   first wire version, 16 bits     12  session to resume, or resumed; 0 for none
 *   2   last wire version, 16 bits      16  next frame expected in lane 0
 *   4   features                        20  next frame expected in lane 1
 *   8   attempt                         24  incarnation of the listener, 64 bits
 *   32  path, 16 bits                   34  1: no new session is wanted, 16 bits
 *
 * It lies in the message of the HELLO's command, little-endian. Version 1 leaves that zero and does
 * not look at it, so HELLO is the same for all: its frame is of version 1, and what follows is of
 * the last version that both ends speak.
 */
import { viewOf } from './frame.ts';

/** Wire versions that this node speaks. */
export const WIRE_VERSIONS = { first: 1, last: 2 } as const;

/** What a node can do beyond its version; a bit each. Both ends must have it. */
export const Feature = {
  /** A session outlives its connection. */
  RESUME: 1,
  /** A session goes over several paths at once. */
  BOND: 2,
  /** Data of a copy may come in parts; see native/core/copy_parts.h. */
  PARTS: 4,
  /** It answers PROCINFO. */
  TRACK: 8,
  /** Frames may come packed; see compression.ts. */
  LZ4: 16,
  /** Frames with data come in the lane for them, from the first one on; see link.ts. */
  LANES: 32,
} as const;

export const FEATURES: number = Object.values(Feature).reduce((all, bit) => all | bit, 0);

const Offset = {
  first: 0,
  last: 2,
  features: 4,
  attempt: 8,
  session: 12,
  expected: 16,
  incarnation: 24,
  path: 32,
  joins: 34,
} as const;
const LANES = 2;
const BYTES = 36;

export interface Offer {
  first: number;
  last: number;
  /** Bits of `Feature`. */
  features: number;
  /** Of the connections that were made for the session, this one's number; higher than the last. */
  attempt: number;
  /** The session to resume, or that is resumed; 0 for a new one. */
  session: number;
  /** The number of the next frame in each lane. */
  expected: readonly number[];
  /** Whom the speaker had that session with. 64 bits. */
  incarnation: bigint;
  /** Which of the paths between the two nodes the connection is, by its place in their list. */
  path: number;
  /** The connection is for the session alone: when that is over, no other is to begin. */
  joins: boolean;
}

/** The bytes for the command's message. */
export function encodeOffer(offer: Offer): Uint8Array {
  const bytes = new Uint8Array(BYTES);
  const view = viewOf(bytes);
  view.setUint16(Offset.first, offer.first, true);
  view.setUint16(Offset.last, offer.last, true);
  view.setUint32(Offset.features, offer.features, true);
  view.setUint32(Offset.attempt, offer.attempt, true);
  view.setUint32(Offset.session, offer.session, true);
  for (let lane = 0; lane < LANES; lane++) {
    view.setUint32(Offset.expected + 4 * lane, offer.expected[lane] ?? 0, true);
  }
  view.setBigUint64(Offset.incarnation, offer.incarnation, true);
  view.setUint16(Offset.path, offer.path, true);
  view.setUint16(Offset.joins, offer.joins ? 1 : 0, true);
  return bytes;
}

/** Reads a message's bytes; a node that says nothing speaks version 1. */
export function decodeOffer(bytes: Uint8Array): Offer {
  const view = viewOf(bytes);
  const last = view.getUint16(Offset.last, true);
  return {
    first: last === 0 ? 1 : view.getUint16(Offset.first, true),
    last: last === 0 ? 1 : last,
    features: view.getUint32(Offset.features, true),
    attempt: view.getUint32(Offset.attempt, true),
    session: view.getUint32(Offset.session, true),
    expected: Array.from({ length: LANES }, (_, lane) =>
      view.getUint32(Offset.expected + 4 * lane, true),
    ),
    incarnation: view.getBigUint64(Offset.incarnation, true),
    path: view.getUint16(Offset.path, true),
    joins: view.getUint16(Offset.joins, true) === 1,
  };
}

/** The version that both ends speak, or undefined. */
export function agreedVersion(theirs: { first: number; last: number }): number | undefined {
  const version = Math.min(theirs.last, WIRE_VERSIONS.last);
  return version >= Math.max(theirs.first, WIRE_VERSIONS.first) ? version : undefined;
}

/** Why there is no such version, and what to do. */
export function versionConflict(peer: string, theirs: { first: number; last: number }): string {
  const name = ({ first, last }: { first: number; last: number }): string =>
    first === last ? `wire version ${first}` : `wire versions ${first} to ${last}`;
  const older = theirs.first > WIRE_VERSIONS.last ? 'this node' : peer;
  return `${peer} speaks ${name(theirs)}, and this node ${name(WIRE_VERSIONS)}: upgrade ${older}`;
}
