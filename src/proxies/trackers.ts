/** The trackers of a node, one for each of its containers, and the way of queries to links. */
import type { Endpoint, NodeId } from '../dvk/endpoint.ts';
import { isDvkError } from '../dvk/errors.ts';
import type { Segment } from '../dvk/segment.ts';
import { Tracker, type TrackerCounters } from './tracker.ts';
import { decodeTracking, encodeAnswer, encodeQuery } from './tracker-codec.ts';

/** What they need of a segment. */
export interface SearchedSegment extends Pick<
  Segment,
  'dcId' | 'links' | 'process' | 'unbindRemote'
> {
  readonly searches: Pick<
    Segment['searches'],
    'attach' | 'detach' | 'hasNew' | 'list' | 'end' | 'bindClaimed'
  >;
  readonly migrations: Pick<Segment['migrations'], 'of'>;
}

export interface TrackersOptions {
  node: NodeId;
  nowMs: () => number;
  /** Whether queries are known to a node, while its link is up or held. */
  knows: (node: NodeId) => boolean;
  /** Sends a command of a container to a node. False when that cannot be done now. */
  send: (to: NodeId, dcId: number, command: Uint8Array) => boolean;
}

/** What the tracker of a container has done. */
export interface TrackerStatistics extends TrackerCounters {
  dcId: number;
}

// `started` is of this node's own, which are here yet.
const MOVING: readonly unknown[] = ['given', 'held'];

export class Trackers {
  readonly #options: TrackersOptions;
  readonly #trackers = new Map<SearchedSegment, Tracker>();

  constructor(options: TrackersOptions) {
    this.#options = options;
  }

  /** The segments of this node now. */
  setSegments(segments: readonly SearchedSegment[]): void {
    for (const segment of this.#trackers.keys()) {
      if (!segments.includes(segment)) this.#remove(segment);
    }
    for (const segment of segments) {
      if (!this.#trackers.has(segment)) this.#add(segment);
    }
  }

  /** Nobody is looked for any more. */
  stop(): void {
    for (const segment of [...this.#trackers.keys()]) this.#remove(segment);
  }

  tick(): void {
    for (const tracker of this.#trackers.values()) tracker.tick(this.#options.nowMs());
  }

  /** A PROCINFO or its answer came from `from`. False when no honest node sends that. */
  receive(segment: SearchedSegment, from: NodeId, command: Uint8Array): boolean {
    const decoded = decodeTracking(command);
    if (decoded === undefined) return false;
    const tracker = this.#trackers.get(segment);
    if (tracker === undefined) return true;
    const nowMs = this.#options.nowMs();
    if ('answer' in decoded) return tracker.receiveAnswer(from, decoded.answer, nowMs);
    tracker.receiveQuery(from, decoded.query, nowMs);
    return true;
  }

  /** A node says that it has `endpoint`, and another one has that slot. */
  dispute(segment: SearchedSegment, endpoint: Endpoint): void {
    this.#trackers.get(segment)?.dispute(endpoint, this.#options.nowMs());
  }

  statistics(): TrackerStatistics[] {
    return [...this.#trackers].map(([{ dcId }, { counters }]) => ({ dcId, ...counters }));
  }

  #remove(segment: SearchedSegment): void {
    this.#trackers.delete(segment);
    segment.searches.detach();
  }

  #add(segment: SearchedSegment): void {
    const { node, knows, send, nowMs } = this.#options;
    const { dcId, searches, migrations } = segment;
    const tracker = new Tracker(
      {
        node,
        segment: {
          searches,
          links: () => segment.links(),
          process: (slot) => ifAny(() => segment.process(slot)),
          unbindRemote: (endpoint) => segment.unbindRemote(endpoint),
          isMoving: (endpoint) => MOVING.includes(ifAny(() => migrations.of(endpoint).state)),
        },
        knows,
        ask: (to, query) => send(to, dcId, encodeQuery(query, { dcId, from: node, to })),
        answer: (to, answer) => {
          send(to, dcId, encodeAnswer(answer, { dcId, from: node, to }));
        },
      },
      nowMs(),
    );
    this.#trackers.set(segment, tracker);
    searches.attach(() => {
      tracker.wake(nowMs());
    });
  }
}

// Undefined when there is no such slot or process here: another node may have larger tables.
function ifAny<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (isDvkError(error)) return undefined;
    throw error;
  }
}
