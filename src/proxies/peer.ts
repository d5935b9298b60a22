/**
 * One other node: the containers shared with it, and the link to it, which is one connection at a
 * time; bond.ts chooses which.
 *
 * A link whose connection is lost is held: the segments are told nothing, calls wait, and nothing
 * is taken from the core, until the session goes on over another connection or is given up.
 *
 * A container is up between two nodes when each is a member of it in the other's segment, which
 * HELLO tells; only then does the segment hear of the link, so no caller waits for a node that
 * would drop its commands.
 */
import { CommandKind, CommandLayout, ErrorNumber } from '../dvk/abi/abi.gen.ts';
import type { Endpoint, NodeId } from '../dvk/endpoint.ts';
import { isDvkError } from '../dvk/errors.ts';
import type { Segment } from '../dvk/segment.ts';
import { UNSEALED } from '../dvk/frame-runs.ts';
import { FRAME_HEAD_BYTES, FrameLayout, uint32In, viewOf, type Frame } from './frame.ts';
import { courtesy } from './courtesy.ts';
import type { Ledger } from './ledger.ts';
import type { Hello } from './hello.ts';
import { Feature } from './offer.ts';
import { TokenBucket } from './admission.ts';
import type { CommandSource, HeldFrames, Link, NextFrames } from './link.ts';
import type { Outbox } from './outbox.ts';
import type { PathAddress } from './path.ts';
import type { WaitTable } from './prober.ts';
import type { Probers } from './probers.ts';
import { encodeRefusal } from './refusal.ts';
import type { ProxySettings } from './settings.ts';
import type { SearchedSegment, Trackers } from './trackers.ts';
import { newDrops, Traffic } from './traffic.ts';
import type { ContainerTraffic, DropReason, Drops } from './traffic.ts';
import type { Vouchers } from './voucher.ts';

/** What a proxy needs of a segment; tests give their own. */
export type ProxySegment = Pick<
  Segment,
  | 'dcId'
  | 'links'
  | 'attachProxy'
  | 'detachProxy'
  | 'linkUp'
  | 'linkDown'
  | 'get2rmt'
  | 'armProxy'
  | 'put2lclRaw'
  | keyof WaitTable
> &
  SearchedSegment & {
    /** Without, commands go and come one by one. */
    readonly frames?: Pick<Segment['frames'], 'take' | 'put' | 'lastResult'> | undefined;
  };

export interface PeerAddress extends PathAddress {
  node: NodeId;
  name: string;
  /** Further paths, each preferred to those behind it; both nodes have the same list. */
  others?: readonly PathAddress[];
}

// More than the callers of a peer can wait for at once that reads what it is told.
const UNREAD_REFUSALS_MAX = 4096;
const NO_PAYLOAD = new Uint8Array(0);
const EDVSBADFRAME = -ErrorNumber.EDVSBADFRAME;
const EDVSSLOTUSED = -ErrorNumber.EDVSSLOTUSED;
const TRACKING: readonly number[] = [CommandKind.PROCINFO, CommandKind.PROCINFO | CommandKind.ACK];
// Commands taken from one container before the others, and the event loop, have their turn. Data
// of so many bytes takes the time of one.
const BURST = 64;
const COST_SHIFT = 10;

/** A container as shared with one peer. */
class SharedContainer implements CommandSource {
  readonly segment: ProxySegment;
  readonly #peer: NodeId;
  readonly #vouchers: Vouchers;
  readonly traffic: Traffic = new Traffic();
  up = false;
  // Of a burst: what may be taken yet, and whether the core had no more.
  #left = 0;
  #isEmpty = false;

  constructor(segment: ProxySegment, peer: NodeId, vouchers: Vouchers) {
    this.segment = segment;
    this.#peer = peer;
    this.#vouchers = vouchers;
  }

