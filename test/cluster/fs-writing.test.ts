// Programs write to a mount: what they write is there, on this node, on another, after the file
// system server was killed, and for e2fsck.
//
// Method: two nodes, FS on node 1, a mount on each. Programs of the system and system calls of
// child processes do the work, each with a time limit; what was synced is compared after SIGKILL of
// FS, and the image is checked by e2fsck -fn when all is down.
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Segment, systemClock } from '../../src/dvk/index.ts';
import { FsClient } from '../../src/vos/client/fs-client.ts';
import { CreateFlag } from '../../src/vos/protocol/fs-change.ts';
import { compile, whyNoC } from '../support/c-programs.ts';
import { type TestPlace, ended, whyNoMounts, wrote } from '../support/dvk-command.ts';
import { pattern } from '../support/trees.ts';
import { TwoMounts } from '../support/two-mounts.ts';

const SLOT = '1';
/** Of linux/falloc.h. */
const FALLOC_COLLAPSE_RANGE = 8;
const FALLOC_INSERT_RANGE = 32;
const skipped = whyNoMounts();
const withoutC = whyNoC();

let mounts: TwoMounts;
let place: TestPlace;
let here: string;
let there: string;

/** The segments of node 0 and node 1. */
async function segments(): Promise<[string, string]> {
  const { nodes } = await place.json<{ nodes: { segment: string }[] }>('dc', 'info', 'mol');
  return [nodes[0]?.segment ?? '', nodes[1]?.segment ?? ''];
}

/** Compiles a program in C, once. */
function compiled(source: string): string {
  const program = join(place.files, basename(source, '.c'));
  if (!existsSync(program)) compile(source, program);
  return program;
}

