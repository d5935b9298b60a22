/**
 * Trackers of several nodes on a simulated network that follows from a seed: processes begin and
 * end, links go down and come up, messages are slow or lost with their link, and one node may lie.
 */
import { ErrorNumber } from '../../src/dvk/abi/abi.gen.ts';
import { makeEndpoint, slotOf, type Endpoint, type NodeId } from '../../src/dvk/endpoint.ts';
import type { LinkInfo, ProcessInfo } from '../../src/dvk/info.ts';
import type { Search } from '../../src/dvk/searches.ts';
import { Tracker } from '../../src/proxies/tracker.ts';
import type { Answer, Query } from '../../src/proxies/tracker-codec.ts';
import { seeded } from './datagram-network.ts';

/** One that has ended, or found its process. */
export interface Ended {
  search: Search;
  begunMs: number;
  endedMs: number;
  /** 0: found. */
  error: number;
}

interface Bound {
  endpoint: Endpoint;
  node: number;
}

type Letter = { query: Query } | { answer: Answer } | { gone: Endpoint };

export class TrackerNode {
  readonly node: number;
  readonly tracker: Tracker;
  readonly slots = new Map<number, Bound>();
  readonly waiting = new Map<string, { search: Search; begunMs: number }>();
  readonly ended: Ended[] = [];
  readonly #world: TrackerWorld;
  #calls = 0;
  /** Says that it has whatever it is asked for. */
  lies = false;
  /** Is of a version that does not know queries. */
  isOld = false;

  constructor(world: TrackerWorld, node: number) {
    this.#world = world;
    this.node = node;
    this.tracker = new Tracker(
      {
        node: node as NodeId,
        segment: {
          searches: {
            hasNew: true,
            list: () => [...this.waiting.values()].map(({ search }) => search),
            end: (search, error) => this.#end(search, error),
            bindClaimed: (from, endpoint) => this.#bindClaimed(from, endpoint),
          },
          links: () => world.links(node),
          process: (slot) => this.#process(slot),
          unbindRemote: (endpoint) => {
            this.slots.delete(slotOf(endpoint));
          },
          isMoving: () => false,
        },
        knows: (to) => !world.nodes[to]!.isOld,
        ask: (to, query) => world.post(node, to, { query: { ...query } }),
        answer: (to, answer) => {
          const { slot } = answer;
          const lie = {
            endpoint: makeEndpoint(slot, world.generation),
            level: 'user' as const,
            name: '',
          };
          const owner = this.lies ? { ...lie, replica: false } : answer.owner;
          world.post(node, to, { answer: { ...answer, owner } });
        },
      },
      world.nowMs,
    );
  }

