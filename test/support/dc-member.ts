/**
 * A process of a DC that does what its parent says over IPC: calls, copies, grants.
 *
 * `dc-member.js SEGMENT SLOT LEVEL`; SLOT -1 is any, and `adopt` the one that another program binds
 * for it. It sends `{endpoint}`, then for each order
 * `{id, do, ...}` the outcome `{id, value}` or `{id, error}`. Calls block it, so an order given
 * meanwhile waits; but for those of `await`.
 */
import { createHash } from 'node:crypto';
import { addressOf, ANY, isDvkError, PAYLOAD_OFFSET, Segment } from '../../src/dvk/index.ts';
import type { Endpoint, GrantId, Party, Process } from '../../src/dvk/index.ts';

/** One end of a copy: the member's buffer, or a place in a grant of somebody. */
export type MemberParty = 'own' | { endpoint: number; grant: number; at: number };

/** One call of M3-IPC; `numbers` begin the payload. It blocks, for ever when no time is given. */
export interface MemberCall {
  call: 'send' | 'receive' | 'sendrec' | 'rcvrqst' | 'reply' | 'notify' | 'unbind' | 'exit';
  peer?: number;
  type?: number;
  numbers?: readonly number[];
  timeoutMs?: number;
}

/** The message in the member's window after a call. */
export interface MemberMessage {
  source: number;
  type: number;
  numbers: [number, number, number];
  kind: string;
}

export type MemberOrder =
  | { do: 'fill'; bytes: number; seed: number; words?: boolean }
  | { do: 'hash' }
  | { do: 'grant'; access: 'read' | 'write' | 'read-write' }
  | { do: 'vcopy'; from: MemberParty; to: MemberParty; bytes: number; at?: number }
  | { do: 'call'; server: number; type: number; timeoutMs?: number }
  | { do: 'calls'; server: number; count: number; start: number }
  | { do: 'tries'; server: number; answers: number; timeoutMs: number }
  | { do: 'receive' }
  | { do: 'ignore' }
  | ({ do: 'ipc' } & MemberCall)
  | { do: 'await'; call: 'send' | 'receive' | 'sendrec' | 'rcvrqst'; peer: number }
  | { do: 'lend'; server: number; bytes: number; seed: number }
  | { do: 'awaitBind'; slot: number }
  | { do: 'echo'; count: number }
  | { do: 'bound'; endpoint: number };

const FIRST_NUMBER = 2;
const SLOT_OF_NUMBER = 2;
const SLOT_OF_TWICE = 3;
// Of longer series of calls the last ones are timed.
const TIMED_MAX = 100_000;

class Member {
  readonly #segment: Segment;
  readonly #process: Process;
  #buffer: Uint8Array = new Uint8Array(0);

  constructor(segment: Segment, process: Process) {
    this.#segment = segment;
    this.#process = process;
  }

  obey(order: MemberOrder): unknown {
    switch (order.do) {
      case 'fill':
        this.#buffer = (order.words === true ? words : pattern)(order.bytes, order.seed);
        return order.bytes;
      case 'hash':
        return createHash('sha256').update(this.#buffer).digest('hex');
      case 'grant':
        return this.#process.grant(this.#buffer, order.access, ANY);
      case 'vcopy':
        return this.#vcopy(order);
      case 'call':
        this.#process.message.type = order.type;
        this.#process.sendrecSync(order.server as Endpoint, order.timeoutMs);
        return this.#process.message.type;
      case 'calls':
        return this.#calls(order.server as Endpoint, order.count, order.start);
      case 'tries':
        return this.#tries(order.server as Endpoint, order.answers, order.timeoutMs);
      case 'receive':
        this.#process.receiveSync(ANY);
        return this.#process.message.type;
      case 'ignore':
        return process.on('SIGTERM', () => undefined).listenerCount('SIGTERM');
      case 'ipc':
        return this.#ipc(order);
      case 'await':
        return order.call === 'rcvrqst'
          ? this.#process.rcvrqst()
          : this.#process[order.call](order.peer as Endpoint);
      case 'lend':
        return this.#lend(order.server as Endpoint, pattern(order.bytes, order.seed));
      case 'awaitBind':
        return this.#process.waitForBindSync(order.slot);
      case 'echo':
        return this.#echo(order.count);
      case 'bound':
        return this.#segment.isBound(order.endpoint as Endpoint);
    }
  }

  #ipc({ call, peer = ANY, type = 0, numbers = [], timeoutMs }: MemberCall): MemberMessage {
    const bound = this.#process;
    const { message } = bound;
    if (call === 'send' || call === 'sendrec' || call === 'reply') {
      message.type = type;
      message.int32.set(numbers, FIRST_NUMBER);
    }
    const endpoint = peer as Endpoint;
    switch (call) {
      case 'send':
        bound.sendSync(endpoint, timeoutMs);
        break;
      case 'receive':
        bound.receiveSync(endpoint, timeoutMs);
        break;
      case 'sendrec':
        bound.sendrecSync(endpoint, timeoutMs);
        break;
      case 'rcvrqst':
        bound.rcvrqstSync(timeoutMs);
        break;
      case 'reply':
        bound.replySync(endpoint);
        break;
      case 'notify':
        bound.notify(endpoint);
        break;
      case 'unbind':
        bound.unbind();
        break;
      case 'exit':
        process.exit(0);
    }
    const [a = 0, b = 0, c = 0] = message.int32.subarray(FIRST_NUMBER);
    return { source: message.source, type: message.type, numbers: [a, b, c], kind: bound.lastKind };
  }

