// Frames that the addon takes and acts on in runs (native/binding/frame_runs.cc), beside the same
// one by one (src/proxies/frame.ts): what comes of them is the same, whatever a peer sends. Method:
// two proxy engines with real segments get the same bytes in the same pieces, right ones and wrong
// ones, and one of them has no runs; all that they say and count is compared. DVK_SEED=N runs one
// seed alone.
import { describe, expect, it } from 'vitest';
import { CommandKind, CommandLayout, Limit } from '../../src/dvk/abi/abi.gen.ts';
import { crc32c } from '../../src/dvk/crc32c.ts';
import { ANY, dcId, isDvkError, nodeId, type Process } from '../../src/dvk/index.ts';
import { makeEndpoint, type Endpoint } from '../../src/dvk/endpoint.ts';
import type { FrameRuns } from '../../src/dvk/frame-runs.ts';
import { Engine } from '../../src/proxies/engine.ts';
import { FrameDecoder, type Frame } from '../../src/proxies/frame.ts';
import { encodeHello, HELLO_CONSTANTS } from '../../src/proxies/hello.ts';
import { LoopbackNetwork } from '../../src/proxies/loopback.ts';
import { encodeOffer, FEATURES } from '../../src/proxies/offer.ts';
import { seeded } from '../support/datagram-network.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { frameBytes, type CommandFields } from '../support/proxy-frames.ts';
import { TestSegment } from '../support/segments.ts';
import { TransportEnd } from '../support/transport-end.ts';

const RUNS = 40;
const PIECES = 30;
const DC = 5;
const PEER = 0;
const SELF = 1;
const ADDRESS = { host: 'test', port: 101 };
const SERVER_SLOT = 5;
const CALLERS = 3;
const MEMORY_BYTES = 4000;
const BAD_BURST = 10_000;
// Of the peer: a server, and where clients of it may be; one of the latter is another node's.
const FAR_SERVER = makeEndpoint(9, 0);
const CLIENT_SLOTS = [64, 65, 66, 67, 68, 69, 70, 200];

const [only] = [process.env['DVK_SEED']];
const seeds = only === undefined ? Array.from({ length: RUNS }, (_, i) => i + 1) : [Number(only)];

const ACK = CommandKind.ACK;
const KINDS = [
  ...[CommandKind.SNDREC_MSG, CommandKind.SNDREC_MSG, CommandKind.SNDREC_MSG],
  ...[CommandKind.SEND_MSG, CommandKind.REPLY_MSG, CommandKind.REPLY_MSG],
  ...[CommandKind.NTFY_MSG, CommandKind.ASYNC_MSG, CommandKind.ASYNC_MSG | ACK],
  ...[CommandKind.WITHDRAW, CommandKind.SNDREC_MSG | ACK, CommandKind.SEND_MSG | ACK],
  ...[CommandKind.COPYIN_DATA | ACK, CommandKind.COPYOUT_RQST, CommandKind.COPYIN_DATA],
  ...[CommandKind.PROCBIND, CommandKind.PROBE, CommandKind.PROCINFO, CommandKind.NONE, 99],
];

class World {
  readonly #test = new TestSegment({ nodeId: nodeId(SELF), dcId: dcId(DC) });
  readonly #clock = new ManualClock();
  readonly #turns: (() => void)[] = [];
  readonly #end = new TransportEnd();
  readonly #decoder = new FrameDecoder(crc32c, Limit.COPY_CHUNK_BYTES, { bufferBytes: 1 << 21 });
  readonly #engine: Engine;
  readonly #server: Process;
  readonly #callers: Process[];
  readonly #memory = Uint8Array.from({ length: MEMORY_BYTES }, (_, i) => i % 251);
  readonly #grant: number;
  readonly #calling = new Set<Process>();
  readonly #random: () => number;
  #session = 0;
  #sequence = 0;
  #last: Uint8Array = new Uint8Array(0);
  #readBytes = 0;
  /** Each frame that the engine sent on its link, as it is on the wire. */
  readonly heard: string[] = [];
  /** Numbers of calls of this node that the peer may answer. */
  readonly #calls: { caller: Endpoint; callId: number }[] = [];

