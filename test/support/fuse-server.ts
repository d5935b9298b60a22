/**
 * A program that mounts a file system in memory, for tests: `node fuse-server.js '{"mountpoint":
 * ...}'`.
 *
 * It prints one line of JSON when the mount answers ({"ready":true,...}) or failed
 * ({"code","message"}), and unmounts on SIGTERM. The mount is served from a process of its own,
 * since whoever serves it must not look into it.
 */
import { createRequire } from 'node:module';
import { systemClock } from '../../src/dvk/clock.ts';
import { isDvkError } from '../../src/dvk/errors.ts';
import type { FuseDevice } from '../../src/vos/fuse/device.ts';
import type { MountOptions } from '../../src/vos/fuse/mount.ts';
import { mountFuse } from '../../src/vos/fuse/mount.ts';
import { MemoryFiles, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG } from './memory-files.ts';

export interface FuseServerOptions extends MountOptions {
  /** The file that holds the native side. */
  readonly addon: string;
}

export const BIG_FILE_BYTES: number = 512 * 2 ** 20;
export const PATTERN_BYTES: number = 8 * 2 ** 20;
export const MANY_FILES = 5000;

/** Bytes of a fixed generator: the same in the server and in the test that compares. */
export function pattern(bytes: number, seed: number): Uint8Array {
  const words = new Uint32Array(new SharedArrayBuffer(Math.ceil(bytes / 4) * 4));
  let state = seed;
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    words[i] = state ^ (state >>> 15);
  }
  return new Uint8Array(words.buffer, 0, bytes);
}

const text = new TextEncoder();

/** A list that gives user 65534 `named`, under `mask`, and others `other`; as in setxattr(2). */
function acl(named: number, mask: number, other: number): Uint8Array {
  const all = 0xffff_ffff;
  const entries = [
    [1, 6, all],
    [2, named, 65534],
    [4, 4, all],
    [16, mask, all],
    [32, other, all],
  ] as const;
  const view = new DataView(new ArrayBuffer(4 + 8 * entries.length));
  view.setUint32(0, 2, true);
  for (const [i, [tag, permissions, id]] of entries.entries()) {
    view.setUint16(4 + 8 * i, tag, true);
    view.setUint16(6 + 8 * i, permissions, true);
    view.setUint32(8 + 8 * i, id, true);
  }
  return new Uint8Array(view.buffer);
}

export function makeTree(): MemoryFiles {
  const files = new MemoryFiles();
  const hello = files.add('/hello.txt', S_IFREG | 0o644, text.encode('hello, world\n'));
  hello.xattrs.set('user.color', text.encode('blue'));
  hello.xattrs.set('user.empty', new Uint8Array(0));
  files.add('/empty', S_IFREG | 0o600);
  files.add('/secret', S_IFREG | 0o600, text.encode('for root\n'));
  // acl(5): two users whom the mode bits alone would treat otherwise.
  const shared = files.add('/shared', S_IFREG | 0o640, text.encode('for nobody too\n'));
  shared.xattrs.set('system.posix_acl_access', acl(4, 4, 0));
  const denied = files.add('/denied', S_IFREG | 0o644, text.encode('for all but nobody\n'));
  denied.xattrs.set('system.posix_acl_access', acl(0, 4, 4));
  files.add('/link', S_IFLNK | 0o777, text.encode('hello.txt'));
  files.add('/fifo', S_IFIFO | 0o644);
  files.add('/deep', S_IFDIR | 0o755);
  files.add('/deep/er', S_IFDIR | 0o755);
  files.add('/deep/er/\u00e4rger \u2713', S_IFREG | 0o644, text.encode('bytes, not characters\n'));
  files.add(`/deep/${'n'.repeat(255)}`, S_IFREG | 0o444, text.encode('long name\n'));
  files.add('/deep/medium', S_IFREG | 0o644, pattern(3 * 2 ** 20 + 12_345, 7));
  files.add('/many', S_IFDIR | 0o755);
  for (let i = 0; i < MANY_FILES; i++) {
    files.add(`/many/file-${String(i)}`, S_IFREG | 0o644, text.encode(`${String(i)}\n`));
  }
  // One megabyte more than the period, so that every read of up to that much is one view.
  const bytes = pattern(PATTERN_BYTES, 1);
  const wrapped = new Uint8Array(new SharedArrayBuffer(PATTERN_BYTES + 2 ** 20));
  wrapped.set(bytes);
  wrapped.set(bytes.subarray(0, 2 ** 20), PATTERN_BYTES);
  const read = (offset: number, count: number): Uint8Array =>
    wrapped.subarray(offset % PATTERN_BYTES, (offset % PATTERN_BYTES) + count);
  files.add('/big', S_IFREG | 0o644, { size: BIG_FILE_BYTES, read });
  files.add('/hang', S_IFREG | 0o644, {
    size: 4096,
    read: async () => new Promise<Uint8Array>(() => undefined),
  });
  return files;
}

async function main(options: FuseServerOptions): Promise<void> {
  const device = createRequire(import.meta.url)(options.addon) as FuseDevice;
  const files = makeTree();
  const mount = await mountFuse({ device, service: files, clock: systemClock }, options);
  const say = (event: object): void => {
    process.stdout.write(`${JSON.stringify(event)}\n`);
  };
  process.on('SIGTERM', () => void mount.unmount());
  process.on('SIGUSR2', () => {
    const { counters, nodes, outstanding } = mount;
    say({ counters, nodes, outstanding, calls: Object.fromEntries(files.calls) });
  });
  say({ ready: true, mountpoint: mount.mountpoint, readAheadKiB: mount.readAheadKiB });
  say({ ended: await mount.ended });
}

const argument = process.argv[2];
if (argument !== undefined && process.argv[1]?.endsWith('fuse-server.js') === true) {
  main(JSON.parse(argument) as FuseServerOptions).catch((error: unknown) => {
    const code = isDvkError(error) ? error.code : 'EIO';
    process.stdout.write(`${JSON.stringify({ code, message: String(error) })}\n`);
    process.exitCode = 1;
  });
}
