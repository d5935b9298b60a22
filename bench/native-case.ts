/** Cases whose processes are C++: a run is one run of native/bench, which forks its own peers. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

import type { RunResult, Session } from './harness.ts';
import { projectRoot } from './machine.ts';
import type { Cpus } from './placement.ts';

// A run takes little more than it was asked to; one that does not end has hung.
const GRACE_MS = 30_000;
const run = promisify(execFile);

export interface NativeRun {
  readonly group: 'ipc' | 'notify' | 'wake' | 'senda' | 'trace' | 'vcopy' | 'files';
  readonly name: string;
  /** Of each pair. */
  readonly cpus: readonly Cpus[];
  readonly bytes?: number;
  readonly variant?: string;
  /** Where the group `files` works, and how big a file of a client is. */
  readonly directory?: string;
  readonly total?: number;
  /** How many files are in a directory. */
  readonly files?: number;
}

/** The program of native/bench. */
export function nativeProgram(): string {
  return join(projectRoot(), 'native/build/Release/dvk_bench');
}

function argumentsOf(subject: NativeRun): string[] {
  const { cpus, bytes, variant, directory, total, files } = subject;
  const options: [string, string | number | undefined][] = [
    ['--cpu-a', pinned(cpus.map(({ client }) => client))],
    ['--cpu-b', pinned(cpus.map(({ peer }) => peer))],
    ['--pairs', cpus.length],
    ['--bytes', bytes],
    ['--variant', variant],
    ['--dir', directory],
    ['--total', total],
    ['--files', files],
  ];
  return options.flatMap(([name, value]) => (value === undefined ? [] : [name, String(value)]));
}

/** The CPUs of processes that have one each; undefined when they are not pinned. */
function pinned(cpus: readonly (readonly number[])[]): string | undefined {
  return cpus.every((allowed) => allowed.length === 1) ? cpus.flat().join(',') : undefined;
}

/** One run; fails with what the program wrote to stderr. */
export async function runNative(subject: NativeRun, ...extra: string[]): Promise<RunResult> {
  return call(subject.group, subject.name, ...argumentsOf(subject), ...extra);
}

async function call<Result>(...args: string[]): Promise<Result> {
  const { stdout } = await run(nativeProgram(), args, {
    timeout: GRACE_MS,
    killSignal: 'SIGKILL',
  });
  return JSON.parse(stdout) as Result;
}

/** CPU time that each process has used, in nanoseconds. Fails when one is gone. */
export async function cpuTimesNs(pids: readonly number[]): Promise<number[]> {
  return pids.length === 0 ? [] : call('cpu', ...pids.map(String));
}

export function startNative(subject: NativeRun): Promise<Session> {
  return Promise.resolve({
    run: async (ms: number) => runNative(subject, '--ms', String(Math.round(ms))),
    close: async () => Promise.resolve(),
  });
}
