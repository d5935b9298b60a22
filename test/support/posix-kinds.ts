/** Files of every kind, and short ways to ask one thing of a file. */
import { type Process, done } from './posix-calls.ts';
import { S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK } from './posix-constants.ts';

interface Kind {
  /** What it is, and what it is called in a test's directory. */
  readonly name: string;
  make(p: Process, name: string): Promise<unknown>;
}

/** The number of /dev/null: major 1, minor 3. */
export const DEVICE: number = (1 << 8) | 3;

export const KINDS: readonly Kind[] = [
  { name: 'file', make: async (p, name) => p.create(name) },
  { name: 'directory', make: async (p, name) => done(p.mkdir(name)) },
  { name: 'link', make: async (p, name) => done(p.symlink('target', name)) },
  { name: 'fifo', make: async (p, name) => done(p.mknod(name, S_IFIFO | 0o644)) },
  { name: 'socket', make: async (p, name) => done(p.mknod(name, S_IFSOCK | 0o644)) },
  { name: 'character', make: async (p, name) => done(p.mknod(name, S_IFCHR | 0o644, DEVICE)) },
  { name: 'block', make: async (p, name) => done(p.mknod(name, S_IFBLK | 0o644, DEVICE)) },
];

/** Makes a file of each kind, or of one; root's right to make devices is needed. */
export async function makeKinds(p: Process, only?: string): Promise<void> {
  for (const kind of KINDS) {
    if (only === undefined || kind.name === only) await kind.make(p, kind.name);
  }
}

/** The permission, set-id and sticky bits. */
export async function permissions(p: Process, path: string): Promise<number> {
  return (await done(p.lstat(path))).mode & 0o7777;
}

export async function nlink(p: Process, path: string): Promise<number> {
  return (await done(p.lstat(path))).nlink;
}

export async function size(p: Process, path: string): Promise<number> {
  return (await done(p.stat(path))).size;
}

/** Owner and group. */
export async function owners(p: Process, path: string): Promise<[number, number]> {
  const { uid, gid } = await done(p.lstat(path));
  return [uid, gid];
}

export async function inode(p: Process, path: string): Promise<bigint> {
  return (await done(p.lstat(path))).ino;
}
