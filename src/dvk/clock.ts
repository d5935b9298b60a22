/**
 * Time as the system sees it: the one place that starts timers, so that tests and the simulator can
 * own time.
 */
import { performance } from 'node:perf_hooks';

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
