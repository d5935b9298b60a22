/** Lines of a test that takes long. */
import { systemClock } from '../../src/dvk/clock.ts';

/** Writes a line at once, with the seconds since the first one; vitest keeps lines of tests back. */
export function progressOf(what: string): (line: string) => void {
  const start = systemClock.nowMs();
  return (line) => {
    const seconds = ((systemClock.nowMs() - start) / 1000).toFixed(0);
    process.stderr.write(`${what}, ${seconds} s: ${line}\n`);
  };
}
