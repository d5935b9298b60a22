// Access control lists: acl(5), and the attributes `system.posix_acl_access` and
// `system.posix_acl_default` by which Linux sets them. They are of the withdrawn draft POSIX.1e.
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import { ACCESS, type Acl, DEFAULT, aclGrants, encodeAcl, modeOf } from '../support/posix-acl.ts';
import { R_OK, W_OK, X_OK } from '../support/posix-constants.ts';
import { GROUP, MEMBER, OTHER, OWNER, ROOT, type Row, underTest } from '../support/posix-files.ts';
import { permissions } from '../support/posix-kinds.ts';
import type { Owned } from '../support/posix-model.ts';

const fs = underTest();
const CALLERS = [
  ['root', ROOT],
  ['owner', OWNER],
  ['group', GROUP],
  ['member', MEMBER],
  ['other', OTHER],
] as const;

const LISTS: readonly Acl[] = [
  { owner: 6, group: 4, other: 0 },
  { owner: 7, group: 5, other: 4, mask: 7, users: { [OTHER.uid]: 6 } },
  { owner: 0, group: 7, other: 7, mask: 7, users: { [OTHER.uid]: 0, [GROUP.uid]: 0 } },
  { owner: 7, group: 7, other: 7, mask: 0, users: { [OTHER.uid]: 7 } },
  { owner: 7, group: 7, other: 1, mask: 4, users: { [OTHER.uid]: 7, [MEMBER.uid]: 3 } },
  { owner: 4, group: 0, other: 7, mask: 7, groups: { 2002: 6, 2004: 1, 2005: 4 } },
  { owner: 4, group: 1, other: 0, mask: 5, groups: { 2001: 6, 2002: 4 } },
  {
    ...{ owner: 6, group: 2, other: 1, mask: 6 },
    users: { [OWNER.uid]: 0, [MEMBER.uid]: 4, 3000: 7 },
    groups: { 2002: 7, 2004: 3 },
  },
];

async function get(p: Process, path: string, name: string): Promise<string> {
  const value = await p.getxattr(path, name);
  return typeof value === 'string' ? value : value.toString('hex');
}

const hex = (acl: Acl): string => encodeAcl(acl).toString('hex');

describe('an access control list', () => {
  it.for(CALLERS)('grants %s what acl(5) says', async ([name, who]) => {
    const root = await fs.as();
    const p = await fs.as(who);
    await root.create('f', 'text');
    await done(root.chown('f', OWNER.uid, OWNER.gid));
    const rows: Row[] = [];
    for (const [i, acl] of LISTS.entries()) {
      await done(root.setxattr('f', ACCESS, encodeAcl(acl)));
      const file: Owned = { uid: OWNER.uid, gid: OWNER.gid, mode: modeOf(acl) };
      for (let wanted = 1; wanted <= 7; wanted++) {
        const expected = aclGrants(acl, file, who, wanted) ? 0 : 'EACCES';
        rows.push([
          `access ${wanted} of list ${i} by ${name}`,
          await p.access('f', wanted),
          expected,
        ]);
      }
      for (const [flags, wanted] of [
        [0, R_OK],
        [1, W_OK],
        [2, R_OK | W_OK],
      ] as const) {
        const fd = await p.open('f', flags);
        const got = typeof fd === 'string' ? fd : await p.close(fd);
        const expected = aclGrants(acl, file, who, wanted) ? 0 : 'EACCES';
        rows.push([`open ${flags} of list ${i} by ${name}`, got, expected]);
      }
      const runs = aclGrants(acl, file, who, X_OK) ? 'ENOEXEC' : 'EACCES';
      rows.push([`execve of list ${i} by ${name}`, await p.child('execve', 'f', 0, 0), runs]);
    }

    await fs.check(...rows);
  });

  it('and the mode of the file tell the same', async () => {
    const p = await fs.as(OWNER);
    await p.create('f');
    const rows: Row[] = [];
    for (const [i, acl] of LISTS.entries()) {
      rows.push([`set ${i}`, await p.setxattr('f', ACCESS, encodeAcl(acl)), 0]);
      rows.push([`mode ${i}`, await permissions(p, 'f'), modeOf(acl)]);
      const kept = acl.mask === undefined ? 'ENODATA' : hex(acl);
      rows.push([`get ${i}`, await get(p, 'f', ACCESS), kept]);
    }

    await fs.check(...rows);
  });

  it('has its mask, owner and others changed by chmod', async () => {
    const p = await fs.as(OWNER);
    await p.create('f');
    const acl: Acl = { owner: 7, group: 5, other: 4, mask: 7, users: { 3000: 6 } };
    await done(p.setxattr('f', ACCESS, encodeAcl(acl)));

    await fs.check(
      ['chmod', () => p.chmod('f', 0o640), 0],
      ['the list', () => get(p, 'f', ACCESS), hex({ ...acl, owner: 6, mask: 4, other: 0 })],
      ['the mode', () => permissions(p, 'f'), 0o640],
      ['with a set-id bit', () => p.chmod('f', 0o4777), 0],
      ['the list then', () => get(p, 'f', ACCESS), hex({ ...acl, owner: 7, mask: 7, other: 7 })],
      ['remove', () => p.removexattr('f', ACCESS), 0],
      ['no list', () => get(p, 'f', ACCESS), 'ENODATA'],
    );
  });

  it('is set by the owner and root alone', async () => {
    const root = await fs.as();
    const owner = await fs.as(OWNER);
    const other = await fs.as(OTHER);
    await owner.create('f', '', 0o666);
    const bytes = encodeAcl(LISTS[1]!);

    await fs.check(
      ['another', () => other.setxattr('f', ACCESS, bytes), 'EPERM'],
      ['the owner', () => owner.setxattr('f', ACCESS, bytes), 0],
      ['another reads it', () => get(other, 'f', ACCESS), bytes.toString('hex')],
      ['another removes it', () => other.removexattr('f', ACCESS), 'EPERM'],
      ['root removes it', () => root.removexattr('f', ACCESS), 0],
    );
  });

  it('must be whole and in order', async () => {
    const p = await fs.as(OWNER);
    await p.create('f');
    const good = encodeAcl(LISTS[1]!);
    const version = Buffer.from(good);
    version.writeUInt32LE(1, 0);
    const tag = Buffer.from(good);
    tag.writeUInt16LE(64, 4);
    const bits = Buffer.from(good);
    bits.writeUInt16LE(8, 6);
    const noMask = encodeAcl({ owner: 7, group: 5, other: 4, users: { 3000: 6 } });
    const swapped = Buffer.concat([
      good.subarray(0, 4),
      good.subarray(12, 20),
      good.subarray(4, 12),
      good.subarray(20),
    ]);

    await fs.check(
      ['another version', () => p.setxattr('f', ACCESS, version), 'EOPNOTSUPP'],
      ['an unknown tag', () => p.setxattr('f', ACCESS, tag), 'EINVAL'],
      ['unknown permissions', () => p.setxattr('f', ACCESS, bits), 'EINVAL'],
      ['a user without a mask', () => p.setxattr('f', ACCESS, noMask), 'EINVAL'],
      ['out of order', () => p.setxattr('f', ACCESS, swapped), 'EINVAL'],
      ['cut', () => p.setxattr('f', ACCESS, good.subarray(0, -3)), 'EINVAL'],
      ['none was set', () => get(p, 'f', ACCESS), 'ENODATA'],
    );
  });

  it('drops set-group-ID when who is not of the group sets it', async () => {
    const root = await fs.as();
    const p = await fs.as(OWNER);
    await p.create('f');
    await done(root.chown('f', OWNER.uid, 5555));
    await done(root.chmod('f', 0o2755));

    await fs.check(
      ['set', () => p.setxattr('f', ACCESS, encodeAcl(LISTS[1]!)), 0],
      ['mode', () => permissions(p, 'f'), modeOf(LISTS[1]!)],
    );
  });
});

