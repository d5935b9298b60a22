/**
 * Processes of several nodes that wait for one another, with every message between nodes delayed,
 * and probers that look for cycles: a world for tests of prober.ts.
 *
 * The world knows at each moment who waits for whom in truth, whatever is on its way: that is the
 * oracle. The probers see what a node's core would show them.
 */
import assert from 'node:assert/strict';
import { CommandKind, ProbeStage } from '../../src/dvk/abi/abi.gen.ts';
import { makeEndpoint, type Endpoint, type NodeId } from '../../src/dvk/endpoint.ts';
import type { RemoteWait, WaitEdge } from '../../src/dvk/remote-wait.ts';
import { decodeProbe, encodeProbe, type Probe } from '../../src/proxies/probe.ts';
import { Prober, type WaitTable } from '../../src/proxies/prober.ts';
import { seeded } from './datagram-network.ts';
import { ManualClock } from './manual-clock.ts';

export type WaitKind = 'send' | 'sendrec' | 'receive';

const CALLS = {
  send: CommandKind.SEND_MSG,
  sendrec: CommandKind.SNDREC_MSG,
  receive: CommandKind.NONE,
} as const;
const TICK_MS = 125;
const FORGED_EACH_MS = 20;

export interface Wait {
  readonly waiter: Proc;
  readonly target: Proc;
  readonly kind: WaitKind;
  readonly ticket: bigint;
  readonly callId: number;
  /** Its message has come to the target's node. */
  arrived: boolean;
  /** The target has the request. */
  taken: boolean;
  /** The target has answered, or taken what was sent. */
  answered: boolean;
  /** The waiter waits no more. */
  ended: boolean;
  /** The cycle that it was found to be in last. */
  cycle: Cycle | undefined;
  /** It has waited, through others or not, for a process of the forger. */
  exposed: boolean;
}

export interface Cycle {
  readonly waits: readonly Wait[];
  victims: number;
}

export class Proc {
  readonly endpoint: Endpoint;
  readonly node: number;
  level: number;
  wait: Wait | undefined;
  last: Wait | undefined;
  /** What the last call came to. */
  outcome: 'none' | 'done' | 'ELOCKED' | 'time-out' = 'none';
  /** Waits whose message lies here, and requests that are not answered. */
  queue: Wait[] = [];
  owed: Wait[] = [];
  calls = 0;

  constructor(slot: number, node: number, level: number) {
    this.endpoint = makeEndpoint(slot);
    this.node = node;
    this.level = level;
  }
}

export interface WorldOptions {
  nodes: number;
  processes: number;
  seed: number;
  /** Longest time that a message takes, in ms; each way between two nodes has a part of it. */
  delayMs: number;
  /** In place of that: the time from one node to another. */
  delayOf?: (from: number, to: number) => number;
  /** Part of the probes that are lost. */
  loss?: number;
  /** Calls may time out, and processes answer while they wait. */
  restless?: boolean;
  /**
   * A node that answers probes with forged ones, to every process, so that whatever can be made to
   * fail does.
   */
  forger?: number;
}

export class WaitWorld {
  readonly clock: ManualClock = new ManualClock();
  readonly procs: Proc[];
  readonly random: () => number;
  /** Every cycle across nodes that there was. */
  readonly cycles = new Map<string, Cycle>();
  readonly probers: Prober[];
  probes = 0;
  /** Waits that ended though they were in no cycle. */
  harmed = 0;
  readonly #options: WorldOptions;
  #forgedMs = -FORGED_EACH_MS;
  readonly #byEndpoint: Map<Endpoint, Proc>;
  // At each node, the last call of a process of another one that has come.
  readonly #descriptors: Map<Proc, Wait>[];
  readonly #tickets: bigint[];
  readonly #slowness = new Map<string, number>();
  // When the last message from one node to another arrives.
  readonly #arrivals = new Map<string, number>();
  // Messages on their way that end a receive, by sender and receiver.
  readonly #flying = new Map<string, number>();

