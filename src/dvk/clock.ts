/**
 * Time as the system sees it: the one place that starts timers, so that tests and the simulator can
 * own time.
 */
import { constants } from 'node:os';
import { performance } from 'node:perf_hooks';

import { fail } from './errors.ts';

/** A source of time and timers. All times are in milliseconds. */
export interface Clock {
  /** Monotonic time; only differences mean something. */
  nowMs(): number;
  /**
   * Calls back once after `delayMs` (0 and up); the function returned calls it off, and may be
   * called twice.
   */
  after(delayMs: number, callback: () => void): () => void;
}

// Beyond this Node would fire at once; a longer wait is made of several.
const TIMER_MAX_MS = 0x7fff_ffff;
const POLL_MS = 10;

function after(delayMs: number, callback: () => void): () => void {
  const wait = Math.min(delayMs, TIMER_MAX_MS);
  let cancel: () => void;
  const timer = setTimeout(() => {
    if (wait === delayMs) callback();
    else cancel = after(delayMs - wait, callback);
  }, wait);
  cancel = (): void => {
    clearTimeout(timer);
  };
  return () => {
    cancel();
  };
}

/** The host's monotonic clock and event loop. */
export const systemClock: Clock = { nowMs: () => performance.now(), after };

/** Looks now and then, for what tells nobody. Fails as `call`: ETIMEDOUT, EAGAIN for 0 ms. */
export async function pollUntil(
  met: () => boolean,
  call: string,
  timeoutMs: number,
  clock: Clock,
): Promise<void> {
  const endMs = clock.nowMs() + timeoutMs;
  while (!met()) {
    if (timeoutMs === 0) fail(-constants.errno.EAGAIN, call);
    if (timeoutMs > 0 && clock.nowMs() >= endMs) fail(-constants.errno.ETIMEDOUT, call);
    await new Promise<void>((resolve) => {
      clock.after(POLL_MS, resolve);
    });
  }
}