describe('a default access control list', () => {
  const acl: Acl = { owner: 7, group: 5, other: 0, mask: 7, users: { 3000: 7 } };

  it('is for directories', async () => {
    const p = await fs.as(OWNER);
    await p.create('f');
    await done(p.mkdir('d', 0o755));

    await fs.check(
      ['of a file', () => p.setxattr('f', DEFAULT, encodeAcl(acl)), 'EACCES'],
      ['of a directory', () => p.setxattr('d', DEFAULT, encodeAcl(acl)), 0],
      ['get', () => get(p, 'd', DEFAULT), hex(acl)],
      ['the mode stays', () => permissions(p, 'd'), 0o755],
      ['remove', () => p.removexattr('d', DEFAULT), 0],
      ['after', () => get(p, 'd', DEFAULT), 'ENODATA'],
    );
  });

  it('goes to what is made in the directory, with the mode and without umask', async () => {
    const p = await fs.as(OWNER);
    await done(p.mkdir('d'));
    await done(p.setxattr('d', DEFAULT, encodeAcl(acl)));
    await p.make('umask', 0o777);
    await done(p.mknod('d/f', 0o100666));
    await done(p.mkdir('d/sub', 0o777));
    await done(p.symlink('x', 'd/link'));
    await p.make('umask', 0);

    await fs.check(
      ['mode of a file', () => permissions(p, 'd/f'), 0o660],
      ['its list', () => get(p, 'd/f', ACCESS), hex({ ...acl, owner: 6, mask: 6 })],
      ['it has no default', () => get(p, 'd/f', DEFAULT), 'ENODATA'],
      ['mode of a directory', () => permissions(p, 'd/sub'), 0o770],
      ['its default', () => get(p, 'd/sub', DEFAULT), hex(acl)],
      ['its list', () => get(p, 'd/sub', ACCESS), hex(acl)],
      ['a link has none', () => permissions(p, 'd/link'), 0o777],
    );
  });

  it('of three entries makes no list but takes the place of umask', async () => {
    const p = await fs.as(OWNER);
    await done(p.mkdir('d'));
    await done(p.setxattr('d', DEFAULT, encodeAcl({ owner: 7, group: 6, other: 2 })));
    await p.make('umask', 0o777);
    await done(p.mknod('d/f', 0o100666));
    await p.make('umask', 0);

    await fs.check(
      ['mode', () => permissions(p, 'd/f'), 0o662],
      ['no list', () => get(p, 'd/f', ACCESS), 'ENODATA'],
    );
  });
});
