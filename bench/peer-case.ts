/**
 * Cases whose processes are Node programs of bench/peers: they are started once and run many times,
 * on the CPUs that each run names.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import type { RunResult } from './harness.ts';
import type { PeerReport, PeerRequest, ReadyInfo, RunRequest } from './peers/protocol.ts';

/** The programs; compiled, so that they start without a loader. */
const PROGRAMS = {
  kernel: new URL('./peers/kernel.js', import.meta.url),
  ports: new URL('./peers/ports.js', import.meta.url),
  channel: new URL('./peers/channel.js', import.meta.url),
  atomics: new URL('./peers/atomics.js', import.meta.url),
  sockets: new URL('./peers/sockets.js', import.meta.url),
  zeromq: new URL('./peers/zeromq.js', import.meta.url),
  net: new URL('./peers/net.js', import.meta.url),
  remote: new URL('./peers/remote.js', import.meta.url),
  waiter: new URL('./peers/waiter.js', import.meta.url),
} as const;

export type PeerProgram = keyof typeof PROGRAMS;

const GRACE_MS = 30_000;

/** A Node program under the harness. */
export class Peer {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #exited: Promise<void>;
  #stderr = '';
  #info: ReadyInfo = {};

  private constructor(program: PeerProgram, config: object) {
    this.#name = program;
    this.#child = fork(fileURLToPath(PROGRAMS[program]), [JSON.stringify(config)], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.#exited = once(this.#child, 'exit').then(() => undefined);
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
  }

  /** Starts a program and waits until it is ready. */
  static async start(program: PeerProgram, config: object = {}): Promise<Peer> {
    const peer = new Peer(program, config);
    peer.#info = await peer.#report('ready');
    return peer;
  }

  /** What the program said when it was ready. */
  get info(): ReadyInfo {
    return this.#info;
  }

  /** The processes that it is made of. */
  get pids(): readonly number[] {
    return this.#info.pids ?? (this.#child.pid === undefined ? [] : [this.#child.pid]);
  }

  async run(request: RunRequest): Promise<RunResult> {
    const message: PeerRequest = { type: 'run', ...request };
    this.#child.send(message);
    return (await this.#report('result')).result;
  }

  /** Lets the program end, and waits for that. */
  async close(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    if (!(await settlesWithin(this.#exited, GRACE_MS))) this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** Ends the program at once. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  async #report<Type extends PeerReport['type']>(
    type: Type,
  ): Promise<Extract<PeerReport, { type: Type }>> {
    const { promise, resolve, reject } = withResolvers<Extract<PeerReport, { type: Type }>>();
    const onMessage = (message: PeerReport): void => {
      if (message.type === type) resolve(message as Extract<PeerReport, { type: Type }>);
    };
    const onExit = (): void => {
      reject(new Error(`the ${this.#name} program ended: ${this.#stderr.trim()}`));
    };
    const timer = setTimeout(() => {
      this.#child.kill('SIGKILL');
      reject(new Error(`the ${this.#name} program did not answer`));
    }, GRACE_MS);
    this.#child.on('message', onMessage);
    this.#child.on('exit', onExit);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#child.off('message', onMessage);
      this.#child.off('exit', onExit);
    }
  }
}

interface Resolvers<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

function withResolvers<T>(): Resolvers<T> {
  let resolve: Resolvers<T>['resolve'] = () => undefined;
  let reject: Resolvers<T>['reject'] = () => undefined;
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}

/** Whether `promise` settles within `ms`. */
export async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => {
      resolve(false);
    }, ms);
  });
  const settled = promise.then(
    () => true,
    () => true,
  );
  const result = await Promise.race([settled, late]);
  clearTimeout(timer);
  return result;
}
