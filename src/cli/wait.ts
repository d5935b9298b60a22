/** Waiting with an end: every wait of the command has a time-out, so that nothing hangs. */
import { systemClock, type Clock } from '../dvk/clock.ts';

export async function sleep(delayMs: number, clock: Clock = systemClock): Promise<void> {
  await new Promise<void>((resolve) => {
    clock.after(delayMs, resolve);
  });
}

/** Asks `condition` again and again until it is true. Returns false when the time is over. */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  timeoutMs: number,
  intervalMs = 20,
): Promise<boolean> {
  const deadline = systemClock.nowMs() + timeoutMs;
  while (!(await condition())) {
    if (systemClock.nowMs() >= deadline) return false;
    await sleep(intervalMs);
  }
  return true;
}

/**
 * Rejects with `makeError()` when `promise` has not settled in time. What it does goes on, unheard.
 */
export async function withTimeout<T>(
  promise: Promise<T>,
  timeoutMs: number,
  makeError: () => Error,
): Promise<T> {
  let cancel: (() => void) | undefined;
  const late = new Promise<never>((_, reject) => {
    cancel = systemClock.after(timeoutMs, () => {
      reject(makeError());
    });
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    cancel?.();
  }
}
