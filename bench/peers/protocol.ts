/**
 * Between the harness and the Node programs that it starts: run for so long, on these CPUs; and
 * what came of it.
 *
 * The program gets its configuration as one JSON argument and says `ready` when it can be run.
 */
import { parentPort } from 'node:worker_threads';

import { dieWithParent, setAffinity } from '../../src/dvk/index.ts';
import type { RunResult } from '../harness.ts';
import type { Cpus } from '../placement.ts';

export interface RunRequest {
  readonly ms: number;
  readonly cpus: Cpus;
}

export type PeerRequest = { readonly type: 'run' } & RunRequest;
export type PeerReport =
  | ({ readonly type: 'ready' } & ReadyInfo)
  | { readonly type: 'result'; readonly result: RunResult };

export interface ReadyInfo {
  /** Of all processes that the program is made of; left out, it is one. */
  readonly pids?: readonly number[];
  /** Of a program that is bound in a container. */
  readonly endpoint?: number;
}

/** A program that the harness can run. */
export interface Runner {
  readonly pids?: readonly number[];
  run(request: RunRequest): Promise<RunResult>;
  close(): Promise<void> | void;
}

/**
 * The configuration; it is of the type that the program expects, since the harness of this tree
 * wrote it.
 */
export function configuration(): unknown {
  return JSON.parse(process.argv[2] ?? '{}');
}

/** Ties this process to the one that started it. */
export function followParent(): void {
  dieWithParent('SIGKILL', process.ppid);
}

function report(message: PeerReport): void {
  process.send?.(message);
}

export function reportReady(info: ReadyInfo = {}): void {
  report({ type: 'ready', ...info });
}

/** Serves the harness until it disconnects. An error ends the program with its stack on stderr. */
export function serveRuns(runner: Runner): void {
  const fail = (error: unknown): never => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? '') : String(error)}\n`);
    process.exit(1);
  };
  process.on('message', (message: PeerRequest) => {
    runner.run(message).then((result) => {
      report({ type: 'result', result });
    }, fail);
  });
  process.once('disconnect', () => {
    Promise.resolve(runner.close()).then(() => process.exit(0), fail);
  });
  reportReady(runner.pids === undefined ? {} : { pids: runner.pids });
}

/** Keeps the calling thread on these CPUs. */
export function place(cpus: readonly number[]): void {
  setAffinity(cpus);
}

/** For a Worker: the port to the thread that started it. */
export function ownPort(): NonNullable<typeof parentPort> {
  if (parentPort === null) throw new Error('this module runs in a Worker');
  return parentPort;
}
