// Modes and owners: chmod(), fchmod(), fchmodat(), chown(), fchown(), lchown(), fchownat() of
// POSIX.1-2024, and what happens to the set-user-ID and set-group-ID bits there and when a file is
// written, by inode(7), chown(2) and write(2).
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_CREAT,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  S_ISGID,
  S_ISUID,
} from '../support/posix-constants.ts';
import { CALLERS, MEMBER, OTHER, OWNER, type Row, underTest } from '../support/posix-files.ts';
import { KINDS, makeKinds, owners, permissions } from '../support/posix-kinds.ts';
import { type Owned, chmodResult, chownResult, withoutSetId } from '../support/posix-model.ts';
import type { Result } from '../support/posix-process.ts';

const fs = underTest();
/** Set-id bits with and without the execute bits that give them a meaning. */
const SET_ID_MODES = [0o755, 0o4755, 0o4644, 0o2755, 0o2745, 0o6755, 0o6711, 0o6666, 0o7777];

async function makeOwned(root: Process, file: Owned, content = 'text'): Promise<void> {
  await root.unlink('file');
  await root.create('file', content);
  await done(root.chown('file', file.uid, file.gid));
  await done(root.chmod('file', file.mode));
}

describe('chmod', () => {
  it('sets each of the 4096 modes', async () => {
    const p = await fs.as(OWNER);
    await p.create('file');
    await done(p.mkdir('directory'));
    const rows: Row[] = [];
    // All of them on the file in steps that meet every bit with every other one.
    for (let mode = 0; mode < 0o10000; mode += mode < 0o1000 ? 7 : 73) {
      const name = mode % 2 === 0 ? 'file' : 'directory';
      rows.push([`chmod ${mode.toString(8)}`, await p.chmod(name, mode), 0]);
      rows.push([`mode ${mode.toString(8)}`, await permissions(p, name), mode]);
    }

    await fs.check(...rows);
  });

  it('sets the mode of a file of any kind, and follows links', async () => {
    const p = await fs.as();
    await makeKinds(p);
    await p.create('target', '', 0o600);
    const rows: Row[] = [];
    for (const { name } of KINDS) {
      rows.push([`chmod ${name}`, await p.chmod(name, 0o751), 0]);
      rows.push([`mode of ${name}`, await permissions(p, name), name === 'link' ? 0o777 : 0o751]);
    }

    await fs.check(...rows, ['the target', () => permissions(p, 'target'), 0o751]);
  });

  it('is for the owner and root, and drops set-group-ID for who is not of the group', async () => {
    const root = await fs.as();
    const rows: Row[] = [];
    for (const [name, who] of CALLERS) {
      const p = await fs.as(who);
      for (const gid of [OWNER.gid, 2002, 2005, 5555]) {
        for (const mode of [0o644, 0o2755, 0o4755, 0o6755, 0o2644, 0o1777]) {
          const file: Owned = { uid: OWNER.uid, gid, mode: 0o600 };
          await makeOwned(root, file);
          const at = `${mode.toString(8)} of group ${gid} by ${name}`;
          const expected = chmodResult(file, who, mode);
          const failed = typeof expected === 'string';
          rows.push([`chmod ${at}`, await p.chmod('file', mode), failed ? expected : 0]);
          rows.push([`mode ${at}`, await permissions(root, 'file'), failed ? 0o600 : expected]);
        }
      }
    }

    await fs.check(...rows);
  });

  it('works through descriptors, and on a link itself not at all', async (context) => {
    const p = await fs.as(OWNER);
    await p.create('file', '', 0o600);
    await done(p.symlink('file', 'link'));
    const fd = await done(p.open('file', O_RDONLY));
    const path = await done(p.open('file', O_PATH));
    const directory = await done(p.open('.', O_RDONLY | O_DIRECTORY));
    const chmod2 = await p.make('fchmodat2', AT_FDCWD, 'file', 0o600, 0);
    if (chmod2 === 'ENOSYS') context.skip('the kernel has no fchmodat2');

    await fs.check(
      ['fchmod', () => p.fchmod(fd, 0o640), 0],
      ['mode', () => permissions(p, 'file'), 0o640],
      ['fchmodat', () => p.make('fchmodat', directory, 'file', 0o604), 0],
      ['mode after that', () => permissions(p, 'file'), 0o604],
      ['of O_PATH', () => p.make('fchmodat2', path, '', 0o611, AT_EMPTY_PATH), 0],
      ['mode in the end', () => permissions(p, 'file'), 0o611],
      ['a link', () => p.make('fchmodat2', AT_FDCWD, 'link', 0o600, 0x100), 'EOPNOTSUPP'],
      ['unknown flags', () => p.make('fchmodat2', AT_FDCWD, 'file', 0o600, 1), 'EINVAL'],
      ['fchmod of none', () => p.fchmod(999, 0o600), 'EBADF'],
      ['fchmod of O_PATH', () => p.fchmod(path, 0o600), 'EBADF'],
    );
  });
});

