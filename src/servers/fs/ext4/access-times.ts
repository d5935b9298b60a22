/**
 * When a read marks the access time of a file.
 *
 * `relatime` is Linux's rule: when the file was changed since the last mark, or the mark is a day
 * old. So a file that is read again and again is not written each time.
 */
import type { Timestamp } from '../../../vos/protocol/fs.ts';
import { type Inode, hasFlag } from './inode.ts';
import { INODE_FLAG } from './layout.ts';

export type AccessTimes = 'off' | 'relatime' | 'strict';

const DAY_SECONDS = 24 * 60 * 60;

export function marksAccess(rule: AccessTimes, inode: Inode, now: Timestamp): boolean {
  if (rule === 'off' || hasFlag(inode, INODE_FLAG.noAccessTimes)) return false;
  const { accessed, modified, changed } = inode;
  if (rule === 'strict') return isBefore(accessed, now);
  const stale = !isBefore(modified, accessed) || !isBefore(changed, accessed);
  return stale || now.seconds - accessed.seconds >= DAY_SECONDS;
}

function isBefore(one: Timestamp, other: Timestamp): boolean {
  if (one.seconds !== other.seconds) return one.seconds < other.seconds;
  return one.nanoseconds < other.nanoseconds;
}
