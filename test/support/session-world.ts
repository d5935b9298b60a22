/**
 * Two nodes with proxy engines on a simulated network that follows from a seed: connections are
 * cut, held and damaged, proxies die and come back, nodes stand still. What was taken from the
 * segments, what came, and in which life of a node, is recorded.
 */
import { CommandKind, CommandLayout } from '../../src/dvk/abi/abi.gen.ts';
import type { Clock } from '../../src/dvk/clock.ts';
import { crc32c } from '../../src/dvk/crc32c.ts';
import type { NodeId } from '../../src/dvk/endpoint.ts';
import { UNSEALED, type FrameRun } from '../../src/dvk/frame-runs.ts';
import { Engine, type EngineOptions } from '../../src/proxies/engine.ts';
import { FRAME_BYTES_MAX, FRAME_HEAD_BYTES, FrameDecoder } from '../../src/proxies/frame.ts';
import { framePlace, sealFrame, uint32In, viewOf } from '../../src/proxies/frame.ts';
import { LoopbackNetwork, type LoopbackCable } from '../../src/proxies/loopback.ts';
import type { PathAddress } from '../../src/proxies/path.ts';
import type { PeerAddress } from '../../src/proxies/peer.ts';
import type { ConnectionEvents, Lane, Transport } from '../../src/proxies/transport.ts';
import { seeded } from './datagram-network.ts';
import { FakeSegment } from './fake-segment.ts';
import { ManualClock } from './manual-clock.ts';

const DC = 5;
const PORT = 100;
const STEP_MS = 25;
const STEPS_MAX = 100_000;
const MESSAGE_BYTES = 16;

/** A command as its sender's segment gave it away. */
export interface Taken {
  id: number;
  /** Of the sender's sessions, counted by their ends. */
  session: number;
  isBulky: boolean;
}

/** A command as it came. */
export interface Came {
  id: number;
  /** Which life of the receiver. */
  life: number;
}

/** A segment that knows what it gave away in which session. */
class RecordingSegment extends FakeSegment {
  readonly #record: Taken[];
  readonly #came: Came[];
  readonly #life: number;
  #session: number;

  constructor(node: number, life: number, side: Side) {
    super(DC, node, [0, 1]);
    this.#record = side.taken;
    this.#came = side.came;
    this.#life = life;
    this.#session = (side.taken.at(-1)?.session ?? 0) + 1;
  }

  override linkDown(node: NodeId): void {
    super.linkDown(node);
    this.#session++;
    // As the core does: calls to that node end.
    this.queues.delete(node);
  }

  /** As the addon does it (native/binding/frame_runs.cc). */
  useRuns(): void {
    this.frames = {
      take: (node, run, shortOnly) => this.#takeRun(node, run, shortOnly),
      put: (node, run, end) => this.#putRun(node, run, end),
      lastResult: 0,
    };
  }