describe('chown', () => {
  it('does what the owner and the groups of a caller permit', async () => {
    const root = await fs.as();
    const rows: Row[] = [];
    for (const [name, who] of CALLERS) {
      const p = await fs.as(who);
      const groups = [-1, OWNER.gid, who.groups[0] ?? 2002, 5555];
      const targets = [-1, OWNER.uid, MEMBER.uid, 0].flatMap((uid) =>
        groups.flatMap((gid) => [0o6755, 0o755].map((mode) => ({ uid, gid, mode }))),
      );
      for (const { uid, gid, mode } of targets) {
        const file: Owned = { uid: OWNER.uid, gid: OWNER.gid, mode };
        await makeOwned(root, file);
        const expected = chownResult(file, who, uid, gid);
        const at = `${mode.toString(8)} to ${uid}:${gid} by ${name}`;
        const after = expected === 'EPERM' ? file : expected;
        rows.push(
          [`chown ${at}`, await p.chown('file', uid, gid), expected === 'EPERM' ? expected : 0],
          [`owners ${at}`, await owners(root, 'file'), [after.uid, after.gid]],
          [`mode ${at}`, await permissions(root, 'file'), after.mode],
        );
      }
    }

    await fs.check(...rows);
  });

  it('lets an owner give a file to each group that he is in, and to no other', async () => {
    const root = await fs.as();
    const p = await fs.as(MEMBER);
    const rows: Row[] = [];
    for (const gid of [MEMBER.gid, ...MEMBER.groups, 2004, 0]) {
      await makeOwned(root, { uid: MEMBER.uid, gid: MEMBER.gid, mode: 0o644 });
      const isMember = gid === MEMBER.gid || MEMBER.groups.includes(gid);
      rows.push([`to ${gid}`, await p.chown('file', -1, gid), isMember ? 0 : 'EPERM']);
    }

    await fs.check(...rows);
  });

  it('takes set-user-ID away, and set-group-ID with the group to execute', async () => {
    const root = await fs.as();
    const rows: Row[] = [];
    for (const [name, who] of [CALLERS[0]!, CALLERS[1]!]) {
      const p = await fs.as(who);
      for (const mode of SET_ID_MODES) {
        const file: Owned = { uid: OWNER.uid, gid: OWNER.gid, mode };
        await makeOwned(root, file);
        const at = `${mode.toString(8)} by ${name}`;
        rows.push([`chown ${at}`, await p.chown('file', -1, OWNER.gid), 0]);
        rows.push([`mode ${at}`, await permissions(root, 'file'), withoutSetId(file, who)]);
      }
    }

    await fs.check(...rows);
  });

  it('leaves the set-id bits of a directory', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await done(p.chmod('d', 0o6755));

    await fs.check(
      ['chown', () => p.chown('d', 5, 6), 0],
      ['owners', () => owners(p, 'd'), [5, 6]],
      ['mode', () => permissions(p, 'd'), 0o6755],
    );
  });

  it('follows links, and lchown does not', async () => {
    const p = await fs.as();
    await makeKinds(p);
    await p.create('target');
    const rows: Row[] = [];
    for (const { name } of KINDS) {
      rows.push([`lchown ${name}`, await p.lchown(name, 21, 22), 0]);
      rows.push([`owners of ${name}`, await owners(p, name), [21, 22]]);
    }

    await fs.check(
      ...rows,
      ['the target', () => owners(p, 'target'), [0, 0]],
      ['chown of the link', () => p.chown('link', 31, 32), 0],
      ['the target after that', () => owners(p, 'target'), [31, 32]],
      ['the link after that', () => owners(p, 'link'), [21, 22]],
    );
  });

  it('lets the owner of a link change its group', async () => {
    const root = await fs.as();
    const p = await fs.as(MEMBER);
    await done(p.symlink('target', 'link'));

    await fs.check(
      ['to a group', () => p.lchown('link', -1, MEMBER.groups[0]!), 0],
      ['to another', () => p.lchown('link', -1, 5555), 'EPERM'],
      ['to a user', () => p.lchown('link', OTHER.uid, -1), 'EPERM'],
      ['owners', () => owners(root, 'link'), [MEMBER.uid, MEMBER.groups[0]]],
    );
  });

  it('works through descriptors', async () => {
    const p = await fs.as();
    await p.create('file');
    await done(p.symlink('file', 'link'));
    const fd = await done(p.open('file', O_RDONLY));
    const path = await done(p.open('link', O_PATH | 0o400000));

    await fs.check(
      ['fchown', () => p.fchown(fd, 11, 12), 0],
      ['owners', () => owners(p, 'file'), [11, 12]],
      ['of O_PATH', () => p.make('fchownat', path, '', 13, 14, AT_EMPTY_PATH), 0],
      ['owners of the link', () => owners(p, 'link'), [13, 14]],
      ['owners of the file', () => owners(p, 'file'), [11, 12]],
      ['none', () => p.fchown(999, 1, 1), 'EBADF'],
      ['unknown flags', () => p.make('fchownat', AT_FDCWD, 'file', 1, 1, 1), 'EINVAL'],
    );
  });

  it('takes any number but the last', async () => {
    const p = await fs.as();
    await p.create('file');

    await fs.check(
      ['16 bits', () => p.chown('file', 65535, 65536), 0],
      ['owners', () => owners(p, 'file'), [65535, 65536]],
      ['32 bits', () => p.chown('file', 0xffff_fffe, 0x8000_0001), 0],
      ['owners after that', () => owners(p, 'file'), [0xffff_fffe, 0x8000_0001]],
      ['neither', () => p.chown('file', -1, -1), 0],
      ['owners still', () => owners(p, 'file'), [0xffff_fffe, 0x8000_0001]],
    );
  });
});

