/**
 * The file system under test, for one test file of test/posix.
 *
 * `underTest()` mounts it in a mount namespace of its own, which ends with the processes in it, so
 * that nothing stays mounted. Each test gets an empty directory of mode 0777; processes of any
 * credentials begin there, with umask 0 and no open files.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, chmodSync, mkdtempSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, inject } from 'vitest';
import { makeImage } from './images.ts';
import { CallError, Process, done } from './posix-calls.ts';
import {
  AT_FDCWD,
  CLONE_NEWNS,
  MS_RDONLY,
  MS_REC,
  MS_REMOUNT,
  MS_SLAVE,
  O_RDONLY,
} from './posix-constants.ts';
import { DIFFERENCES, type Difference } from './posix-differences.ts';
import type { Credentials } from './posix-process.ts';
import type { FileSystemName, PosixPlace } from './posix-setup.ts';

export const ROOT: Credentials = { uid: 0, gid: 0, groups: [0] };
/** Owns the files of most tests. */
export const OWNER: Credentials = { uid: 1001, gid: 2001, groups: [] };
/** Of the files' group, by its own group and by a supplementary one. */
export const GROUP: Credentials = { uid: 1002, gid: 2001, groups: [] };
export const MEMBER: Credentials = { uid: 1003, gid: 2003, groups: [2002, 2001] };
export const OTHER: Credentials = { uid: 1004, gid: 2004, groups: [2005] };
/** All of them, by name: for tables of who may do what. */
export const CALLERS: readonly (readonly [string, Credentials])[] = [
  ['root', ROOT],
  ['owner', OWNER],
  ['group', GROUP],
  ['member', MEMBER],
  ['other', OTHER],
];

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;
const CLOSE_ALL = 0xffff_ffff;
const SMALL_BYTES = 4 << 20;

/** A row of a table: what is looked at, what it gives or a call that tells, what it should be. */
export type Row = readonly [what: string, got: unknown, expected: unknown];

/** Groups as setgroups(2) takes them. */
function groupList(groups: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(groups).buffer);
}

export class FilesUnderTest {
  readonly #place: PosixPlace;
  readonly #callers = new Map<string, Process>();
  readonly #inDirectory = new WeakMap<Process, string>();
  readonly #usedDifferences = new Set<string>();
  readonly #testsRun = new Set<string>();
  #keeper: Process | undefined;
  #root = '';
  #directory = '';
  #tests = 0;
  #smallUsed = 0;
  #rows = 0;

  constructor(place: PosixPlace) {
    this.#place = place;
  }

  get name(): FileSystemName {
    return this.#place.name;
  }

  /** The directory of this test. */
  get directory(): string {
    return this.#directory;
  }

  /** The process that is root, or has these credentials. */
  async as({ uid, gid, groups }: Credentials = ROOT): Promise<Process> {
    return this.#named([uid, gid, ...groups].join(' '), { uid, gid, groups });
  }

  /** Another process than `as` gives. */
  async another(who: Credentials = ROOT): Promise<Process> {
    return this.#named(`another ${who.uid}`, who);
  }

  /** A process of root's that the test may end. */
  async startAnother(): Promise<Process> {
    const name = `ended ${this.#callers.size}`;
    return this.#named(name, ROOT);
  }

  /**
   * Makes the rows one after another, and compares each with what it should be, or with the known
   * difference of this file system. Rows count as assertions.
   */
  async check(...rows: readonly Row[]): Promise<void> {
    const wrong: string[] = [];
    for (const [what, call, expected] of rows) {
      const got = await valueOf(call);
      const wanted = this.#expected(what, expected);
      if (!isDeepStrictEqual(got, wanted)) {
        wrong.push(`${what}: ${describe(got)}, not ${describe(wanted)}`);
      }
    }
    this.#rows += rows.length;
    expect(wrong).toEqual([]);
  }

  /**
   * The values that a table is made for: all, but on a mount of a DVS, where each call takes
   * longer, every third one unless in a soak run.
   */
  sample<Value>(values: readonly Value[]): readonly Value[] {
    const all = this.name !== 'mount' || process.env['DVK_SOAK'] === '1';
    return all ? values : values.filter((_, i) => i % 3 === 0);
  }

