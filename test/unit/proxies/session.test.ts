// The session between two nodes, step by step: who is let in, when a peer is dead, what is dropped.
// Method: two machines joined by two lists of frames, and a clock that the test turns.
import { describe, expect, it } from 'vitest';
import { CommandKind } from '../../../src/dvk/abi/abi.gen.ts';
import { crc32c } from '../../../src/dvk/crc32c.ts';
import { FrameDecoder, type Frame } from '../../../src/proxies/frame.ts';
import { decodeHello, encodeHello, HELLO_CONSTANTS } from '../../../src/proxies/hello.ts';
import type { Hello } from '../../../src/proxies/hello.ts';
import type { NodeIdentity } from '../../../src/proxies/identity.ts';
import { Session } from '../../../src/proxies/session.ts';
import { downBy, type Down } from '../../../src/proxies/down.ts';
import type { SessionSelf } from '../../../src/proxies/session.ts';
import { numbersIn } from '../../../src/proxies/ledger.ts';
import { Lane } from '../../../src/proxies/transport.ts';
import { command, frame, frameBytes } from '../../support/proxy-frames.ts';

const NO_BYTES: Uint8Array = new Uint8Array(0);
const TIMES = { keepaliveMs: 500, deadMs: 1500, handshakeMs: 3000 };

function self(node: number, changes: Partial<SessionSelf> = {}): SessionSelf {
  return {
    dvs: 'lab',
    node,
    incarnation: BigInt(1000 + node),
    lastSession: () => 0,
    lastLedger: () => undefined,
    pathFault: () => undefined,
    containersFor: () => [7],
    nameOf: (other) => `n${other}`,
    newKey: () => new Uint8Array(32).fill(node),
    ...changes,
  };
}

/** One end, with a record of what it made happen. */
class End {
  readonly session: Session;
  readonly sent: Frame[] = [];
  readonly delivered: number[] = [];
  readonly heard: Hello[] = [];
  upWith: Hello | undefined;
  why: Down | undefined;
  readonly output: { isBusy: boolean };