  /** A process of this node looks for `endpoint`. */
  seek(endpoint: Endpoint, home: number | undefined): void {
    const call = ++this.#calls;
    const search: Search = {
      ...{ seeker: makeEndpoint(100 + (call % 50)), callId: call, slot: slotOf(endpoint) },
      ...{ endpoint, home: home as NodeId | undefined },
    };
    this.waiting.set(String(call), { search, begunMs: this.#world.nowMs });
    this.#found();
    this.tracker.wake(this.#world.nowMs);
  }

  receive(from: number, letter: Letter): void {
    const { nowMs } = this.#world;
    if ('gone' in letter) {
      const slot = slotOf(letter.gone);
      const bound = this.slots.get(slot);
      if (bound?.endpoint === letter.gone && bound.node === from) this.slots.delete(slot);
    } else if ('query' in letter) this.tracker.receiveQuery(from as NodeId, letter.query, nowMs);
    else this.tracker.receiveAnswer(from as NodeId, letter.answer, nowMs);
  }

  #end(search: Search, error: number): boolean {
    const key = String(search.callId);
    const waits = this.waiting.get(key);
    if (waits === undefined) return false;
    this.waiting.delete(key);
    this.ended.push({ ...waits, endedMs: this.#world.nowMs, error });
    return true;
  }

  #found(): void {
    for (const { search } of [...this.waiting.values()]) {
      if (this.slots.get(search.slot)?.endpoint === search.endpoint) this.#end(search, 0);
    }
  }

  #bindClaimed(from: NodeId, endpoint: Endpoint): number {
    const slot = slotOf(endpoint);
    const home = this.#world.homeOf(slot);
    if (home !== undefined && home !== from) return -ErrorNumber.EDVSBADFRAME;
    const bound = this.slots.get(slot);
    const isHeld = bound !== undefined && bound.node !== from;
    if (isHeld && (bound.node === this.node || this.#world.isUp(this.node, bound.node))) {
      return -ErrorNumber.EDVSSLOTUSED;
    }
    this.slots.set(slot, { endpoint, node: from });
    this.#found();
    return 0;
  }

  #process(slot: number): ProcessInfo | undefined {
    const bound = this.slots.get(slot);
    if (bound === undefined) return undefined;
    const life = bound.node === this.node ? 'local' : 'remote';
    return { ...bound, slot, life, level: 'user', name: '', replica: false } as ProcessInfo;
  }
}

export class TrackerWorld {
  nowMs = 0;
  /** Of what liars claim. */
  generation = 9;
  readonly nodes: TrackerNode[];
  readonly random: () => number;
  readonly #down = new Set<string>();
  readonly #letters: { from: number; to: number; atMs: number; letter: Letter }[] = [];

  constructor(seed: number, count: number) {
    this.random = seeded(seed);
    this.nodes = Array.from({ length: count }, (_, node) => new TrackerNode(this, node));
  }

  /** Slots from 64 on are of one node each. */
  homeOf(slot: number): number | undefined {
    return slot < 64 ? undefined : (slot - 64) % this.nodes.length;
  }

  isUp(one: number, other: number): boolean {
    return !this.#down.has(`${Math.min(one, other)}-${Math.max(one, other)}`);
  }

  /** Cuts a link, or mends it; what is on it is lost. */
  toggle(one: number, other: number): void {
    const key = `${Math.min(one, other)}-${Math.max(one, other)}`;
    if (this.#down.delete(key)) return;
    this.#down.add(key);
    const isKept = ({ from, to }: { from: number; to: number }): boolean =>
      `${Math.min(from, to)}-${Math.max(from, to)}` !== key;
    this.#letters.splice(0, Infinity, ...this.#letters.filter(isKept));
    // The next session begins without what was known of the node.
    for (const [here, there] of [
      [one, other],
      [other, one],
    ] as const) {
      const { slots } = this.nodes[here]!;
      for (const [slot, bound] of slots) if (bound.node === there) slots.delete(slot);
    }
  }

  mend(): void {
    this.#down.clear();
  }

  links(node: number): LinkInfo[] {
    return this.nodes.map(({ node: other }) => {
      const state = other === node ? 'local' : this.isUp(node, other) ? 'up' : 'down';
      return { node: other, state } as LinkInfo;
    });
  }

  /** The end of a process is announced to all, as the core does. */
  end({ endpoint, node }: Bound): void {
    this.nodes[node]!.slots.delete(slotOf(endpoint));
    for (const { node: to } of this.nodes) if (to !== node) this.post(node, to, { gone: endpoint });
  }

  /** Sends a letter, in order; one in eight of those that may be lost finds the link busy. */
  post(from: number, to: number, letter: Letter): boolean {
    if (!this.isUp(from, to)) return false;
    if (!('gone' in letter) && this.random() < 0.125) return false;
    const behind = this.#letters.filter((one) => one.from === from && one.to === to);
    const atMs = Math.max(this.nowMs + 400 * this.random() ** 4, behind.at(-1)?.atMs ?? 0);
    this.#letters.push({ from, to, atMs, letter });
    return true;
  }

  /** Lets time pass, up to the next tick of all nodes. */
  step(byMs = 100): void {
    const endMs = this.nowMs + byMs;
    for (;;) {
      const next = this.#letters.reduce<number>(
        (best, { atMs }, at) =>
          atMs <= endMs && atMs < (this.#letters[best]?.atMs ?? Infinity) ? at : best,
        -1,
      );
      const [letter] = next < 0 ? [] : this.#letters.splice(next, 1);
      if (letter === undefined) break;
      this.nowMs = Math.max(this.nowMs, letter.atMs);
      this.nodes[letter.to]!.receive(letter.from, letter.letter);
    }
    this.nowMs = endMs;
    for (const { tracker } of this.nodes) tracker.tick(this.nowMs);
  }
}