  /** Whether a row of this test is a known difference, so that what it looks at must not hang. */
  differsIn(row: string): boolean {
    return DIFFERENCES.some((known) => this.#applies(known, testTitle()) && row in known.rows);
  }

  /** Another file system of the kind, of 4 MiB; returns where. */
  async small(): Promise<string> {
    const given = this.#place.mount?.small[this.#smallUsed++];
    if (given !== undefined) return given;
    const where = this.#mountPoint('small-');
    await this.#mount(where, SMALL_BYTES);
    return where;
  }

  /** A file system that `prepare` fills and that is read-only then; returns where. */
  async readOnly(prepare: (where: string) => Promise<unknown>): Promise<string> {
    if (this.#place.mount !== undefined) {
      await prepare(this.#directory);
      const inside = relative(this.#place.mount.writable, this.#directory);
      return join(this.#place.mount.readOnly, inside);
    }
    const where = this.#mountPoint('read-only-');
    await this.#mount(where);
    await prepare(where);
    await done(this.keeper.make('mount', 'none', where, 0, MS_RDONLY | MS_REMOUNT, 0));
    return where;
  }

  get keeper(): Process {
    if (this.#keeper === undefined) throw new Error('the file system is not mounted yet');
    return this.#keeper;
  }

  async start(): Promise<void> {
    const keeper = (this.#keeper = new Process(join(this.#place.folder, 'calls')));
    await done(keeper.make('unshare', CLONE_NEWNS));
    await done(keeper.make('mount', 'none', '/', 0, MS_REC | MS_SLAVE, 0));
    await keeper.make('umask', 0);
    if (this.#place.mount === undefined) {
      this.#root = this.#mountPoint('root-');
      await this.#mount(this.#root);
    } else {
      this.#root = join(this.#place.mount.writable, `files-${process.pid}`);
      await done(keeper.mkdir(this.#root, 0o755));
    }
  }

  async beginTest(): Promise<void> {
    this.#testsRun.add(testTitle());
    this.#directory = join(this.#root, `t${++this.#tests}`);
    await done(this.keeper.mkdir(this.#directory, 0o777));
  }

  async end(): Promise<void> {
    const callers = [...this.#callers.values(), this.keeper];
    await Promise.all(callers.map(async (caller) => caller.end()));
    appendFileSync(join(this.#place.folder, 'counts'), `${this.#rows}\n`);
    expect(this.#unusedDifferences(), 'known differences without a row').toEqual([]);
  }

  #mountPoint(name: string): string {
    const where = mkdtempSync(join(this.#place.folder, name));
    chmodSync(where, 0o755);
    return where;
  }

  async #mount(where: string, bytes = 64 << 20): Promise<void> {
    if (this.#place.name === 'tmpfs') {
      const options = `mode=755,size=${bytes},nr_inodes=${bytes >> 12}`;
      await done(this.keeper.make('mount', 'tmpfs', where, 'tmpfs', 0, options));
    } else {
      const folder = mkdtempSync(join(this.#place.folder, 'image-'));
      const image = makeImage(folder, { bytes, arguments: ['-b', '4096', '-m', '0'] });
      const enter = `--mount=/proc/${this.keeper.pid}/ns/mnt`;
      execFileSync('nsenter', [enter, 'mount', '-o', 'loop', image, where]);
    }
  }

  async #named(name: string, who: Credentials): Promise<Process> {
    let caller = this.#callers.get(name);
    // One that a call killed or hung must not fail the tests after it.
    if (caller?.isAlive !== true) {
      caller = await this.#start(who);
      this.#callers.set(name, caller);
    }
    if (this.#inDirectory.get(caller) !== this.#directory) {
      this.#inDirectory.set(caller, this.#directory);
      await done(caller.make('close_range', 3, CLOSE_ALL, 0));
      await done(caller.make('umask', 0));
      await done(caller.make('chdir', this.#directory));
    }
    return caller;
  }

  async #start(who: Credentials): Promise<Process> {
    const caller = new Process(join(this.#place.folder, 'calls'));
    const path = `/proc/${this.keeper.pid}/ns/mnt`;
    const namespace = await done(caller.make('openat', AT_FDCWD, path, O_RDONLY, 0));
    await done(caller.make('setns', namespace, CLONE_NEWNS));
    await done(caller.make('setgroups', who.groups.length, groupList(who.groups)));
    await done(caller.make('setresgid', who.gid, who.gid, who.gid));
    await done(caller.make('setresuid', who.uid, who.uid, who.uid));
    await done(caller.make('prctl', PR_SET_PDEATHSIG, SIGKILL));
    return caller;
  }

  #expected(row: string, standard: unknown): unknown {
    const test = testTitle();
    const known = DIFFERENCES.find((one) => this.#applies(one, test) && row in one.rows);
    if (known === undefined) return standard;
    this.#usedDifferences.add(`${test}: ${row}`);
    return known.rows[row];
  }

  #applies(known: Difference, test: string): boolean {
    return known.on.includes(this.name) && known.test === test;
  }

  #unusedDifferences(): string[] {
    return [...this.#testsRun]
      .flatMap((test) =>
        DIFFERENCES.filter((known) => this.#applies(known, test)).flatMap(({ rows }) =>
          Object.keys(rows).map((row) => `${test}: ${row}`),
        ),
      )
      .filter((row) => !this.#usedDifferences.has(row));
  }
}

/** What a row gives; for a call that had to succeed and did not, the name of its errno. */
async function valueOf(call: unknown): Promise<unknown> {
  if (typeof call !== 'function') return call;
  try {
    return await (call as () => unknown)();
  } catch (error) {
    if (error instanceof CallError) return error.code;
    throw error;
  }
}

function testTitle(): string {
  return expect.getState().currentTestName ?? '';
}

function describe(value: unknown): string {
  const plain = (_key: string, inner: unknown): unknown =>
    typeof inner === 'bigint' ? `${inner}n` : inner;
  return value === undefined ? 'nothing' : JSON.stringify(value, plain);
}

/** To be called once in a test file, outside of its tests. */
export function underTest(): FilesUnderTest {
  const place = inject('posix');
  const files = new FilesUnderTest(place);
  if (place.obstacle !== '') {
    beforeEach((context) => context.skip(place.obstacle));
    return files;
  }
  beforeAll(async () => files.start());
  beforeEach(async () => files.beginTest());
  afterAll(async () => files.end());
  return files;
}
