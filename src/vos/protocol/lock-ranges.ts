/** The byte ranges that one owner has locked of one file, as fcntl(2) changes them. */
import { LockType } from './fs-change.ts';

export interface LockRange {
  /** A `LockType`. */
  readonly type: number;
  /** First and last byte. */
  readonly start: number;
  readonly end: number;
}

/**
 * The owner's ranges after a call: `range` takes the place of what was on its bytes, and joins its
 * neighbours of the same type. UNLOCK leaves a hole.
 */
export function withRange(ranges: readonly LockRange[], range: LockRange): LockRange[] {
  let { start, end } = range;
  const after: LockRange[] = [];
  for (const lock of ranges) {
    const same = lock.type === range.type;
    const reach = same ? 1 : 0;
    if (lock.end < range.start - reach || lock.start > range.end + reach) {
      after.push(lock);
    } else if (same) {
      start = Math.min(start, lock.start);
      end = Math.max(end, lock.end);
    } else {
      if (lock.start < range.start) after.push({ ...lock, end: range.start - 1 });
      if (lock.end > range.end) after.push({ ...lock, start: range.end + 1 });
    }
  }
  if (range.type !== LockType.UNLOCK) after.push({ type: range.type, start, end });
  return after;
}
