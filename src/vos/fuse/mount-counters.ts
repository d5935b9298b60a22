/**
 * What a mount tells of itself when it is asked: what its session has counted, and what is so now.
 *
 * Names and meanings are here once, for `dvk fs info` and for Prometheus.
 */
import type { SessionCounters } from './answers.ts';

interface Counter {
  /** A gauge may fall; a counter only grows, until the mount is started again. */
  readonly kind: 'counter' | 'gauge';
  readonly doc: string;
}

/** What is no counter of the session. */
interface Now {
  /** Files in the kernel's cache. */
  readonly nodes: number;
  /** Requests that wait for the file service. */
  readonly outstanding: number;
}

export type MountCounterName = keyof SessionCounters | keyof Now;
export type MountCounters = Readonly<Record<MountCounterName, number>>;

export const MOUNT_COUNTERS: Readonly<Record<MountCounterName, Counter>> = {
  nodes: { kind: 'gauge', doc: 'Files that the kernel has in its cache.' },
  outstanding: { kind: 'gauge', doc: 'Requests that wait for the file system server.' },
  requests: { kind: 'counter', doc: 'Requests of the kernel.' },
  replies: { kind: 'counter', doc: 'Replies that the kernel took, errors included.' },
  errors: { kind: 'counter', doc: 'Replies that were errors, ENOENT and the like included.' },
  ioErrors: { kind: 'counter', doc: 'Calls that came to EIO; the log of the mount says why.' },
  dropped: { kind: 'counter', doc: 'Requests without a header that can be trusted.' },
  malformed: { kind: 'counter', doc: 'Requests that make no sense.' },
  interrupts: { kind: 'counter', doc: 'Requests whose program got a signal meanwhile.' },
  unsent: { kind: 'counter', doc: 'Replies that the kernel did not take.' },
};

/** Of a mount as it is now. */
export function mountCounters(mount: Now & { readonly counters: SessionCounters }): MountCounters {
  const { nodes, outstanding, counters } = mount;
  return { nodes, outstanding, ...counters };
}
