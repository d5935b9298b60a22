// What a mount says when a limit is reached that is too large for `npm test`: EMLINK for 65,000
// names of a file, ENFILE for 65,536 open files of a mount, ENOLCK for 100,000 locks, EDQUOT for
// the quota. Each ends when there is room again. Some minutes.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { whyNoMounts } from '../support/dvk-command.ts';
import { MountedDvs } from '../support/mounted-dvs.ts';

const LIMIT_MS = 1_200_000;
const skipped = whyNoMounts();

describe.skipIf(skipped !== undefined)(`the limits of a volume ${skipped ?? ''}`, () => {
  let dvs: MountedDvs;

  beforeAll(async () => {
    dvs = new MountedDvs({ bytes: 2 ** 29, arguments: ['-N', '200000'], limitMs: LIMIT_MS });
    await dvs.up();
  });

  afterAll(async () => {
    if (skipped !== undefined) return;
    const { left, check } = await dvs.end();
    expect(left).toEqual([]);
    expect(check).not.toMatch(/recover|error|Fix/i);
  });

  /** What a program for Python 3 prints, which has `here`, `there` and `name(call)`. */
  async function python(...lines: readonly string[]): Promise<string[]> {
    const head = [
      'import os, errno, fcntl, struct, resource',
      // `here` is beside the server, where calls are quickest.
      "here, there = os.environ['THERE'], os.environ['HERE']",
      'def name(call, *args):',
      '    try: call(*args)',
      '    except OSError as e: return errno.errorcode[e.errno]',
      "    return 'done'",
    ];
    const program = [...head, ...lines].join('\n');
    return (await dvs.sh(`python3 - <<'END'\n${program}\nEND`)).trim().split('\n');
  }

  it('gives a file 65,000 names, and EMLINK for one more, on both nodes', async () => {
    const said = await python(
      "os.mkdir(here + '/names'); base = here + '/names/'; f = base + '0'",
      "open(f, 'w').close()",
      'for i in range(1, 65000): os.link(f, base + str(i))',
      "print(os.stat(f).st_nlink, name(os.link, f, base + 'more'))",
      "print(name(os.link, there + '/names/7', there + '/names/more'))",
      "os.unlink(base + '9'); print(name(os.link, f, base + 'more'))",
      'print(os.stat(f).st_nlink, len(os.listdir(base)))',
      'for n in os.listdir(base): os.unlink(base + n)',
    );
    expect(said).toEqual(['65000 EMLINK', 'EMLINK', 'done', '65000 65000']);
  });

  it('keeps 65,536 files open for a mount, and says ENFILE to who opens more', async () => {
    const said = await python(
      "os.mkdir(here + '/open')",
      "paths = [here + '/open/' + str(i) for i in range(65600)]",
      "for p in paths: open(p, 'w').close()",
      'soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)',
      'resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))',
      // No process may have so many: several share them.
      'share = min(16500, hard - 50); total = held = 0; ends = []; said = set()',
      'while total < len(paths):',
      '    mine = paths[total:total + share]; total += len(mine)',
      '    r, w = os.pipe(); go_r, go_w = os.pipe()',
      '    if os.fork() == 0:',
      '        os.close(go_w); opened = 0; told = "done"',
      '        for p in mine:',
      '            told = name(os.open, p, os.O_RDONLY)',
      "            if told != 'done': break",
      '            opened += 1',
      "        os.write(w, f'{opened} {told}'.encode()); os.read(go_r, 1); os._exit(0)",
      '    os.close(go_r); ends.append(go_w)',
      '    count, told = os.read(r, 99).decode().split(); said.add(told); held += int(count)',
      'print(held, sorted(said))',
      "print(name(os.open, there + '/open/1', os.O_RDONLY))",
      'for end in ends: os.close(end)',
      'while True:',
      '    try: os.wait()',
      '    except ChildProcessError: break',
      'print(name(os.open, paths[-1], os.O_RDONLY))',
    );
    expect(said).toEqual(["65536 ['ENFILE', 'done']", 'done', 'done']);
  });

  it('has 100,000 locks, and says ENOLCK to who wants more', async () => {
    const said = await python(
      "os.mkdir(here + '/locks'); files = []",
      'lock = lambda f, at, kind: fcntl.lockf(f, kind | fcntl.LOCK_NB, 1, at)',
      'for i in range(201):',
      "    f = open(here + '/locks/' + str(i), 'w'); files.append(f)",
      '    told = [name(lock, f, 2 * at, fcntl.LOCK_EX) for at in range(500)]',
      "    if told[-1] != 'done': break",
      "print(i, told.index('ENOLCK'), set(told))",
      'fcntl.lockf(files[0], fcntl.LOCK_UN, 1, 0)',
      'print(name(lock, f, 7001, fcntl.LOCK_EX), name(lock, f, 9001, fcntl.LOCK_EX))',
    );
    expect(said).toEqual(["200 0 {'ENOLCK'}", 'done ENOLCK']);
  });

  it('says EDQUOT beyond the quota of the container', async () => {
    // A quota is of 16 inodes or more.
    await python("for i in range(16): open(here + f'/used{i}', 'w').close()");
    const use = await dvs.place.json<{ items: { inodesUsed: number }[] }>('fs', 'quota', 'ls');
    const inodes = String((use.items[0]?.inodesUsed ?? 0) + 2);
    await dvs.place.must('fs', 'quota', 'set', 'fs', '--inodes', inodes, '--size', '64MiB');
    const said = await python(
      "f = os.open(here + '/quota', os.O_RDWR | os.O_CREAT)",
      'fill = lambda: [os.write(f, bytes(1 << 20)) for _ in range(80)]',
      "print(name(os.mkdir, here + '/one'), name(os.mkdir, here + '/two'), name(fill))",
      "os.close(f); os.unlink(here + '/quota'); os.rmdir(here + '/one')",
    );
    await dvs.place.must('fs', 'quota', 'set', 'fs', '--size', 'none', '--inodes', 'none');
    const after = await python("print(name(os.mkdir, here + '/two'))");
    expect([said, after]).toEqual([['done EDQUOT EDQUOT'], ['done']]);
  });
});
