/**
 * The FS protocol: what a server has counted.
 *
 * COUNTERS, a request as in `fs.ts` without inode, offset and name, fills the grant with one u64
 * for each counter, in the order of `FS_COUNTERS`, as many as there is room for. Result: the bytes.
 * A client that knows more of them than its server takes the others for unknown; new ones are added
 * at the end.
 */
import { getUint64, setUint64 } from './fs.ts';

interface Counter {
  /** A gauge may fall; a counter only grows, until the server is started again. */
  readonly kind: 'counter' | 'gauge';
  readonly doc: string;
}

export const FS_COUNTERS = {
  leases: { kind: 'gauge', doc: 'Leases that clients have, each on one inode.' },
  leaseClients: { kind: 'gauge', doc: 'Clients that may have leases.' },
  leasesGranted: { kind: 'counter', doc: 'Leases given.' },
  leasesRecalled: { kind: 'counter', doc: 'Recalls, of a lease or of one name.' },
  leasesEvicted: { kind: 'counter', doc: 'Leases recalled for want of room.' },
  leasesExpired: { kind: 'counter', doc: 'Clients that lost all leases, since they were late.' },
  leasesRefused: { kind: 'counter', doc: 'Requests that relied on leases that were no more.' },
  claims: { kind: 'gauge', doc: 'Files and directories that are claimed, or were just now.' },
  windows: { kind: 'gauge', doc: 'Windows of clients on other nodes.' },
  cacheHits: { kind: 'counter', doc: 'Looks at blocks that were in the cache.' },
  cacheMisses: { kind: 'counter', doc: 'Looks at blocks that had to be read.' },
} as const satisfies Record<string, Counter>;

export type FsCounterName = keyof typeof FS_COUNTERS;
export type FsCounters = Readonly<Record<FsCounterName, number>>;

const NAMES = Object.keys(FS_COUNTERS) as FsCounterName[];
const VALUE_BYTES = 8;
export const COUNTERS_BYTES: number = NAMES.length * VALUE_BYTES;

/** Puts as many as fit into `target`, and returns the bytes. */
export function encodeCounters(target: Uint8Array, counters: FsCounters): number {
  const view = new DataView(target.buffer, target.byteOffset, target.length);
  const count = Math.min(NAMES.length, Math.floor(target.length / VALUE_BYTES));
  for (const [index, name] of NAMES.slice(0, count).entries()) {
    setUint64(view, index * VALUE_BYTES, counters[name]);
  }
  return count * VALUE_BYTES;
}

/** Those that `source` has; any bytes are safe. */
export function decodeCounters(source: Uint8Array): Partial<FsCounters> {
  const view = new DataView(source.buffer, source.byteOffset, source.length);
  const known = NAMES.slice(0, Math.floor(source.length / VALUE_BYTES));
  return Object.fromEntries(
    known.map((name, index) => [name, getUint64(view, index * VALUE_BYTES)]),
  );
}