describe.skipIf(skipped !== undefined)(`a mount that is written to ${skipped ?? ''}`, () => {
  beforeAll(async () => {
    mounts = await TwoMounts.start();
    ({ place, here, there } = mounts);
  });

  afterAll(async () => {
    if (skipped !== undefined) return;
    const { left, check } = await mounts.end();
    expect(left).toEqual([]);
    // A volume that was closed needs no replay, and has no error.
    expect(check).not.toMatch(/recover|error|Fix/i);
  });

  it('gives back what was written, in any size', async () => {
    await mounts.sh(`
      head -c 5000001 /dev/urandom > $TREE/data
      for size in 4096 100000 1M; do
        dd if=$TREE/data of=$HERE/data bs=$size status=none
        cmp $TREE/data $HERE/data && cmp $TREE/data $THERE/data
        rm $HERE/data
      done
      printf 0123456789 > $HERE/part
      printf ab | dd of=$HERE/part bs=1 seek=3 conv=notrunc status=none
      truncate -s 12 $HERE/part
      [ "$(tr '\\0' . < $THERE/part)" = 012ab56789.. ]
      cp $TREE/data $HERE/data; cp --reflink=never $HERE/data $HERE/copy
      cmp $TREE/data $THERE/copy`);
  });

  it('has the calls of Linux: links, renames, times, owners, holes, attributes', async () => {
    await mounts.sh(`
      cd $HERE; umask 027; mkdir names; cd names
      echo one > a; ln a b; ln -s a c; mkfifo f; mknod n c 1 3
      [ "$(stat -c %h,%a,%F b)" = "2,640,regular file" ]
      [ "$(readlink c),$(stat -c %F f),$(stat -c %t:%T n)" = "a,fifo,1:3" ]
      mv a d; mv -n d b; [ -e b ]; [ "$(cat b)" = one ]
      touch -d '2001-02-03 04:05:06.789 UTC' b; [ "$(stat -c %.9Y b)" = 981173106.789000000 ]
      chown 12:34 b; chmod 4751 b; [ "$(stat -c %u,%g,%a b)" = 12,34,4751 ]
      chown 13 b; [ "$(stat -c %a b)" = 751 ]
      mkdir g; chgrp 77 g; chmod 2775 g; touch g/x; mkdir g/y
      [ "$(stat -c %g g/x),$(stat -c %g,%a g/y)" = 77,77,2750 ]
      fallocate -l 100000 h; [ "$(stat -c %s h)" = 100000 ]
      yes | head -c 100000 > h; fallocate -p -o 4096 -l 40960 h
      [ "$(head -c 45056 h | tail -c 40960 | tr -d '\\0' | wc -c)" = 0 ]
      setfattr -n user.color -v blue b; [ "$(getfattr --only-values -n user.color b)" = blue ]
      setfattr -x user.color b; [ -z "$(getfattr -d b)" ]
      rmdir g 2>/dev/null && exit 1; rm -r g; cd ..; rm -r names`);
  });

  it('keeps an unlinked file while it is open, from both nodes', async () => {
    const seen = await mounts.python(
      "f = os.open(here + '/gone', os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)",
      "os.write(f, b'still here')",
      "g = os.open(there + '/gone', os.O_RDONLY)",
      "os.unlink(there + '/gone')",
      'print(os.fstat(g).st_nlink, os.pread(f, 99, 0), os.pread(g, 99, 0))',
      'os.close(f); print(os.pread(g, 99, 6)); os.close(g)',
      "print('gone' in os.listdir(here))",
    );
    expect(seen).toBe("0 b'still here' b'still here'\nb'here'\nFalse\n");
  });

  it('keeps a directory and a FIFO that are open, or the place of a process', async () => {
    const seen = await mounts.python(
      'def look(fd):',
      '    s = os.fstat(fd); os.fsync(fd) if s.st_size else None',
      '    return s.st_nlink',
      "os.mkdir(here + '/d'); os.mkfifo(here + '/p'); os.mkdir(here + '/e')",
      "d = os.open(here + '/d', os.O_RDONLY); p = os.open(here + '/p', os.O_RDWR)",
      "e = os.open(there + '/e', os.O_RDONLY); os.rmdir(here + '/e')",
      "os.chdir(here + '/d'); os.rmdir(here + '/d'); os.unlink(here + '/p')",
      "os.write(p, b'x')",
      "print(look(d), look(p), look(e) in (0, 2), os.stat('.').st_nlink, os.read(p, 9))",
      "os.chdir('/'); os.close(d); os.close(p); os.close(e)",
    );
    expect(seen).toBe("0 0 True 0 b'x'\n");
  });

  it('serves others while commits are written', async () => {
    const seen = await mounts.python(
      'import threading',
      "f = os.open(here + '/synced', os.O_RDWR | os.O_CREAT)",
      'def sync(base):',
      '    for i in range(8): os.pwrite(f, b"x" * 65536, base + i << 16); os.fsync(f)',
      'threads = [threading.Thread(target=sync, args=(8 * n,)) for n in range(4)]',
      'for t in threads: t.start()',
      "for i in range(100): os.stat(there + '/synced')",
      'for t in threads: t.join()',
      "os.unlink(here + '/synced'); print(os.fstat(f).st_size)",
    );
    expect(seen).toBe('2097152\n');
  });

  it('shows what one node closed to whoever opens on the other', async () => {
    const seen = await mounts.python(
      'def put(path, data):',
      "    with open(path, 'wb') as f: f.write(data)",
      'def get(path):',
      "    with open(path, 'rb') as f: return f.read()",
      'wrong = 0',
      'for i in range(50):',
      '    a, b = (here, there) if i % 2 else (there, here)',
      "    data = b'%d ' % i * (i * 50 + 1)",
      "    put(a + '/shared', data); wrong += get(b + '/shared') != data",
      "    os.rename(a + '/shared', a + '/other%d' % i)",
      "    wrong += get(b + '/other%d' % i) != data; os.unlink(b + '/other%d' % i)",
      'print(wrong)',
    );
    expect(seen).toBe('0\n');
  });

  it('shows what was written in a row to whoever opens on the other', async () => {
    const seen = await mounts.python(
      "block = lambda i: b'%07d ' % i * 512",
      'wrong = 0',
      'for a, b in ((here, there), (there, here)):',
      "    f = open(a + '/row', 'wb', buffering=0)",
      '    for i in range(400):',
      '        f.write(block(i))',
      '        if i % 40 != 39: continue',
      "        with open(b + '/row', 'rb') as g: seen = g.read()",
      "        wrong += seen != b''.join(map(block, range(i + 1)))",
      '        wrong += os.fstat(f.fileno()).st_size != len(seen)',
      "    os.truncate(b + '/row', 5000); f.write(b'end'); f.close()",
      "    with open(b + '/row', 'rb') as g: seen = g.read()",
      '    wrong += len(seen) != 400 * 4096 + 3 or seen[:5000] != (block(0) + block(1))[:5000]',
      "    wrong += seen[5000:-3].strip(b'\\0') != b'' or seen[-3:] != b'end'",
      "    os.unlink(a + '/row')",
      'print(wrong)',
    );
    expect(seen).toBe('0\n');
  });

  it('takes new files of two nodes in one directory, each with its own name', async () => {
    const seen = await mounts.python(
      "os.mkdir(here + '/both')",
      'wrong = 0',
      'for i in range(120):',
      '    a, b = (here, there) if i // 20 % 2 else (there, here)',
      "    open(a + '/both/f%d' % i, 'x').close()",
      '    # A name that the other one made is there, whatever is known of the directory.',
      "    try: open(b + '/both/f%d' % i, 'x'); wrong += 1",
      '    except FileExistsError: pass',
      "    if i % 10 == 9: open(b + '/both/g%d' % i, 'x').close()",
      "    if i % 10 == 9: wrong += not os.path.exists(a + '/both/g%d' % i)",
      "print(wrong, len(os.listdir(here + '/both')), len(os.listdir(there + '/both')))",
    );
    expect(seen).toBe('0 132 132\n');
  });

  it('appends from two nodes without losing a line', async () => {
    await mounts.sh(`
      : > $HERE/log
      for side in $HERE $THERE; do
        for word in x y; do
          (exec >> $side/log; for i in $(seq 150); do echo "$side $word $i"; done) &
        done
      done
      wait
      [ "$(sort $HERE/log | uniq | wc -l)" = 600 ]; [ "$(wc -l < $THERE/log)" = 600 ]
      rm $HERE/log`);
  });

  it('locks across nodes, and lets go with the process', async () => {
    const seen = await mounts.python(
      "f = open(here + '/lock', 'w'); g = open(there + '/lock', 'r+')",
      'def tries(lock, *rest):',
      '    try: lock(g, fcntl.LOCK_EX | fcntl.LOCK_NB, *rest); return True',
      '    except OSError as e: return errno.errorcode[e.errno]',
      'fcntl.flock(f, fcntl.LOCK_EX)',
      'print(tries(fcntl.flock))',
      'pid = os.fork()',
      'if pid == 0: fcntl.flock(g, fcntl.LOCK_EX); os._exit(7)',
      'fcntl.flock(f, fcntl.LOCK_UN)',
      'print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))',
      'g.close(); g = open(there + "/lock", "r+")',
      'r, w = os.pipe(); pid = os.fork()',
      'if pid == 0:',
      "    fcntl.lockf(f, fcntl.LOCK_EX, 10, 5); os.write(w, b'.')",
      '    import signal; signal.pause()',
      'os.read(r, 1)',
      'print(tries(fcntl.lockf, 10, 5), tries(fcntl.lockf, 5, 0))',
      'os.kill(pid, 9); os.waitpid(pid, 0); fcntl.lockf(g, fcntl.LOCK_EX, 10, 5); print("mine")',
    );
    expect(seen).toBe('EAGAIN\n7\nEAGAIN True\nmine\n');
  });

  it('ends at the quota of its container, which is its size', async () => {
    const limits = ['--size', '40MiB', '--inodes', '9000'];
    const set = await place.json<Record<string, unknown>>('fs', 'quota', 'set', 'fs', ...limits);
    const quota = { service: 'fs', container: 'mol', node: 1, bytesMax: 40 << 20 };
    expect(set).toMatchObject({ ...quota, inodesMax: 9000 });
    expect(await place.json('fs', 'quota', 'ls')).toMatchObject({ items: [quota] });
    expect(Number(set['bytesUsed'])).toBeGreaterThan(0);
    await mounts.sh(`
      [ $(df -B1M --output=size $HERE | tail -1) = 40 ]
      [ $(df --output=itotal $THERE | tail -1) = 9000 ]
      dd if=/dev/zero of=$HERE/much bs=1M count=41 2> $TREE/said && exit 1
      grep -q 'Disk quota exceeded' $TREE/said; rm $HERE/much $TREE/said`);
    const reset = await place.json('fs', 'quota', 'set', 'fs', '--reset');
    expect(reset).toMatchObject({ bytesMax: null, inodesMax: null });
  });

  it('goes past the cache for O_DIRECT, and agrees with it', async () => {
    const seen = await mounts.python(
      "path = here + '/direct-io'; flags = os.O_RDWR | os.O_CREAT",
      'cached = os.open(path, flags); direct = os.open(path, flags | os.O_DIRECT)',
      "far = os.open(there + '/direct-io', os.O_RDONLY | os.O_DIRECT)",
      "os.write(cached, b'a' * 10000); print(os.pread(direct, 3, 9998))",
      // Neither offset nor size nor memory is aligned.
      "print(os.pread(cached, 3, 4095)); print(os.pwrite(direct, b'bc', 4095))",
      'print(os.pread(cached, 4, 4094), os.pread(far, 4, 4094), os.pread(direct, 99, 10000))',
      "os.pwrite(cached, b'd' * 5000, 3); print(os.pread(direct, 2, 4095), os.pread(far, 2, 9998))",
      "os.pwrite(direct, b'e' * 7, 12345)",
      'print(os.pread(cached, 9, 12343), os.fstat(cached).st_size)',
      '[os.close(f) for f in (cached, direct, far)]; os.unlink(path)',
    );
    const lines = [
      ...["b'aa'", "b'aaa'", '2', "b'abca' b'abca' b''", "b'dd' b'aa'"],
      String.raw`b'\x00\x00eeeeeee' 12352`,
    ];
    expect(seen).toBe(`${lines.join('\n')}\n`);
  });

  it('keeps what was synced when the server is killed, and goes on with a new one', async () => {
    await mounts.sh(`
      mkdir $HERE/safe; head -c 3000000 /dev/urandom > $TREE/safe
      dd if=$TREE/safe of=$HERE/safe/file bs=100k conv=fsync status=none; sync $HERE/safe`);
    const { pid } = await place.json<{ pid: number }>('service', 'info', 'fs');
    process.kill(pid, 'SIGKILL');
    await place.must('service', 'start', 'fs');
    await mounts.sh('cmp $TREE/safe $HERE/safe/file; cmp $TREE/safe $THERE/safe/file');
    await mounts.sh(
      'echo more > $HERE/safe/more; [ $(cat $THERE/safe/more) = more ]; rm -r $HERE/safe',
    );
  });

  /** Kills the server from inside a program for Python, after which a new one is started. */
  async function survives(before: readonly string[], after: readonly string[]): Promise<string> {
    const { pid } = await place.json<{ pid: number }>('service', 'info', 'fs');
    const seen = mounts.python(
      ...before,
      'import signal, time',
      `os.kill(${String(pid)}, signal.SIGKILL)`,
      "open(home + '/killed', 'w').close()",
      "while not os.path.exists(home + '/started'): time.sleep(0.01)",
      ...after,
    );
    await mounts.sh('until [ -e ${HERE%/*}/killed ]; do sleep 0.01; done');
    await place.must('service', 'start', 'fs');
    await mounts.sh(': > ${HERE%/*}/started');
    const result = await seen;
    await mounts.sh('rm ${HERE%/*}/killed ${HERE%/*}/started');
    return result;
  }

  it('tells who syncs whether what was written before the server was killed is lost', async () => {
    const seen = await survives(
      [
        "f = os.open(here + '/synced', os.O_WRONLY | os.O_CREAT)",
        "g = os.open(here + '/unsynced', os.O_WRONLY | os.O_CREAT)",
        "os.mkdir(here + '/names'); d = os.open(here + '/names', os.O_RDONLY)",
        "for n in ('kept', 'gone'): open(here + '/names/' + n, 'w').close()",
        "os.write(g, b'x'); os.write(f, b'z'); os.fsync(d); os.fsync(g)",
        "os.write(g, b'y'); os.unlink(here + '/names/gone')",
      ],
      [
        'def sync(h):',
        "    try: os.fsync(h); return 'fine'",
        '    except OSError as e: return errno.errorcode[e.errno]',
        // What others change now is no sign of it.
        "open(there + '/names/other', 'w').close()",
        'first, of_names = sync(g), sync(d)',
        "is_back = os.path.exists(there + '/names/gone')",
        "right = of_names == ('EIO' if is_back else 'fine')",
        "print('names' if right else (of_names, is_back))",
        "with open(there + '/unsynced', 'rb') as h: there_now = h.read()",
        // It may have been committed in the last moment.
        "told = (first, there_now) in (('EIO', b'x'), ('fine', b'xy'))",
        "print('told' if told else (first, there_now))",
        'print(sync(g), sync(f), sync(d))',
      ],
    );
    expect(seen).toBe('names\ntold\nfine fine fine\n');
  });

  it('gives open files and locks to the server that is started next', async () => {
    const seen = await survives(
      [
        "f = os.open(here + '/nameless', os.O_RDWR | os.O_CREAT, 0o600)",
        "os.write(f, b'kept'); g = os.open(there + '/nameless', os.O_RDONLY)",
        "os.unlink(here + '/nameless')",
        "h = os.open(here + '/locked', os.O_RDWR | os.O_CREAT, 0o600)",
        'fcntl.flock(h, fcntl.LOCK_EX); fcntl.lockf(h, fcntl.LOCK_EX, 10, 5)',
        'os.fsync(f); os.fsync(h)',
      ],
      [
        // Named when the server died, and opened again after it: its holder is told of nothing.
        "i = os.open(there + '/locked', os.O_RDWR)",
        'def tries(lock, *rest):',
        '    try: lock(i, fcntl.LOCK_EX | fcntl.LOCK_NB, *rest); return True',
        '    except OSError as e: return errno.errorcode[e.errno]',
        'print(tries(fcntl.flock), tries(fcntl.lockf, 1, 14), tries(fcntl.lockf, 1, 15))',
        'print(os.pread(f, 9, 0), os.pread(g, 9, 0), os.fstat(f).st_nlink)',
        "os.pwrite(f, b'KEPT', 0); os.fsync(f); os.fsync(h)",
        'fcntl.flock(h, fcntl.LOCK_UN); print(tries(fcntl.flock))',
        'os.close(h); print(os.pread(f, 9, 0)); os.close(f); os.close(g)',
      ],
    );
    expect(seen).toBe("EAGAIN EAGAIN True\nb'kept' b'kept' 0\nTrue\nb'KEPT'\n");
  });

  it('loses nothing when the server is restarted, and says so', async () => {
    const seen = mounts.python(
      "f = os.open(here + '/calm', os.O_RDWR | os.O_CREAT); os.write(f, b'calm')",
      "open(home + '/ready', 'w').close()",
      'import time',
      "while not os.path.exists(home + '/go'): time.sleep(0.01)",
      "os.fsync(f); print(open(there + '/calm').read())",
    );
    await mounts.sh('until [ -e ${HERE%/*}/ready ]; do sleep 0.01; done');
    await place.must('service', 'restart', 'fs');
    await mounts.sh(': > ${HERE%/*}/go');
    expect(await seen).toBe('calm\n');
    await mounts.sh('rm $HERE/../ready $HERE/../go');
  });

  it.skipIf(withoutC !== undefined)(
    'keeps files and locks of a program in C over a restart',
    async () => {
      // Before tests that leave clients of another node: the server would wait for them.
      const [remote] = await segments();
      const child = spawn(compiled('test/support/c-files.c'), [remote, SLOT, 'hold']);
      const result = ended(child);
      await wrote(child, 'stdout', 'ready');

      const { pid } = await place.json<{ pid: number }>('service', 'info', 'fs');
      process.kill(pid, 'SIGKILL');
      await place.must('service', 'start', 'fs');
      child.stdin.end('go\n');

      expect((await result).stdout).toMatch(/^ready\n\d+ checks, 0 failed\n$/);
    },
  );

  it('ends with its gateway, and is there again with the next one', async () => {
    const seen = mounts.python(
      'import time',
      "f = os.open(there + '/taken', os.O_RDWR | os.O_CREAT)",
      "os.write(f, b'safe'); os.fsync(f)",
      "g = open(here + '/taken'); fcntl.flock(f, fcntl.LOCK_EX)",
      "open(here + '/../ready', 'w').close()",
      "while not os.path.exists(here + '/../go'): time.sleep(0.01)",
      "try: os.pwrite(f, b'lost', 0)",
      'except OSError as e: print(errno.errorcode[e.errno])',
      // The lock ends with who had it, when the server has noticed.
      "fcntl.flock(g, fcntl.LOCK_EX); print(open(there + '/taken').read())",
    );
    await mounts.sh('until [ -e $HERE/../ready ]; do sleep 0.01; done');
    const { pid } = await place.json<{ pid: number }>('service', 'info', 'there');
    process.kill(pid, 'SIGKILL');
    await place.must('service', 'start', 'there');
    await mounts.sh(': > $HERE/../go');
    expect(await seen).toBe('ENOTCONN\nsafe\n');
  });

  it('is found by the numbers of a file that the kernel has forgotten, as NFS does', async () => {
    const seen = await mounts.python(
      'import ctypes',
      'libc = ctypes.CDLL(None, use_errno=True)',
      'def handle(path):',
      '    h = ctypes.create_string_buffer(136); h[0:4] = (128).to_bytes(4, "little")',
      '    m = ctypes.c_int()',
      '    r = libc.name_to_handle_at(-100, path.encode(), h, ctypes.byref(m), 0)',
      '    if r < 0: raise OSError(ctypes.get_errno(), path)',
      '    return h',
      'mount = os.open(here, os.O_RDONLY)',
      'def by(h, flags=os.O_RDONLY):',
      '    f = libc.open_by_handle_at(mount, h, flags)',
      '    if f < 0: return errno.errorcode[ctypes.get_errno()]',
      '    return f',
      'def forget():',
      "    with open('/proc/sys/vm/drop_caches', 'w') as f: f.write('2')",
      "os.makedirs(here + '/export/deep'); path = here + '/export/deep/file'",
      "with open(path, 'w') as f: f.write('found')",
      "file, folder = handle(path), handle(here + '/export/deep')",
      'forget(); f = by(file); print(os.read(f, 9)); os.close(f)',
      // The way up to the root, by "..".
      'forget(); f = by(folder, os.O_RDONLY | os.O_DIRECTORY); print(os.listdir(f))',
      "print(os.readlink('/proc/self/fd/%d' % f).endswith('/here/export/deep')); os.close(f)",
      // The number belongs to another file now, or to none: the generation tells.
      'number = os.stat(path).st_ino; os.unlink(path); forget(); print(by(file))',
      // It may take a while until it is free.
      'made, found = 0, False',
      'while not found and made < 5000:',
      "    some = [here + '/export/deep/%d' % i for i in range(made, made + 50)]",
      '    for name in some: open(name, "w").close()',
      '    found = number in [os.stat(name).st_ino for name in some]; made += 50',
      'print(found); forget(); print(by(file))',
    );
    expect(seen).toBe("b'found'\n['file']\nTrue\nESTALE\nTrue\nESTALE\n");
    await mounts.sh('rm -r $HERE/export');
  });

  it('tells a file that is gone from one that has its inode number now', async () => {
    const seen = await mounts.python(
      "folder, names = here + '/numbers', there + '/numbers'",
      "os.mkdir(folder); open(folder + '/old', 'w').close()",
      // What is known of a file keeps it in no way, so its number is free when it is removed.
      "old = os.open(names + '/old', os.O_PATH); path = '/proc/self/fd/%d' % old",
      'number = os.fstat(old).st_ino',
      "os.unlink(folder + '/old')",
      'made, new = 0, []',
      'while new == [] and made < 5000:',
      "    some = [folder + '/%d' % i for i in range(made, made + 50)]",
      '    for name in some:',
      "        with open(name, 'w') as f: f.write('new')",
      '    new = [name for name in some if os.stat(name).st_ino == number]; made += 50',
      'name = names + new[0].removeprefix(folder)',
      'with open(name) as f: print(f.read(), os.fstat(f.fileno()).st_ino == number)',
      'try: os.close(os.open(path, os.O_RDWR)); print("opened")',
      'except OSError as e: print(errno.errorcode[e.errno])',
      'with open(name) as f: print(f.read())',
    );
    expect(seen).toBe('new True\nESTALE\nnew\n');
    await mounts.sh('rm -r $HERE/numbers');
  });

  it.skipIf(withoutC !== undefined)(
    `has the same calls for programs in C ${withoutC ?? ''}`,
    async () => {
      const [remote, local] = await segments();
      const files = compiled('examples/c/files.c');
      const calls = compiled('test/support/c-files.c');

      // The server's node, and one from which it is far.
      for (const segment of [local, remote]) {
        const { stdout, stderr } = await ended(spawn(calls, [segment, SLOT, 'check']));
        expect([stdout, stderr]).toEqual([expect.stringMatching(/^\d+ checks, 0 failed\n$/), '']);
        await mounts.sh(`
          cd $HERE/c-files; [ "$(stat -c %a,%u,%s file)" = 640,12,5000 ]
          [ "$(readlink link)" = below/../file ]; [ "$(stat -c %t:%T device)" = 5:3 ]
          cmp arena private; cmp arena $THERE/c-files/private; [ "$(cat copy)" = 23456 ]
          [ $(ls many | wc -l) = 500 ]; [ "$(getfattr --only-values -n user.one file)" = value ]
          cd ..; rm -r c-files`);
      }
      await mounts.sh(`
        head -c 3000001 /dev/urandom > $TREE/from-c
        ${files} ${remote} ${SLOT} put /from-c < $TREE/from-c; cmp $TREE/from-c $THERE/from-c`);
      await mounts.sh(`${files} ${local} ${SLOT} get from-c | cmp - $TREE/from-c; rm $HERE/from-c`);
      expect(await mounts.sh(`${files} ${local} ${SLOT} list /`)).toMatch(
        /^0407\d\d +\d+ lost\+found$/m,
      );
    },
  );

  it('moves data straight between the arena and a file, for TypeScript', async () => {
    const [remote] = await segments();
    const segment = Segment.open(remote);
    const client = new FsClient(segment, { serverSlot: 1, name: 'direct', clock: systemClock });
    const owner = { uid: 0, gid: 0 };
    const place = { parent: { inode: 2, generation: 0 }, name: Buffer.from('direct') };
    try {
      const wanted = pattern(1_000_000, 7);
      const buffer = client.allocateMemory(wanted.length);
      buffer.set(wanted);
      const file = await client.create(
        place,
        { mode: 0o100644, umask: 0, ...owner },
        CreateFlag.HOLD,
      );
      const written = await client.writeFrom({ file, offset: 0 }, buffer, 0, owner);
      buffer.fill(0);
      const read = await client.readInto(file, 0, buffer);

      expect([written.bytes, written.attributes.size, read]).toEqual([1e6, 1e6, 1e6]);
      expect(Buffer.compare(buffer, wanted)).toBe(0);
      expect(await client.readInto(file, 999_990, buffer)).toBe(10);
      expect(await client.readInto(file, 1_000_000, buffer)).toBe(0);
      await client.sync(file, 0);
      // Modes of fallocate(2) that the kernel does not pass to mounts.
      const cut = await client.allocate({ file, offset: 4096 }, 8192, FALLOC_COLLAPSE_RANGE, owner);
      expect([cut.size, await client.readInto(file, 0, buffer)]).toEqual([991_808, 991_808]);
      expect(Buffer.compare(buffer.subarray(4096, 991_808), wanted.subarray(12_288))).toBe(0);
      await client.allocate({ file, offset: 4096 }, 8192, FALLOC_INSERT_RANGE, owner);
      await client.release(file);
      await mounts.sh(`
        [ "$(stat -c %s $HERE/direct)" = 1000000 ]; cmp $HERE/direct $THERE/direct
        cmp <(head -c 12288 $HERE/direct | tail -c 8192) <(head -c 8192 /dev/zero)`);
    } finally {
      client.close();
      segment.close();
    }
  });

  it('shows the other node what was made in a row, and keeps its directory', async () => {
    const seen = await mounts.python(
      'def make(at, count):',
      '    os.mkdir(here + at)',
      "    name = lambda i: here + at + '/f%d' % i",
      '    for i in range(count): os.close(os.open(name(i), os.O_CREAT | os.O_EXCL, 0o600))',
      "make('/row', 200)",
      "print(os.path.exists(there + '/row/f199'), len(os.listdir(there + '/row')))",
      "same = [os.stat(at + '/row/f150').st_mtime_ns for at in (here, there)]",
      "make('/kept', 100)",
      "try: os.rmdir(there + '/kept')",
      'except OSError as error: print(same[0] == same[1], error.errno == errno.ENOTEMPTY)',
      "print(len(os.listdir(there + '/kept')))",
    );
    expect(seen).toBe('True 200\nTrue True\n100\n');
  });

  it('is mounted by hand, read-only and for one user', async () => {
    const hand = join(place.files, 'by-hand');
    mkdirSync(hand);
    // Another user has to get there.
    chmodSync(place.files, 0o711);
    await place.must('fs', 'mount', 'fs', hand, '--ro', '--user', 'nobody', '--node', '0');
    await mounts.sh(`
      echo seen > $HERE/by-hand; cd /
      as="setpriv --reuid nobody --regid $(id -g nobody) --clear-groups"
      [ "$($as cat ${hand}/by-hand)" = seen ]; ls ${hand} 2> /dev/null && exit 1
      $as touch ${hand}/x 2>&1 | grep -q 'Read-only file system'`);
    // What others do to its open files is seen as on any mount.
    const seen = await mounts.python(
      `import pwd; path, mine, who = '${hand}/by-hand', here + '/by-hand', pwd.getpwnam('nobody')`,
      '(r, w), (back, done), pid = os.pipe(), os.pipe(), os.fork()',
      'if pid == 0:',
      '    os.setgroups([]); os.setgid(who.pw_gid); os.setuid(who.pw_uid)',
      '    f = os.open(path, os.O_RDONLY); h = os.open(path, os.O_RDONLY | os.O_DIRECT)',
      '    print(os.pread(f, 9, 0)); os.write(w, b"1"); os.read(back, 1)',
      '    print(os.read(os.open(path, os.O_RDONLY), 9), flush=True); os.write(w, b"2")',
      '    os.read(back, 1); print(os.pread(h, 9, 0), flush=True); os._exit(0)',
      "os.read(r, 1); g = open(mine, 'w'); g.write('SEEN'); g.close(); os.write(done, b'1')",
      "os.read(r, 1); os.unlink(there + '/by-hand'); os.write(done, b'2'); os.waitpid(pid, 0)",
    );
    expect(seen).toBe(String.raw`b'seen\n' b'SEEN' b'SEEN'`.replaceAll(' ', '\n') + '\n');
    const again = await place.run('fs', 'mount', 'fs', hand);
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('is in use')]);
    await place.must('fs', 'umount', hand);
    expect(readdirSync(hand)).toEqual([]);
    const spec = await place.run('fs', 'umount', here);
    expect([spec.code, spec.stderr]).toEqual([1, expect.stringContaining('mount of the spec')]);
  });

  it('is a file system of its own', () => {
    expect(statSync(here).dev).not.toBe(statSync(there).dev);
  });
});
