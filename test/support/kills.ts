/**
 * kill -9 of the parts of a DVS while programs write to its mounts, and the proof that nothing is
 * lost that fsync has acknowledged.
 *
 * In each round three writers change files, until they have had a random number of changes
 * acknowledged; then the victim is killed and started again the way the documents say. The writers
 * are not: they must go on by themselves. What they had acknowledged is compared with what is
 * there, and a copy of the image as the victim left it is recovered and checked by e2fsck.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../src/cli/programs.ts';
import { systemClock } from '../../src/dvk/clock.ts';
import { seeded } from './datagram-network.ts';
import { type MountedDvs, checkOf } from './mounted-dvs.ts';

const PROGRAM = join(import.meta.dirname, 'programs/writers.py');
/** Beyond this something hangs: calls on a mount wait for their server for 8 s at most. */
const HANG_MS = 60_000;
const POLL_MS = 10;
const LOG_BYTES_MAX = 3000;

export const VICTIMS = ['fs', 'node 1', 'node 0'] as const;
type Victim = (typeof VICTIMS)[number];

export interface KillOptions {
  readonly rounds: number;
  readonly seed: number;
  /** Called after each round. */
  readonly progress?: (line: string) => void;
}

export interface KillResult {
  acknowledged: number;
  /** What was wrong, a line each. */
  wrong: string[];
}

/** One that writes: where to, and the log of what it did. */
interface Place {
  readonly name: string;
  readonly directory: string;
  readonly log: string;
}

export async function killUnderLoad(dvs: MountedDvs, options: KillOptions): Promise<KillResult> {
  const { rounds, seed, progress } = options;
  const random = seeded(seed);
  const places = placesOf(dvs);
  const result: KillResult = { acknowledged: 0, wrong: [] };
  let told = 0;
  for (let round = 0; round < rounds; round++) {
    // Each has its turn, then chance decides.
    const index = round < VICTIMS.length ? round : Math.floor(random() * VICTIMS.length);
    const victim = VICTIMS[index] ?? 'fs';
    const bytes = 500 + Math.floor(random() * LOG_BYTES_MAX);
    const writers = places.map((place) => startWriter(place, seed));
    try {
      const sizes = places.map(({ log }) => sizeOf(log));
      await until(`${String(bytes)} bytes of log`, () =>
        places.some(({ log }, i) => sizeOf(log) >= (sizes[i] ?? 0) + bytes),
      );
      await kill(dvs, victim);
      if (victim !== 'node 0') result.wrong.push(...wrongWithImage(dvs, round));
      await restart(dvs, victim);
      await goOn(places);
      for (const writer of writers) await end(writer);
    } finally {
      for (const writer of writers) writer.kill('SIGKILL');
    }
    result.acknowledged = 0;
    for (const place of places) {
      const [count, problems] = check(dvs, place, seed);
      result.acknowledged += count;
      for (const problem of problems) {
        result.wrong.push(`round ${String(round)}, ${victim}, ${place.name}: ${problem}`);
      }
    }
    const acknowledged = `${String(result.acknowledged)} acknowledged`;
    const wrong = `${String(result.wrong.length)} wrong`;
    progress?.(
      `kill ${String(round + 1)} of ${String(rounds)}: ${victim}, ${acknowledged}, ${wrong}`,
    );
    // A run may be ended before all is said in the end.
    for (const problem of result.wrong.slice(told)) progress?.(problem);
    told = result.wrong.length;
  }
  return result;
}

function placesOf(dvs: MountedDvs): Place[] {
  const mounts = [dvs.here, dvs.here, dvs.there];
  return mounts.map((mount, index) => {
    const name = `writer ${String(index)}`;
    const log = join(dvs.outside, `${name}.log`);
    mkdirSync(join(mount, name));
    return { name, log, directory: join(mount, name) };
  });
}

