/**
 * A client and a server on two nodes; this program is either of them. The server blocks in its
 * calls and has granted its memory; the client calls it, or copies blocks there.
 */
import { ANY, Segment } from '../../src/dvk/index.ts';
import type { Endpoint, GrantId, Process } from '../../src/dvk/index.ts';
import type { RunResult } from '../harness.ts';
import { checkAnswer, measureConcurrent, measureSync } from './loops.ts';
import { checkPattern, fillPattern, numberBlock } from './pattern.ts';
import { configuration, followParent, reportReady, serveRuns } from './protocol.ts';
import type { Runner, RunRequest } from './protocol.ts';

export interface RemoteConfig {
  readonly role: 'client' | 'server';
  readonly segment: string;
  readonly serverSlot: number;
}

/** What the client is to do. */
export interface RemoteRequest extends RunRequest {
  readonly op: 'sendrec' | 'vcopy';
  /** How many call at once. */
  readonly callers: number;
  /** Of a block that is copied. */
  readonly bytes: number;
}

export const COPY_BYTES_MAX: number = 64 * 2 ** 20;
export const CALLERS_MAX = 64;

// Types of messages.
const LETTER = 16;
const GRANT = 17;
const CHECK = 18;
const STOP = 19;
// Words of a message: source, type, then the payload.
const FIRST = 2;
const SECOND = 3;
const LAST = 15;

class Client implements Runner {
  readonly #segment: Segment;
  readonly #server: Endpoint;
  // The first one blocks; the others are awaited, and bound when they are first needed.
  readonly #processes: Process[] = [];
  readonly #blocks = new Map<number, Uint8Array>();
  readonly #grant: GrantId;

  constructor({ segment, serverSlot }: RemoteConfig) {
    this.#segment = Segment.open(segment);
    const server = this.#segment.lookup(serverSlot);
    if (server === undefined) throw new Error('the server is not bound');
    this.#server = server;
    const process = this.#bind();
    process.message.type = GRANT;
    process.sendrecSync(server);
    this.#grant = process.message.int32[FIRST] as GrantId;
  }

  async run(asked: RunRequest): Promise<RunResult> {
    const { op, callers, bytes, ms } = asked as RemoteRequest;
    if (op === 'vcopy') return Promise.resolve(this.#copies(bytes, ms));
    if (callers === 1) {
      return Promise.resolve(measureSync((counter) => this.#call(counter), ms));
    }
    while (this.#processes.length < callers + 1) this.#bind();
    const calls = this.#processes
      .slice(1, callers + 1)
      .map((process) => async (counter: number) => this.#awaited(process, counter));
    return measureConcurrent(calls, ms);
  }

  close(): void {
    this.#first.message.type = STOP;
    this.#first.sendrecSync(this.#server);
    this.#segment.close();
  }

  get #first(): Process {
    return this.#processes[0]!;
  }

  #bind(): Process {
    const process = this.#segment.bind({ name: `client${String(this.#processes.length)}` });
    this.#processes.push(process);
    return process;
  }

  #call(counter: number): void {
    write(this.#first, counter);
    this.#first.sendrecSync(this.#server);
    check(this.#first, counter);
  }

  async #awaited(process: Process, counter: number): Promise<void> {
    write(process, counter);
    await process.sendrec(this.#server);
    check(process, counter);
  }

  /** Copies numbered blocks; the server then looks at the last one. */
  #copies(bytes: number, ms: number): RunResult {
    const block = this.#block(bytes);
    const to = { endpoint: this.#server, grant: this.#grant, at: 0 };
    let last = 0;
    const result = measureSync((counter) => {
      numberBlock(block, counter);
      const copied = this.#first.vcopySync(block, to, bytes);
      if (copied !== bytes) throw new Error(`${String(copied)} bytes of a block were copied`);
      last = counter;
    }, ms);
    const { message } = this.#first;
    message.type = CHECK;
    message.int32[FIRST] = bytes;
    message.int32[SECOND] = last;
    this.#first.sendrecSync(this.#server);
    if (message.int32[FIRST] !== 0) throw new Error('the last block came with other contents');
    return { ...result, perSecond: result.perSecond * bytes };
  }

  #block(bytes: number): Uint8Array {
    let block = this.#blocks.get(bytes);
    if (block === undefined) {
      block = new Uint8Array(bytes);
      fillPattern(block);
      this.#blocks.set(bytes, block);
    }
    return block;
  }
}

function write({ message }: Process, counter: number): void {
  message.type = LETTER;
  message.int32[FIRST] = counter;
  message.int32[LAST] = ~counter;
}

function check({ message }: Process, counter: number): void {
  checkAnswer(counter, message.int32[FIRST] ?? 0, message.int32[LAST] ?? 0);
}

function serve({ segment: path, serverSlot }: RemoteConfig): void {
  const segment = Segment.open(path);
  const server = segment.bind({ slot: serverSlot, level: 'server', name: 'server' });
  const memory = new Uint8Array(COPY_BYTES_MAX);
  const grant = server.grant(memory, 'read-write', ANY);
  reportReady();
  const words = server.message.int32;
  server.rcvrqstSync();
  while (server.message.type !== STOP) {
    switch (server.message.type) {
      case GRANT:
        words[FIRST] = grant;
        break;
      case CHECK:
        words[FIRST] = checkPattern(memory.subarray(0, words[FIRST]), words[SECOND] ?? 0) ? 0 : 1;
        break;
      default:
        words[FIRST] = ((words[FIRST] ?? 0) + 1) | 0;
        words[LAST] = ((words[LAST] ?? 0) - 1) | 0;
    }
    server.replyReceiveSync(server.message.source);
  }
  server.replySync(server.message.source);
  segment.close();
  process.disconnect();
}

followParent();
const config = configuration() as RemoteConfig;
if (config.role === 'client') serveRuns(new Client(config));
else serve(config);