/** Calls that change what is in a file. */
const CHANGES: readonly (readonly [string, (p: Process) => Promise<Result>])[] = [
  ['write', async (p) => withFile(p, O_WRONLY, async (fd) => p.write(fd, 'x'))],
  ['pwrite', async (p) => withFile(p, O_RDWR, async (fd) => p.pwrite(fd, 'x', 100))],
  ['truncate', async (p) => p.truncate('file', 2)],
  ['ftruncate', async (p) => withFile(p, O_WRONLY, async (fd) => p.ftruncate(fd, 1))],
  [
    'open with O_TRUNC',
    async (p) => withFile(p, O_WRONLY | O_TRUNC, async (fd) => p.lseek(fd, 0, 0)),
  ],
  ['fallocate', async (p) => withFile(p, O_WRONLY, async (fd) => p.fallocate(fd, 0, 0, 9000))],
  [
    'copy_file_range',
    async (p) => {
      const from = await done(p.open('source', O_RDONLY));
      return withFile(p, O_WRONLY, async (fd) => p.make('copy_file_range', from, 0, fd, 0, 3, 0));
    },
  ],
];

async function withFile(
  p: Process,
  flags: number,
  use: (fd: number) => Promise<Result>,
): Promise<Result> {
  const fd = await done(p.open('file', flags));
  const result = await use(fd);
  await p.close(fd);
  return typeof result === 'string' ? result : 0;
}