  constructor(seed: number, hasRuns: boolean) {
    this.#random = seeded(seed);
    const { segment } = this.#test;
    segment.addNode(nodeId(PEER), 'n0');
    this.#server = segment.bind({ name: 'server', level: 'server', slot: SERVER_SLOT });
    this.#grant = this.#server.grant(this.#memory, 'read', ANY);
    this.#callers = Array.from({ length: CALLERS }, (_, i) => segment.bind({ name: `c${i}` }));
    const frames = hasRuns ? this.#counting(segment.frames) : undefined;
    Object.defineProperty(segment, 'frames', { value: frames });
    const defer = (callback: () => void): void => void this.#turns.push(callback);
    const network = new LoopbackNetwork({ defer, pieceBytes: 1 << 20 });
    this.#engine = new Engine({
      dvs: 'lab',
      node: nodeId(SELF),
      incarnation: 1n,
      transport: network.transport(),
      clock: this.#clock,
      checksum: crc32c,
      // With the common limit most links would end soon.
      settings: seed % 4 === 0 ? {} : { badBurst: BAD_BURST },
      defer,
    });
    this.#network = network;
  }

  readonly #network: LoopbackNetwork;

  /** Frames that went and came in runs of several. */
  inRuns = 0;
  /** Frames with data that the engine sent. */
  withData = 0;

  #counting(frames: FrameRuns): Pick<FrameRuns, 'take' | 'put' | 'lastResult'> {
    const count = (frames: number): number => {
      if (frames > 1) this.inRuns += frames;
      return frames;
    };
    return {
      take: (...asked) => frames.take(...asked),
      put: (...asked) => count(frames.put(...asked)),
      get lastResult() {
        return frames.lastResult;
      },
    };
  }

  async start(): Promise<void> {
    this.#engine.setSegments([this.#test.segment]);
    this.#engine.setPeers([{ node: nodeId(PEER), name: 'n0', host: 'test', port: 100 }]);
    await this.#engine.start(ADDRESS);
    this.#network.transport().connect(ADDRESS, this.#end);
    this.#turn();
    this.#send(this.#hello());
    this.#turn();
    this.#listen();
    // The two HELLOs are of no session.
    this.#sequence = 0;
    this.#send(this.#frame({ kind: CommandKind.PROCBIND, source: FAR_SERVER, level: 1 }));
    this.#turn();
  }

  /** Lets the peer send something, and processes of this node do something. */
  step(): void {
    this.#send(Buffer.concat(Array.from({ length: this.#pick(40) }, () => this.#any())));
    this.#serve();
    this.#call();
    this.#turn();
    this.#listen();
  }

  /** What was counted, here and in the segment. */
  get told(): object {
    const [peer] = this.#engine.statistics().peers;
    const { refused, lastRefused } = this.#engine.statistics();
    const links = this.#test.segment.links().map((link) => ({ ...link, proxyPid: 0 }));
    return { peer, refused, lastRefused, links, closed: this.#end.closedWith };
  }

  async stop(): Promise<void> {
    const stopped = this.#engine.stop();
    this.#turn();
    this.#clock.advance(2000);
    this.#turn();
    await stopped;
    this.#test.remove();
  }

  #hello(): Uint8Array {
    const payload = encodeHello({
      ...HELLO_CONSTANTS,
      node: PEER,
      incarnation: 7n,
      session: 1,
      keepaliveMs: 500,
      dvs: 'lab',
      voucherKey: new Uint8Array(32),
      containers: [DC],
    });
    const offer = encodeOffer({
      ...{ first: 1, last: 2, features: FEATURES, attempt: 0, session: 0, expected: [] },
      ...{ incarnation: 0n, path: 0, joins: false },
    });
    const fields = { kind: CommandKind.HELLO, sourceNode: PEER, destinationNode: SELF };
    const bytes = frameBytes(fields, payload);
    bytes.set(offer, 32 + CommandLayout.message);
    const view = new DataView(bytes.buffer);
    view.setUint32(24, crc32c(bytes.subarray(32)), true);
    view.setUint32(28, crc32c(bytes.subarray(0, 28)), true);
    return bytes;
  }

  #pick(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #turn(): void {
    for (let turn = this.#turns.shift(); turn; turn = this.#turns.shift()) turn();
  }

  #send(bytes: Uint8Array): void {
    // In pieces that do not end where frames do.
    for (let at = 0; at < bytes.length;) {
      const size = 1 + this.#pick(3000);
      this.#end.connection?.write(bytes.subarray(at, at + size), () => undefined);
      if (this.#random() < 0.5) this.#turn();
      at += size;
    }
  }

  #frame(fields: CommandFields, payload?: Uint8Array): Uint8Array {
    const stamp = { session: this.#session, sequence: this.#sequence };
    const isPassing = fields.kind === CommandKind.NONE;
    if (!isPassing) this.#sequence++;
    const nodes = { dcId: DC, sourceNode: PEER, destinationNode: SELF };
    return frameBytes({ ...nodes, ...fields }, payload, stamp);
  }

  #any(): Uint8Array {
    const chance = this.#random();
    if (chance < 0.001) return this.#wrong();
    if (chance < 0.02 && this.#last.length > 0) return this.#last;
    const kind = KINDS[this.#pick(KINDS.length)] ?? 0;
    const data =
      kind === CommandKind.COPYIN_DATA ? new Uint8Array(1 + this.#pick(5000)) : undefined;
    this.#last = this.#frame({ kind, ...this.#parties(kind) }, data);
    return this.#last;
  }

  #parties(kind: number): CommandFields {
    const callId = this.#pick(6);
    if (kind === CommandKind.REPLY_MSG && this.#random() < 0.8) {
      const call = this.#calls.shift();
      if (call) return { source: FAR_SERVER, destination: call.caller, callId: call.callId };
    }
    const slot = CLIENT_SLOTS[this.#pick(CLIENT_SLOTS.length)] ?? 0;
    const source = makeEndpoint(slot, this.#pick(10) === 0 ? 1 : 0);
    const isLost = this.#random() < 0.1;
    const destination = isLost ? makeEndpoint(7, 3) : this.#server.endpoint;
    const dc = this.#random() < 0.02 ? { dcId: 6 } : {};
    const copy =
      kind === CommandKind.COPYOUT_RQST
        ? {
            ...{ copySource: this.#server.endpoint, copySourceGrant: this.#grant },
            ...{ copyDestination: source, copyBytes: 1 + this.#pick(MEMORY_BYTES + 9) },
          }
        : { copyBytes: 64 };
    return { source, destination, callId, requester: source, ...copy, ...dc };
  }

  // What ends the link, or must be seen to be no part of it.
  #wrong(): Uint8Array {
    const good = this.#frame({ kind: CommandKind.SNDREC_MSG, ...this.#parties(1) });
    switch (this.#pick(4)) {
      case 0:
        good[this.#pick(good.length)]! ^= 1 << this.#pick(8);
        return good;
      case 1:
        this.#sequence++;
        return this.#frame({ kind: CommandKind.SEND_MSG, ...this.#parties(1) });
      case 2:
        return Buffer.concat([good, this.#frame({ kind: CommandKind.SEND_MSG, sourceNode: 2 })]);
      default: {
        const stamp = { session: this.#session + 1, sequence: this.#sequence };
        const fields = { dcId: DC, sourceNode: PEER, destinationNode: SELF };
        return Buffer.concat([good, frameBytes({ kind: 10, ...fields }, undefined, stamp)]);
      }
    }
  }

  #serve(): void {
    for (let count = this.#pick(20); count > 0; count--) {
      try {
        this.#server.rcvrqstSync(0);
        this.#server.replySync(this.#server.message.source);
      } catch (error) {
        if (!isDvkError(error)) throw error;
        if (error.code === 'EAGAIN') return;
      }
    }
    if (this.#random() < 0.3)
      attempt(() => {
        this.#server.notify(makeEndpoint(64, 0));
      });
  }

  #call(): void {
    const caller = this.#callers[this.#pick(CALLERS)];
    if (caller === undefined || this.#calling.has(caller)) return;
    this.#calling.add(caller);
    caller.message.type = this.#pick(100);
    // Its end is for another turn of the event loop; there is none before the world stops.
    caller.sendrec(FAR_SERVER).catch(() => undefined);
  }

  #listen(): void {
    const fresh = this.#end.bytes().subarray(this.#readBytes);
    this.#readBytes += fresh.length;
    const space = this.#decoder.space();
    space.set(fresh);
    this.#decoder.filled(fresh.length);
    for (;;) {
      const { bytes, at } = this.#decoder.held;
      const frame = this.#decoder.next();
      if (frame === undefined) break;
      const size = this.#decoder.held.at - at;
      this.#note(frame, Buffer.from(bytes.subarray(at, at + size)));
    }
    if (this.#decoder.fault) throw new Error(`a fault: ${this.#decoder.fault.code}`);
  }

  #note({ kind, callId, payload, command: body }: Frame, bytes: Buffer): void {
    if (kind === CommandKind.HELLO) {
      this.#session = 1;
      return;
    }
    this.heard.push(bytes.toString('hex'));
    if (payload.length > 0) this.withData++;
    if (kind !== CommandKind.SNDREC_MSG || payload.length > 0) return;
    const caller = new DataView(body.buffer, body.byteOffset).getInt32(CommandLayout.source, true);
    this.#calls.push({ caller: caller as Endpoint, callId });
  }
}

function attempt(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!isDvkError(error)) throw error;
  }
}

interface Outcome {
  heard: string[];
  told: object;
}

interface Counts {
  inRuns: number;
  withData: number;
}

async function run(seed: number, hasRuns: boolean): Promise<Outcome & Counts> {
  const world = new World(seed, hasRuns);
  try {
    await world.start();
    for (let piece = 0; piece < PIECES; piece++) world.step();
    const { heard, told, inRuns, withData } = world;
    return { heard, told, inRuns, withData };
  } finally {
    await world.stop();
  }
}

describe('frames in runs', () => {
  // Again alone: DVK_SEED=N npm test -- frame-runs
  it(`come to the same as one by one, with ${seeds.length} seeds`, async () => {
    let frames = 0;
    let blocks = 0;
    for (const seed of seeds) {
      const { inRuns, withData, ...outcome } = await run(seed, true);
      const { heard, told } = await run(seed, false);
      expect(outcome, `seed ${seed}`).toEqual({ heard, told });
      frames += inRuns;
      blocks += withData;
    }
    expect(frames).toBeGreaterThan(20 * seeds.length);
    expect(blocks).toBeGreaterThan(seeds.length);
  });
});
