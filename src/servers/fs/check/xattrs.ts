/** Lists of extended attributes: whether what lies in them overlaps, and has the right hash. */
import { damaged } from '../errors.ts';
import type { Inode } from '../ext4/inode.ts';
import { u32 } from '../ext4/layout.ts';
import {
  XATTR_INDEX,
  type XattrEntry,
  entryBytes,
  entryHash,
  padded,
  readXattrEntries,
} from '../ext4/xattr-entries.ts';

const HASH_AT = 12;

/** The entries of a list from byte `first` of `area` on. Throws EUCLEAN. */
export function checkedXattrs(area: Uint8Array, first: number, { number }: Inode): XattrEntry[] {
  const entries = readXattrEntries(area, first, number);
  const used: (readonly [from: number, to: number])[] = [];
  let at = first;
  for (const entry of entries) {
    const { nameIndex, name, valueAt, valueBytes, valueInode } = entry;
    const stored = u32(area, at + HASH_AT);
    const whole: readonly number[] = [XATTR_INDEX.aclAccess, XATTR_INDEX.aclDefault];
    if (nameIndex === 0 || (name === '' && !whole.includes(nameIndex))) {
      throw damaged`inode ${number}: the xattr at byte ${at} has no name`;
    }
    used.push([at, at + entryBytes(name)]);
    at += entryBytes(name);
    if (valueInode !== 0) continue;
    if (valueBytes > 0) used.push([valueAt, valueAt + padded(valueBytes)]);
    // Kernels differ in how they take bytes that are not ASCII.
    if (stored === 0 || !/^[\0-\x7f]*$/.test(name)) continue;
    const hash = entryHash(name, area.subarray(valueAt, valueAt + padded(valueBytes)));
    if (hash !== stored) throw damaged`inode ${number}: the xattr at byte ${at} has another hash`;
  }
  used.sort(([one], [other]) => one - other);
  for (const [index, [from]] of used.entries()) {
    const [, end] = used[index - 1] ?? [0, first];
    if (from < end) throw damaged`inode ${number}: two xattrs lie on byte ${from}`;
  }
  return entries;
}
