/**
 * The ioctl(2) calls that read and set the flags of a file (lsattr, chattr; linux/fs.h), as the
 * kernel passes them to a FUSE file system.
 *
 *   FS_IOC_GETFLAGS, SETFLAGS: u32 flags
 *   FS_IOC_FSGETXATTR, FSSETXATTR: u32 xflags | u32 extent size | u32 extents | u32 project
 *     u32 copy-on-write size | 8 bytes 0
 */
import { constants } from 'node:os';

const { EINVAL, EOPNOTSUPP } = constants.errno;
/** Node's table has no such name for all machines. */
const ENOTTY = 25;

const COMMAND = {
  GET_FLAGS: 0x8008_6601,
  SET_FLAGS: 0x4008_6602,
  GET_EXTENDED: 0x801c_581f,
  SET_EXTENDED: 0x401c_5820,
} as const;
export const FLAGS_BYTES = 4;
export const EXTENDED_BYTES = 28;

/** FS_XFLAG_ bits, and the flags that they stand for: immutable, append, sync, noatime, nodump. */
const EXTENDED_FLAGS: readonly (readonly [extended: number, flag: number])[] = [
  [0x08, 0x10],
  [0x10, 0x20],
  [0x20, 0x08],
  [0x40, 0x80],
  [0x80, 0x40],
];

/** What is asked: to read the flags, or to set those that `mask` names. */
export interface FlagsCall {
  readonly set?: { readonly flags: number; readonly mask: number };
  /** The answer is of the longer form. */
  readonly extended: boolean;
}

/** Reads a call with its data; a positive errno says what is wrong with it. */
export function decodeFlagsCall(command: number, data: Uint8Array): FlagsCall | number {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  switch (command) {
    case COMMAND.GET_FLAGS:
      return { extended: false };
    case COMMAND.GET_EXTENDED:
      return { extended: true };
    case COMMAND.SET_FLAGS:
      // The kernel passes the number, or the long that the caller has.
      if (data.length < FLAGS_BYTES) return EINVAL;
      return {
        set: { flags: view.getUint32(0, true), mask: 0xffff_ffff },
        extended: false,
      };
    case COMMAND.SET_EXTENDED:
      return data.length < EXTENDED_BYTES ? EINVAL : decodeExtended(view);
    default:
      return ENOTTY;
  }
}

function decodeExtended(view: DataView): FlagsCall | number {
  const wanted = view.getUint32(0, true);
  let known = 0;
  let flags = 0;
  let mask = 0;
  for (const [extended, flag] of EXTENDED_FLAGS) {
    known |= extended;
    mask |= flag;
    if ((wanted & extended) !== 0) flags |= flag;
  }
  if ((wanted & ~known) !== 0) return EOPNOTSUPP;
  // Sizes of extents, and projects: nothing of them can be set.
  for (const at of [4, 12, 16]) if (view.getUint32(at, true) !== 0) return EINVAL;
  return { set: { flags, mask }, extended: true };
}

/** Writes the answer of a call that reads. Returns how many bytes it is. */
export function encodeFlags(view: DataView, at: number, flags: number, extended: boolean): number {
  if (!extended) {
    view.setUint32(at, flags, true);
    return FLAGS_BYTES;
  }
  let bits = 0;
  for (const [bit, flag] of EXTENDED_FLAGS) if ((flags & flag) !== 0) bits |= bit;
  new Uint8Array(view.buffer, view.byteOffset + at, EXTENDED_BYTES).fill(0);
  view.setUint32(at, bits, true);
  return EXTENDED_BYTES;
}
