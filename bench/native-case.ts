/** Cases whose processes are C++: each run is one run of native/bench, which forks its own peer. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

import type { RunResult, Session } from './harness.ts';
import { projectRoot } from './machine.ts';
import type { Cpus } from './placement.ts';

const PROGRAM = 'native/build/Release/dvk_bench';
// A run takes little more than it was asked to; one that does not end has hung.
const GRACE_MS = 30_000;
const run = promisify(execFile);

export interface NativeRun {
  readonly group: 'ipc' | 'vcopy' | 'read';
  /** Name of the case, or the file to read. */
  readonly name: string;
  readonly cpus: Cpus;
  readonly bytes?: number;
  readonly variant?: string;
}

function argumentsOf(subject: NativeRun): string[] {
  const options: [string, string | number | undefined][] = [
    ['--cpu-a', only(subject.cpus.client)],
    ['--cpu-b', only(subject.cpus.peer)],
    ['--bytes', subject.bytes],
    ['--variant', subject.variant],
  ];
  return options.flatMap(([name, value]) => (value === undefined ? [] : [name, String(value)]));
}

/** The one CPU of a pinned process. */
function only(cpus: readonly number[]): number | undefined {
  return cpus.length === 1 ? cpus[0] : undefined;
}

/** One run; fails with what the program wrote to stderr. */
export async function runNative<Result = RunResult>(
  subject: NativeRun,
  ...extra: string[]
): Promise<Result> {
  const args = [subject.group, subject.name, ...argumentsOf(subject), ...extra];
  const { stdout } = await run(join(projectRoot(), PROGRAM), args, {
    timeout: GRACE_MS,
    killSignal: 'SIGKILL',
  });
  return JSON.parse(stdout) as Result;
}

export function startNative(subject: NativeRun): Promise<Session> {
  return Promise.resolve({
    run: async (ms: number) => runNative(subject, '--ms', String(Math.round(ms))),
    close: async () => Promise.resolve(),
  });
}
