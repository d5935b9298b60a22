/**
 * Finds cycles of waits that cross nodes, by probes that follow the waits (Chandy, Misra, Haas,
 * "Distributed Deadlock Detection", TOCS 1983, section 3: each process waits for one other at
 * most). A machine without I/O for one container on one node: waits, probes and ticks go in.
 *
 * When a call has waited for a process of another node for a while, its node sends a probe there.
 * That node follows the waits of its own processes from the target on to one that leaves it, and
 * sends the probe along that; a path that ends ends the probe. A probe that comes back to the wait
 * that it began with has found a cycle. It goes around once more, and when it has passed the same
 * waits again, the wait ends with ELOCKED. Nodes on the way keep nothing, and answer no frame with
 * more than one. A probe that is lost is a delay: while the wait lasts others follow, in growing
 * intervals.
 *
 * No phantom. A wait has a ticket of its own, and the probe carries a digest of those it passed.
 * When the second round passes the same ones, each stood from its look in the first round to its
 * look in the second, so all of them stood in the moment when the second began. Whether a call was
 * answered is asked where it is answered, so an answer on its way counts as one. What a receive
 * waits for may be on its way: so before its target's node follows, it sends the probe back to the
 * waiter's, behind everything that it has sent, and that one looks again whether its process waits.
 *
 * One victim. Each wait has one successor, so every probe of a cycle passes every wait that leaves
 * a node in it. Of two of these one ranks first (`ranksBefore`), and it drops the probes of the
 * others and sends its own. So the first in rank alone hears of its probe again, however many
 * begin at once, and its wait ends once.
 *
 * Trust. A node is believed what it says of its own processes' waits, and no more: who forges a
 * probe does not know the nonce of another's, which is new in each round and goes where the waits
 * lead. So a node can fail calls that wait for its own processes, in the end, and those alone.
 */
import { CommandKind, ProbeStage } from '../dvk/abi/abi.gen.ts';
import { slotOf, type Endpoint, type NodeId } from '../dvk/endpoint.ts';
import type { RemoteWait, WaitEdge } from '../dvk/remote-wait.ts';
import type { Probe } from './probe.ts';

/** What a prober needs of a segment. */
export interface WaitTable {
  remoteWaits(): RemoteWait[];
  remoteWait(waiter: Endpoint): RemoteWait | undefined;
  followWaits(edge: WaitEdge): RemoteWait | undefined;
  lockWait(waiter: Endpoint, ticket: bigint): boolean;
}

export interface ProberOptions {
  node: NodeId;
  waits: WaitTable;
  /** Sends a probe to a node; nothing happens when that cannot be done now. */
  send: (to: NodeId, probe: Probe) => void;
  /** Tells the node of the target that a wait has ended with ELOCKED. */
  withdraw: (wait: RemoteWait) => void;
  /** 64 random bits that nobody can guess. */
  newNonce: () => bigint;
}

/** A wait is looked into when it has lasted for this long; faster calls cost nothing. */
export const PROBE_AFTER_MS = 50;
// Between two probes for one wait: doubled each time.
const PAUSE_FIRST_MS = 200;
const PAUSE_LONGEST_MS = 5000;
// A probe that another one brings about comes this long after the one before, or later.
const PROMPT_MS = 100;
/** Links that a probe crosses at most: a longer cycle is not found. */
export const PROBE_HOPS_MAX = 256;
// Begun in one tick; others wait for the next.
const BEGUN_AT_ONCE = 64;
// Looked at from one node: a burst, and so many in a second.
const RECEIVED_BURST = 256;
const RECEIVED_A_SECOND = 512;
const NO_NONCE = 0n;

/** What is known of one wait of this node; there is one for each process at most. */
interface Inquiry {
  readonly ticket: bigint;
  /** When the next probe is due. */
  dueMs: number;
  pauseMs: number;
  begunMs: number;
  /** A probe was brought about by another one since the last that was due. */
  prompted: boolean;
  /** Of the probe that is awaited. */
  nonce: bigint;
  /** What the first round has passed, once it is done. */
  first: bigint | undefined;
}