  #takeRun(node: NodeId, run: FrameRun, shortOnly: boolean): number {
    const { bytes, at, session, sequence, most } = run;
    const view = viewOf(bytes);
    for (let count = 0; ; count++) {
      const start = at + count * FRAME_HEAD_BYTES;
      if (count === most || start + FRAME_BYTES_MAX > bytes.length) return count;
      const place = framePlace(bytes, view, start);
      if (!this.get2rmt(node, place.command, place.payload, shortOnly)) return count;
      const isShort = uint32In(place.command, CommandLayout.payloadBytes) === 0;
      if (!isShort) return count + UNSEALED;
      sealFrame(place, session, (sequence + count) >>> 0, crc32c);
    }
  }

  #putRun(node: NodeId, run: FrameRun, end: number): number {
    const { bytes, at, session, sequence, most } = run;
    const held = bytes.subarray(at, Math.min(end, at + most * FRAME_HEAD_BYTES));
    const decoder = new FrameDecoder(crc32c, 0, { bufferBytes: held.length });
    decoder.space().set(held);
    decoder.filled(held.length);
    for (let count = 0; ; count++) {
      const frame = count < most ? decoder.next() : undefined;
      const isNext = frame?.session === session && frame.sequence === (sequence + count) >>> 0;
      if (!isNext || frame.kind !== CommandKind.SEND_MSG) return count;
      this.put2lclRaw(node, frame.command, frame.payload);
    }
  }

  override get2rmt(
    node: NodeId,
    target: Uint8Array,
    payload: Uint8Array,
    shortOnly = false,
  ): boolean {
    if (!super.get2rmt(node, target, payload, shortOnly)) return false;
    const view = new DataView(target.buffer, target.byteOffset);
    const id = view.getUint32(CommandLayout.callId, true);
    const isBulky = view.getUint32(CommandLayout.payloadBytes, true) > 0;
    this.#record.push({ id, session: this.#session, isBulky });
    return true;
  }

  override put2lclRaw(node: NodeId, bytes: Uint8Array, payload: Uint8Array): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const id = view.getUint32(CommandLayout.callId, true);
    const said = bytes.slice(CommandLayout.message, CommandLayout.message + MESSAGE_BYTES);
    if (!said.every((byte, i) => byte === byteOf(id, i))) throw new Error(`${id} came damaged`);
    if (!payload.every((byte) => byte === byteOf(id, 0))) throw new Error(`${id} has other data`);
    this.#came.push({ id, life: this.#life });
    return super.put2lclRaw(node, bytes, payload);
  }
}

function byteOf(id: number, at: number): number {
  return (id * 31 + at * 7 + 1) & 0xff;
}

/** One node over all its lives. */
interface Side {
  readonly taken: Taken[];
  readonly came: Came[];
}

interface Timer {
  /** By the node's clock. */
  dueMs: number;
  fire: () => void;
  /** Ends the wait by the world's clock. */
  cancel: () => void;
}

class Node implements Side {
  readonly taken: Taken[] = [];
  readonly came: Came[] = [];
  life = 0;
  /** Timers and the proxy's turns wait while it stands still; its clock goes on. */
  frozenUntilMs = 0;
  /** By so much its clock is ahead of the world's. */
  clockMs = 0;
  /** When the machine was suspended: clock and timers stand still. */
  suspendedMs: number | undefined;
  readonly timers = new Set<Timer>();
  engine!: Engine;
  segment!: RecordingSegment;
}

export class SessionWorld {
  readonly clock = new ManualClock();
  readonly random: () => number;
  /** One for each path between the two nodes. */
  readonly networks: readonly LoopbackNetwork[];
  readonly nodes: readonly [Node, Node] = [new Node(), new Node()];
  /** Networks over which nothing is reached that is not connected already. */
  readonly dark = new Set<LoopbackNetwork>();
  /** Probability that a piece of bytes is damaged on its way. */
  damage = 0;
  /** How often a session went on over another connection, and how often one was given up. */
  resumed = 0;
  givenUp = 0;
  /** How often a session went on over another path that was up. */
  moved = 0;
  readonly #turns: (() => void)[] = [];
  /** Whether short frames go and come many at once. */
  readonly #hasRuns: boolean;
  #nextId = 1;

  // Every other pair of seeds packs all that it can.
  readonly #compress: 'auto' | 'on';

  constructor(seed: number, paths = 1) {
    this.random = seeded(seed);
    const hasLanes = ([false, true, false, 'later'] as const)[seed % 4] ?? false;
    this.#hasRuns = seed % 3 > 0;
    this.#compress = seed % 4 < 2 ? 'on' : 'auto';
    this.networks = Array.from({ length: paths }, () => {
      const defer = (callback: () => void): void => void this.#turns.push(callback);
      return new LoopbackNetwork({ defer, pieceBytes: this.pick(200, 20_000), hasLanes });
    });
  }

  /** All connections. */
  get cables(): LoopbackCable[] {
    return this.networks.flatMap(({ cables }) => [...cables]);
  }

  /** That of the first path. */
  get network(): LoopbackNetwork {
    const [network] = this.networks;
    if (network === undefined) throw new Error('there is no network');
    return network;
  }

