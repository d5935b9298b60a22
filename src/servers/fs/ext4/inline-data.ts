/**
 * Inline data: contents of small files and directories inside the inode (feature INLINE_DATA).
 *
 * The first 60 bytes are where the block map would be; what does not fit there is the value of the
 * in-inode xattr "system.data", which no client sees. See "Inline Data" in
 * Documentation/filesystems/ext4.
 */
import { damaged } from '../errors.ts';
import { INODE_MAP_AT, INODE_MAP_BYTES, type Inode } from './inode.ts';
import { XATTR_INDEX, inodeXattrArea, inodeXattrs } from './xattr-entries.ts';

/** All inline bytes: the map, and the value of "system.data". Throws EUCLEAN. */
export function inlineData(inode: Inode): Uint8Array {
  const map = inode.raw.subarray(INODE_MAP_AT, INODE_MAP_AT + INODE_MAP_BYTES);
  const entry = inodeXattrs(inode).find(
    ({ nameIndex, name }) => nameIndex === XATTR_INDEX.system && name === 'data',
  );
  if (entry === undefined || entry.valueBytes === 0) return map;
  if (entry.valueInode !== 0) throw damaged`inode ${inode.number}: inline data in another inode`;
  const value = inodeXattrArea(inode).subarray(entry.valueAt, entry.valueAt + entry.valueBytes);
  const data = new Uint8Array(INODE_MAP_BYTES + value.length);
  data.set(map);
  data.set(value, INODE_MAP_BYTES);
  return data;
}

/** Fills `target` from byte `at` of an inline file on. Throws EUCLEAN. */
export function readInline(inode: Inode, at: number, target: Uint8Array): void {
  const data = inlineData(inode);
  if (at + target.length > data.length) {
    throw damaged`inode ${inode.number}: ${inode.size} bytes, but only ${data.length} inline`;
  }
  target.set(data.subarray(at, at + target.length));
}
