/**
 * Who owns a new file, what it inherits from its directory, and how mode, access list and
 * capabilities follow one another when one of them is changed.
 */
import { AttributeFlag, XattrFlag, type FsChange } from '../../vos/protocol/fs-change.ts';
import type { Timestamp } from '../../vos/protocol/fs.ts';
import { ACCESS_LIST, DEFAULT_LIST, assigned, changed, inherited } from './acl-rules.ts';
import { groupIn, withoutPrivileges } from './change-rules.ts';
import type { AttributeChanges, NewFile, VolumeWriter } from './ext4/changing.ts';
import { type Inode, fileType } from './ext4/inode.ts';
import { MODE } from './ext4/layout.ts';
import type { Volume } from './ext4/volume.ts';

const SET_GROUP = 0o2000;
const PERMISSIONS = 0o7777;
const CAPABILITY: Uint8Array = Buffer.from('security.capability');

type Lists = Pick<Volume, 'getXattr'>;

/** Owner, mode and lists of a file that is made in `directory`. */
export function newFile(
  lists: Lists,
  directory: Inode,
  change: Pick<FsChange, 'mode' | 'uid' | 'gid' | 'umask' | 'device'>,
  type: number = change.mode & MODE.type,
): NewFile {
  const isDirectory = type === MODE.directory;
  const setGroup = isDirectory && (directory.mode & SET_GROUP) !== 0 ? SET_GROUP : 0;
  const mode = type | (change.mode & PERMISSIONS) | setGroup;
  const owner = { uid: change.uid, gid: groupIn(directory, change.gid), device: change.device };
  const defaults = lists.getXattr(directory, DEFAULT_LIST);
  if (defaults === undefined) return { ...owner, mode: mode & ~(change.umask & 0o777) };
  const { mode: left, list } = inherited(defaults, mode);
  const xattrs: [Uint8Array, Uint8Array][] = [];
  if (list !== undefined) xattrs.push([ACCESS_LIST, list]);
  if (isDirectory) xattrs.push([DEFAULT_LIST, defaults]);
  return { ...owner, mode: left, xattrs };
}

/** What a SETATTR asks for. */
export function attributeChanges(inode: Inode, change: FsChange, now: Timestamp): AttributeChanges {
  const has = (flag: number): boolean => (change.flags & flag) !== 0;
  const kills = has(AttributeFlag.KILL_PRIVILEGES) && fileType(inode) === MODE.regular;
  const mode = has(AttributeFlag.MODE) ? change.mode & PERMISSIONS : inode.mode & PERMISSIONS;
  const left = kills ? withoutPrivileges(mode) : mode;
  return {
    ...(has(AttributeFlag.MODE) || left !== mode ? { mode: left } : {}),
    ...(has(AttributeFlag.UID) ? { uid: change.uid } : {}),
    ...(has(AttributeFlag.GID) ? { gid: change.gid } : {}),
    ...(has(AttributeFlag.SIZE) ? { size: change.size } : {}),
    ...(has(AttributeFlag.ACCESSED) ? { accessed: change.accessed } : {}),
    ...(has(AttributeFlag.MODIFIED) ? { modified: change.modified } : {}),
    ...(has(AttributeFlag.ACCESSED_NOW) ? { accessed: now } : {}),
    ...(has(AttributeFlag.MODIFIED_NOW) ? { modified: now } : {}),
  };
}

/** The access list says what the new mode says. */
export function followMode(lists: Lists, writer: VolumeWriter, inode: Inode, mode: number): void {
  if (fileType(inode) === MODE.symlink) return;
  const list = lists.getXattr(inode, ACCESS_LIST);
  if (list !== undefined) writer.setXattr(inode, ACCESS_LIST, changed(list, mode));
}

/** The mode says what the new access list says. */
export function followList(
  writer: VolumeWriter,
  inode: Inode,
  change: FsChange,
  value: Uint8Array,
): void {
  const { mode, list } = assigned(value, inode.mode & PERMISSIONS);
  const kill = (change.flags & XattrFlag.KILL_SET_GROUP) !== 0 ? SET_GROUP : 0;
  if (list === undefined) writer.removeXattr(inode, ACCESS_LIST);
  writer.setAttributes(inode, { mode: mode & ~kill });
}

/** Somebody who is not root has written to the file, or it is given away. */
export function killPrivileges(lists: Lists, writer: VolumeWriter, inode: Inode): void {
  if (fileType(inode) !== MODE.regular) return;
  const mode = inode.mode & PERMISSIONS;
  const left = withoutPrivileges(mode);
  if (left !== mode) writer.setAttributes(inode, { mode: left });
  if (lists.getXattr(inode, CAPABILITY) !== undefined) writer.removeXattr(inode, CAPABILITY);
}
