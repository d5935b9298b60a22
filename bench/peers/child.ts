/**
 * A client that has its server in a child process: it tells the child where to run over the
 * channel of fork, and exchanges letters by whatever means a class of it has.
 */
import { fork, type ChildProcess, type ForkOptions } from 'node:child_process';
import { once } from 'node:events';

import type { RunResult } from '../harness.ts';
import { EventCalls, measureAsync } from './loops.ts';
import { place, type RunRequest, type Runner } from './protocol.ts';

/** What the child is told over its channel. */
interface PlaceOrder {
  readonly cpus: readonly number[];
}

export abstract class ParentClient implements Runner {
  protected readonly child: ChildProcess;
  protected readonly calls: EventCalls;

  constructor(program: string, config: object, options: ForkOptions = {}) {
    this.child = fork(program, [JSON.stringify(config)], options);
    this.calls = new EventCalls((counter) => {
      this.post(counter);
    });
  }

  get pids(): readonly number[] {
    return [process.pid, ...(this.child.pid === undefined ? [] : [this.child.pid])];
  }

  /** Sends the letter of `counter`; `this.calls.answered` is called when the answer is there. */
  protected abstract post(counter: number): void;

  /** Called when the child is in its place, before each run. */
  protected abstract begin(): Promise<void> | void;

  async run({ ms, cpus }: RunRequest): Promise<RunResult> {
    place(cpus.client);
    this.child.removeAllListeners('message');
    const order: PlaceOrder = { cpus: cpus.peer };
    this.child.send(order);
    await once(this.child, 'message');
    await this.begin();
    return measureAsync(async (counter) => this.calls.call(counter), ms);
  }

  async close(): Promise<void> {
    this.child.disconnect();
    await once(this.child, 'exit');
  }
}

/** In the child: goes where it is told and says so; whether the message was about that. */
export function obeyPlace(message: unknown): boolean {
  const { cpus } = message as Partial<PlaceOrder>;
  if (cpus === undefined) return false;
  place(cpus);
  process.send?.('placed');
  return true;
}
