/** Starts `peer.js` as a child process or as a Worker, and hears what it tells. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Worker } from 'node:worker_threads';
import type { Endpoint } from '../../src/dvk/index.ts';

const PROGRAM = join(import.meta.dirname, '../../dist/test/support/peer.js');

/** Roles that end with a stack trace. */
const NOISY = ['exitThrowing', 'exhaustBuffers', 'exhaustHeap'];

/** What a peer has told, kept until it is asked for. */
class Told {
  readonly #lines: string[] = [];
  #wake: (() => void) | undefined;

  add(line: string): void {
    this.#lines.push(line);
    this.#wake?.();
  }

  /** The rest of the next line that starts with `word`; lines before it are dropped. */
  async next(word: string): Promise<string> {
    for (;;) {
      const line = this.#lines.shift();
      if (line === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      } else if (line.startsWith(word)) {
        return line.slice(word.length + 1);
      }
    }
  }
}

export class ChildPeer {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  readonly #told = new Told();

  constructor(path: string, role: string, other?: Endpoint) {
    this.child = spawn(process.execPath, [PROGRAM, path, role, String(other ?? 0)], {
      stdio: ['ignore', 'pipe', NOISY.includes(role) ? 'ignore' : 'inherit'],
    });
    this.ended = once(this.child, 'exit').then(([code]) => code as number | null);
    if (this.child.stdout !== null) {
      createInterface(this.child.stdout).on('line', (line) => {
        this.#told.add(line);
      });
    }
  }

  async ready(): Promise<Endpoint> {
    return Number(await this.#told.next('ready')) as Endpoint;
  }

  async told(word: string): Promise<string> {
    return this.#told.next(word);
  }

  /** Ends it the hard way, and waits until it is gone. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

export class WorkerPeer {
  readonly worker: Worker;
  readonly #told = new Told();

  constructor(path: string, role: string, other?: Endpoint) {
    this.worker = new Worker(PROGRAM, { workerData: [path, role, String(other ?? 0)] });
    this.worker.on('message', (line: string) => {
      this.#told.add(line);
    });
  }

  async ready(): Promise<Endpoint> {
    return Number(await this.#told.next('ready')) as Endpoint;
  }

  async told(word: string): Promise<string> {
    return this.#told.next(word);
  }

  async terminate(): Promise<void> {
    await this.worker.terminate();
  }
}