  pick(least: number, most: number): number {
    return least + Math.floor(this.random() * (most - least + 1));
  }

  async start(): Promise<void> {
    await this.#boot(1);
    await this.#boot(0);
    this.settle();
  }

  async #boot(node: 0 | 1): Promise<void> {
    const side = this.nodes[node];
    const life = ++side.life;
    const isAlive = (): boolean => side.life === life;
    side.segment = new RecordingSegment(node, life, side);
    if (this.#hasRuns) side.segment.useRuns();
    let wasUp = false;
    side.engine = new Engine({
      dvs: 'lab',
      node: node as NodeId,
      incarnation: BigInt(1000 * (node + 1) + life),
      ...this.#transports(isAlive),
      clock: this.#clockOf(side, isAlive),
      checksum: crc32c,
      random: this.random,
      settings: { holdMs: 1500, steadyMs: 400, compress: this.#compress },
      defer: (callback) =>
        this.#turns.push(() => {
          if (isAlive()) callback();
        }),
      onLink: (_, state) => {
        if (state === 'down') this.givenUp++;
        if (state === 'held') wasUp = true;
        else if (state === 'up' && wasUp) this.resumed++;
        if (state !== 'held') wasUp = false;
      },
      onMove: () => this.moved++,
    });
    const other = 1 - node;
    side.engine.setSegments([side.segment]);
    side.engine.setPeers([{ node: other as NodeId, name: `n${other}`, ...this.#placesOf(other) }]);
    await side.engine.start({ host: 'test', port: PORT + node });
  }

  #placesOf(node: number): Pick<PeerAddress, 'host' | 'port' | 'transport' | 'others'> {
    const place = (path: number): PathAddress => ({
      host: 'test',
      port: PORT + node,
      transport: `net${path}`,
    });
    const others = this.networks.slice(1).map((_, at) => place(at + 1));
    return { ...place(0), others };
  }

  #transports(isAlive: () => boolean): Pick<EngineOptions, 'transport' | 'alternatives'> {
    const [transport, ...alternatives] = this.networks.map((network, path) => ({
      ...this.#transport(network, isAlive),
      name: `net${path}`,
    }));
    if (transport === undefined) throw new Error('there is no network');
    return { transport, alternatives };
  }

