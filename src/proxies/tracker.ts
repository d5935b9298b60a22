/**
 * Finds the node of an endpoint that no binding of this node names, by asking the other nodes of
 * the container. A machine without I/O, for one container on one node: searches, answers and ticks
 * go in, queries and the ends of searches come out.
 *
 * A process that calls an endpoint which is unknown here waits (native/core/search.h). All searches
 * for one slot are one *inquiry*, which asks each node once: the one that has the slot in its
 * share, or for a fixed slot every node. A node answers for its own processes. The first that has
 * the endpoint is bound, which lets go on whoever waits for it. When all have answered, or
 * SEARCH_MS are over, the others fail: with ENOTCONN when a node that may have the process could
 * not be asked or did not answer, else with EDEADSRCDST.
 *
 * - An inquiry counts for the searches that waited when it began, so no answer is older than the
 *   call that gets it. A later search is an inquiry of its own, after that. Nothing is kept: what
 *   is positive is the binding, and what is negative is forgotten.
 * - A query that could not be sent, or was not answered, is sent again; answers repeat nothing that
 *   matters. What is not awaited is counted and dropped: late answers, and those of nodes that were
 *   not asked.
 * - A binding of this node is stale when the node that it names has answered that somebody else, or
 *   nobody, has the slot. It is dropped, and only then another node's claim is taken. As long as
 *   the node that it names says otherwise it stays: an endpoint on two nodes is counted as a
 *   conflict, and the second is refused (`bindClaimed`).
 * - Who waits for a bind waits on when nobody is found, and is looked for again after REPEAT_MS.
 * - A node that does not know queries, being of an older version, is not asked, and counts as one
 *   that has nobody: its servers are announced as ever.
 *
 * Bounds: one inquiry for each process that waits, at most; so many begin in a second, and so many
 * queries of one node are looked at. Others wait, or get no answer.
 */
import { constants } from 'node:os';
import { ErrorNumber } from '../dvk/abi/abi.gen.ts';
import { slotOf, type Endpoint, type NodeId } from '../dvk/endpoint.ts';
import { isDvkError } from '../dvk/errors.ts';
import type { LinkInfo, ProcessInfo } from '../dvk/info.ts';
import type { Search, Searches } from '../dvk/searches.ts';
import { TokenBucket } from './admission.ts';
import type { Answer, Owner, Query } from './tracker-codec.ts';

/** What a tracker needs of a segment. */
export interface TrackedSegment {
  readonly searches: Pick<Searches, 'hasNew' | 'list' | 'end' | 'bindClaimed'>;
  links(): LinkInfo[];
  process(slot: number): ProcessInfo | undefined;
  /** Forgets a binding. */
  unbindRemote(endpoint: Endpoint): void;
  /** Whether the process, of this node or another, is on its way to another one. */
  isMoving(endpoint: Endpoint): boolean;
}

export interface TrackerOptions {
  node: NodeId;
  segment: TrackedSegment;
  /** Whether that node knows queries, while its link is up. */
  knows: (node: NodeId) => boolean;
  /** Sends a query. False when that cannot be done now. */
  ask: (to: NodeId, query: Query) => boolean;
  /** Sends an answer; nothing happens when that cannot be done now. */
  answer: (to: NodeId, answer: Answer) => void;
}

/** How long an inquiry lasts at most: longer than a link without a sign of life is taken for up. */
export const SEARCH_MS = 8000;
/** After which pause a slot is asked for again that somebody waits to be bound. */
export const REPEAT_MS = 1000;
// A query that was not answered is sent again after this, and one answered by "later".
const AGAIN_MS = 1000;
const LATER_MS = 100;
const BEGUN = { burst: 128, perSecond: 256 };
// More than an honest node sends.
const RECEIVED = { burst: 256, perSecond: 512 };

const { ENOTCONN } = constants.errno;
const { EDEADSRCDST, EDVSSLOTUSED, EDVSBADFRAME } = ErrorNumber;

