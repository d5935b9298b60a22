// Flags of files: ioctl(2) with FS_IOC_GETFLAGS and FS_IOC_SETFLAGS, as lsattr and chattr use them,
// and what immutable and append-only files refuse, as ioctl_iflags(2) says.
import { describe, it } from 'vitest';
import { done, type Process } from '../support/posix-calls.ts';
import { O_APPEND, O_RDONLY, O_WRONLY } from '../support/posix-constants.ts';
import { underTest } from '../support/posix-files.ts';

const fs = underTest();

const GET_FLAGS = 0x80086601;
const SET_FLAGS = 0x40086602;
const IMMUTABLE = 0x10;
const APPEND = 0x20;
const NO_DUMP = 0x40;
const NO_ACCESS_TIMES = 0x80;
const KNOWN = IMMUTABLE | APPEND | NO_DUMP | NO_ACCESS_TIMES;

async function flagsOf(p: Process, fd: number): Promise<number> {
  const { out } = await p.call('ioctl', fd, GET_FLAGS, { out: 8 });
  return out[0]!.readUInt32LE(0);
}

/** Sets the flags, and keeps those that a file system has for itself. */
async function setFlags(p: Process, fd: number, flags: number): Promise<number | string> {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE((((await flagsOf(p, fd)) & ~KNOWN) | flags) >>> 0);
  return p.make('ioctl', fd, SET_FLAGS, bytes);
}

describe('flags of a file', () => {
  it('are told as they were set', async () => {
    const p = await fs.as();
    await p.create('f', 'text');
    const fd = await done(p.open('f', O_RDONLY));
    const told = async (): Promise<number> => (await flagsOf(p, fd)) & KNOWN;

    await fs.check(
      ['none', told, 0],
      ['set', () => setFlags(p, fd, NO_DUMP | NO_ACCESS_TIMES), 0],
      ['told', told, NO_DUMP | NO_ACCESS_TIMES],
      ['one less', () => setFlags(p, fd, NO_DUMP), 0],
      ['told then', told, NO_DUMP],
    );
  });

  it('make a file immutable', async () => {
    const p = await fs.as();
    await p.create('f', 'text');
    const fd = await done(p.open('f', O_RDONLY));

    await fs.check(
      ['set', () => setFlags(p, fd, IMMUTABLE), 0],
      ['unlink', () => p.unlink('f'), 'EPERM'],
      ['rename', () => p.rename('f', 'g'), 'EPERM'],
      ['link', () => p.link('f', 'g'), 'EPERM'],
      ['chmod', () => p.chmod('f', 0o600), 'EPERM'],
      ['truncate', () => p.truncate('f', 0), 'EPERM'],
      ['cleared', () => setFlags(p, fd, 0), 0],
      ['unlink then', () => p.unlink('f'), 0],
    );
  });

  it('make a file one that is only appended to', async () => {
    const p = await fs.as();
    await p.create('f', 'text');
    const fd = await done(p.open('f', O_RDONLY));
    const appender = await done(p.open('f', O_WRONLY | O_APPEND));

    await fs.check(
      ['set', () => setFlags(p, fd, APPEND), 0],
      ['append', () => p.write(appender, ' more'), 5],
      ['truncate', () => p.truncate('f', 0), 'EPERM'],
      ['unlink', () => p.unlink('f'), 'EPERM'],
      ['content', () => p.content('f'), 'text more'],
      ['cleared', () => setFlags(p, fd, 0), 0],
      ['unlink then', () => p.unlink('f'), 0],
    );
  });
});