  /** Calls `server` with the address of `buffer`, and waits; returns what is in it then. */
  #lend(server: Endpoint, buffer: Uint8Array): string {
    const { message } = this.#process;
    message.view.setBigUint64(PAYLOAD_OFFSET, addressOf(buffer), true);
    this.#process.sendrecSync(server);
    return createHash('sha256').update(buffer).digest('hex');
  }

  #vcopy(order: MemberOrder & { do: 'vcopy' }): { bytes: number; seconds: number } {
    const party = (end: MemberParty): Party =>
      end === 'own'
        ? this.#buffer
        : { endpoint: end.endpoint as Endpoint, grant: end.grant as GrantId, at: end.at };
    const start = performance.now();
    const bytes = this.#process.vcopySync(party(order.from), party(order.to), order.bytes, 30_000);
    return { bytes, seconds: (performance.now() - start) / 1000 };
  }

  /**
   * Calls `server` with numbers from `start` on. Each answer must be of that very number. 99 of a
   * hundred took `p99Ms` or less.
   */
  #calls(
    server: Endpoint,
    count: number,
    start: number,
  ): { right: number; seconds: number; p99Ms: number } {
    const { message } = this.#process;
    const tookMs = new Float64Array(Math.min(count, TIMED_MAX));
    const begin = performance.now();
    let right = 0;
    let before = begin;
    for (let i = 0; i < count; i++) {
      message.type = 7;
      message.int32[SLOT_OF_NUMBER] = start + i;
      this.#process.sendrecSync(server);
      if (message.int32[SLOT_OF_TWICE] === 2 * (start + i) && message.source === server) right++;
      const now = performance.now();
      tookMs[i % TIMED_MAX] = now - before;
      before = now;
    }
    tookMs.sort();
    const p99Ms = tookMs[Math.floor(tookMs.length * 0.99)] ?? 0;
    return { right, seconds: (performance.now() - begin) / 1000, p99Ms };
  }

  /**
   * Calls `server` with numbers from 1 on until so many calls were answered. Tells how many answers
   * were of another call, and how often calls failed with which error.
   */
  #tries(
    server: Endpoint,
    answers: number,
    timeoutMs: number,
  ): { wrong: number; failed: Record<string, number> } {
    const { message } = this.#process;
    const pause = new Int32Array(new SharedArrayBuffer(4));
    const failed: Record<string, number> = {};
    let wrong = 0;
    for (let number = 1, answered = 0; answered < answers; number++) {
      message.type = 7;
      message.int32[SLOT_OF_NUMBER] = number;
      try {
        this.#process.sendrecSync(server, timeoutMs);
      } catch (error) {
        if (!isDvkError(error)) throw error;
        failed[error.code] = (failed[error.code] ?? 0) + 1;
        Atomics.wait(pause, 0, 0, 1);
        continue;
      }
      if (message.int32[SLOT_OF_TWICE] !== 2 * number || message.source !== server) wrong++;
      answered++;
    }
    return { wrong, failed };
  }

  /**
   * Answers `count` requests; tells how many it saw and how many came twice. 0 goes on for ever.
   */
  #echo(count: number): { served: number; repeated: number } {
    const { message } = this.#process;
    const seen = new Set<number>();
    let repeated = 0;
    this.#process.rcvrqstSync();
    for (let served = 1; ; served++) {
      const number = message.int32[SLOT_OF_NUMBER] ?? 0;
      if (seen.has(number)) repeated++;
      seen.add(number);
      message.int32[SLOT_OF_TWICE] = 2 * number;
      if (served === count) {
        this.#process.replySync(message.source);
        return { served, repeated };
      }
      this.#process.replyReceiveSync(message.source);
    }
  }
}

/** Bytes that differ from page to page and from seed to seed. */
export function pattern(bytes: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + seed, 2654435761);
  return new Uint8Array(words.buffer, 0, bytes);
}

/** Bytes that LZ4 makes two fifths as many of: lines with two numbers. */
export function words(bytes: number, seed: number): Uint8Array {
  const buffer = Buffer.alloc(bytes);
  for (let at = 0, line = 0; at < bytes; line++) {
    const number = Math.imul(line + seed, 2654435761) >>> 12;
    at += buffer.write(`line ${line} of a long list has number ${number}\n`, at, 'latin1');
  }
  return buffer;
}

function main(): void {
  const [path = '', slot = '-1', level = 'user'] = process.argv.slice(2);
  const segment = Segment.open(path);
  const bound =
    slot === 'adopt'
      ? segment.adoptSync()
      : segment.bind({
          name: `member${slot}`,
          level: level === 'server' ? 'server' : 'user',
          ...(slot !== '-1' && { slot: Number(slot) }),
        });
  const member = new Member(segment, bound);
  const carryOut = async ({ id, ...order }: MemberOrder & { id: number }): Promise<void> => {
    try {
      process.send?.({ id, value: await member.obey(order) });
    } catch (error) {
      process.send?.({ id, error: isDvkError(error) ? error.code : String(error) });
    }
  };
  process.on('message', (order: MemberOrder & { id: number }) => void carryOut(order));
  process.on('disconnect', () => process.exit(0));
  process.send?.({ endpoint: bound.endpoint });
}

if (process.argv[1]?.endsWith('dc-member.js') === true) main();