/** What a tracker has done. Counters only grow. */
export interface TrackerCounters {
  /** Inquiries begun, and what they came to; those that found somebody are in `found`. */
  inquiries: number;
  found: number;
  /** Nobody has the slot. */
  absent: number;
  /** A node that may have it could not be asked. */
  unreachable: number;
  queriesSent: number;
  queriesReceived: number;
  /** Queries that were not answered, since there were too many. */
  queriesIgnored: number;
  answersSent: number;
  answersReceived: number;
  /** Answers that nobody awaited. */
  answersLate: number;
  /** Bindings dropped, since their own node has no such process. */
  stale: number;
  /** Endpoints that two nodes said they have. */
  conflicts: number;
}

/** What is known of one node in an inquiry. */
interface Asked {
  state: 'open' | 'answered' | 'unreachable';
  /** When the query is sent, or sent again. */
  dueMs: number;
  sent: boolean;
  /** Its owner of the slot, whom the binding of another node keeps out. */
  claim: Owner | undefined;
}

interface Inquiry {
  readonly slot: number;
  readonly number: number;
  readonly begunMs: number;
  readonly nodes: Map<NodeId, Asked>;
  /** The searches that it counts for: those that waited when it began. */
  readonly seekers: ReadonlySet<string>;
  /** What two nodes have said they have. */
  readonly disputed: Endpoint | undefined;
  /** Who was bound. */
  found: Endpoint | undefined;
  /** The error that those get who still wait; undefined while it lasts. */
  outcome: number | undefined;
}

/** Whom an inquiry is for: those who wait, or whom two nodes say they have. */
interface Subject extends Pick<Search, 'slot' | 'home'> {
  seekers?: ReadonlySet<string>;
  disputed?: Endpoint;
}

export class Tracker {
  readonly #options: TrackerOptions;
  readonly #inquiries = new Map<number, Inquiry>();
  readonly #received = new Map<NodeId, TokenBucket>();
  readonly #begun: TokenBucket;
  // Of the seeker for whom an inquiry was begun last: the next one's turn is first.
  #turn = -1;
  #number = 0;
  readonly counters: TrackerCounters = {
    inquiries: 0,
    found: 0,
    absent: 0,
    unreachable: 0,
    queriesSent: 0,
    queriesReceived: 0,
    queriesIgnored: 0,
    answersSent: 0,
    answersReceived: 0,
    answersLate: 0,
    stale: 0,
    conflicts: 0,
  };

  constructor(options: TrackerOptions, nowMs: number) {
    this.#options = options;
    this.#begun = new TokenBucket(BEGUN.burst, nowMs);
  }

  /** Inquiries that last, or whose outcome still counts. */
  get size(): number {
    return this.#inquiries.size;
  }

