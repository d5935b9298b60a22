/**
 * A tree with one of everything that a POSIX file system can hold, in the shapes that ext4 stores
 * in different ways.
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { run } from './images.ts';

/** Bytes that differ from place to place and from file to file, but not from run to run. */
export function pattern(bytes: number, seed: number): Uint8Array {
  const content = new Uint8Array(bytes);
  let state = (seed * 2654435761) >>> 0;
  for (let at = 0; at < bytes; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    content[at] = state >>> 24;
  }
  return content;
}

/** Writes `parts` at their offsets and leaves holes between them. */
export function writeSparse(path: string, parts: readonly (readonly [number, number])[]): void {
  const file = openSync(path, 'w');
  for (const [index, [at, bytes]] of parts.entries()) {
    writeSync(file, pattern(bytes, index + at), 0, bytes, at);
  }
  closeSync(file);
}

/** What any user may make, on any file system. */
export function makePlainTree(root: string): void {
  const file = (name: string, bytes: number): void => {
    writeFileSync(join(root, name), pattern(bytes, bytes));
  };
  for (const bytes of [0, 1, 59, 60, 61, 100, 150, 1023, 1024, 4096, 4097, 65536, 300_001]) {
    file(`file-${String(bytes)}`, bytes);
  }
  file('n'.repeat(255), 10);
  writeFileSync(Buffer.concat([Buffer.from(root), Buffer.from([0x2f, 0xff, 0x80, 0x41])]), 'bytes');
  for (const bytes of [1, 59, 60, 61, 150, 1000]) {
    symlinkSync('t'.repeat(bytes), join(root, `link-${String(bytes)}`));
  }
  mkdirSync(join(root, 'deep/er/and/deeper'), { recursive: true });
  file('deep/er/and/deeper/file', 5000);
  mkdirSync(join(root, 'few'));
  for (let index = 0; index < 8; index++) file(`few/f${String(index)}`, index);
  mkdirSync(join(root, 'many'));
  for (let index = 0; index < 600; index++) {
    file(`many/entry number ${String(index)} ${'é'.repeat(index % 30)}`, index % 3);
  }
  linkSync(join(root, 'file-1'), join(root, 'few/hard link'));
  chmodSync(join(root, 'file-100'), 0o4751);
  utimesSync(join(root, 'file-59'), 4_102_444_800.25, 4_102_444_801.5);
  // Direct and all three indirect levels, with blocks of 1 KiB.
  writeSparse(join(root, 'sparse'), [
    [5000, 3000],
    [200_000, 5000],
    [10_000_000, 70_000],
    [68_000_000, 1500],
  ]);
}

/** What takes root, and a file system with all of ext4's abilities. */
export function makePrivilegedTree(root: string): void {
  const at = (name: string): string => join(root, name);
  run('mknod', at('null'), 'c', '1', '3');
  run('mknod', at('disk'), 'b', '300', '70000');
  run('mkfifo', at('pipe'));
  writeFileSync(at('owned'), 'owned');
  chownSync(at('owned'), 70_000, 4_000_000_000);
  lutimesSync(at('link-60'), 100, -1_000_000_000);
  utimesSync(at('file-1024'), -5, 10_000_000_000);
  // Every other block, so that the extent tree (or the map) gets levels.
  writeSparse(
    at('fragmented'),
    Array.from({ length: 1500 }, (_, index) => [index * 8192, 100] as const),
  );
}

/** Xattrs in all places: in the inode, in a block, shared, and (if `large`) in inodes. */
export function makeXattrs(root: string, options: { large: boolean }): void {
  let script = '';
  const set = (file: string, name: string, value: Uint8Array | string): void => {
    script += `# file: ${join(root, file)}\n${name}=0x${Buffer.from(value).toString('hex')}\n\n`;
  };
  set('file-1', 'user.small', 'a value');
  set('file-1', 'user.empty', '');
  set('file-60', `user.${'n'.repeat(200)}`, pattern(100, 1));
  for (let index = 0; index < 12; index++) {
    set('file-4097', `user.number-${String(index)}`, pattern(index * 5, index));
  }
  set('file-1023', 'trusted.block', pattern(700, 2));
  set('link-60', 'trusted.on-a-link', 'link');
  set('few', 'security.label', 'directory');
  set('many', 'user.bytes', new Uint8Array([0, 255, 10, 0]));
  if (options.large) {
    set('file-65536', 'user.large', pattern(20_000, 3));
    set('file-300001', 'user.largest', pattern(65_000, 4));
    set('file-300001', 'user.large-too', pattern(9_000, 5));
  }
  const path = `${root}.xattrs`;
  writeFileSync(path, script);
  run('setfattr', '-h', `--restore=${path}`);
  run('setfacl', '-m', 'u:1:rw,u:70000:r,g:2:rx,m:rwx', join(root, 'file-61'));
  run('setfacl', '-d', '-m', 'u:3:rwx', join(root, 'few'));
  run('setfacl', '-m', 'g:5:x', join(root, 'few'));
}
