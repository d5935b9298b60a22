/**
 * A child of a node's daemon: a proxy or a service, watched from its start to its end.
 *
 * A child is a Node.js program with an IPC channel. It is up when it says `ready`; until then its
 * end, its `failed` message, or ten seconds without either make the start fail. It is not restarted
 * here: who is down stays down, with the reason, until somebody starts it.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

import { systemClock } from '../dvk/clock.ts';
import { logEvent } from './output.ts';
import { identify, type ProcessId } from './process-table.ts';
import type { ChildReport, ChildState } from './report.ts';
import { waitUntil } from './wait.ts';

const READY_TIMEOUT_MS = 10_000;
const STOP_GRACE_MS = 3000;
const KILL_TIMEOUT_MS = 2000;
const LOG_BYTES_MAX = 1 << 20;

export type Message = Readonly<Record<string, unknown>> & { readonly type: string };

export interface ChildOptions {
  /** For the log: `proxy`, or the name of the service. */
  readonly name: string;
  readonly script: string;
  readonly log: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Called for every message but `ready` and `failed`, before who has asked for it. */
  readonly onMessage?: (message: Message) => void;
  /** Called when the set of living children changed, and after each change of state. */
  readonly onChange: () => void;
}

interface Start {
  readonly resolve: (ready: Message) => void;
  readonly reject: (error: Error) => void;
}

export class Child {
  readonly #options: ChildOptions;
  #process: ChildProcess | undefined;
  #id: ProcessId | undefined;
  #state: ChildState = 'stopped';
  #since = Date.now();
  #reason: string | null = null;
  #start: Start | undefined;
  /** Who waits for a message of that type. */
  readonly #asked = new Map<string, ((message: Message) => void)[]>();

  constructor(options: ChildOptions) {
    this.#options = options;
  }

  get state(): ChildState {
    return this.#state;
  }

  /** The process, while there is one. */
  get id(): ProcessId | undefined {
    return this.#id;
  }

  report(): ChildReport {
    const pid = this.#id?.pid ?? null;
    return { state: this.#state, since: this.#since, pid, reason: this.#reason };
  }

  /** Starts the program; `greeting` is sent to it first. Resolves with its `ready` message. */
  async start(greeting?: Message): Promise<Message> {
    if (this.#process !== undefined) throw new Error(`${this.#options.name} runs already`);
    if (!existsSync(this.#options.script)) {
      throw new Error(`${this.#options.script} is missing; run \`npm run build\``);
    }
    this.#become('starting', null);
    const child = this.#spawn();
    const ready = new Promise<Message>((resolve, reject) => {
      this.#start = { resolve, reject };
    });
    const cancel = systemClock.after(READY_TIMEOUT_MS, () => {
      this.#fail(`it was not ready within ${String(READY_TIMEOUT_MS / 1000)} s`);
    });
    if (greeting !== undefined) this.send(greeting);
    try {
      return await ready;
    } catch (error) {
      await this.#end(child, 0);
      throw error;
    } finally {
      cancel();
    }
  }

  /**
   * Sends a message; one that cannot get there is lost, since the child's end is noticed anyway.
   */
  send(message: Message): void {
    if (this.#process?.connected !== true) return;
    this.#process.send(message, () => undefined);
  }

  /** Asks for a message of the same type; undefined when none comes in time. */
  async ask(type: string, timeoutMs: number): Promise<Message | undefined> {
    return await new Promise((resolve) => {
      const cancel = systemClock.after(timeoutMs, () => {
        resolve(undefined);
      });
      const tell = (message: Message): void => {
        cancel();
        resolve(message);
      };
      this.#asked.set(type, [...(this.#asked.get(type) ?? []), tell]);
      this.send({ type });
    });
  }

  /** Asks the child to end, and ends it after a grace period. */
  async stop(): Promise<void> {
    const child = this.#process;
    if (child === undefined) {
      this.#become('stopped', null);
      return;
    }
    this.#become('stopped', null);
    await this.#end(child, STOP_GRACE_MS);
  }

  #spawn(): ChildProcess {
    const { script, log, environment } = this.#options;
    const fd = openLog(log);
    const child = fork(script, [], {
      stdio: ['ignore', fd, fd, 'ipc'],
      env: { ...process.env, ...environment, DVK_PARENT: String(process.pid) },
      execArgv: [],
    });
    closeSync(fd);
    this.#process = child;
    this.#id = child.pid === undefined ? undefined : identify(child.pid);
    child.on('message', (message) => {
      this.#onMessage(message as Message);
    });
    child.on('error', (error) => {
      if (child.pid === undefined) this.#process = undefined;
      this.#fail(error.message);
    });
    child.on('exit', (code, signal) => {
      this.#onExit(signal === null ? `ended with code ${String(code)}` : `was ended by ${signal}`);
    });
    this.#options.onChange();
    return child;
  }

  #onMessage(message: Message): void {
    if (message.type === 'ready') {
      this.#become('up', null);
      this.#start?.resolve(message);
      this.#start = undefined;
    } else if (message.type === 'failed') {
      this.#fail(String(message['error'] ?? message['reason']));
    } else {
      this.#options.onMessage?.(message);
      const asked = this.#asked.get(message.type) ?? [];
      this.#asked.delete(message.type);
      for (const tell of asked) tell(message);
    }
  }

  // Before it is ready, a failure is the result of `start`; later it is the reason why the child
  // goes down.
  #fail(reason: string): void {
    this.#reason = reason;
    if (this.#start === undefined) return;
    this.#become('down', reason);
    this.#start.reject(new Error(reason));
    this.#start = undefined;
  }

  #onExit(how: string): void {
    this.#process = undefined;
    this.#id = undefined;
    if (this.#start !== undefined) this.#fail(`it ${how}; see ${this.#options.log}`);
    if (this.#state !== 'stopped') {
      this.#become('down', this.#reason ?? how);
      logEvent('child.died', { name: this.#options.name, how });
    }
    this.#options.onChange();
  }

  async #end(child: ChildProcess, graceMs: number): Promise<void> {
    const gone = (): boolean => child.exitCode !== null || child.signalCode !== null;
    if (child.pid === undefined || gone()) return;
    if (graceMs > 0) {
      child.kill('SIGTERM');
      if (await waitUntil(gone, graceMs)) return;
      logEvent('child.stuck', { name: this.#options.name, pid: child.pid });
    }
    child.kill('SIGKILL');
    await waitUntil(gone, KILL_TIMEOUT_MS);
  }

  #become(state: ChildState, reason: string | null): void {
    this.#state = state;
    this.#since = Date.now();
    this.#reason = reason;
    this.#options.onChange();
  }
}

/** Opens a log for appending; one that has grown large makes room first. */
export function openLog(path: string): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if (existsSync(path) && statSync(path).size > LOG_BYTES_MAX) renameSync(path, `${path}.old`);
  return openSync(path, 'a', 0o600);
}