  /** A search may have begun. */
  wake(nowMs: number): void {
    if (this.#options.segment.searches.hasNew) this.#look(nowMs);
  }

  /** Time goes on. Call it every 100 ms or so. */
  tick(nowMs: number): void {
    for (const inquiry of this.#inquiries.values()) {
      if (inquiry.outcome === undefined) this.#goOn(inquiry, nowMs);
      else if (nowMs - inquiry.begunMs >= REPEAT_MS) this.#inquiries.delete(inquiry.slot);
    }
    this.#look(nowMs);
  }

  /** A node has announced a process in a slot that another one has here: which is right? */
  dispute(endpoint: Endpoint, nowMs: number): void {
    const slot = slotOf(endpoint);
    // What this node has itself nobody can claim.
    const isOwn = this.#options.segment.process(slot)?.life === 'local';
    if (isOwn || this.#inquiries.has(slot)) return;
    this.#begin({ slot, home: undefined, disputed: endpoint }, nowMs);
  }

  /** A query came from the node `from`. */
  receiveQuery(from: NodeId, { slot, number }: Query, nowMs: number): void {
    this.counters.queriesReceived++;
    const bucket = this.#received.get(from) ?? new TokenBucket(RECEIVED.burst, nowMs);
    this.#received.set(from, bucket);
    if (!bucket.take(RECEIVED, nowMs)) {
      this.counters.queriesIgnored++;
      return;
    }
    this.counters.answersSent++;
    this.#options.answer(from, { slot, number, owner: this.#ownerOf(slot) });
  }

  /** An answer came from the node `from`. False when that node may not have what it says it has. */
  receiveAnswer(from: NodeId, { slot, number, owner }: Answer, nowMs: number): boolean {
    const inquiry = this.#inquiries.get(slot);
    const asked = inquiry?.nodes.get(from);
    if (inquiry?.number !== number || asked?.sent !== true || asked.state !== 'open') {
      this.counters.answersLate++;
      return true;
    }
    this.counters.answersReceived++;
    if (owner === 'later') {
      asked.dueMs = nowMs + LATER_MS;
      return true;
    }
    asked.state = 'answered';
    const isNobody = owner === 'none';
    this.#dropStale(slot, from, isNobody ? undefined : owner.endpoint);
    if (!isNobody && this.#isWanted(inquiry, owner)) asked.claim = owner;
    const isHonest = this.#takeClaims(inquiry, from);
    this.#settle(inquiry, nowMs);
    return isHonest;
  }

  // A binding for the node is stale when that has nobody in the slot, or another one.
  #dropStale(slot: number, from: NodeId, endpoint: Endpoint | undefined): void {
    const known = this.#options.segment.process(slot);
    if (known?.life !== 'remote' || known.node !== from || known.endpoint === endpoint) return;
    // While it moves its node tells where it is.
    if (this.#options.segment.isMoving(known.endpoint)) return;
    try {
      this.#options.segment.unbindRemote(known.endpoint);
      this.counters.stale++;
    } catch (error) {
      // Somebody else was quicker, or the table is locked for long.
      if (!isDvkError(error)) throw error;
    }
  }

  // Only who is looked for is bound: a query does not tell the generation, so a node that lies must
  // guess it.
  #isWanted({ slot, disputed, found }: Inquiry, { endpoint }: Owner): boolean {
    if (endpoint === disputed || endpoint === found) return true;
    const searches = this.#options.segment.searches.list();
    return searches.some(
      (search) => search.slot === slot && (search.endpoint ?? endpoint) === endpoint,
    );
  }

  // Binds whom a node says it has, where no other node's binding is in the way. False when `from`
  // may not have what it claims.
  #takeClaims(inquiry: Inquiry, from: NodeId): boolean {
    let isHonest = true;
    for (const [node, asked] of inquiry.nodes) {
      const { claim } = asked;
      if (claim === undefined) continue;
      const { endpoint, level, name } = claim;
      const result = this.#options.segment.searches.bindClaimed(node, endpoint, level, name);
      if (result !== -EDVSSLOTUSED) asked.claim = undefined;
      if (result === 0) inquiry.found = endpoint;
      if (result === -EDVSBADFRAME && node === from) isHonest = false;
    }
    return isHonest;
  }

  #ownerOf(slot: number): Answer['owner'] {
    const { segment } = this.#options;
    const own = segment.process(slot);
    if (own?.life === 'local') {
      const { endpoint, level, name, replica } = own;
      return { endpoint, level, name, replica };
    }
    return own !== undefined && segment.isMoving(own.endpoint) ? 'later' : 'none';
  }

  // Goes through all that wait, by the slots that they are for.
  #look(nowMs: number): void {
    const searches = this.#options.segment.searches.list();
    const first = searches.findIndex(({ seeker }) => slotOf(seeker) > this.#turn);
    const inTurn = first > 0 ? [...searches.slice(first), ...searches.slice(0, first)] : searches;
    const bySlot = new Map<number, Search[]>();
    for (const search of inTurn) {
      const others = bySlot.get(search.slot);
      if (others === undefined) bySlot.set(search.slot, [search]);
      else others.push(search);
    }
    for (const group of bySlot.values()) this.#lookFor(group, nowMs);
  }

