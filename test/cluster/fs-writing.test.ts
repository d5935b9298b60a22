// Programs write to a mount: what they write is there, on this node, on another, after the file
// system server was killed, and for e2fsck.
//
// Method: two nodes, FS on node 1, a mount on each. Programs of the system and system calls of
// child processes do the work, each with a time limit; what was synced is compared after SIGKILL of
// FS, and the image is checked by e2fsck -fn when all is down.
import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProgram } from '../../src/cli/programs.ts';
import { Segment, systemClock } from '../../src/dvk/index.ts';
import { FsClient } from '../../src/vos/client/fs-client.ts';
import { compile, whyNoC } from '../support/c-programs.ts';
import { TestPlace, ended, whyNoMounts, wrote } from '../support/dvk-command.ts';
import { pattern } from '../support/trees.ts';

const LIMIT_MS = 20_000;
const SLOT = '1';
const skipped = whyNoMounts();
const withoutC = whyNoC();

let place: TestPlace;
let image: string;
let tree: string;
let here: string;
let there: string;

/** Runs a shell command with `$HERE`, `$THERE` and `$TREE`; throws if it fails. */
async function sh(script: string): Promise<string> {
  const env = { ...process.env, HERE: here, THERE: there, TREE: tree, LC_ALL: 'C.UTF-8' };
  const options = { timeout: LIMIT_MS, killSignal: 'SIGKILL', maxBuffer: 1 << 26, env } as const;
  return await new Promise((resolve, reject) => {
    execFile('bash', ['-euc', script], options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${script}\n${stdout}${stderr}${error.message}`));
    });
  });
}

/** Runs a program for Python 3 with `here` and `there`, which prints what is to be compared. */
async function python(...lines: string[]): Promise<string> {
  const head = [
    'import os, fcntl, errno',
    "here = os.environ['HERE']; there = os.environ['THERE']",
  ];
  const program = [...head, ...lines].join('\n');
  return await sh(`python3 - <<'END'\n${program}\nEND`);
}

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
    place = new TestPlace();
    ({ image, tree } = place.image(64 << 20));
    // The big file makes room; it is given back before the tests begin.
    execFileSync(findProgram('debugfs') ?? 'debugfs', ['-w', '-R', 'rm big', image]);
    here = join(place.files, 'here');
    there = join(place.files, 'there');
    mkdirSync(here);
    mkdirSync(there);
    const spec = place.spec('writing.yaml', [
      'dvs: writing',
      'nodes: [{ id: 0 }, { id: 1 }]',
      'containers:',
      '  - name: mol',
      '    services:',
      `      - { name: fs, kind: fs, node: 1, slot: 1, image: ${image} }`,
      `      - { name: here, kind: fuse, node: 0, server: fs, mount: ${here} }`,
      `      - { name: there, kind: fuse, node: 1, server: fs, mount: ${there} }`,
    ]);
    await place.must('up', spec, '--detach');
  });

  afterAll(async () => {
    if (skipped !== undefined) return;
    await place.run('down');
    const left = place.leftovers();
    const check = execFileSync(findProgram('e2fsck') ?? 'e2fsck', ['-fn', image]).toString();
    await place.end();
    expect(left).toEqual([]);
    // A volume that was closed needs no replay, and has no error.
    expect(check).not.toMatch(/recover|error|Fix/i);
  });

  it('gives back what was written, in any size', async () => {
    await sh(`
      head -c 5000001 /dev/urandom > $TREE/data
      for size in 4096 100000 1M; do
        dd if=$TREE/data of=$HERE/data bs=$size status=none
        cmp $TREE/data $HERE/data && cmp $TREE/data $THERE/data
        rm $HERE/data
      done
      printf 0123456789 > $HERE/part
      printf ab | dd of=$HERE/part bs=1 seek=3 conv=notrunc status=none
      truncate -s 12 $HERE/part
      [ "$(tr '\\0' . < $THERE/part)" = 012ab56789.. ]`);
  });

  it('has the calls of Linux: links, renames, times, owners, holes, attributes', async () => {
    await sh(`
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
    const seen = await python(
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

  it('shows what one node closed to whoever opens on the other', async () => {
    const seen = await python(
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

  it('appends from two nodes without losing a line', async () => {
    await sh(`
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
    const seen = await python(
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

  it('takes an archive, a git repository and a database', async () => {
    await sh(`
      mkdir $HERE/tar
      tar -C $TREE -cf - --exclude=lost+found --exclude=data . | tar -C $HERE/tar -xf -
      diff -r --exclude=lost+found --exclude=data $TREE $THERE/tar
      rm -r $HERE/tar; [ ! -e $THERE/tar ]`);
    await sh(`
      export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b
      export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
      git init -q $HERE/git; cd $HERE/git; cp -r $TREE/directory1 .; git add .; git commit -qm one
      git mv directory1 moved; git commit -qm two; git gc -q; git fsck --strict 2>&1
      [ -z "$(git status --porcelain)" ]; [ "$(git -C $THERE/git log --oneline | wc -l)" = 2 ]`);
    const seen = await python(
      'import sqlite3',
      "for mode in ('DELETE', 'WAL'):",
      "    name = '/%s.db' % mode",
      '    db = sqlite3.connect(here + name)',
      "    db.execute('PRAGMA journal_mode=' + mode); db.execute('CREATE TABLE t (n, s)')",
      '    for i in range(8):',
      "        with db: db.executemany('INSERT INTO t VALUES (?, ?)', [(i, 'x' * 500)] * 10)",
      '    db.close()',
      '    db = sqlite3.connect(there + name)',
      "    check = db.execute('PRAGMA integrity_check').fetchone()",
      "    print(db.execute('SELECT count(*) FROM t').fetchone(), check)",
      '    db.close()',
    );
    expect(seen).toBe("(80,) ('ok',)\n(80,) ('ok',)\n");
  });

  it('keeps what was synced when the server is killed, and goes on with a new one', async () => {
    await sh(`
      mkdir $HERE/safe; head -c 3000000 /dev/urandom > $TREE/safe
      dd if=$TREE/safe of=$HERE/safe/file bs=100k conv=fsync status=none; sync $HERE/safe`);
    const { pid } = await place.json<{ pid: number }>('service', 'info', 'fs');
    process.kill(pid, 'SIGKILL');
    await place.must('service', 'start', 'fs');
    await sh('cmp $TREE/safe $HERE/safe/file; cmp $TREE/safe $THERE/safe/file');
    await sh('echo more > $HERE/safe/more; [ $(cat $THERE/safe/more) = more ]; rm -r $HERE/safe');
  });

  it('tells who syncs that what was written before the server was killed may be lost', async () => {
    const seen = python(
      "f = os.open(here + '/unsynced', os.O_WRONLY | os.O_CREAT)",
      "os.write(f, b'x'); os.fsync(f); os.write(f, b'y'); print('written', flush=True)",
      "open(here + '/../ready', 'w').close()",
      'import time',
      "while not os.path.exists(here + '/../go'): time.sleep(0.01)",
      'try: os.fsync(f); print("fine")',
      'except OSError as e: print(errno.errorcode[e.errno])',
      'os.fsync(f); print("fine")',
    );
    await sh('until [ -e $HERE/../ready ]; do sleep 0.01; done');
    const { pid } = await place.json<{ pid: number }>('service', 'info', 'fs');
    process.kill(pid, 'SIGKILL');
    await place.must('service', 'start', 'fs');
    await sh(': > $HERE/../go');
    expect(await seen).toBe('written\nEIO\nfine\n');
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
        await sh(`
          cd $HERE/c-files; [ "$(stat -c %a,%u,%s file)" = 640,12,5000 ]
          [ "$(readlink link)" = below/../file ]; [ "$(stat -c %t:%T device)" = 5:3 ]
          cmp arena private; cmp arena $THERE/c-files/private; [ "$(cat copy)" = 23456 ]
          [ $(ls many | wc -l) = 500 ]; [ "$(getfattr --only-values -n user.one file)" = value ]
          cd ..; rm -r c-files`);
      }
      await sh(`
        head -c 3000001 /dev/urandom > $TREE/from-c
        ${files} ${remote} ${SLOT} put /from-c < $TREE/from-c; cmp $TREE/from-c $THERE/from-c`);
      await sh(`${files} ${local} ${SLOT} get from-c | cmp - $TREE/from-c; rm $HERE/from-c`);
      expect(await sh(`${files} ${local} ${SLOT} list /`)).toMatch(/^0407\d\d +\d+ lost\+found$/m);
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
      const file = await client.create(place, { mode: 0o100644, umask: 0, ...owner }, true);
      const written = await client.writeFrom({ file, offset: 0 }, buffer, 0, owner);
      buffer.fill(0);
      const read = await client.readInto(file, 0, buffer);

      expect([written.bytes, written.attributes.size, read]).toEqual([1e6, 1e6, 1e6]);
      expect(Buffer.compare(buffer, wanted)).toBe(0);
      expect(await client.readInto(file, 999_990, buffer)).toBe(10);
      expect(await client.readInto(file, 1_000_000, buffer)).toBe(0);
      await client.sync(file, 0);
      await client.release(file);
      await sh('[ "$(stat -c %s $HERE/direct)" = 1000000 ]; cmp $HERE/direct $THERE/direct');
    } finally {
      client.close();
      segment.close();
    }
  });

  it.skipIf(withoutC !== undefined)(
    'keeps files of a program in C open over a restart',
    async () => {
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

  it('is a file system of its own', () => {
    expect(statSync(here).dev).not.toBe(statSync(there).dev);
  });
});
