/** A segment for a bench's own Node processes; it is gone when the bench ends. */
import { join } from 'node:path';

import { dcId, nodeId, Segment } from '../src/dvk/index.ts';
import type { Cleanup } from './cleanup.ts';
import { scratchDirectory } from './scratch.ts';

export interface SegmentSize {
  /** Slots: 64 fixed ones, and a multiple of 64 for processes that take any. */
  readonly processes: number;
  readonly arenaBytes: number;
}

// A watcher must be heard of every three seconds.
const WATCH_MS = 500;
const ROOM = 64 * 2 ** 20;

/** Makes a segment in memory; returns its path. */
export function createSegment(cleanup: Cleanup, size: SegmentSize): string {
  const path = join(scratchDirectory(cleanup, ROOM), 'segment');
  const identity = { dcId: dcId(0), nodeId: nodeId(0), dcName: 'bench', dvsName: 'bench' };
  Segment.create(path, { ...identity, ...size, nodes: 1 });
  return path;
}

/** The same with somebody who watches its trace, and looks at it now and then. */
export function createWatchedSegment(cleanup: Cleanup, size: SegmentSize): string {
  const path = createSegment(cleanup, size);
  const segment = Segment.open(path);
  const trace = segment.trace();
  const timer = setInterval(() => trace.poll(), WATCH_MS);
  cleanup.defer(() => {
    clearInterval(timer);
    trace.stop();
    segment.close();
  });
  return path;
}
