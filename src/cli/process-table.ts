/**
 * Processes of this machine, named by pid and start time, so that a pid which was given to another
 * process is never taken for the old one. Reads /proc only: what cleans up after a crash needs no
 * addon.
 */
import { readdirSync, readFileSync } from 'node:fs';

import { waitUntil } from './wait.ts';

/** A process. `startTime` is in clock ticks since boot, as text. */
export interface ProcessId {
  readonly pid: number;
  readonly startTime: string;
}

/** The process that has this pid now; undefined when there is none, or only a zombie. */
export function identify(pid: number): ProcessId | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${String(pid)}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The command's name is in brackets and may hold anything, so fields are counted from the last
  // bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, startTime] = [fields[0], fields[19]];
  if (state === 'Z' || state === 'X' || startTime === undefined) return undefined;
  return { pid, startTime };
}

export function isAlive({ pid, startTime }: ProcessId): boolean {
  return identify(pid)?.startTime === startTime;
}

/**
 * Processes whose environment at their start had `NAME=value`; those of other users are seen by
 * root only.
 */
export function withEnvironment(name: string, value: string): ProcessId[] {
  const wanted = `\0${name}=${value}\0`;
  const found: ProcessId[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      if (!`\0${readFileSync(`/proc/${entry}/environ`, 'utf8')}`.includes(wanted)) continue;
    } catch {
      continue;
    }
    const id = identify(pid);
    if (id !== undefined) found.push(id);
  }
  return found;
}

/** Sends a signal to exactly that process; false when it is gone. */
export function signalProcess(id: ProcessId, signal: NodeJS.Signals): boolean {
  if (!isAlive(id)) return false;
  try {
    process.kill(id.pid, signal);
    return true;
  } catch {
    return false;
  }
}

/**
 * Kills processes and waits for their end. Returns those that are still there after `timeoutMs`.
 */
export async function killAll(ids: readonly ProcessId[], timeoutMs: number): Promise<ProcessId[]> {
  for (const id of ids) signalProcess(id, 'SIGKILL');
  await waitUntil(() => !ids.some(isAlive), timeoutMs, 10);
  return ids.filter(isAlive);
}
