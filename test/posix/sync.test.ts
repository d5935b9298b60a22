// Writing back: fsync(), fdatasync(), sync() of POSIX.1-2024, O_SYNC and O_DSYNC, and syncfs(2),
// sync_file_range(2), posix_fadvise() as fadvise64(2), readahead(2). What they keep through a crash
// is tested elsewhere; here is which descriptors they take.
import { describe, it } from 'vitest';
import { done } from '../support/posix-calls.ts';
import {
  O_DIRECT,
  O_DIRECTORY,
  O_DSYNC,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_WRONLY,
} from '../support/posix-constants.ts';
import { type Row, underTest } from '../support/posix-files.ts';

const fs = underTest();

describe('fsync, fdatasync and syncfs', () => {
  it('take files and directories, opened in any way', async () => {
    const p = await fs.as();
    await p.create('f', 'text');
    await done(p.mkdir('d'));
    const descriptors = [
      ['a reader', await done(p.open('f', O_RDONLY))],
      ['a writer', await done(p.open('f', O_WRONLY))],
      ['a directory', await done(p.open('d', O_RDONLY | O_DIRECTORY))],
    ] as const;
    const rows: Row[] = [];
    for (const call of ['fsync', 'fdatasync', 'syncfs']) {
      for (const [name, fd] of descriptors) {
        rows.push([`${call} of ${name}`, () => p.make(call, fd), 0]);
      }
      rows.push([`${call} of none`, () => p.make(call, 999), 'EBADF']);
    }

    await fs.check(...rows, ['sync', () => p.make('sync'), 0]);
  });

  it('fail with EINVAL for a FIFO', async () => {
    const p = await fs.as();
    await done(p.mkfifo('fifo'));
    const fd = await done(p.open('fifo', O_RDWR));

    await fs.check(
      ['fsync', () => p.make('fsync', fd), 'EINVAL'],
      ['fdatasync', () => p.make('fdatasync', fd), 'EINVAL'],
    );
  });

  it('work while the file has no name', async () => {
    const p = await fs.as();
    await p.create('f', 'text');
    const fd = await done(p.open('f', O_RDWR));
    await done(p.unlink('f'));

    await fs.check(
      ['write', () => p.write(fd, 'TEXT'), 4],
      ['fsync', () => p.make('fsync', fd), 0],
      ['fdatasync', () => p.make('fdatasync', fd), 0],
    );
  });
});

describe('writing', () => {
  it.for([
    ['O_SYNC', O_SYNC],
    ['O_DSYNC', O_DSYNC],
  ] as const)('with %s is as without', async ([, flag]) => {
    const p = await fs.as();
    await p.create('f', 'text');
    const fd = await done(p.open('f', O_RDWR | flag));

    await fs.check(
      ['write', () => p.write(fd, 'TEX'), 3],
      ['behind the end', () => p.pwrite(fd, 'x', 5000), 1],
      ['truncate', () => p.ftruncate(fd, 5), 0],
      ['content', () => p.content('f'), 'TEXt\0'],
    );
  });

  it('past the cache takes aligned blocks, where O_DIRECT is there', async (context) => {
    const p = await fs.as();
    await p.create('f', 'x'.repeat(8192));
    const opened = await p.open('f', O_RDWR | O_DIRECT);
    if (opened === 'EINVAL') context.skip(`${fs.name} has no O_DIRECT`);
    const fd = opened as number;
    const room = await done(p.mmap(-1, 8192, 3, 0x22));
    await done(p.poke(room, 'direct'));

    await fs.check(
      ['write', () => p.make('pwrite64', fd, room, 4096, 4096), 4096],
      ['seen by others', async () => (await p.content('f')).slice(4096, 4102), 'direct'],
      ['read', () => p.make('pread64', fd, room + 4096, 4096, 0), 4096],
      ['is what is there', async () => (await p.peek(room + 4096, 3)).toString(), 'xxx'],
      ['at the end', () => p.make('pread64', fd, room, 4096, 8192), 0],
    );
  });
});

describe('advice', () => {
  it('is taken, and changes nothing', async () => {
    const p = await fs.as();
    await p.create('f', 'text');
    await done(p.mkfifo('fifo'));
    const fd = await done(p.open('f', O_RDWR));
    const fifo = await done(p.open('fifo', O_RDWR));
    const rows = [0, 1, 2, 3, 4, 5].map((advice): Row => {
      return [`fadvise ${advice}`, () => p.make('fadvise64', fd, 0, 0, advice), 0];
    });

    await fs.check(
      ...rows,
      ['unknown', () => p.make('fadvise64', fd, 0, 0, 99), 'EINVAL'],
      ['of a FIFO', () => p.make('fadvise64', fifo, 0, 0, 0), 'ESPIPE'],
      ['of none', () => p.make('fadvise64', 999, 0, 0, 0), 'EBADF'],
      ['readahead', () => p.make('readahead', fd, 0, 4096), 0],
      ['readahead of none', () => p.make('readahead', 999, 0, 4096), 'EBADF'],
      ['sync_file_range', () => p.make('sync_file_range', fd, 0, 0, 7), 0],
      ['with unknown flags', () => p.make('sync_file_range', fd, 0, 0, 8), 'EINVAL'],
      ['before the start', () => p.make('sync_file_range', fd, -1, 1, 2), 'EINVAL'],
      ['of a FIFO too', () => p.make('sync_file_range', fifo, 0, 0, 2), 'ESPIPE'],
      ['content', () => p.content('f'), 'text'],
    );
  });
});
