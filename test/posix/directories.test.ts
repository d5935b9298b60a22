// Making and removing directories: mkdir(), mkdirat(), rmdir(), unlinkat() with AT_REMOVEDIR, as in
// POSIX.1-2024 and mkdir(2), rmdir(2).
import { expect, it, describe } from 'vitest';
import { done } from '../support/posix-calls.ts';
import { underTest } from '../support/posix-files.ts';

const fs = underTest();

describe('mkdir', () => {
  it('fails with EEXIST for a name that is there, whatever it names', async () => {
    const p = await fs.as();
    await p.create('file');
    await done(p.mkdir('directory'));

    await fs.check(
      ['a file', p.mkdir('file'), 'EEXIST'],
      ['a directory', p.mkdir('directory'), 'EEXIST'],
      ['a directory', p.mkdir('new'), 0],
    );
  });
});
