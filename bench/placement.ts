/**
 * Where the processes of a case run. What is said of one pair of processes holds for each of
 * several, which share out the cores among them.
 *
 * `two-cores`: each pinned to a core of its own, the first and the last that this process may use;
 * the next pair takes the next cores. `one-core`: both pinned to one core, that of the first pair
 * being the last one; the next pair takes the core before. `one-core-hogs`: the same, and each core
 * has a busy process of a stranger on it. `free`: all run where the scheduler likes.
 */
import { readFileSync } from 'node:fs';

export const PLACEMENTS = ['two-cores', 'one-core', 'one-core-hogs', 'free'] as const;
export type Placement = (typeof PLACEMENTS)[number];

/** The CPUs that each of the two may use. */
export interface Cpus {
  readonly client: readonly number[];
  readonly peer: readonly number[];
}

export function isPlacement(text: string): text is Placement {
  return (PLACEMENTS as readonly string[]).includes(text);
}

/** The CPUs of a list such as `0-2,5`. */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [first = 0, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

/** The CPUs that this process may use. */
export function allowedCpus(): number[] {
  const status = readFileSync('/proc/self/status', 'utf8');
  return parseCpuList(/^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? '0');
}

/** The CPUs of one pair, counted from 0, or undefined when there are too few of them. */
export function cpusOf(
  placement: Placement,
  allowed: readonly number[],
  pair = 0,
): Cpus | undefined {
  const cores = allowed.length;
  const at = (index: number): number[] => allowed.slice(index % cores, (index % cores) + 1);
  switch (placement) {
    case 'two-cores':
      if (cores < 2) return undefined;
      return { client: at(2 * pair), peer: at(2 * pair + cores - 1) };
    case 'one-core':
    case 'one-core-hogs': {
      const core = at(cores - 1 - (pair % cores));
      return { client: core, peer: core };
    }
    case 'free':
      return { client: allowed, peer: allowed };
  }
}

/** The CPUs of each of `pairs` pairs. Fails when this machine has too few cores. */
export function cpusOfPairs(placement: Placement, pairs: number): readonly Cpus[] {
  const allowed = allowedCpus();
  return Array.from({ length: pairs }, (_, pair) => {
    const cpus = cpusOf(placement, allowed, pair);
    if (cpus === undefined) throw new Error(`this machine has too few cores for ${placement}`);
    return cpus;
  });
}