  constructor(who: SessionSelf, peer?: number) {
    const output = {
      isBusy: false,
      send: (kind: number, bytes: Uint8Array, payload: Uint8Array): void => {
        this.sent.push(frame(bytes, payload, this.#stamp(kind)));
      },
      up: (hello: Hello): void => void (this.upWith = hello),
      containersChanged: (hello: Hello): void => void this.heard.push(hello),
      chosen: (): void => undefined,
      deliver: ({ callId }: Frame): void => void this.delivered.push(callId),
      down: (why: Down): void => {
        expect(this.why).toBeUndefined();
        this.why = why;
      },
    };
    this.output = output;
    this.session = new Session(who, output, 0, { peer, times: TIMES });
  }

  /** A command, as the engine would send it. */
  say(callId: number, kind: number = CommandKind.SEND_MSG, payload = NO_BYTES): Frame {
    return frame(command({ kind, callId }), payload, this.#stamp(kind));
  }

  kinds(): number[] {
    return this.sent.map(({ kind }) => kind);
  }

  #stamp(kind: number): { session: number; sequence: number } {
    return { session: this.session.number, sequence: this.session.sequenceOf(kind) };
  }
}

/** Carries what each end sent to the other until both are silent. */
function settle(a: End, b: End, nowMs = 0): void {
  while (a.sent.length + b.sent.length > 0) {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      for (const one of from.sent.splice(0)) {
        from.session.noteSent(nowMs);
        to.session.noteReceived(nowMs);
        to.session.receive(one, nowMs);
      }
    }
  }
}

/** Two ends; `proven` is who the dialer, then the accepter, has proven to be. */
function pair(
  dialer = self(0),
  accepter = self(1),
  proven: readonly NodeIdentity[] = [],
): [End, End] {
  const ends: [End, End] = [new End(dialer, accepter.node), new End(accepter)];
  ends[1].session.start(proven[0]);
  ends[0].session.start(proven[1]);
  settle(...ends);
  return ends;
}

describe('a peer that has proven who it is', () => {
  const who = (node: number, name = `n${node}`): NodeIdentity => ({ dvs: 'lab', node, name });

  it('is let in as the node that it is', () => {
    const [a, b] = pair(self(0), self(1), [who(0), who(1)]);

    expect([a.session.state, b.session.state]).toEqual(['up', 'up']);
  });

  it('cannot speak for another node, and hears why', () => {
    const [a, b] = pair(self(0), self(4), [who(2), who(4)]);

    const detail = 'it speaks for node 0, but its certificate is for node 2 (n2)';
    expect(b.why).toEqual({ code: 'identity', detail });
    expect(a.why?.detail).toContain(detail);
  });

  it('is not greeted when it is another node than the one that was dialled', () => {
    const [a, b] = pair(self(0), self(1), [who(0), who(2)]);

    const detail = 'it speaks for node 1, but its certificate is for node 2 (n2)';
    expect(a.why).toEqual({ code: 'identity', detail });
    expect(a.upWith ?? b.upWith).toBeUndefined();
  });

  it('is refused under a name that its node does not have here', () => {
    const [, b] = pair(self(0), self(1), [who(0, 'old'), who(1)]);

    const detail = 'its certificate is for node 0 (old), and node 0 is called n0 here';
    expect(b.why).toEqual({ code: 'identity', detail });
  });
});

describe('the exchange of HELLO', () => {
  it('brings the link up on both sides with one session number', () => {
    const [a, b] = pair();

    expect([a.session.state, b.session.state]).toEqual(['up', 'up']);
    expect([a.session.number, b.session.number]).toEqual([1, 1]);
    expect([a.session.peer, b.session.peer]).toEqual([1, 0]);
    expect(b.upWith).toMatchObject({ node: 0, incarnation: 1000n, dvs: 'lab', containers: [7] });
    expect(a.upWith?.voucherKey).toEqual(b.session.voucherKey);
    expect(b.upWith?.voucherKey).toEqual(new Uint8Array(32));
  });

  it.each([
    [0, 0, 1],
    [4, 0, 5],
    [0, 9, 10],
    [9, 9, 10],
  ])('raises the session above the last one of both sides (%i and %i: %i)', (last, other, next) => {
    const [a, b] = pair(
      self(0, { lastSession: () => last }),
      self(1, { lastSession: () => other }),
    );

    expect([a.session.number, b.session.number]).toEqual([next, next]);
  });

  it('is refused by the name of the DVS, and both sides know it', () => {
    const [a, b] = pair(self(0, { dvs: 'lab' }), self(1, { dvs: 'production' }));

    expect(b.why).toEqual({ code: 'dvs', detail: "node of DVS 'lab', not 'production'" });
    expect(a.why?.code).toBe('refused');
    expect(a.why?.detail).toContain("node of DVS 'lab', not 'production'");
  });

  it('is refused when another node answers than was dialled', () => {
    const a = new End(self(0), 2);
    const b = new End(self(1));
    a.session.start();
    settle(a, b);

    expect(b.why).toEqual({ code: 'node', detail: 'this is node 1, not 2' });
    expect(a.why?.code).toBe('refused');
  });

  it('is refused to a node that is not known, and to one that has no business to dial', () => {
    const [, unknown] = pair(self(0), self(1, { nameOf: () => undefined }));
    const [, upward] = pair(self(5), self(1));

    expect(unknown.why).toEqual({ code: 'node', detail: 'node 0 is not expected here' });
    expect(upward.why).toEqual({ code: 'node', detail: 'node 5 does not dial node 1' });
  });

  it.each([
    [{ abiVersion: 99 }, `ABI version 99, not ${HELLO_CONSTANTS.abiVersion}`],
    [{ chunkBytes: 65536 }, 'it takes frames of 65536 bytes at most'],
  ])('is refused to another ABI (%o)', (changes, detail) => {
    const b = new End(self(1));
    const payload = encodeHello({
      ...HELLO_CONSTANTS,
      node: 0,
      incarnation: 1n,
      session: 1,
      keepaliveMs: 500,
      dvs: 'lab',
      voucherKey: new Uint8Array(32),
      containers: [],
      ...changes,
    });

    const hello = command({ kind: CommandKind.HELLO, destinationNode: 1 });
    b.session.receive(frame(hello, payload), 0);

    expect(b.why).toEqual({ code: 'abi', detail });
    expect(b.kinds()).toEqual([CommandKind.SHUTDOWN]);
  });

  it.each([0x16, 0x15])('is refused to a peer that speaks TLS (%i)', (type) => {
    const b = new End(self(1));
    const decoder = new FrameDecoder(crc32c, 1000);
    const hello = new Uint8Array(64);
    hello.set([type, 3, 1, 2, 0]);

    decoder.space().set(hello);
    decoder.filled(hello.length);
    decoder.next();
    if (decoder.fault) b.session.refuse(downBy(decoder.fault), Lane.URGENT);

    const detail = 'the peer speaks TLS, and this node was started with --insecure';
    expect(b.why).toEqual({ code: 'security', detail });
  });

  it('names the wire version of the peer that it cannot talk to', () => {
    const b = new End(self(1));
    const decoder = new FrameDecoder(crc32c, 1000);
    const bytes = frameBytes({ kind: CommandKind.HELLO });
    new DataView(bytes.buffer).setUint16(4, 9, true);

    decoder.space().set(bytes);
    decoder.filled(bytes.length);
    decoder.next();
    if (decoder.fault) b.session.refuse(downBy(decoder.fault), Lane.URGENT);

    const detail =
      'the peer speaks wire version 9, and this node wire versions 1 to 2: upgrade this node';
    expect(b.why).toEqual({ code: 'version', detail });
  });

  it('must come first', () => {
    const b = new End(self(1));

    b.session.receive(frame(command({ kind: 1 }), new Uint8Array(0)), 0);

    expect(b.why?.code).toBe('malformed');
  });

  it('must come in time', () => {
    const b = new End(self(1));

    for (let ms = 100; ms < 3000; ms += 100) b.session.tick(ms);
    expect(b.session.state).toBe('opening');
    b.session.tick(3000);

    expect(b.why?.code).toBe('handshake-time-out');
  });

  it('survives an encoding and any damage to it is noticed or harmless', () => {
    const hello: Hello = {
      ...HELLO_CONSTANTS,
      node: 3,
      incarnation: 0xffff_ffff_ffff_fffen,
      session: 0xffff_ffff,
      keepaliveMs: 500,
      dvs: 'fifteen-letters',
      voucherKey: Uint8Array.from({ length: 32 }, (_, i) => 200 + i),
      containers: [1, 2, 0x7fff_ffff],
    };

    const payload = encodeHello(hello);

    expect(decodeHello(payload)).toEqual(hello);
    expect(decodeHello(payload.subarray(0, payload.length - 1))).toBeUndefined();
    expect(decodeHello(new Uint8Array(48).fill(255))).toBeUndefined();
  });
});

describe('a session', () => {
  it('delivers each command once and in order, and drops what came before', () => {
    const [a, b] = pair();
    const frames = [a.say(1), a.say(2), a.say(3)] as const;

    for (const one of [...frames, frames[1], frames[0]]) b.session.receive(one, 0);

    expect(b.delivered).toEqual([1, 2, 3]);
    expect(b.session.counters.duplicateFrames).toBe(2);
  });

  it('ends when frames are missing', () => {
    const [a, b] = pair();
    a.say(1);

    b.session.receive(a.say(2), 0);

    expect(b.why).toEqual({ code: 'sequence', detail: '1 frames are missing' });
    expect(b.delivered).toEqual([]);
  });

  it('counts the frames of each lane for themselves', () => {
    const [a, b] = pair();
    const bulky = frame(command({ kind: CommandKind.SEND_MSG, callId: 9 }), NO_BYTES, {
      session: a.session.number,
      sequence: a.session.ledger.next(Lane.BULK),
    });
    const urgent = [a.say(1), a.say(2)] as const;

    b.session.receive(urgent[0], 0);
    b.session.receive(urgent[1], 0);
    b.session.receive(bulky, 0, Lane.BULK);
    b.session.receive(bulky, 0, Lane.BULK);

    expect(b.delivered).toEqual([1, 2, 9]);
    expect(b.session.counters.duplicateFrames).toBe(1);
    expect(b.why).toBeUndefined();
  });

  it('drops frames of the session before', () => {
    const [old] = pair();
    const stale = old.say(1);
    const [a, b] = pair(self(0, { lastSession: () => 1 }));

    b.session.receive(stale, 0);
    b.session.receive(a.say(2), 0);

    expect(b.delivered).toEqual([2]);
    expect(b.session.counters.staleFrames).toBe(1);
  });

  it('says NONE when it has nothing else to say, and measures the answer', () => {
    const [a, b] = pair();

    a.session.tick(400);
    expect(a.sent).toEqual([]);
    a.session.tick(500);
    b.session.noteSent(500);
    expect(a.kinds()).toEqual([CommandKind.NONE]);
    settle(a, b, 507);

    expect(a.session.counters.rttMs).toBe(7);
    expect([a.session.state, b.session.state]).toEqual(['up', 'up']);
  });

  it('says nothing that can wait to a peer that does not read, and all of it later', () => {
    const [a, b] = pair();
    for (let nowMs = 100; nowMs <= 3000; nowMs += 100) {
      b.output.isBusy = nowMs < 3000;
      b.session.noteReceived(nowMs);
      b.session.receive(a.say(nowMs), nowMs);
      b.session.tick(nowMs);
      if (b.output.isBusy) expect(b.sent).toEqual([]);
    }

    expect(b.kinds()).toEqual([CommandKind.HELLO | CommandKind.ACK, CommandKind.NONE]);
    expect(a.session.ledger.acknowledge(numbersIn(b.sent[0]!.payload))).toBe(true);
    expect(b.session.ledger.taken[0]).toBe(30);
  });

  it('takes a peer for dead from which nothing came for 1.5 s, and tells it', () => {
    const [a] = pair();

    for (let ms = 125; ms < 1500; ms += 125) a.session.tick(ms);
    expect(a.session.state).toBe('up');
    a.session.tick(1500);

    expect(a.why).toEqual({ code: 'time-out', detail: 'nothing came for 1500 ms' });
    expect(a.kinds().at(-1)).toBe(CommandKind.SHUTDOWN);
  });

  it('takes a part of a frame for a sign of life', () => {
    const [a] = pair();

    for (let ms = 125; ms <= 10_000; ms += 125) {
      if (ms % 1000 === 0) a.session.noteReceived(ms);
      a.session.tick(ms);
    }

    expect(a.session.state).toBe('up');
  });

  it('does not take its own standstill for the death of the peer', () => {
    const [a] = pair();
    a.session.tick(125);

    a.session.tick(60_000);
    expect(a.session.state).toBe('up');
    for (let ms = 60_125; ms <= 62_000; ms += 125) a.session.tick(ms);

    expect(a.why?.code).toBe('time-out');
  });

  it('ends on both sides when one says SHUTDOWN', () => {
    const [a, b] = pair();

    a.session.close({ code: 'stopped', detail: '' });
    settle(a, b);

    expect(b.why).toEqual({ code: 'shutdown', detail: 'the peer left' });
    b.session.receive(a.say(9), 0);
    expect(b.delivered).toEqual([]);
  });

  it('passes on that the DCs of the peer are others', () => {
    let containers = [7];
    const [a, b] = pair(self(0, { containersFor: () => containers }));

    containers = [7, 8];
    a.session.announceContainers();
    settle(a, b);

    expect(b.heard.map((hello) => hello.containers)).toEqual([[7, 8]]);
    expect(b.session.state).toBe('up');
  });

  it('ends when the peer becomes somebody else', () => {
    const [a, b] = pair();
    const payload = encodeHello({ ...b.upWith!, incarnation: 5n });

    b.session.receive(a.say(0, CommandKind.HELLO, payload), 0);

    expect(b.why?.code).toBe('malformed');
  });

  it('cleans and cuts what a peer says about its leave', () => {
    const [a, b] = pair();
    const payload = new TextEncoder().encode(`\u001b[31m${'x'.repeat(5000)}`);

    b.session.receive(a.say(0, CommandKind.SHUTDOWN, payload), 0);

    expect(b.why?.detail).toMatch(/^\?\[31mx+$/);
    expect(b.why?.detail.length).toBe(200);
  });
});
