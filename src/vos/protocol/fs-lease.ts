/**
 * The FS protocol, third part: leases, by which a client may believe what it was told.
 *
 * A lease covers an inode: its attributes (LOOKUP, GETATTR, OPEN, READDIR, SETATTR and what makes a
 * file), its data (READ), or the names in it (LOOKUP, READDIR and what makes a file). Who has
 * joined gets one with each such answer. Before the server answers a change it recalls what others
 * have of it, and waits until they have said that it is gone, for `LEASE_MS` at most. A client that
 * did not say so by then has lost all that it had, and its requests fail with EKEYEXPIRED until it
 * joins anew. So what a client was told may be believed for `LEASE_MS` from when it asked, if it
 * was not recalled since.
 *
 * LEASE_JOIN: 8 u32 count | 12 count times i32 endpoint, at most `CHANNELS_MAX`: requests of these
 * are from now on the caller's, who begins with no leases. Reply: 0, 8 u32 incarnation. EINVAL,
 * EUSERS (too many clients), EBUSY (one of them speaks for another client), EALREADY (there are
 * claims, which are about to end; ask again).
 *
 * LEASE_POLL: 8 u32 incarnation | 12 u32 number of the last recall that is done. The reply comes
 * when there is a recall, or after `POLL_MS`. It is the number of recalls in it, 0 to
 * `RECALLS_MAX`; EKEYEXPIRED when the leases are lost, EINVAL for what was never recalled.
 *
 *   byte  8  u32  number of the last recall in the message; each is one higher
 *        12  u32  bytes of the name, for a single recall of one name
 *        16       count times (u32 inode, u32 `LeaseKind` bits)
 *        24  u8[] name
 */
import { FsCall } from './fs.ts';

/**
 * What a client promises to those who use it: that nothing is believed that has changed elsewhere,
 * or that whoever opens a file sees what was closed before.
 */
export const COHERENCES = ['close-to-open', 'strict'] as const;
export type Coherence = (typeof COHERENCES)[number];

/** What of an inode a lease covers, and a recall takes. */
export const LeaseKind = { ATTRIBUTES: 1, DATA: 2, NAMES: 4 } as const;
export const ALL_KINDS: number = LeaseKind.ATTRIBUTES | LeaseKind.DATA | LeaseKind.NAMES;

/** Shorter than a client waits for any answer. */
export const LEASE_MS = 4000;
export const POLL_MS = 2000;
export const CHANNELS_MAX = 13;
export const RECALLS_MAX = 6;
/** A longer name is recalled with all names of its directory. */
export const RECALLED_NAME_BYTES_MAX = 40;
/** The leases of the client are lost; "Key has expired" of Linux. */
export const EKEYEXPIRED = 127;

export interface Recall {
  readonly inode: number;
  /** Bits of `LeaseKind`. */
  readonly kinds: number;
  /** With NAMES: this one alone. */
  readonly name?: Uint8Array;
}

export interface RecallBatch {
  /** Of the last one. */
  readonly number: number;
  readonly recalls: readonly Recall[];
}

export function encodeJoin(message: DataView, channels: readonly number[]): void {
  clear(message);
  message.setInt32(4, FsCall.LEASE_JOIN, true);
  message.setUint32(8, channels.length, true);
  channels.forEach((endpoint, i) => {
    message.setInt32(12 + 4 * i, endpoint, true);
  });
}

/** The endpoints that a client speaks with, or undefined when there are too many. */
export function decodeJoin(message: DataView): number[] | undefined {
  const count = message.getUint32(8, true);
  if (count > CHANNELS_MAX) return undefined;
  return Array.from({ length: count }, (_, i) => message.getInt32(12 + 4 * i, true));
}

export function encodePoll(message: DataView, incarnation: number, done: number): void {
  clear(message);
  message.setInt32(4, FsCall.LEASE_POLL, true);
  message.setUint32(8, incarnation, true);
  message.setUint32(12, done, true);
}

export function decodePoll(message: DataView): { incarnation: number; done: number } {
  return { incarnation: message.getUint32(8, true), done: message.getUint32(12, true) };
}

/** Writes as many of the recalls, the first of which has this number, as fit. Returns how many. */
export function encodeRecalls(message: DataView, first: number, recalls: Iterable<Recall>): number {
  clear(message);
  let count = 0;
  for (const { inode, kinds, name } of recalls) {
    if (count === RECALLS_MAX || (name !== undefined && count > 0)) break;
    message.setUint32(16 + 8 * count, inode, true);
    message.setUint32(20 + 8 * count, kinds, true);
    count++;
    if (name === undefined) continue;
    message.setUint32(12, name.length, true);
    new Uint8Array(message.buffer, message.byteOffset + 24, name.length).set(name);
    break;
  }
  message.setUint32(8, first + count - 1, true);
  return count;
}

/** Any bytes are safe. */
export function decodeRecalls(message: DataView, count: number): RecallBatch {
  const number = message.getUint32(8, true);
  const nameBytes = Math.min(message.getUint32(12, true), RECALLED_NAME_BYTES_MAX);
  const recalls = Array.from({ length: Math.min(count, RECALLS_MAX) }, (_, i) => ({
    inode: message.getUint32(16 + 8 * i, true),
    kinds: message.getUint32(20 + 8 * i, true),
    ...(nameBytes > 0 && count === 1
      ? { name: new Uint8Array(message.buffer, message.byteOffset + 24, nameBytes).slice() }
      : {}),
  }));
  return { number, recalls };
}

function clear(message: DataView): void {
  new Uint8Array(message.buffer, message.byteOffset + 8, 56).fill(0);
}