/** How many probes of a node are looked at. */
interface Allowance {
  left: number;
  atMs: number;
}

/** Who of a cycle gives up. */
interface Rank {
  level: number;
  endpoint: Endpoint;
  node: NodeId;
}

/**
 * Whether `one` gives up rather than `other`. A server does before its clients: it goes on, with an
 * error, and answers those who wait for it, while a client may never look who calls it.
 */
export function ranksBefore(one: Rank, other: Rank): boolean {
  if (one.level !== other.level) return one.level > other.level;
  const slots = slotOf(one.endpoint) - slotOf(other.endpoint);
  if (slots !== 0) return slots < 0;
  return one.node !== other.node ? one.node < other.node : one.endpoint < other.endpoint;
}

export class Prober {
  readonly #options: ProberOptions;
  readonly #inquiries = new Map<Endpoint, Inquiry>();
  readonly #allowances = new Map<NodeId, Allowance>();

  constructor(options: ProberOptions) {
    this.#options = options;
  }

  /** Time goes on. Call it every PROBE_AFTER_MS or so. */
  tick(nowMs: number): void {
    const waits = this.#options.waits.remoteWaits();
    const waiters = new Set(waits.map((wait) => wait.waiter));
    for (const waiter of this.#inquiries.keys()) {
      if (!waiters.has(waiter)) this.#inquiries.delete(waiter);
    }
    let begun = 0;
    for (const wait of waits) {
      const inquiry = this.#inquiryOf(wait, nowMs);
      if (nowMs < inquiry.dueMs || begun >= BEGUN_AT_ONCE) continue;
      begun++;
      inquiry.dueMs = nowMs + inquiry.pauseMs;
      inquiry.pauseMs = Math.min(2 * inquiry.pauseMs, PAUSE_LONGEST_MS);
      inquiry.prompted = false;
      this.#begin(inquiry, wait, nowMs);
    }
  }

  /** A probe came from the node `from`, which is known to have sent it; it is not trusted. */
  receive(from: NodeId, probe: Probe, nowMs: number): void {
    if (probe.hops > PROBE_HOPS_MAX || !this.#allows(from, nowMs)) return;
    if (probe.stage === ProbeStage.ECHO) this.#settle(from, probe);
    else this.#follow(from, probe, nowMs);
  }

  #inquiryOf(wait: RemoteWait, nowMs: number): Inquiry {
    const known = this.#inquiries.get(wait.waiter);
    if (known?.ticket === wait.ticket) return known;
    const inquiry = {
      ticket: wait.ticket,
      dueMs: nowMs + PROBE_AFTER_MS,
      pauseMs: PAUSE_FIRST_MS,
      begunMs: -Infinity,
      prompted: false,
      nonce: NO_NONCE,
      first: undefined,
    };
    this.#inquiries.set(wait.waiter, inquiry);
    return inquiry;
  }

