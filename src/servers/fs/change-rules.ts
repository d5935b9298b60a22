/**
 * Rules of the calls that change a volume: what takes privileges away, what a directory hands down,
 * which fields of a request make sense, and where they lie.
 */
import type { FsChange } from '../../vos/protocol/fs-change.ts';
import { FsError } from './errors.ts';
import { type Inode, fileType } from './ext4/inode.ts';
import { INODE_FLAG, MODE } from './ext4/layout.ts';
import type { Volume } from './ext4/volume.ts';

const SET_USER = 0o4000;
const SET_GROUP = 0o2000;
const GROUP_EXECUTE = 0o010;
const HOLD_COUNT_MAX = 1 << 20;
/** A client has some MiB of each file under way. */
const EARLY_ROOM_BYTES = 64 << 20;

/** Programs may have it open, or for their directory, though no OPEN tells of that. */
export function isHeldBeyondNames(inode: Inode): boolean {
  const type = fileType(inode);
  if (type === MODE.regular || type === MODE.symlink) return false;
  return type === MODE.directory || inode.links === 1;
}

/** A directory with the set-group-id bit gives its group to what is made in it. */
export function groupIn(directory: Inode, gid: number): number {
  return (directory.mode & SET_GROUP) !== 0 ? directory.gid : gid;
}

/** Without group execution the set-group-id bit is no privilege. */
export function withoutPrivileges(mode: number): number {
  const group = (mode & GROUP_EXECUTE) !== 0 ? SET_GROUP : 0;
  return mode & ~(SET_USER | group);
}

export function holdsOf(change: FsChange): { client: number; count: number } {
  const { client, count } = change;
  if (count === 0 || count > HOLD_COUNT_MAX) throw new FsError('EINVAL', 'no number of holds');
  return { client, count };
}

/** All bits of a table of flags: it is asked for by each request. */
const ALL_FLAGS = new Map<Record<string, number>, number>();

export function checkFlags(flags: number, known: Record<string, number>): void {
  let all = ALL_FLAGS.get(known);
  if (all === undefined) {
    all = Object.values(known).reduce((sum, flag) => sum | flag, 0);
    ALL_FLAGS.set(known, all);
  }
  if ((flags & ~all) !== 0) throw new FsError('EINVAL', 'unknown flags');
}

export function isName(name: Uint8Array, other: Uint8Array): boolean {
  return name.length === other.length && name.every((byte, at) => byte === other[at]);
}

/** Whether it may be the name of a file. */
export function isPlainName(name: Uint8Array): boolean {
  return name.length > 0 && !name.includes(0) && !name.includes(0x2f);
}

export function isDots(name: Uint8Array): boolean {
  return name.length <= 2 && name.every((byte) => byte === 0x2e);
}

/**
 * Whether a client may answer writes to the file before they are here: not where a write has to be
 * committed when it returns, nor where what is under way might not fit.
 */
export function mayAnswerEarly(
  { flags }: Pick<Inode, 'flags'>,
  volume: { status(): Pick<ReturnType<Volume['status']>, 'blocksAvailable' | 'blockBytes'> },
): boolean {
  if ((flags & INODE_FLAG.sync) !== 0) return false;
  const { blocksAvailable, blockBytes } = volume.status();
  return blocksAvailable * blockBytes > EARLY_ROOM_BYTES;
}

/** A message that stays when the next one comes. */
export function copyOf(message: DataView): DataView {
  const bytes = new Uint8Array(message.buffer, message.byteOffset, message.byteLength).slice();
  return new DataView(bytes.buffer);
}

export function payloadOf(message: DataView): Uint8Array {
  return new Uint8Array(message.buffer, message.byteOffset + 8, 56);
}