  #nowOf(side: Node): number {
    return (side.suspendedMs ?? this.clock.nowMs()) + side.clockMs;
  }

  // A dead proxy does nothing any more; one that stands still does it later.
  #clockOf(side: Node, isAlive: () => boolean): Clock {
    const after = (delayMs: number, callback: () => void): (() => void) => {
      const fire = (): void => {
        timer.cancel();
        side.timers.delete(timer);
        const waitMs = side.frozenUntilMs - this.clock.nowMs();
        if (!isAlive()) return;
        if (waitMs > 0) this.#arm(side, timer, waitMs);
        else callback();
      };
      const timer: Timer = { dueMs: this.#nowOf(side) + delayMs, fire, cancel: () => undefined };
      this.#arm(side, timer, delayMs);
      return () => {
        timer.cancel();
        side.timers.delete(timer);
      };
    };
    return { nowMs: () => this.#nowOf(side), after };
  }

  #arm(side: Node, timer: Timer, waitMs: number): void {
    side.timers.add(timer);
    if (side.suspendedMs === undefined) timer.cancel = this.clock.after(waitMs, timer.fire);
  }

  /** The clock of a node leaps: what it waits for is due at once, or sooner. */
  jump(node: 0 | 1, ms: number): void {
    const side = this.nodes[node];
    side.clockMs += ms;
    this.#rearm(side);
  }

  #rearm(side: Node): void {
    const nowMs = this.#nowOf(side);
    for (const timer of [...side.timers].sort((a, b) => a.dueMs - b.dueMs)) {
      timer.cancel();
      timer.cancel = this.clock.after(Math.max(0, timer.dueMs - nowMs), timer.fire);
    }
  }

  /**
   * The machine of a node is suspended: its clock stands still, nothing reaches it, and nobody is
   * told.
   */
  suspend(node: 0 | 1): void {
    const side = this.nodes[node];
    if (side.suspendedMs !== undefined) return;
    side.suspendedMs = this.clock.nowMs();
    for (const timer of side.timers) timer.cancel();
    for (const cable of this.cables) cable.hold('both');
    for (const network of this.networks) this.dark.add(network);
  }

  /** Goes on as if no time had passed. */
  wake(node: 0 | 1): void {
    const side = this.nodes[node];
    if (side.suspendedMs === undefined) return;
    side.clockMs -= this.clock.nowMs() - side.suspendedMs;
    side.suspendedMs = undefined;
    this.#rearm(side);
    if (this.nodes[1 - node]?.suspendedMs !== undefined) return;
    for (const cable of this.cables) cable.release();
    this.dark.clear();
  }

  #transport(network: LoopbackNetwork, isAlive: () => boolean): Transport {
    const transport = network.transport();
    const lossy = (events: ConnectionEvents): ConnectionEvents => {
      let space: Uint8Array = new Uint8Array(0);
      return {
        opened: (connection) => {
          if (isAlive()) events.opened(connection);
          else connection.destroy();
        },
        space: (lane?: Lane) => (space = events.space(lane)),
        received: (bytes, lane) => {
          if (!isAlive()) return;
          const at = this.pick(0, bytes - 1);
          if (this.random() < this.damage) space[at] = (space[at] ?? 0) ^ this.pick(1, 255);
          events.received(bytes, lane);
        },
        closed: (reason, refusal) => {
          if (isAlive()) events.closed(reason, refusal);
        },
      };
    };
    return {
      ...transport,
      listen: async (address, accept) => {
        const listener = await transport.listen(address, (callOff) => {
          const events = isAlive() ? accept(callOff) : undefined;
          return events && lossy(events);
        });
        this.#listeners.push([address.port, listener.close]);
        return listener;
      },
      connect: (address, events) => {
        if (!this.dark.has(network)) return transport.connect(address, lossy(events));
        this.#turns.push(() => {
          if (isAlive()) events.closed('no route');
        });
        return () => undefined;
      },
    };
  }

  #listeners: [number, () => void][] = [];

  /** The proxy of a node is killed, and started again at once; its segment's calls have ended. */
  async kill(node: 0 | 1): Promise<void> {
    this.wake(node);
    for (const [port, close] of this.#listeners) if (port === PORT + node) close();
    this.#listeners = this.#listeners.filter(([port]) => port !== PORT + node);
    this.nodes[node].life++;
    for (const cable of this.cables) cable.cut();
    this.settle();
    await this.#boot(node);
    this.settle();
  }

  /** Something is queued at a node for the other one. */
  say(from: 0 | 1, count: number): void {
    for (let i = 0; i < count; i++) {
      const id = this.#nextId++;
      const bytes = this.random() < 0.2 ? this.pick(1, 60_000) : 0;
      const message = Uint8Array.from({ length: MESSAGE_BYTES }, (_, at) => byteOf(id, at));
      const payload = new Uint8Array(bytes).fill(byteOf(id, 0));
      this.nodes[from].segment.queue(1 - from, { callId: id }, payload, message);
    }
  }

  settle(turns = Infinity): void {
    for (let turn = 0; turn < turns; turn++) {
      const callback = this.#turns.shift();
      if (!callback) return;
      callback();
    }
  }

  /** One turn after the other until `isDone`, however long that takes by the clock. */
  reach(isDone: () => boolean): void {
    for (let steps = 0; !isDone();) {
      const callback = this.#turns.shift();
      if (callback) callback();
      else this.clock.advance(STEP_MS);
      if (++steps > STEPS_MAX) throw new Error('it is never reached');
    }
  }

  /** Time goes on; with few turns, much is still under way. */
  pass(ms: number, turns = Infinity): void {
    for (let spent = 0; spent < ms; spent += STEP_MS) {
      this.clock.advance(STEP_MS);
      this.settle(turns);
    }
  }
}