  #begin(inquiry: Inquiry, wait: RemoteWait, nowMs: number): void {
    inquiry.begunMs = nowMs;
    inquiry.first = undefined;
    this.#goAround(inquiry, wait);
  }

  #goAround(inquiry: Inquiry, wait: RemoteWait): void {
    inquiry.nonce = this.#options.newNonce();
    this.#sendAlong(wait, {
      initiator: wait.waiter,
      initiatorNode: this.#options.node,
      initiatorLevel: wait.level,
      nonce: inquiry.nonce,
      hops: PROBE_HOPS_MAX,
      waits: 0,
      sends: 0,
      digest: 0n,
    });
  }

  #sendAlong(
    wait: RemoteWait,
    carried: Omit<Probe, 'source' | 'target' | 'call' | 'callId' | 'ticket' | 'stage'>,
  ): void {
    this.#options.send(wait.node, {
      ...carried,
      source: wait.waiter,
      target: wait.target,
      call: wait.call,
      callId: wait.callId,
      ticket: wait.ticket,
      stage: wait.call === CommandKind.NONE ? ProbeStage.ASK : ProbeStage.FOLLOW,
    });
  }

  // The target's node has sent this behind all that the waiter could have received from there.
  #settle(from: NodeId, probe: Probe): void {
    const wait = this.#options.waits.remoteWait(probe.source);
    const same =
      wait?.ticket === probe.ticket &&
      wait.target === probe.target &&
      wait.node === from &&
      wait.call === CommandKind.NONE;
    if (same) this.#options.send(from, { ...probe, stage: ProbeStage.FOLLOW });
  }

  #follow(from: NodeId, probe: Probe, nowMs: number): void {
    const { source, target, call, callId } = probe;
    const wait = this.#options.waits.followWaits({ node: from, source, target, call, callId });
    if (wait === undefined) return;
    if (probe.stage === ProbeStage.ASK) {
      this.#options.send(from, { ...probe, stage: ProbeStage.ECHO });
      return;
    }
    const passed = {
      ...probe,
      hops: probe.hops - 1,
      waits: probe.waits + wait.waits,
      sends: probe.sends + wait.sends,
      digest: joined(probe.digest, wait.digest),
    };
    const initiator = {
      level: probe.initiatorLevel,
      endpoint: probe.initiator,
      node: probe.initiatorNode,
    };
    const own = { level: wait.level, endpoint: wait.waiter, node: this.#options.node };
    if (own.node === initiator.node && own.endpoint === initiator.endpoint) {
      this.#comeBack(wait, passed);
    } else if (ranksBefore(own, initiator)) {
      this.#prompt(wait, nowMs);
    } else if (probe.hops > 0) {
      this.#sendAlong(wait, passed);
    }
  }

  #comeBack(wait: RemoteWait, probe: Probe): void {
    const inquiry = this.#inquiries.get(wait.waiter);
    if (inquiry?.ticket !== wait.ticket) return;
    if (inquiry.nonce === NO_NONCE || inquiry.nonce !== probe.nonce) return;
    inquiry.nonce = NO_NONCE;
    // Of two processes the one may send while the other receives from it: they meet.
    if (probe.waits === 2 && probe.sends === 1) return;
    if (inquiry.first === undefined) {
      inquiry.first = probe.digest;
      this.#goAround(inquiry, wait);
    } else if (inquiry.first === probe.digest) {
      const locked = this.#options.waits.lockWait(wait.waiter, wait.ticket);
      if (locked && wait.call !== CommandKind.NONE) this.#options.withdraw(wait);
    }
  }

  // The wait ranks before one that leads to it. What the other saw may be new, so it is looked
  // into at once, but once only until its own next probe is due: a probe must have time to go
  // around.
  #prompt(wait: RemoteWait, nowMs: number): void {
    const inquiry = this.#inquiryOf(wait, nowMs);
    if (inquiry.prompted || nowMs - inquiry.begunMs < PROMPT_MS) return;
    inquiry.prompted = true;
    this.#begin(inquiry, wait, nowMs);
  }

  #allows(from: NodeId, nowMs: number): boolean {
    const allowance = this.#allowances.get(from) ?? { left: RECEIVED_BURST, atMs: nowMs };
    this.#allowances.set(from, allowance);
    const more = (Math.max(0, nowMs - allowance.atMs) * RECEIVED_A_SECOND) / 1000;
    allowance.left = Math.min(RECEIVED_BURST, allowance.left + more);
    allowance.atMs = nowMs;
    if (allowance.left < 1) return false;
    allowance.left--;
    return true;
  }
}

// Any odd number mixes; this is 2^64 divided by the golden ratio.
const MIXER = 0x9e3779b97f4a7c15n;

function joined(before: bigint, next: bigint): bigint {
  return BigInt.asUintN(64, before * MIXER) ^ next;
}
