// A real mount: ordinary tools against the gateway, served by a process of its own from a file
// system in memory. Needs root and /dev/fuse; what is missing is printed and the tests are skipped.
// Every access to the mount is an asynchronous child process with a time limit, so a gateway that
// hangs fails a test instead of the run.
import type { ChildProcess } from 'node:child_process';
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, statSync } from 'node:fs';
import { chown, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { MountOptions } from '../../src/vos/fuse/mount.ts';
import { parseMountInfo } from '../../src/vos/fuse/mountpoint.ts';
import { BIG_FILE_BYTES, MANY_FILES, pattern, PATTERN_BYTES } from '../support/fuse-server.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PROGRAM = join(ROOT, 'dist/test/support/fuse-server.js');
const ADDON = process.env['DVK_ADDON'] ?? join(ROOT, 'native/build/Release/dvk.node');
const NOBODY = 65534;
const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
const COMMAND_MS_MAX = 20_000;

function missingParts(): string {
  if (process.getuid?.() !== 0) return 'not root';
  if (!existsSync('/dev/fuse')) return 'no /dev/fuse';
  const built = [PROGRAM, ADDON].filter((path) => !existsSync(path));
  return built.length === 0 ? '' : `not built: ${built.join(', ')}`;
}

interface Outcome {
  status: number | string;
  out: string;
  err: string;
}

/** Runs a command; its status is the exit code, or the signal's name. */
async function run(...command: string[]): Promise<Outcome> {
  const [program = '', ...words] = command;
  const options = {
    timeout: COMMAND_MS_MAX,
    killSignal: 'SIGKILL',
    maxBuffer: 1 << 26,
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  } as const;
  return new Promise((done) => {
    execFile(program, words, options, (error, out, err) => {
      done({ status: error === null ? 0 : (error.signal ?? error.code ?? 1), out, err });
    });
  });
}

/** Runs a command that must succeed. */
async function must(...command: string[]): Promise<string> {
  const { status, out, err } = await run(...command);
  if (status !== 0) throw new Error(`${command.join(' ')}: ${status}: ${err}`);
  return out;
}

class Server {
  readonly process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(command: string[]) {
    const [program = '', ...words] = command;
    this.process = spawn(program, words, { stdio: ['ignore', 'pipe', 'inherit'] });
    const { stdout } = this.process;
    if (stdout === null) throw new Error('no pipe');
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  async line(): Promise<Record<string, unknown>> {
    const { value } = (await this.#lines.next()) as { value: string | undefined };
    return JSON.parse(value ?? '{"code":"EOF"}') as Record<string, unknown>;
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = new Promise((done) => this.process.once('exit', done));
    this.process.kill(signal);
    await ended;
  }
}

function serverCommand(options: MountOptions): string[] {
  return [
    process.execPath,
    PROGRAM,
    JSON.stringify({ readOnly: true, constant: true, ...options, addon: ADDON }),
  ];
}

async function isMounted(mountpoint: string): Promise<boolean> {
  const entries = parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
  return entries.some((entry) => entry.mountpoint === mountpoint);
}

const missing = missingParts();
if (missing !== '') process.stdout.write(`fuse-mount: skipped, ${missing}\n`);

describe.skipIf(missing !== '')('a FUSE mount', () => {
  const folder = mkdtempSync(join(tmpdir(), 'dvk-fuse-'));
  const mountpoint = join(folder, 'mnt');
  const servers: Server[] = [];

  async function start(command: string[]): Promise<Server> {
    const server = new Server(command);
    servers.push(server);
    expect(await server.line()).toMatchObject({ ready: true });
    return server;
  }

  const inside = (path: string): string => join(mountpoint, path);

  beforeAll(async () => {
    await mkdir(mountpoint);
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.kill('SIGKILL');
    for (let i = 0; i < 4 && (await isMounted(mountpoint)); i++) {
      await must('umount', '-l', mountpoint);
    }
  });
  afterAll(async () => {
    if (!(await isMounted(mountpoint))) await rm(folder, { recursive: true });
  });

  describe('serves ordinary tools:', () => {
    it('ls, stat, readlink, df, find', async () => {
      await start(serverCommand({ mountpoint, name: 'tools' }));

      const listing = (await must('ls', '-lR', mountpoint)).split('\n');
      const line = (name: string): string => listing.find((text) => text.endsWith(name)) ?? '';
      expect(line('link -> hello.txt')).toMatch(/^lrwxrwxrwx +1 root root +9 Nov 14 {2}2023 /);
      expect(line('fifo')).toMatch(/^prw-r--r-- +1 /);
      expect(line('shared')).toMatch(/^-rw-r-----\+ /);
      expect(await must('stat', '-c', '%s %a %h %i %Y', inside('hello.txt'))).toBe(
        '13 644 1 11 1700000011\n',
      );
      expect(await must('stat', '-c', '%i %F', mountpoint)).toBe('2 directory\n');
      expect(await must('readlink', inside('link'))).toBe('hello.txt\n');
      expect(await must('cat', inside('link'))).toBe('hello, world\n');
      expect(await must('df', '--output=source,fstype,size', mountpoint)).toMatch(
        /dvk:tools\s+fuse\.dvk\s+4000000/,
      );
      const found = await must('find', mountpoint, '-type', 'f', '-size', '-2');
      expect(found.trim().split('\n').length).toBe(MANY_FILES + 7);
    });

    it('every name of a large directory, once', async () => {
      await start(serverCommand({ mountpoint, name: 'many' }));

      for (const options of [['-U'], ['-lU']]) {
        const names = (await must('ls', ...options, inside('many'))).match(/file-\d+/g) ?? [];
        expect(names.length).toBe(MANY_FILES);
        expect(new Set(names).size).toBe(MANY_FILES);
      }
      expect(await must('sh', '-c', `cat ${inside('many')}/* | sort -n | tail -1`)).toBe(
        `${MANY_FILES - 1}\n`,
      );
    });

    it('diff of a tree with one on disk', async () => {
      await start(serverCommand({ mountpoint, name: 'diff' }));
      const copy = join(folder, 'copy');
      await mkdir(join(copy, 'er'), { recursive: true });
      await writeFile(join(copy, 'er', '\u00e4rger \u2713'), 'bytes, not characters\n');
      await writeFile(join(copy, 'n'.repeat(255)), 'long name\n');
      await writeFile(join(copy, 'medium'), pattern(3 * 2 ** 20 + 12_345, 7));

      expect(await run('diff', '-r', inside('deep'), copy)).toMatchObject({ status: 0, out: '' });

      await writeFile(join(copy, 'medium'), pattern(3 * 2 ** 20 + 12_345, 8));
      expect((await run('diff', '-rq', inside('deep'), copy)).status).toBe(1);
    });

    it('getfattr', async () => {
      await start(serverCommand({ mountpoint, name: 'xattr' }));
      const file = inside('hello.txt');

      expect(await must('getfattr', '--absolute-names', '-d', file)).toBe(
        `# file: ${file}\nuser.color="blue"\nuser.empty=""\n\n`,
      );
      const none = await run('getfattr', '-n', 'user.none', file);
      expect(none.err).toContain('No such attribute');
      expect(await must('getfattr', '-d', inside('empty'))).toBe('');
    });

    it('a large file in any piece size', async () => {
      await start(serverCommand({ mountpoint, name: 'big' }));
      const hash = createHash('sha256');
      const period = pattern(PATTERN_BYTES, 1);
      for (let at = 0; at < BIG_FILE_BYTES; at += PATTERN_BYTES) hash.update(period);

      const sum = await must('sh', '-c', `dd if=${inside('big')} bs=1M status=none | sha256sum`);
      expect(sum.split(' ')[0]).toBe(hash.digest('hex'));

      const at = 3 * PATTERN_BYTES - 1000;
      const piece = (extra: string[]): string[] => [
        ...['dd', `if=${inside('big')}`, 'bs=777', `skip=${at}`, 'count=5', 'status=none'],
        ...['iflag=skip_bytes', ...extra],
      ];
      const wanted = Buffer.concat([period.subarray(PATTERN_BYTES - 1000), period]);
      const expected = createHash('sha256')
        .update(wanted.subarray(0, 5 * 777))
        .digest('hex');
      const command = [...piece([]), '|', 'sha256sum'].join(' ');
      expect((await must('sh', '-c', command)).split(' ')[0]).toBe(expected);
    });
  });

  it('refuses every write with EROFS', async () => {
    await start(serverCommand({ mountpoint, name: 'writes' }));
    const file = inside('hello.txt');
    const writes: string[][] = [
      ['touch', inside('new')],
      ['mkdir', inside('new')],
      ['rm', file],
      ['rmdir', inside('deep')],
      ['mv', file, inside('other')],
      ['ln', file, inside('other')],
      ['ln', '-s', 'x', inside('other')],
      ['chmod', '600', file],
      ['chown', '1', file],
      ['truncate', '-s', '1', file],
      ['dd', 'if=/dev/zero', `of=${file}`, 'count=1', 'conv=notrunc'],
      ['setfattr', '-n', 'user.x', '-v', '1', file],
      ['setfattr', '-x', 'user.color', file],
    ];
    for (const phase of ['mounted read-only', 'remounted by force']) {
      for (const command of writes) {
        const { status, err } = await run(...command);
        expect([phase, command.join(' '), status !== 0, err]).toEqual([
          phase,
          command.join(' '),
          true,
          expect.stringContaining('Read-only file system'),
        ]);
      }
      // Now the kernel lets writes through, and the gateway refuses them.
      await run('mount', '-o', 'remount,rw', mountpoint);
    }
    expect(await must('cat', file)).toBe('hello, world\n');
  });

  it('obeys mode bits and access control lists for other users', async () => {
    await must('chmod', '755', folder);
    await start(serverCommand({ mountpoint, name: 'users', allowOther: true }));

    expect((await run(...AS_NOBODY, 'cat', inside('hello.txt'))).status).toBe(0);
    expect((await run(...AS_NOBODY, 'cat', inside('secret'))).err).toContain('Permission denied');
    expect(await must(...AS_NOBODY, 'cat', inside('shared'))).toBe('for nobody too\n');
    expect((await run(...AS_NOBODY, 'cat', inside('denied'))).err).toContain('Permission denied');
    expect(await must('cat', inside('denied'))).toBe('for all but nobody\n');
  });

  it('lets a killed reader go that waits for the server', async () => {
    await start(serverCommand({ mountpoint, name: 'hang' }));

    for (const words of [
      ['cat', inside('hang')],
      ['dd', `if=${inside('hang')}`, 'iflag=direct'],
    ]) {
      const [program = '', ...rest] = words;
      const reader = spawn(program, rest, { stdio: 'ignore' });
      const ended = new Promise((done) => reader.once('exit', (_, signal) => done(signal)));
      await new Promise((done) => setTimeout(done, 300));
      expect(reader.exitCode).toBeNull();

      reader.kill('SIGKILL');
      expect(await ended).toBe('SIGKILL');
    }
    expect(await must('cat', inside('hello.txt'))).toBe('hello, world\n');
  });

  it('serves many readers at once and keeps account', async () => {
    const server = await start(serverCommand({ mountpoint, name: 'crowd' }));
    const commands = [
      ['ls', '-lR', mountpoint],
      ['sh', '-c', `cat ${inside('many')}/*`],
      ['dd', `if=${inside('big')}`, 'of=/dev/null', 'bs=1M', 'count=64'],
      ['dd', `if=${inside('big')}`, 'of=/dev/null', 'bs=64k', 'count=200', 'iflag=direct'],
    ];

    const outcomes = await Promise.all([...commands, ...commands].map((all) => run(...all)));
    for (const { status } of outcomes) expect(status).toBe(0);

    server.process.kill('SIGUSR2');
    const { counters, nodes, outstanding } = await server.line();
    expect(outstanding).toBe(0);
    expect(nodes).toBeGreaterThan(MANY_FILES);
    expect(counters).toMatchObject({ dropped: 0, malformed: 0, unsent: 0 });
    const { requests, replies } = counters as { requests: number; replies: number };
    expect(replies).toBeLessThanOrEqual(requests);

    // Each lookup is given back when the kernel drops what it has; it does so in its own time.
    for (let left = nodes; left !== 0;) {
      await must('sh', '-c', 'echo 2 > /proc/sys/vm/drop_caches');
      server.process.kill('SIGUSR2');
      ({ nodes: left } = await server.line());
    }
    expect((await must('cat', inside('hello.txt'))).length).toBe(13);
  });

  it('goes away on SIGTERM, and the server ends with 0', async () => {
    const server = await start(serverCommand({ mountpoint, name: 'term' }));

    await server.kill('SIGTERM');

    expect(await server.line()).toEqual({ ended: 0 });
    expect(server.process.exitCode).toBe(0);
    expect(await isMounted(mountpoint)).toBe(false);
  });

  it('ends when somebody else unmounts it', async () => {
    const server = await start(serverCommand({ mountpoint, name: 'umount' }));
    const ended = new Promise((done) => server.process.once('exit', done));

    await must('umount', mountpoint);

    expect(await ended).toBe(0);
    expect(await server.line()).toEqual({ ended: 0 });
  });

  it('detaches the dead mount of a killed server, and mounts again', async () => {
    for (let i = 0; i < 3; i++) {
      const server = await start(serverCommand({ mountpoint, name: 'again' }));
      expect(await must('cat', inside('hello.txt'))).toBe('hello, world\n');
      await server.kill('SIGKILL');
      // What the kernel holds in its cache it still shows; anything else fails at once.
      expect((await run('cat', inside('deep/medium'))).err).toContain('not connected');
    }
    await start(serverCommand({ mountpoint, name: 'again' }));
    const entries = parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
    expect(entries.filter((entry) => entry.mountpoint === mountpoint).length).toBe(1);
    expect(await must('cat', inside('hello.txt'))).toBe('hello, world\n');
  });

  it('refuses a directory that a live gateway serves', async () => {
    await start(serverCommand({ mountpoint, name: 'first' }));
    await symlink(mountpoint, join(folder, 'alias'));

    const second = new Server(serverCommand({ mountpoint: join(folder, 'alias'), name: 'second' }));

    expect(await second.line()).toMatchObject({ code: 'EBUSY' });
    await second.kill('SIGKILL');
    expect(await must('cat', inside('hello.txt'))).toBe('hello, world\n');
  });

  it('is made by an ordinary user through fusermount3', async () => {
    const home = join(folder, 'home');
    const target = join(home, 'mnt');
    await mkdir(target, { recursive: true });
    for (const path of [home, target]) await chown(path, NOBODY, NOBODY);
    await must('chmod', '755', folder);
    // Distributions give /dev/fuse the mode 0666. Where it is not, a mount namespace of its own
    // gets such a node.
    const isOpen = (statSync('/dev/fuse').mode & 0o666) === 0o666;
    const node = join(folder, 'fuse-device');
    const bind =
      `mknod -m 666 ${node} c 10 229 && ` + `mount --bind ${node} /dev/fuse && exec "$0" "$@"`;
    const command = [...AS_NOBODY, ...serverCommand({ mountpoint: target, name: 'user' })];
    const server = await start([
      ...['unshare', '-m', 'sh', '-c', isOpen ? 'exec "$0" "$@"' : bind],
      ...command,
    ]);
    const there = ['nsenter', '-t', String(server.process.pid), '-m'];

    expect(await must(...there, ...AS_NOBODY, 'cat', join(target, 'hello.txt'))).toBe(
      'hello, world\n',
    );
    // default_permissions: what root alone may read stays so; and without allow_other even root
    // stays out.
    const secret = await run(...there, ...AS_NOBODY, 'cat', join(target, 'secret'));
    expect(secret.err).toContain('Permission denied');
    expect((await run(...there, 'cat', join(target, 'hello.txt'))).err).toContain(
      'Permission denied',
    );

    await server.kill('SIGTERM');
    expect(await server.line()).toEqual({ ended: 0 });
  });
});
