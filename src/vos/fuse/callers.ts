/** What the kernel says of the threads that use a mount. */
import { readFileSync } from 'node:fs';

const KILL_BIT = 1n << 8n;

/**
 * Whether a thread is ending: SIGKILL waits for it, which the kernel also has for other signals
 * that end a process (complete_signal in kernel/signal.c), or it is gone, or cannot be seen (0).
 */
export function isEnding(pid: number): boolean {
  if (pid === 0) return true;
  try {
    const status = readFileSync(`/proc/${String(pid)}/status`, 'latin1');
    return [...status.matchAll(/^S(?:ig|hd)Pnd:\s*([0-9a-f]+)/gm)].some(
      ([, mask = '0']) => (BigInt(`0x${mask}`) & KILL_BIT) !== 0n,
    );
  } catch {
    return true;
  }
}
