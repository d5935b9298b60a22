// What holds for every call that takes a path: pathname resolution of POSIX.1-2024 and
// path_resolution(7), and the errors that all of their pages list. Each test is one table with a
// row for each form of each call.
import { describe, it } from 'vitest';
import { done } from '../support/posix-calls.ts';
import { AT_FDCWD, NAME_MAX, O_DIRECTORY, O_RDONLY, PATH_MAX } from '../support/posix-constants.ts';
import { OTHER, type Row, underTest } from '../support/posix-files.ts';
import { FORMS, type Form, OTHER_NAME } from '../support/posix-forms.ts';
import type { Process } from '../support/posix-calls.ts';
import type { Argument } from '../support/posix-process.ts';

const fs = underTest();
const BAD_FD = 1000;

/** One row for each form: what it gives for `path`. */
function rows(
  p: Process,
  path: Argument,
  expected: string | ((form: Form) => unknown),
  options: { forms?: (form: Form) => boolean; at?: number } = {},
): Row[] {
  return FORMS.filter(options.forms ?? (() => true)).map((form) => [
    form.name,
    () => form.make(p, path, options.at ?? AT_FDCWD),
    typeof expected === 'string' ? expected : expected(form),
  ]);
}

/** `.` again and again, then `end`: a path of `bytes` bytes with no long part. */
function longPath(end: string, bytes: number): string {
  const dots = './'.repeat(Math.floor((bytes - end.length) / 2));
  const slashes = '/'.repeat(bytes - end.length - dots.length);
  return `${dots}${slashes}${end}`;
}

async function prepare(p: Process): Promise<void> {
  await p.create(OTHER_NAME);
  await p.create('file');
  await done(p.mkdir('directory'));
  await done(p.symlink('loop', 'loop'));
  await done(p.symlink('nowhere', 'dangling'));
}

describe('every call with a path', () => {
  it('fails with ENOENT for an empty path', async () => {
    const p = await fs.as();
    await prepare(p);

    await fs.check(...rows(p, '', 'ENOENT'));
  });

  it('fails with ENOENT where a directory on the way is missing', async () => {
    const p = await fs.as();
    await prepare(p);

    await fs.check(...rows(p, 'missing/name', 'ENOENT'));
  });

  it('fails with ENOENT where a link on the way leads nowhere', async () => {
    const p = await fs.as();
    await prepare(p);

    await fs.check(...rows(p, 'dangling/name', 'ENOENT'));
  });

  it('fails with ENOENT for a missing name that must be there', async () => {
    const p = await fs.as();
    await prepare(p);

    await fs.check(...rows(p, 'missing', 'ENOENT', { forms: (form) => form.makes !== true }));
  });

  it('fails with ENOENT for a link that leads nowhere, if it follows links', async () => {
    const p = await fs.as();
    await prepare(p);
    const follows = (form: Form): boolean => form.makes !== true && form.nofollow !== true;

    await fs.check(...rows(p, 'dangling', 'ENOENT', { forms: follows }));
  });

  it('fails with ENOTDIR where something on the way is no directory', async () => {
    const p = await fs.as();
    await prepare(p);

    await fs.check(...rows(p, 'file/name', 'ENOTDIR'));
  });

  it('fails with ENOTDIR for a file with a slash behind it', async () => {
    const p = await fs.as();
    await prepare(p);
    // A name that may not be there yet is looked at in another way; see paths.test.ts.
    const plain = (form: Form): boolean => form.makes !== true;

    await fs.check(...rows(p, 'file/', 'ENOTDIR', { forms: plain }));
  });

  it('fails with ELOOP where links on the way lead to each other', async () => {
    const p = await fs.as();
    await prepare(p);

    await fs.check(...rows(p, 'loop/name', 'ELOOP'));
  });

  it('fails with ELOOP for a link to itself, if it follows links', async () => {
    const p = await fs.as();
    await prepare(p);

    await fs.check(...rows(p, 'loop', 'ELOOP', { forms: (form) => form.nofollow !== true }));
  });

  it('fails with ENAMETOOLONG for a last name of 256 bytes', async () => {
    const p = await fs.as();
    await prepare(p);

    await fs.check(...rows(p, 'n'.repeat(NAME_MAX + 1), 'ENAMETOOLONG'));
  });

  it('fails with ENAMETOOLONG for a name of 256 bytes on the way', async () => {
    const p = await fs.as();
    await prepare(p);

    await fs.check(...rows(p, `${'n'.repeat(NAME_MAX + 1)}/name`, 'ENAMETOOLONG'));
  });

  it('fails with ENAMETOOLONG for a path of 4096 bytes, but not of 4095', async () => {
    const p = await fs.as();
    await prepare(p);

    await fs.check(...rows(p, longPath('missing/name', PATH_MAX), 'ENAMETOOLONG'));
    await fs.check(...rows(p, longPath('missing/name', PATH_MAX - 1), 'ENOENT'));
  });

  it('fails with EFAULT for an address that is not mapped', async () => {
    const p = await fs.as();
    await prepare(p);

    await fs.check(...rows(p, 1, 'EFAULT'));
  });

  it('fails with EACCES where a directory on the way may not be searched', async () => {
    const root = await fs.as();
    await done(root.mkdir('closed', 0o700));
    await root.create('closed/name', '', 0o777);
    await prepare(root);
    await done(root.chmod(OTHER_NAME, 0o666));
    const p = await fs.as(OTHER);

    await fs.check(...rows(p, 'closed/name', 'EACCES'));
    await fs.check(...rows(p, 'closed/missing', 'EACCES'));
  });

  it('takes a relative path from the directory of its descriptor', async () => {
    const p = await fs.as();
    await prepare(p);
    const at = await done(p.open('directory', O_RDONLY | O_DIRECTORY));
    const forms = (form: Form): boolean => form.plain !== true && form.makes !== true;

    await fs.check(...rows(p, 'file', 'ENOENT', { forms, at }));
    await fs.check(...rows(p, '../missing', 'ENOENT', { forms, at }));
    await fs.check(...rows(p, '../file/name', 'ENOTDIR', { at, forms: (form) => !form.plain }));
  });

  it('fails with EBADF for a descriptor that is not open, if the path is relative', async () => {
    const p = await fs.as();
    await prepare(p);
    const forms = (form: Form): boolean => form.plain !== true;
    const absolute = `${fs.directory}/file/name`;

    await fs.check(...rows(p, 'file', 'EBADF', { forms, at: BAD_FD }));
    await fs.check(...rows(p, absolute, 'ENOTDIR', { forms, at: BAD_FD }));
  });

  it('fails with ENOTDIR for a descriptor of a file, if the path is relative', async () => {
    const p = await fs.as();
    await prepare(p);
    const forms = (form: Form): boolean => form.plain !== true;
    const at = await done(p.open('file', O_RDONLY));

    await fs.check(...rows(p, 'file', 'ENOTDIR', { forms, at }));
    await fs.check(...rows(p, `${fs.directory}/missing/name`, 'ENOENT', { forms, at }));
  });

  it('fails with EROFS on a file system that is read-only, if it changes something', async () => {
    const p = await fs.as();
    const where = await fs.readOnly(async (path) => {
      await p.make('chdir', path);
      await prepare(p);
    });
    await done(p.make('chdir', where));
    const forms = (form: Form): boolean => form.changes === true;
    const there = (form: Form): boolean => forms(form) && form.makes !== true;

    await fs.check(...rows(p, 'file', 'EROFS', { forms: there }));
    await fs.check(...rows(p, 'new', 'EROFS', { forms: (form) => forms(form) && !!form.makes }));
  });
});