  take(outbox: Outbox, next: NextFrames, shortOnly: boolean): number {
    const { frames: runs } = this.segment;
    if (runs === undefined) {
      const { command, payload } = outbox.place();
      this.#isEmpty = !this.segment.get2rmt(this.#peer, command, payload, shortOnly);
      if (this.#isEmpty) return 0;
      courtesy.served(this.segment.dcId);
      return this.#note(command);
    }
    const { bytes, at } = outbox.room();
    const most = this.#left;
    const taken = runs.take(this.#peer, { bytes, at, ...next, most }, shortOnly);
    if (taken > 0) courtesy.served(this.segment.dcId);
    const count = taken % UNSEALED;
    const body = at + FrameLayout.BYTES;
    this.#left -= count;
    this.#isEmpty = taken === count && count < most;
    this.traffic.noteSentFrames({ bytes, at: body, count });
    if (taken === count) return count;
    const command = body + count * FRAME_HEAD_BYTES;
    this.#note(bytes.subarray(command, command + CommandLayout.BYTES));
    return taken;
  }

  #note(command: Uint8Array): number {
    const payloadBytes = uint32In(command, CommandLayout.payloadBytes);
    courtesy.moved(payloadBytes);
    this.#left -= 1 + (payloadBytes >>> COST_SHIFT);
    this.#vouchers.issue(command);
    this.traffic.noteSent(command);
    return UNSEALED;
  }

  statistics(): ContainerTraffic {
    const { dcId } = this.segment;
    const link = this.segment.links().find((entry) => entry.node === this.#peer);
    return {
      dcId,
      state: this.up ? 'up' : 'down',
      queued: link?.queued ?? 0,
      queueLimit: link?.queueLimit ?? 0,
      sent: this.traffic.sent,
      received: this.traffic.received,
      drops: { ...this.traffic.drops },
    };
  }

  /** Forwards up to a burst. Whether more may wait, and the link takes it. */
  drain(link: Link): boolean {
    this.#left = BURST;
    while (this.#left > 0) {
      if (!link.forward(this)) return false;
      if (this.#isEmpty && !this.segment.armProxy(this.#peer, link.shortOnly)) return false;
    }
    return true;
  }
}

export interface PeerCounters {
  /** Commands that were not acted on, but for the forged ones. */
  dropped: number;
  /** Commands in the name of another node, or a copy that nobody asked for. */
  forged: number;
  /** The two by their reasons. */
  drops: Drops;
  /** Times that the link came up after the first, with a session of before or a new one. */
  reconnects: number;
  /** Of these, the ones with the session of before. */
  resumed: number;
  /** Times that the session moved to another path that was up. */
  moves: number;
}

/** What all peers of a node share. */
export interface Surroundings {
  readonly self: NodeId;
  /** Calls back in the next turn of the event loop. */
  readonly defer: (callback: () => void) => void;
  readonly vouchers: Vouchers;
  readonly probers: Probers;
  readonly trackers: Trackers;
  readonly nowMs: () => number;
  /** They may change at any time. */
  readonly settings: ProxySettings;
}

export class Peer {
  readonly node: NodeId;
  readonly #self: NodeId;
  readonly #defer: (callback: () => void) => void;
  readonly #vouchers: Vouchers;
  readonly #probers: Probers;
  readonly #trackers: Trackers;
  readonly #containers = new Map<number, SharedContainer>();
  readonly #nowMs: () => number;
  readonly #settings: ProxySettings;
  readonly #bad: TokenBucket;
  readonly #past: PeerCounters = {
    dropped: 0,
    forged: 0,
    drops: newDrops(),
    reconnects: 0,
    resumed: 0,
    moves: 0,
  };
  #link: Link | undefined;
  #hello: Hello | undefined;
  #features = 0;
  // The session of the link, also while it is held.
  #ledger: Ledger | undefined;
  #takesParts = false;
  // The DCs were others when there was no link to tell of it.
  #owesContainers = false;
  #ups = 0;
  #deferred = false;
  #turn = 0;
  // Refusals sent since the peer last kept up with reading.
  #unreadRefusals = 0;
  /** Highest session number used. */
  lastSession = 0;
  address: PeerAddress;

  constructor(address: PeerAddress, surroundings: Surroundings) {
    this.node = address.node;
    this.address = address;
    this.#self = surroundings.self;
    this.#defer = surroundings.defer;
    this.#vouchers = surroundings.vouchers;
    this.#probers = surroundings.probers;
    this.#trackers = surroundings.trackers;
    this.#nowMs = surroundings.nowMs;
    this.#settings = surroundings.settings;
    this.#bad = new TokenBucket(this.#settings.badBurst, this.#nowMs());
  }

  /** The link that is up. */
  get link(): Link | undefined {
    return this.#link;
  }

  /** The session, when it may go on over another connection. */
  get ledger(): Ledger | undefined {
    return this.#ledger?.canResume === true ? this.#ledger : undefined;
  }

  /** What both nodes can do, bits of `Feature`; 0 while there is no session. */
  get features(): number {
    return this.#ledger === undefined ? 0 : this.#features;
  }

  /** Whether the session has lost its connection, and waits for another. */
  get isHeld(): boolean {
    return this.#ledger !== undefined && this.#link === undefined;
  }

  get counters(): PeerCounters {
    const { drops, ...past } = this.#past;
    const reconnects = Math.max(0, this.#ups - 1);
    return { ...past, drops: { ...drops }, reconnects };
  }

  /** What went between the two nodes, for each DC. */
  traffic(): ContainerTraffic[] {
    return [...this.#containers.values()].map((shared) => shared.statistics());
  }

  /** DCs that both nodes are members of, as seen from here. */
  containers(): number[] {
    return [...this.#containers.keys()];
  }

  /** Of these, the ones that are up. */
  containersUp(): number[] {
    return [...this.#containers].filter(([, shared]) => shared.up).map(([dc]) => dc);
  }

  /**
   * Takes the segments that this node has now.
   *
   * The peer hears of a container before the first command for it, and of a segment that took
   * another's place as of one that went and one that came.
   */
  setSegments(segments: Iterable<ProxySegment>): void {
    const wanted = new Set<ProxySegment>();
    for (const segment of segments) {
      const link = segment.links().find((entry) => entry.node === this.node);
      if (link === undefined) continue;
      wanted.add(segment);
      this.lastSession = Math.max(this.lastSession, link.session);
    }
    const gone = [...this.#containers.values()].filter((shared) => !wanted.has(shared.segment));
    // Whoever there waits for an answer from that container would not hear that it is gone.
    if (gone.length > 0 && this.isHeld) this.lower();
    for (const shared of gone) this.#detach(shared);
    if (gone.length > 0) this.#link?.session.announceContainers();
    const added = [...wanted].filter((segment) => !this.#containers.has(segment.dcId));
    for (const segment of added) this.#attach(segment);
    if (added.length > 0) {
      this.#owesContainers = this.isHeld;
      this.#link?.session.announceContainers();
    }
    this.#reconcile();
  }

  /** A session begins with `link`. Precondition: there is none. */
  begin(link: Link, hello: Hello): void {
    this.#link = link;
    this.#ledger = link.session.ledger;
    this.#takesParts = (link.session.features & Feature.PARTS) !== 0;
    this.#hello = hello;
    this.#features = link.session.features;
    this.#ups++;
    this.lastSession = link.session.number;
    this.#vouchers.add(this.node, link.session.voucherKey, hello.voucherKey);
    this.#reconcile();
  }

  /** The peer told other DCs. */
  renew(hello: Hello): void {
    this.#hello = hello;
    this.#reconcile();
  }

  /**
   * The session goes on over `link`, a connection that was made for it. Precondition: it is held.
   */
  resume(link: Link): void {
    this.#ups++;
    this.#past.resumed++;
    this.#goOn(link);
  }

  /** The same over a connection that has been up. */
  move(link: Link): void {
    this.#past.moves++;
    this.#goOn(link);
  }

  // Keys of vouchers and shared DCs are the session's, so they are as they were.
  #goOn(link: Link): void {
    this.#link = link;
    link.replay();
    if (this.#owesContainers) link.session.announceContainers();
    this.#owesContainers = false;
    this.#reconcile();
  }

  /** The connection is lost. What the link has built is kept for the next one. */
  hold(): void {
    const link = this.#link;
    if (link === undefined) return;
    link.flush();
    this.#link = undefined;
  }

  /** The session is over: every call that waits for the peer ends. */
  lower(): void {
    this.hold();
    this.#ledger?.drop();
    this.#ledger = undefined;
    this.#hello = undefined;
    this.#owesContainers = false;
    this.#vouchers.remove(this.node);
    for (const shared of this.#containers.values()) this.#setUp(shared, false);
  }

  /** Forgets everything; the peer is no node of the DVS any more, or this proxy ends. */
  remove(): void {
    this.lower();
    for (const shared of [...this.#containers.values()]) this.#detach(shared);
  }

  /** Forwards what waits in all containers; call `flush` of the link after it. */
  pump(): void {
    const link = this.#link;
    if (!link) return;
    let more = false;
    for (const shared of this.#inTurn()) {
      if (shared.up && shared.drain(link)) more = true;
    }
    if (!more || this.#deferred) return;
    // The event loop has its turn before the next burst, for what the peer sends.
    this.#deferred = true;
    this.#defer(() => {
      this.#deferred = false;
      this.pump();
      this.#link?.flush();
    });
  }

  // Another container is the first each time: a busy link has room for the first ones only.
  #inTurn(): Iterable<SharedContainer> {
    const { size } = this.#containers;
    if (size < 2) return this.#containers.values();
    const all = [...this.#containers.values()];
    this.#turn = (this.#turn + 1) % size;
    return [...all.slice(this.#turn), ...all.slice(0, this.#turn)];
  }

  /**
   * Acts on a command of the peer. One for a container that is not shared is dropped: it may have
   * crossed the news. One in the name of another node is no mistake, and ends the link.
   */
  deliver(frame: Frame, link: Link): void {
    const { sourceNode, destinationNode, command } = frame;
    if (sourceNode !== this.node || destinationNode !== this.#self) {
      this.#drop('forged');
      const detail = `a command from node ${sourceNode} to node ${destinationNode}`;
      link.session.close({ code: 'identity', detail: `it sent ${detail}` });
      return;
    }
    const shared = this.#containers.get(frame.dcId);
    if (shared?.up !== true) {
      this.#drop('container');
      return;
    }
    courtesy.served(frame.dcId);
    shared.traffic.noteReceived(frame.kind, command, frame.payload.length);
    if (frame.kind === CommandKind.PROBE) {
      if (!this.#probers.receive(shared.segment, this.node, command)) this.#drop('probe', shared);
    } else if (TRACKING.includes(frame.kind)) {
      const isHonest = this.#trackers.receive(shared.segment, this.node, command);
      if (!isHonest) this.#drop('malformed', shared);
    } else if (!this.#vouchers.accepts(command)) {
      this.#drop('forged', shared);
    } else {
      const result = shared.segment.put2lclRaw(this.node, command, frame.payload);
      courtesy.moved(frame.payload.length);
      if (result !== 0) this.#refuse(shared, command, result);
    }
  }

  /** The same for frames that came together, as long as nothing is out of the ordinary. */
  deliverRun({ bytes, at, end, session, sequence }: HeldFrames, link: Link): void {
    const body = at + FrameLayout.BYTES;
    const shared = this.#containers.get(uint32In(bytes, body + CommandLayout.dcId));
    const runs = shared?.segment.frames;
    if (runs === undefined || shared?.up !== true) return;
    const run = { bytes, at, session, sequence, most: BURST };
    const count = runs.put(this.node, run, end);
    if (count === 0) return;
    courtesy.served(shared.segment.dcId);
    const result = runs.lastResult;
    shared.traffic.noteReceivedFrames({ bytes, at: body, count });
    link.delivered(count);
    if (result === 0) return;
    const last = body + (count - 1) * FRAME_HEAD_BYTES;
    this.#refuse(shared, bytes.subarray(last, last + CommandLayout.BYTES), result);
  }

  // The core did not act on a command. Who waits for its answer is told why, and when the process
  // that it comes from has the slot of another one, it is found out who is right.
  #refuse(shared: SharedContainer, command: Uint8Array, result: number): void {
    this.#drop(result === EDVSBADFRAME ? 'malformed' : 'refused', shared);
    if (result === EDVSSLOTUSED) {
      const source = viewOf(command).getInt32(CommandLayout.source, true);
      this.#trackers.dispute(shared.segment, source as Endpoint);
    }
    const refusal = encodeRefusal(command, result);
    if (refusal !== undefined && this.#takesRefusals()) this.send(shared.segment.dcId, refusal);
  }

  // They are not taken from the core, where callers wait with one command each, so a peer that asks
  // without end and reads nothing could pile them up here.
  #takesRefusals(): boolean {
    const link = this.#link;
    this.#unreadRefusals = link?.congested === true ? this.#unreadRefusals + 1 : 0;
    if (this.#unreadRefusals <= UNREAD_REFUSALS_MAX) return true;
    link?.session.close({ code: 'rate', detail: 'it asks on, and reads none of the answers' });
    return false;
  }

  // What honest nodes send as well, when news cross, is not held against the peer.
  #drop(reason: DropReason, shared?: SharedContainer): void {
    const past = this.#past;
    if (reason === 'forged') past.forged++;
    else past.dropped++;
    past.drops[reason]++;
    if (shared) shared.traffic.drops[reason]++;
    if (reason !== 'forged' && reason !== 'malformed') return;
    const { badBurst: burst, badPerSecond: perSecond } = this.#settings;
    if (this.#bad.take({ burst, perSecond }, this.#nowMs())) return;
    const detail = `more than ${perSecond} commands a second that no honest node sends`;
    this.#link?.session.close({ code: 'rate', detail });
  }

  /**
   * Sends a command of this proxy's own, behind all that was taken from the core. Returns whether
   * it did: what can be asked again is not sent when the link is busy.
   */
  send(dcId: number, command: Uint8Array): boolean {
    const link = this.#link;
    const shared = this.#containers.get(dcId);
    if (!link || shared?.up !== true) return false;
    const kind = viewOf(command).getUint32(CommandLayout.kind, true);
    const isRepeatable = kind === CommandKind.PROBE || TRACKING.includes(kind);
    if (isRepeatable && link.congested) return false;
    link.send(kind, command, NO_PAYLOAD);
    link.flush();
    if (TRACKING.includes(kind)) shared.traffic.noteSent(command);
    return true;
  }

  #attach(segment: ProxySegment): void {
    const shared = new SharedContainer(segment, this.node, this.#vouchers);
    const attached = whileMember(() => {
      segment.attachProxy(this.node, () => {
        if (!this.#link || !shared.up) return;
        if (shared.drain(this.#link)) this.pump();
        this.#link.flush();
      });
      // A proxy that was killed left the link up, and commands on the way that nobody will answer.
      segment.linkDown(this.node);
    });
    if (attached) this.#containers.set(segment.dcId, shared);
  }

  #detach(shared: SharedContainer): void {
    this.#setUp(shared, false);
    shared.segment.detachProxy(this.node);
    this.#containers.delete(shared.segment.dcId);
  }

  #reconcile(): void {
    const link = this.#link;
    const theirs = new Set(this.#hello?.containers);
    for (const [dc, shared] of this.#containers) {
      this.#setUp(shared, this.#ledger !== undefined && theirs.has(dc));
    }
    this.pump();
    link?.flush();
  }

  #setUp(shared: SharedContainer, up: boolean): void {
    if (shared.up === up) return;
    const done = whileMember(() => {
      if (up) shared.segment.linkUp(this.node, this.#ledger?.number ?? 0, this.#takesParts);
      else shared.segment.linkDown(this.node);
    });
    shared.up = up && done;
  }
}

/** Does what fails once the peer was taken out of the DC, which the daemon tells afterwards. */
function whileMember(act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if (isDvkError(error)) return false;
    throw error;
  }
}
