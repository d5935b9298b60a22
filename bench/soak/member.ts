/**
 * A process of the container of a soak run: a server that answers and keeps data, or a caller that
 * verifies every answer. It tells its counts to its parent over IPC once a second.
 *
 *   member.js SEGMENT server SLOT       sends {ready: {endpoint, grant}}
 *   member.js SEGMENT caller INDEX SEED  sends {ready: {endpoint}}; starts with {servers}
 *
 * A request carries its caller's index, a number that only grows, and random words; the answer
 * repeats the first two, and mixes the words. So the server sees a request that comes twice, and
 * the caller an answer that is not its own. Copies fill the caller's part of the server's store and
 * fetch it again.
 */
import { ANY, isDvkError, Segment } from '../../src/dvk/index.ts';
import type { Endpoint, GrantId, Process } from '../../src/dvk/index.ts';
import { seeded } from './random.ts';

export const CALLERS_MAX = 16;
/** Of a caller's part of each server's store: more than one chunk of a copy. */
export const PART_BYTES = 1_300_000;
// Longer than any fault lasts with all that follows from it: a call that takes it has hung.
const HANG_MS = 30_000;
const TURN_MS = 200;
const PAUSE_MS = 2;
const RETRY_MS = 20;

export interface ServerInfo {
  endpoint: number;
  grant: number;
}

export interface Counts {
  calls: number;
  answered: number;
  /** By code. */
  failed: Record<string, number>;
  wrong: number;
  /** Requests that came twice; of servers. */
  repeated: number;
  copies: number;
  copiedBytes: number;
  /** Answers without a failure between them, to or from every server; of callers. */
  inARow: number;
  longestMs: number;
}

const At = { CALLER: 2, NUMBER: 3, WORDS: 4, END: 12 } as const;

const counts: Counts = {
  calls: 0,
  answered: 0,
  failed: {},
  wrong: 0,
  repeated: 0,
  copies: 0,
  copiedBytes: 0,
  inARow: 0,
  longestMs: 0,
};

const nap = new Int32Array(new SharedArrayBuffer(4));
function sleep(ms: number): void {
  Atomics.wait(nap, 0, 0, ms);
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

function mix(words: Int32Array): number {
  return words.reduce((sum, word) => Math.imul(sum ^ word, 0x01000193), 0x811c9dc5 | 0);
}

/** Has `work` done again and again; lets messages come in between, and reports. */
async function forever(work: () => void): Promise<void> {
  for (let reportedMs = 0; ;) {
    for (const endMs = performance.now() + TURN_MS; performance.now() < endMs;) work();
    if (performance.now() - reportedMs > 1000) {
      process.send?.({ counts });
      reportedMs = performance.now();
    }
    await turn();
  }
}

function noteFailure(error: unknown): void {
  if (!isDvkError(error)) throw error;
  counts.failed[error.code] = (counts.failed[error.code] ?? 0) + 1;
  counts.inARow = 0;
}

async function serve(bound: Process): Promise<void> {
  const store = new Uint8Array(CALLERS_MAX * PART_BYTES);
  const last = new Float64Array(CALLERS_MAX).fill(-1);
  const grant = bound.grant(store, 'read-write', ANY);
  process.send?.({ ready: { endpoint: bound.endpoint, grant } });
  const { message } = bound;
  await forever(() => {
    try {
      bound.rcvrqstSync(TURN_MS);
    } catch (error) {
      if (!isDvkError(error, 'ETIMEDOUT')) noteFailure(error);
      return;
    }
    const caller = (message.int32[At.CALLER] ?? 0) % CALLERS_MAX;
    const number = message.int32[At.NUMBER] ?? 0;
    counts.calls++;
    if (number <= (last[caller] ?? 0)) counts.repeated++;
    last[caller] = number;
    message.int32[At.WORDS] = mix(message.int32.subarray(At.WORDS, At.END));
    try {
      bound.replySync(message.source);
      counts.answered++;
    } catch (error) {
      // Whoever called has been told that its node was lost.
      noteFailure(error);
    }
  });
}

class Caller {
  readonly #segment: Segment;
  readonly #bound: Process;
  readonly #index: number;
  readonly #random: () => number;
  readonly #part = new Uint8Array(PART_BYTES);
  #number = 0;

  constructor(segment: Segment, bound: Process, index: number) {
    this.#segment = segment;
    this.#bound = bound;
    this.#index = index;
    this.#random = seeded(Number(process.argv[5] ?? 1));
  }

  step(servers: readonly ServerInfo[]): void {
    const server = servers[Math.floor(this.#random() * servers.length)];
    if (server === undefined) return;
    if (!this.#segment.isBound(server.endpoint as Endpoint)) {
      sleep(RETRY_MS);
      return;
    }
    const begin = performance.now();
    counts.calls++;
    try {
      if (this.#random() < 0.03) this.#copy(server);
      else this.#call(server.endpoint as Endpoint);
      counts.answered++;
      counts.inARow++;
      sleep(PAUSE_MS);
    } catch (error) {
      noteFailure(error);
      sleep(RETRY_MS);
    }
    counts.longestMs = Math.max(counts.longestMs, performance.now() - begin);
  }

  #call(server: Endpoint): void {
    const { message } = this.#bound;
    const number = ++this.#number;
    message.type = 1;
    message.int32[At.CALLER] = this.#index;
    message.int32[At.NUMBER] = number;
    for (let i: number = At.WORDS; i < At.END; i++) {
      message.int32[i] = Math.floor(this.#random() * 2 ** 32) | 0;
    }
    const expected = mix(message.int32.subarray(At.WORDS, At.END));
    this.#bound.sendrecSync(server, HANG_MS);
    const { int32 } = message;
    const isRight =
      message.source === server &&
      int32[At.CALLER] === this.#index &&
      int32[At.NUMBER] === number &&
      int32[At.WORDS] === expected;
    if (!isRight) counts.wrong++;
  }

  #copy({ endpoint, grant }: ServerInfo): void {
    const bytes = 1 + Math.floor(this.#random() * PART_BYTES);
    const at = this.#index * PART_BYTES;
    const theirs = { endpoint: endpoint as Endpoint, grant: grant as GrantId, at };
    const mine = this.#part.subarray(0, bytes);
    const first = Math.floor(this.#random() * 251);
    for (let i = 0; i < bytes; i++) mine[i] = (first + i * 7) % 251;
    this.#bound.vcopySync(mine, theirs, bytes, HANG_MS);
    mine.fill(255);
    this.#bound.vcopySync(theirs, mine, bytes, HANG_MS);
    counts.copies += 2;
    counts.copiedBytes += 2 * bytes;
    if (!mine.every((byte, i) => byte === (first + i * 7) % 251)) counts.wrong++;
  }
}

async function main(): Promise<void> {
  const [path = '', role = '', number = '0'] = process.argv.slice(2);
  const segment = Segment.open(path);
  process.on('disconnect', () => process.exit(0));
  if (role === 'server') {
    await serve(segment.bind({ name: `s${number}`, level: 'server', slot: Number(number) }));
    return;
  }
  const bound = segment.bind({ name: `c${number}` });
  const caller = new Caller(segment, bound, Number(number));
  const start = new Promise<ServerInfo[]>((resolve) => {
    process.on('message', ({ servers }: { servers: ServerInfo[] }) => resolve(servers));
  });
  process.send?.({ ready: { endpoint: bound.endpoint } });
  const servers = await start;
  await forever(() => {
    caller.step(servers);
  });
}

if (process.argv[1]?.endsWith('member.js') === true) await main();
