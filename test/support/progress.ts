/** Lines of a test that takes long. */
import { systemClock } from '../../src/dvk/clock.ts';

/** Gives what writes a line, with the seconds since now. */
export function progressOf(what: string): (line: string) => void {
  const start = systemClock.nowMs();
  return (line) => {
    const seconds = ((systemClock.nowMs() - start) / 1000).toFixed(0);
    process.stderr.write(`${what}, ${seconds} s: ${line}\n`);
  };
}
