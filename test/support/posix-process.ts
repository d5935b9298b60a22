/**
 * Processes that make system calls for a test, each with credentials of its own.
 *
 * Method: test/support/posix-calls.c is started once for each set of credentials and reads calls
 * from a pipe, so that any call can be made with any flag, by anybody, and what the kernel returned
 * is seen as it is. Calls of one process are made in order; a caller need not wait for one to ask
 * for the next. A call that fails is answered by the name of its errno, as in `'ENOENT'`.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const SOURCE = join(import.meta.dirname.replace('/dist/', '/'), 'posix-calls.c');
/** A call that takes longer hangs: the process is ended and the test fails. */
const CALL_MS_MAX = 20_000;

/** Node.js has no name for the first and two for the others' numbers. */
const ERROR_NAMES = new Map<number, string>([
  ...Object.entries(constants.errno).map(([name, number]) => [number, name] as const),
  ...Object.entries({ EUCLEAN: 117, EAGAIN: 11, EOPNOTSUPP: 95 }).map(
    ([name, number]) => [number, name] as const,
  ),
]);

/** What a call returned: zero or more, or the name of its errno. */
export type Result = number | string;

/** A number, a path, bytes to read, bytes to write over, room of `out` bytes, or an iovec. */
export type Argument =
  | number
  | bigint
  | string
  | Uint8Array
  | { readonly inout: Uint8Array }
  | { readonly out: number }
  | { readonly vector: readonly (Uint8Array | { readonly out: number })[] };

export interface Answer {
  readonly result: Result;
  /** What is in `inout` and `out` after the call, in their order. */
  readonly out: readonly Buffer[];
}

export interface Credentials {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/** Compiles the program that makes the calls. */
export function compileCalls(program: string): void {
  const flags = ['-std=c11', '-Wall', '-Wextra', '-Werror', '-pedantic', '-O1'];
  execFileSync('cc', [...flags, '-o', program, SOURCE]);
}

function item(value: Uint8Array | { readonly out: number }): string {
  return 'out' in value ? `o${value.out}` : `b${Buffer.from(value).toString('hex')}`;
}

function word(value: Argument): string {
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (typeof value === 'string') return `s${Buffer.from(value, 'latin1').toString('hex')}`;
  if ('inout' in value) return `i${Buffer.from(value.inout).toString('hex')}`;
  if ('vector' in value) return `v${value.vector.map(item).join(',')}`;
  return item(value);
}

function answerOf(line: string): Answer {
  const [result = '', error = '', ...out] = line.split(' ');
  const number = Number(error);
  return {
    result: number === 0 ? Number(result) : (ERROR_NAMES.get(number) ?? `E${error}`),
    out: out.map((digits) => Buffer.from(digits === '-' ? '' : digits, 'hex')),
  };
}

interface Waiting {
  readonly line: string;
  readonly timer: NodeJS.Timeout;
  answer(answer: Answer): void;
  fail(error: Error): void;
}

/** The pipe to one process that makes calls. Strings are bytes, in Latin-1. */
export class Caller {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting: Waiting[] = [];
  readonly #ended: Promise<void>;
  #failure: Error | undefined;

  constructor(program: string) {
    this.#child = spawn(program, { stdio: 'pipe' });
    const lines = createInterface({ input: this.#child.stdout });
    lines.on('line', (line) => {
      const next = this.#waiting.shift();
      clearTimeout(next?.timer);
      next?.answer(answerOf(line));
    });
    let said = '';
    this.#child.stderr.on('data', (data: Buffer) => (said += data.toString()));
    this.#child.stdin.on('error', () => undefined);
    this.#ended = new Promise((done) => {
      this.#child.on('close', (code, signal) => {
        this.#fail(new Error(`the process ended: ${said || (signal ?? `code ${code}`)}`));
        done();
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Whether the process is there. */
  get isAlive(): boolean {
    return this.#failure === undefined;
  }

  /** Makes one call; what a child process makes is `child('NAME', ...)`. */
  async call(name: string, ...args: readonly Argument[]): Promise<Answer> {
    const line = [name, ...args.map(word)].join(' ');
    return new Promise((answer, fail) => {
      if (this.#failure !== undefined) {
        fail(this.#failure);
        return;
      }
      const timer = setTimeout(() => {
        this.#fail(new Error(`no answer in ${CALL_MS_MAX} ms: ${line.slice(0, 200)}`));
        this.#child.kill('SIGKILL');
      }, CALL_MS_MAX);
      this.#waiting.push({ line, timer, answer, fail });
      this.#child.stdin.write(`${line}\n`);
    });
  }

  /** Whether the process is asleep in the system call of this number; as proc(5) has it. */
  async sleepsIn(...numbers: readonly number[]): Promise<void> {
    const end = Date.now() + CALL_MS_MAX;
    while (Date.now() < end && this.#failure === undefined) {
      const [number = ''] = readFileSync(`/proc/${this.pid}/syscall`, 'latin1').split(' ');
      if (numbers.includes(Number(number))) return;
      await new Promise((next) => setImmediate(next));
    }
    throw this.#failure ?? new Error('the process does not sleep in that call');
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), CALL_MS_MAX);
    await this.#ended;
    clearTimeout(timer);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const waiting of this.#waiting.splice(0)) {
      clearTimeout(waiting.timer);
      waiting.fail(this.#failure);
    }
  }
}
