/**
 * The measuring loops of Node clients, as native/bench/roundtrip.h has them: a warm-up of an eighth
 * of the time, throughput, then a quarter of the time for latency.
 *
 * A call sends a letter with the counter it is given in its first and last word, and checks that
 * the answer has the next one: the counter plus one, and the complement minus one. Counters are 32
 * bits and wrap.
 */
import type { RunResult } from '../harness.ts';
import { Histogram } from '../statistics.ts';

const BATCH_MS = 0.05;
const BATCH_MAX = 256;
const NS_PER_MS = 1e6;

/** How many calls are made between two looks at the clock. */
class Batch {
  size = 1;

  /** Grows or shrinks the batch by how long the last one took. */
  adapt(tookMs: number): void {
    if (tookMs < BATCH_MS && this.size < BATCH_MAX) this.size *= 2;
    if (tookMs > 8 * BATCH_MS && this.size > 1) this.size /= 2;
  }
}

let counter = 0;

function nextCounter(): number {
  counter = (counter + 1) | 0;
  return counter;
}

/** Throws unless an answer has the words that belong to the letter `sent`. */
export function checkAnswer(sent: number, first: number, last: number): void {
  if (first !== ((sent + 1) | 0) || last !== ((~sent - 1) | 0)) {
    throw new Error(`letter ${String(sent)} came back with other contents than it should`);
  }
}

interface Throughput {
  readonly done: number;
  readonly perSecond: number;
}

function throughputSync(call: (counter: number) => void, ms: number): Throughput {
  const batch = new Batch();
  const start = performance.now();
  let now = start;
  let done = 0;
  while (now - start < ms) {
    for (let i = 0; i < batch.size; i++) call(nextCounter());
    done += batch.size;
    const before = now;
    now = performance.now();
    batch.adapt(now - before);
  }
  return { done, perSecond: (done * 1000) / (now - start) };
}

/** Measures a call that blocks. */
export function measureSync(call: (counter: number) => void, ms: number): RunResult {
  const warm = throughputSync(call, ms / 8);
  const { done, perSecond } = throughputSync(call, ms);
  const latency = new Histogram();
  const start = performance.now();
  for (let now = start; now - start < ms / 4;) {
    call(nextCounter());
    const after = performance.now();
    latency.add((after - now) * NS_PER_MS);
    now = after;
  }
  return { perSecond, checked: warm.done + done + latency.total, latency: latency.entries() };
}

async function throughput(
  call: (counter: number) => Promise<void>,
  ms: number,
): Promise<Throughput> {
  const batch = new Batch();
  const start = performance.now();
  let now = start;
  let done = 0;
  while (now - start < ms) {
    for (let i = 0; i < batch.size; i++) await call(nextCounter());
    done += batch.size;
    const before = now;
    now = performance.now();
    batch.adapt(now - before);
  }
  return { done, perSecond: (done * 1000) / (now - start) };
}

const TIMER_MS = 5;

/** Does the work with a timer beside it; tells how many times it fired, and should have. */
async function besideTimer<T>(
  work: () => Promise<T>,
): Promise<{ result: T; timers: { fired: number; due: number } }> {
  let fired = 0;
  const start = performance.now();
  const timer = setInterval(() => {
    fired++;
  }, TIMER_MS);
  try {
    const result = await work();
    return { result, timers: { fired, due: Math.floor((performance.now() - start) / TIMER_MS) } };
  } finally {
    clearInterval(timer);
  }
}

/** Measures a call that is awaited, and whether timers fire meanwhile. */
export async function measureAsync(
  call: (counter: number) => Promise<void>,
  ms: number,
): Promise<RunResult> {
  const warm = await throughput(call, ms / 8);
  const { result, timers } = await besideTimer(async () => throughput(call, ms));
  const { done, perSecond } = result;
  const latency = new Histogram();
  const start = performance.now();
  for (let now = start; now - start < ms / 4;) {
    await call(nextCounter());
    const after = performance.now();
    latency.add((after - now) * NS_PER_MS);
    now = after;
  }
  const checked = warm.done + done + latency.total;
  return { perSecond, checked, latency: latency.entries(), timers };
}

/**
 * Measures calls of several callers at once, each of which waits for its own answer, and calls
 * again until the time is over: once at least.
 */
export async function measureConcurrent(
  calls: readonly ((counter: number) => Promise<void>)[],
  ms: number,
): Promise<RunResult> {
  const warm = await repeatAll(calls, ms / 8, () => undefined);
  const latency = new Histogram();
  const { done, perSecond } = await repeatAll(calls, ms, (tookMs) => {
    latency.add(tookMs * NS_PER_MS);
  });
  return { perSecond, checked: warm.done + done, latency: latency.entries() };
}

async function repeatAll(
  calls: readonly ((counter: number) => Promise<void>)[],
  ms: number,
  note: (tookMs: number) => void,
): Promise<Throughput> {
  const start = performance.now();
  let last = start;
  let done = 0;
  const repeat = async (call: (counter: number) => Promise<void>): Promise<void> => {
    for (let before = performance.now(); before - start < ms || last === start;) {
      await call(nextCounter());
      last = performance.now();
      done++;
      note(last - before);
      before = last;
    }
  };
  await Promise.all(calls.map(repeat));
  return { done, perSecond: (done * 1000) / (last - start) };
}

/**
 * Measures an exchange by events: `post` sends a letter, and `answered` is called by whoever gets
 * the answer.
 */
export class EventCalls {
  #settle: ((words: readonly [number, number]) => void) | undefined;
  readonly #post: (counter: number) => void;

  constructor(post: (counter: number) => void) {
    this.#post = post;
  }

  answered(first: number, last: number): void {
    this.#settle?.([first, last]);
  }

  async call(sent: number): Promise<void> {
    const answer = new Promise<readonly [number, number]>((resolve) => {
      this.#settle = resolve;
    });
    this.#post(sent);
    const [first, last] = await answer;
    checkAnswer(sent, first, last);
  }
}