  constructor(options: WorldOptions) {
    this.#options = options;
    this.random = seeded(options.seed);
    this.procs = Array.from(
      { length: options.processes },
      (_, i) => new Proc(10 + i, i % options.nodes, this.random() < 0.5 ? 1 : 0),
    );
    this.#byEndpoint = new Map(this.procs.map((proc) => [proc.endpoint, proc]));
    const nodes = Array.from({ length: options.nodes }, (_, node) => node);
    this.#descriptors = nodes.map(() => new Map<Proc, Wait>());
    this.#tickets = nodes.map(() => 0n);
    this.probers = nodes.map((node) => this.#newProber(node));
    for (const node of nodes) this.#tick(node, this.random() * TICK_MS);
  }

  #newProber(node: number): Prober {
    return new Prober({
      node: node as NodeId,
      waits: this.#table(node),
      send: (to, probe) => {
        this.#sendProbe(node, to, probe);
      },
      withdraw: (told) => {
        const wait = this.#byEndpoint.get(told.waiter)?.last;
        assert.ok(wait?.callId === told.callId && wait.ended);
        this.#carry(node, told.node, () => {
          drop(wait.target.queue, wait);
          drop(wait.target.owed, wait);
        });
      },
      newNonce: () => BigInt(Math.floor(this.random() * 2 ** 52)) + 1n,
    });
  }

  #tick(node: number, afterMs: number): void {
    this.clock.after(afterMs, () => {
      this.probers[node]?.tick(this.clock.nowMs());
      this.#tick(node, TICK_MS);
    });
  }

  #sendProbe(from: number, to: number, probe: Probe): void {
    this.probes++;
    if (this.random() < (this.#options.loss ?? 0)) return;
    const route = { dcId: 1, from: from as NodeId, to: to as NodeId };
    const command = encodeProbe(probe, route);
    this.#carry(from, to, () => {
      const decoded = decodeProbe(command);
      assert.deepEqual(decoded, probe);
      if (to === this.#options.forger) this.#forge(to, probe);
      this.probers[to]?.receive(route.from, decoded, this.clock.nowMs());
    });
  }

  // Says of each process of the forger that it waits for each of another node, so that the probe
  // may come back from there.
  #forge(from: number, seen: Probe): void {
    const now = this.clock.nowMs();
    if (now < this.#forgedMs + FORGED_EACH_MS) return;
    this.#forgedMs = now;
    const own = this.procs.filter((proc) => proc.node === from);
    for (const target of this.procs) {
      const source = own[Math.floor(this.random() * own.length)];
      if (target.node === from || source === undefined) continue;
      const forged: Probe = {
        ...seen,
        source: source.endpoint,
        target: target.endpoint,
        call: CommandKind.NONE,
        callId: 0,
        stage: ProbeStage.FOLLOW,
        hops: 8,
        waits: this.random() < 0.5 ? 1 : seen.waits,
        // Of others' probes the nonces are not known.
        nonce: this.random() < 0.5 ? seen.nonce : BigInt(Math.floor(this.random() * 2 ** 52)),
      };
      const anyone = this.#any();
      if (this.random() < 0.3) forged.initiator = anyone.endpoint;
      forged.initiatorNode = this.#byEndpoint.get(forged.initiator)?.node as NodeId;
      forged.initiatorLevel = 2;
      this.#carry(from, target.node, () => {
        this.probers[target.node]?.receive(from as NodeId, forged, this.clock.nowMs());
      });
    }
  }

  // In order between any two nodes; at once on one node.
  #carry(from: number, to: number, arrive: () => void): void {
    if (from === to) {
      arrive();
      return;
    }
    const way = `${from} ${to}`;
    const now = this.clock.nowMs();
    const due = now + (this.#options.delayOf?.(from, to) ?? this.#delayMs(way));
    const atMs = Math.max(due, (this.#arrivals.get(way) ?? 0) + 0.001);
    this.#arrivals.set(way, atMs);
    this.clock.after(atMs - now, arrive);
  }

  #delayMs(way: string): number {
    const slowness = this.#slowness.get(way) ?? this.random() ** 2;
    this.#slowness.set(way, slowness);
    return 1 + this.random() * slowness * this.#options.delayMs;
  }

  // ---- What a node's core shows ----

  #table(node: number): WaitTable {
    const told = (wait: Wait, waits: number, sends: number, digest: bigint): RemoteWait => ({
      waiter: wait.waiter.endpoint,
      target: wait.target.endpoint,
      node: wait.target.node as NodeId,
      call: CALLS[wait.kind],
      callId: wait.callId,
      level: wait.waiter.level,
      ticket: wait.ticket,
      waits,
      sends,
      digest,
    });
    const remote = (proc: Proc | undefined): RemoteWait | undefined =>
      proc?.node === node && proc.wait && proc.wait.target.node !== node
        ? told(proc.wait, 1, 0, mixed(0n, proc.wait))
        : undefined;
    return {
      remoteWaits: () => this.procs.flatMap((proc) => remote(proc) ?? []),
      remoteWait: (waiter) => remote(this.#byEndpoint.get(waiter)),
      followWaits: (edge) => {
        const first = this.#edgeStands(node, edge);
        if (first === undefined) return undefined;
        let { sends } = first;
        let digest = 0n;
        let proc: Proc | undefined = this.#byEndpoint.get(edge.target);
        for (let waits = 1; waits <= this.procs.length; waits++) {
          const wait: Wait | undefined = proc?.wait;
          if (proc?.node !== node || wait === undefined) return undefined;
          digest = mixed(digest, wait);
          if (wait.target.node !== node) return told(wait, waits, sends, digest);
          if (wait.kind !== 'receive' && !wait.taken) sends++;
          proc = wait.target;
        }
        return undefined;
      },
      lockWait: (waiter, ticket) => this.#lock(this.#byEndpoint.get(waiter), ticket),
    };
  }

  #edgeStands(node: number, edge: WaitEdge): { sends: number } | undefined {
    const source = this.#byEndpoint.get(edge.source);
    const target = this.#byEndpoint.get(edge.target);
    if (source?.node !== edge.node || target?.node !== node) return undefined;
    if (edge.call === CALLS.receive) return { sends: 0 };
    const wait = this.#descriptors[node]?.get(source);
    const stands =
      wait?.callId === edge.callId &&
      wait.target === target &&
      !wait.answered &&
      CALLS[wait.kind] === edge.call;
    return stands ? { sends: wait.taken ? 0 : 1 } : undefined;
  }

  #lock(proc: Proc | undefined, ticket: bigint): boolean {
    const wait = proc?.wait;
    if (wait?.ticket !== ticket) return false;
    if (this.#options.forger !== undefined) {
      const own = proc?.node === this.#options.forger;
      assert.ok(
        own || (wait.cycle ?? wait.exposed),
        `${describeWait(wait)} is none of the forger's`,
      );
      if (!own && !this.#cycleOf(wait)) this.harmed++;
      this.#end(wait, 'ELOCKED');
      return true;
    }
    assert.ok(wait.cycle, `a phantom: ${describeWait(wait)} was never in a cycle`);
    if (this.#options.restless !== true) {
      assert.equal(this.#cycleOf(wait)?.length, wait.cycle.waits.length, 'the cycle is gone');
    }
    wait.cycle.victims++;
    assert.equal(wait.cycle.victims, 1, 'a second victim of one cycle');
    this.#end(wait, 'ELOCKED');
    return true;
  }

  // ---- The truth ----

  #stands(wait: Wait): boolean {
    if (wait.ended || wait.answered) return false;
    return wait.kind !== 'receive' || !this.#flying.has(pair(wait.target, wait.waiter));
  }

  /** The cycle that a wait is in now, in truth. */
  #cycleOf(start: Wait): Wait[] | undefined {
    const path: Wait[] = [];
    let wait: Wait | undefined = start;
    while (wait && this.#stands(wait) && path.length <= this.procs.length) {
      path.push(wait);
      wait = wait.target.wait;
      if (wait !== start) continue;
      const sends = path.filter((one) => one.kind !== 'receive' && !one.taken).length;
      return path.length === 2 && sends === 1 ? undefined : path;
    }
    return undefined;
  }

  /** Cycles that stand now. */
  standing(): Wait[][] {
    return this.procs.flatMap(({ wait }) => {
      const cycle = wait && this.#cycleOf(wait);
      return cycle ? [cycle] : [];
    });
  }

  // Call it after each change: only what stands at some moment may be found.
  #note(): void {
    for (const path of this.standing()) {
      const key = path
        .map((wait) => `${wait.waiter.node}:${wait.ticket}`)
        .sort()
        .join(' ');
      let cycle = this.cycles.get(key);
      if (cycle === undefined) this.cycles.set(key, (cycle = { waits: path, victims: 0 }));
      for (const wait of path) wait.cycle = cycle;
    }
    const { forger } = this.#options;
    if (forger === undefined) return;
    for (const { wait } of this.procs) if (wait) wait.exposed ||= this.#leadsTo(wait, forger);
  }

  #leadsTo(start: Wait, node: number): boolean {
    let wait: Wait | undefined = start;
    for (let steps = 0; wait && this.#stands(wait) && steps <= this.procs.length; steps++) {
      if (wait.target.node === node) return true;
      wait = wait.target.wait;
    }
    return false;
  }

  // ---- What processes do ----

  /** Begins a call; false when it would close a cycle on its own node, which is not tried here. */
  call(waiter: Proc, kind: WaitKind, target: Proc): boolean {
    assert.equal(waiter.wait, undefined);
    const ticket = (this.#tickets[waiter.node] ?? 0n) + 1n;
    const wait: Wait = {
      waiter,
      target,
      kind,
      ticket,
      callId: ++waiter.calls,
      arrived: false,
      taken: false,
      answered: false,
      ended: false,
      cycle: undefined,
      exposed: false,
    };
    waiter.wait = waiter.last = wait;
    const local = this.#cycleOf(wait)?.every((one) => one.waiter.node === waiter.node);
    if (local === true) {
      waiter.wait = undefined;
      return false;
    }
    this.#tickets[waiter.node] = ticket;
    if (kind === 'receive') {
      this.#receiveWaiting(wait);
    } else {
      // A message to a client that awaits this one's answer is that answer.
      const answers = waiter.owed.find((one) => one === target.wait || one.waiter === target);
      if (answers) this.#settleOwed(waiter, answers);
      this.#carry(waiter.node, target.node, () => {
        this.#arrive(wait, answers);
      });
    }
    this.#note();
    return true;
  }

  #arrive(wait: Wait, answers: Wait | undefined): void {
    const { waiter, target } = wait;
    wait.arrived = true;
    if (waiter.node !== target.node) {
      const before = this.#descriptors[target.node]?.get(waiter);
      if (before)
        for (const list of [target.queue, ...this.procs.map((p) => p.queue)]) drop(list, before);
      this.#descriptors[target.node]?.set(waiter, wait);
    }
    const waits = target.wait;
    const meets =
      waits !== undefined &&
      ((waits.kind === 'receive' && waits.target === waiter) || waits === answers);
    if (meets) this.#end(waits, 'done');
    if (meets) this.#take(wait);
    else target.queue.push(wait);
    this.#note();
  }

  #receiveWaiting(wait: Wait): void {
    const found = wait.waiter.queue.find((one) => one.waiter === wait.target);
    if (found === undefined) return;
    drop(wait.waiter.queue, found);
    this.#end(wait, 'done');
    this.#take(found);
  }

  #take(wait: Wait): void {
    wait.taken = true;
    if (wait.kind === 'sendrec') wait.target.owed.push(wait);
    else this.#answer(wait);
  }

  #answer(wait: Wait): void {
    wait.answered = true;
    this.#carry(wait.target.node, wait.waiter.node, () => {
      this.#end(wait, 'done');
      this.#note();
    });
  }

  #settleOwed(server: Proc, wait: Wait): void {
    drop(server.owed, wait);
    wait.answered = true;
  }

  #end(wait: Wait, outcome: Proc['outcome']): void {
    if (wait.ended) return;
    wait.ended = true;
    wait.waiter.wait = undefined;
    wait.waiter.outcome = outcome;
    if (wait.waiter.node === wait.target.node) {
      drop(wait.target.queue, wait);
      drop(wait.target.owed, wait);
    }
  }

  /** Takes the oldest message that waits here. */
  receiveAny(proc: Proc): void {
    const wait = proc.queue.shift();
    if (wait) this.#take(wait);
    this.#note();
  }

  reply(server: Proc): void {
    const wait = server.owed.shift();
    if (wait) this.#answer(wait);
    this.#note();
  }

  /** Ends a receive from `sender`, when it arrives. */
  notify(sender: Proc, target: Proc): void {
    const key = pair(sender, target);
    this.#flying.set(key, (this.#flying.get(key) ?? 0) + 1);
    this.#carry(sender.node, target.node, () => {
      const left = (this.#flying.get(key) ?? 1) - 1;
      if (left === 0) this.#flying.delete(key);
      else this.#flying.set(key, left);
      const wait = target.wait;
      if (wait?.kind === 'receive' && wait.target === sender) this.#end(wait, 'done');
      this.#note();
    });
  }

  timeOut(proc: Proc): void {
    if (proc.wait) this.#end(proc.wait, 'time-out');
    this.#note();
  }

  /** One process does one thing, whatever it may do now. */
  stir(): void {
    const proc = this.#any();
    const other = this.#any();
    if (proc === other) return;
    const dice = this.random();
    if (proc.wait) {
      if (this.#options.restless !== true) return;
      if (dice < 0.1) this.timeOut(proc);
      else if (dice < 0.15) this.reply(proc);
      else if (dice < 0.2) this.notify(proc, other);
    } else if (dice < 0.2) {
      this.receiveAny(proc);
    } else if (dice < 0.35) {
      this.reply(proc);
    } else if (dice < 0.45) {
      this.notify(proc, other);
    } else {
      const kinds = ['send', 'sendrec', 'receive'] as const;
      this.call(proc, kinds[Math.floor(this.random() * 3)] ?? 'send', other);
    }
  }

  #any(): Proc {
    return this.procs[Math.floor(this.random() * this.procs.length)]!;
  }
}

function pair(sender: Proc, target: Proc): string {
  return `${sender.endpoint} ${target.endpoint}`;
}

function drop<Item>(list: Item[], item: Item): void {
  const at = list.indexOf(item);
  if (at >= 0) list.splice(at, 1);
}

function mixed(digest: bigint, wait: Wait): bigint {
  const one = (wait.ticket << 20n) ^ BigInt(wait.waiter.endpoint);
  return BigInt.asUintN(64, (digest ^ one) * 0xd6e8feb86659fd93n + 1n);
}

export function describeWait({ waiter, kind, target, ticket }: Wait): string {
  return `${waiter.endpoint}@${waiter.node} ${kind} ${target.endpoint}@${target.node} #${ticket}`;
}
