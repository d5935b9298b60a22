/** Access control lists of acl(5), in the form of the attributes `system.posix_acl_*`. */
import { type Owned, grants, isRoot } from './posix-model.ts';
import type { Credentials } from './posix-process.ts';

export const ACCESS = 'system.posix_acl_access';
export const DEFAULT = 'system.posix_acl_default';

/** Permissions of each entry; `users` and `groups` are by ID. */
export interface Acl {
  readonly owner: number;
  readonly group: number;
  readonly other: number;
  readonly mask?: number;
  readonly users?: Readonly<Record<number, number>>;
  readonly groups?: Readonly<Record<number, number>>;
}

const TAG = { owner: 1, user: 2, group: 4, namedGroup: 8, mask: 16, other: 32 } as const;
const NO_ID = 0xffff_ffff;
const VERSION = 2;

type Entry = readonly [tag: number, permissions: number, id: number];

function entriesOf(acl: Acl): Entry[] {
  const named = (tag: number, all: Acl['users']): Entry[] =>
    Object.entries(all ?? {}).map(([id, bits]) => [tag, bits, Number(id)]);
  return [
    [TAG.owner, acl.owner, NO_ID],
    ...named(TAG.user, acl.users),
    [TAG.group, acl.group, NO_ID],
    ...named(TAG.namedGroup, acl.groups),
    ...(acl.mask === undefined ? [] : [[TAG.mask, acl.mask, NO_ID] as const]),
    [TAG.other, acl.other, NO_ID],
  ];
}

export function encodeAcl(acl: Acl): Buffer {
  const entries = entriesOf(acl);
  const bytes = Buffer.alloc(4 + 8 * entries.length);
  bytes.writeUInt32LE(VERSION, 0);
  for (const [i, [tag, permissions, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + 8 * i);
    bytes.writeUInt16LE(permissions, 6 + 8 * i);
    bytes.writeUInt32LE(id, 8 + 8 * i);
  }
  return bytes;
}

/**
 * Whether a list grants all of `wanted`, by the "Access Check Algorithm" of acl(5). Linux departs
 * from it: where the mask grants nothing it looks at the mode alone, so that a named user may get
 * what others get.
 */
export function aclGrants(acl: Acl, file: Owned, who: Credentials, wanted: number): boolean {
  const mode = modeOf(acl);
  if (isRoot(who) || (mode & 0o070) === 0) return grants({ ...file, mode }, who, wanted);
  const mask = acl.mask ?? 7;
  if (who.uid === file.uid) return (acl.owner & wanted) === wanted;
  const user = acl.users?.[who.uid];
  if (user !== undefined) return (user & mask & wanted) === wanted;
  const groups = [who.gid, ...who.groups];
  const matching = groups.flatMap((gid) => {
    const named = acl.groups?.[gid];
    return [...(gid === file.gid ? [acl.group] : []), ...(named === undefined ? [] : [named])];
  });
  if (matching.length > 0) return matching.some((bits) => (bits & mask & wanted) === wanted);
  return (acl.other & wanted) === wanted;
}

/** The permission bits that stat tells of a file with a list: the mask is its group class. */
export function modeOf(acl: Acl): number {
  return (acl.owner << 6) | ((acl.mask ?? acl.group) << 3) | acl.other;
}
