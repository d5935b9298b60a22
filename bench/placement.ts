/**
 * Where the two processes of a case run.
 *
 * `two-cores`: each pinned to a core of its own, the first and the last that this process may use.
 * `one-core`: both pinned to the last one. `free`: both run where the scheduler likes.
 */
import { readFileSync } from 'node:fs';

export const PLACEMENTS = ['two-cores', 'one-core', 'free'] as const;
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

/** The CPUs of a placement, or undefined when there are too few of them. */
export function cpusOf(placement: Placement, allowed: readonly number[]): Cpus | undefined {
  const first = allowed[0];
  const last = allowed.at(-1);
  if (first === undefined || last === undefined) return undefined;
  switch (placement) {
    case 'two-cores':
      return first === last ? undefined : { client: [first], peer: [last] };
    case 'one-core':
      return { client: [last], peer: [last] };
    case 'free':
      return { client: allowed, peer: allowed };
  }
}