function startWriter({ directory, log }: Place, seed: number): ChildProcess {
  const words = [PROGRAM, 'write', directory, log, String(seed)];
  return spawn('python3', words, { stdio: ['ignore', 'ignore', 'inherit'] });
}

function sizeOf(path: string): number {
  return existsSync(path) ? statSync(path).size : 0;
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const start = systemClock.nowMs();
  while (!condition()) {
    if (systemClock.nowMs() - start > HANG_MS) throw new Error(`there never was: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function kill(dvs: MountedDvs, victim: Victim): Promise<void> {
  const server = await dvs.pidOf('service', 'fs');
  const pid = victim === 'fs' ? server : await dvs.pidOf('node', victim.slice(-1));
  process.kill(pid, 'SIGKILL');
  const gone = victim === 'node 0' ? pid : server;
  await until(`an end of ${victim}`, () => !existsSync(`/proc/${String(gone)}/fd/0`));
}

/** What docs/operation.md says of a part that is down. */
async function restart(dvs: MountedDvs, victim: Victim): Promise<void> {
  if (victim === 'fs') await dvs.place.must('service', 'start', 'fs');
  else await dvs.place.must('node', 'start', victim.slice(-1));
}

/** Waits until each writer has had a change acknowledged again. */
async function goOn(places: readonly Place[]): Promise<void> {
  const sizes = places.map(({ log }) => sizeOf(log));
  await until('a change acknowledged after the restart', () =>
    places.every(({ log }, i) => tailOf(log, sizes[i] ?? 0).includes('ok ')),
  );
}

function tailOf(path: string, start: number): string {
  const bytes = Buffer.alloc(Math.max(0, sizeOf(path) - start));
  const file = openSync(path, 'r');
  try {
    return bytes.toString('utf8', 0, readSync(file, bytes, 0, bytes.length, start));
  } finally {
    closeSync(file);
  }
}

async function end(writer: ChildProcess): Promise<void> {
  const ended = once(writer, 'exit') as Promise<[number | null]>;
  const cancel = systemClock.after(HANG_MS, () => writer.kill('SIGKILL'));
  if (writer.exitCode === null) writer.kill('SIGTERM');
  const code = writer.exitCode ?? (await ended)[0];
  cancel();
  if (code !== 0) throw new Error(`a writer ended with code ${String(code)}, or hung`);
}

/** The number of changes that were acknowledged, and what is wrong, as each node sees it. */
function check(dvs: MountedDvs, { name, log }: Place, seed: number): [number, string[]] {
  let count = 0;
  const wrong: string[] = [];
  for (const mount of [dvs.here, dvs.there]) {
    const words = [PROGRAM, 'check', join(mount, name), log, String(seed)];
    try {
      const output = execFileSync('python3', words, { timeout: HANG_MS, stdio: 'pipe' });
      count = Number(/^ok (\d+)/.exec(output.toString())?.[1]);
    } catch (error) {
      const { stdout, stderr } = error as { stdout?: Buffer; stderr?: Buffer };
      wrong.push(`${String(stdout)}${String(stderr)}${mount}: ${String(error)}`);
    }
  }
  return [count, wrong];
}

/** A copy of the image, recovered as a mount does it, has no error. */
function wrongWithImage(dvs: MountedDvs, round: number): string[] {
  const copy = join(dvs.outside, 'image');
  execFileSync('cp', ['--sparse=always', dvs.image, copy]);
  try {
    execFileSync(findProgram('e2fsck') ?? 'e2fsck', ['-p', copy], { stdio: 'pipe' });
  } catch (error) {
    const { status, stdout } = error as { status?: number; stdout?: Buffer };
    // 1: the journal was replayed, and files without a name were freed.
    if (status !== 1) return [`round ${String(round)}, e2fsck -p: ${String(stdout)}`];
  }
  const found = checkOf(copy);
  rmSync(copy);
  return /error|Fix/i.test(found) ? [`round ${String(round)}: ${found}`] : [];
}