describe('set-id bits', () => {
  it.for(CHANGES)('go with %s of anybody but root', async ([, change]) => {
    const root = await fs.as();
    await root.create('source', 'abc', 0o666);
    const rows: Row[] = [];
    for (const [name, who] of CALLERS) {
      const p = await fs.as(who);
      for (const bits of SET_ID_MODES) {
        const mode = bits | 0o666;
        const file: Owned = { uid: OWNER.uid, gid: OWNER.gid, mode };
        await makeOwned(root, file);
        const at = `${mode.toString(8)} by ${name}`;
        rows.push([`change ${at}`, await change(p), 0]);
        const expected = who.uid === 0 ? mode : withoutSetId(file, who);
        rows.push([`mode ${at}`, await permissions(root, 'file'), expected]);
      }
    }

    await fs.check(...rows);
  });

  it('stay when nothing is written', async () => {
    const root = await fs.as();
    const p = await fs.as(OTHER);
    await makeOwned(root, { uid: OWNER.uid, gid: OWNER.gid, mode: 0o6777 });
    const fd = await done(p.open('file', O_RDWR));

    await fs.check(
      ['no bytes', () => p.write(fd, ''), 0],
      ['a bad address', () => p.make('write', fd, 1, 0), 0],
      ['read', async () => (await p.pread(fd, 2, 0)).toString(), 'te'],
      ['mode', () => permissions(p, 'file'), 0o6777],
      ['some bytes', () => p.write(fd, 'x'), 1],
      ['mode after that', () => permissions(p, 'file'), 0o777],
    );
  });

  it('are not given to a new file of a group that its maker is not of', async () => {
    const root = await fs.as();
    await done(root.mkdir('d'));
    await done(root.chown('d', 0, 5555));
    await done(root.chmod('d', 0o2777));
    const p = await fs.as(OTHER);
    const make = async (who: Process, name: string, mode: number): Promise<Result> => {
      const fd = await who.open(`d/${name}`, O_CREAT | O_WRONLY, mode);
      return typeof fd === 'string' ? fd : who.close(fd);
    };

    await fs.check(
      ['executable', () => make(p, 'a', S_ISGID | 0o775), 0],
      ['has no bit', () => permissions(root, 'd/a'), 0o775],
      ['not executable', () => make(p, 'b', S_ISGID | 0o664), 0],
      ['has the bit', () => permissions(root, 'd/b'), S_ISGID | 0o664],
      ['by root', () => make(root, 'c', S_ISGID | 0o775), 0],
      ['has the bit too', () => permissions(root, 'd/c'), S_ISGID | 0o775],
      ['set-user-ID', () => make(p, 'e', S_ISUID | 0o775), 0],
      ['is as wanted', () => permissions(root, 'd/e'), S_ISUID | 0o775],
      ['mknod', () => p.mknod('d/f', 0o100000 | S_ISGID | 0o775), 0],
      ['has no bit either', () => permissions(root, 'd/f'), 0o775],
      ['a directory', () => p.mkdir('d/g', 0o700), 0],
      ['has the bit of its parent', () => permissions(root, 'd/g'), S_ISGID | 0o700],
    );
  });

  it('of a link are of no account', async () => {
    const p = await fs.as(OWNER);
    await p.create('file', '', 0o4755);
    await done(p.symlink('file', 'link'));
    const chown = p.make('fchownat', AT_FDCWD, 'link', -1, OWNER.gid, AT_SYMLINK_NOFOLLOW);

    await fs.check(
      ['lchown of the link', await chown, 0],
      ['the file', () => permissions(p, 'file'), 0o4755],
    );
  });
});
