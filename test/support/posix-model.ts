/**
 * Who may do what to a file: the rules of POSIX.1-2024 ("File Access Permissions", and the pages of
 * the calls), and of capabilities(7) for root, as functions that the tables of test/posix compare
 * every call with.
 */
import type { Credentials } from './posix-process.ts';

export const READ = 4;
export const WRITE = 2;
export const SEARCH = 1;
export const EXECUTE = 1;

export interface Owned {
  readonly uid: number;
  readonly gid: number;
  /** The permission, set-id and sticky bits. */
  readonly mode: number;
}

export function isRoot(who: Credentials): boolean {
  return who.uid === 0;
}

export function isMember(who: Credentials, gid: number): boolean {
  return who.gid === gid || who.groups.includes(gid);
}

/**
 * Whether a file, or a directory, grants all of READ, WRITE and EXECUTE (or SEARCH) that is
 * `wanted`. Only the bits of the caller's class count: an owner to whom they deny something does
 * not get it as a member of the group. Root needs an execute bit of any class for a file.
 */
export function grants(
  file: Owned,
  who: Credentials,
  wanted: number,
  isDirectory = false,
): boolean {
  if (isRoot(who)) {
    return isDirectory || (wanted & EXECUTE) === 0 || (file.mode & 0o111) !== 0;
  }
  const shift = who.uid === file.uid ? 6 : isMember(who, file.gid) ? 3 : 0;
  return ((file.mode >> shift) & wanted) === wanted;
}

/** Whether a caller may remove or replace `file` in `directory`: its bits, and the sticky bit. */
export function removal(file: Owned, directory: Owned, who: Credentials): 0 | 'EACCES' | 'EPERM' {
  if (!grants(directory, who, WRITE | SEARCH, true)) return 'EACCES';
  const sticky = (directory.mode & 0o1000) !== 0;
  if (!sticky || isRoot(who) || who.uid === file.uid || who.uid === directory.uid) return 0;
  return 'EPERM';
}

/** What chmod to `mode` does: an errno, or the bits that the file has then. */
export function chmodResult(file: Owned, who: Credentials, mode: number): number | 'EPERM' {
  if (!isRoot(who) && who.uid !== file.uid) return 'EPERM';
  const keepsGroupId = isRoot(who) || isMember(who, file.gid);
  return keepsGroupId ? mode & 0o7777 : mode & 0o5777;
}

/**
 * What chown to `uid` and `gid` (-1 for neither) does to a regular file: an errno, or what the file
 * is then. The set-user-ID bit goes, and the set-group-ID bit with the group's execute bit (without
 * which it once stood for mandatory locks); on Linux for root too, and when nothing else changes.
 */
export function chownResult(
  file: Owned,
  who: Credentials,
  uid: number,
  gid: number,
): Owned | 'EPERM' {
  const keepsOwner = uid === -1 || uid === file.uid;
  const allowedGroup = gid === -1 || gid === file.gid || isMember(who, gid);
  const mayChange = who.uid === file.uid && keepsOwner && allowedGroup;
  const mode = withoutSetId(file, who);
  // Who changes nothing needs no right, unless bits go.
  const nothing = uid === -1 && gid === -1 && mode === file.mode;
  if (!isRoot(who) && !mayChange && !nothing) return 'EPERM';
  return { uid: uid === -1 ? file.uid : uid, gid: gid === -1 ? file.gid : gid, mode };
}

/** The bits of a regular file after its owner or its content changed. */
export function withoutSetId(file: Owned, who: Credentials): number {
  const executable = (file.mode & 0o010) !== 0;
  const keepsGroupId = !executable && (isRoot(who) || isMember(who, file.gid));
  return file.mode & ~(0o4000 | (keepsGroupId ? 0 : 0o2000));
}