  // All that wait for one slot.
  #lookFor(group: readonly Search[], nowMs: number): void {
    const [first] = group;
    if (first === undefined) return;
    const { seeker, slot, home } = first;
    const inquiry = this.#inquiries.get(slot);
    if (inquiry !== undefined) {
      const { seekers, outcome, found, begunMs } = inquiry;
      const isDue = outcome !== undefined && nowMs - begunMs >= REPEAT_MS;
      const isNew = (search: Search): boolean =>
        search.endpoint === undefined ? isDue : !seekers.has(nameOf(search));
      if (outcome !== undefined) for (const search of group) this.#endIn(inquiry, search);
      // One that has found somebody waits for others only to see that they say the same.
      const isFree = outcome !== undefined || found !== undefined;
      if (!isFree || !group.some(isNew)) return;
    }
    const seekers = new Set(group.map(nameOf));
    if (this.#begin({ slot, home, seekers }, nowMs)) this.#turn = slotOf(seeker);
  }

  // Returns whether it may begin now.
  #begin(what: Subject, nowMs: number): boolean {
    if (!this.#begun.take(BEGUN, nowMs)) return false;
    const { slot, home } = what;
    const { segment, knows, node: self } = this.#options;
    const nodes = new Map<NodeId, Asked>();
    for (const { node, state } of segment.links()) {
      if (node === self || (home !== undefined && home !== node)) continue;
      const reached = state !== 'up' ? 'unreachable' : knows(node) ? 'open' : 'answered';
      nodes.set(node, { state: reached, dueMs: nowMs, sent: false, claim: undefined });
    }
    this.#number = (this.#number + 1) >>> 0;
    const inquiry: Inquiry = {
      slot,
      number: this.#number,
      begunMs: nowMs,
      nodes,
      seekers: what.seekers ?? new Set(),
      disputed: what.disputed,
      found: undefined,
      outcome: undefined,
    };
    this.#inquiries.set(slot, inquiry);
    this.counters.inquiries++;
    this.#goOn(inquiry, nowMs);
    return true;
  }

  #goOn(inquiry: Inquiry, nowMs: number): void {
    const { segment, ask } = this.#options;
    const up = new Set(
      segment.links().flatMap(({ node, state }) => (state === 'up' ? [node] : [])),
    );
    for (const [node, asked] of inquiry.nodes) {
      if (asked.state !== 'open') continue;
      if (!up.has(node)) asked.state = 'unreachable';
      else if (nowMs >= asked.dueMs && ask(node, inquiry)) {
        asked.sent = true;
        asked.dueMs = nowMs + AGAIN_MS;
        this.counters.queriesSent++;
      }
    }
    this.#settle(inquiry, nowMs);
  }

  #settle(inquiry: Inquiry, nowMs: number): void {
    if (inquiry.outcome !== undefined) return;
    const states = [...inquiry.nodes.values()].map(({ state }) => state);
    const isOver = nowMs - inquiry.begunMs >= SEARCH_MS;
    if (!isOver && states.includes('open')) return;
    const isUnknown = states.includes('open') || states.includes('unreachable');
    if (inquiry.found !== undefined) this.counters.found++;
    else if (isUnknown) this.counters.unreachable++;
    else this.counters.absent++;
    inquiry.outcome = isUnknown ? ENOTCONN : EDEADSRCDST;
    for (const { claim } of inquiry.nodes.values()) {
      if (claim?.replica === false) this.counters.conflicts++;
    }
    for (const search of this.#options.segment.searches.list()) {
      if (search.slot === inquiry.slot) this.#endIn(inquiry, search);
    }
    // Those that began later have an inquiry of their own.
    this.#look(nowMs);
  }

  #endIn({ outcome, seekers }: Inquiry, search: Search): void {
    const isCounted = search.endpoint !== undefined && seekers.has(nameOf(search));
    if (isCounted && outcome !== undefined) this.#options.segment.searches.end(search, outcome);
  }
}

// The call that a search is for.
function nameOf({ seeker, callId }: Pick<Search, 'seeker' | 'callId'>): string {
  return `${String(seeker)}:${String(callId)}`;
}
