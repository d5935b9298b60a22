/**
 * The ledger of a session: how far each lane has come in both directions, and what was sent and is
 * not acknowledged. It is what two proxies know of their session beyond one connection. No I/O.
 *
 *             acknowledged          sent
 *   sent:   ------|====== kept ======|
 *   taken:  ------------|  the next frame that is acted on; the peer is told of it now and then
 *
 * When a connection is lost and the next one reaches the same incarnation of the peer, each side
 * tells how far it has come (see offer.ts), and the other sends the rest again from where it kept
 * it. A frame that comes twice is known by its number, so none is acted on twice. What is kept is
 * bounded: while a lane is full no more is taken from the core, and the callers wait there.
 *
 * Connections may be cut any number of times. What ends a session is a frame that no connection
 * survives: the side that refuses it counts, since its word may be lost, and so does the other one
 * where the peer hears nothing of it.
 *
 * Frames are kept where they were built (see outbox.ts), and given back when the peer has them and
 * no transport reads them any more.
 */
import { viewOf } from './frame.ts';
import type { Lane } from './transport.ts';

const LANES = 2;
/**
 * Bytes of one lane that are sent and not acknowledged, at most, give or take a frame or a run of
 * short ones.
 */
export const KEPT_BYTES_MAX: number = 8 * 1024 * 1024;
// The peer is told at least so often how far its frames were taken: the rest of what it may keep
// is under way meanwhile. What is less is told by the next tick.
const TELL_BYTES = 512 * 1024;
// A lane that has ended so many connections, one after the other, would end the next one too.
const SETBACKS_MAX = 5;

// Whole frames, one after the other.
interface Kept {
  readonly bytes: Uint8Array;
  /** Number of the frame behind the last one. */
  readonly end: number;
  readonly release: () => void;
  /** Transports that may still read the bytes. */
  readers: number;
  acknowledged: boolean;
}

interface LaneState {
  /** Number of the next frame to go out. */
  sent: number;
  /** The peer has taken all before this one. */
  acknowledged: number;
  /** Number of the next frame to come. */
  taken: number;
  kept: Kept[];
  keptBytes: number;
  /** Connections that what came in it has ended soon, and none brought the frame that is due. */
  refusals: number;
  /** Connections that fell silent, or that the peer ended, and by which it took nothing kept. */
  silences: number;
}

const ACKNOWLEDGEMENT_BYTES_MAX = 64;

/** Numbers of frames, one for each lane, as an acknowledgement has them. */
export function bytesOf(numbers: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * numbers.length);
  numbers.forEach((number, i) => {
    viewOf(bytes).setUint32(4 * i, number, true);
  });
  return bytes;
}

export function numbersIn(bytes: Uint8Array): number[] {
  if (bytes.length > ACKNOWLEDGEMENT_BYTES_MAX) return [];
  const view = viewOf(bytes);
  return Array.from({ length: Math.floor(bytes.length / 4) }, (_, i) =>
    view.getUint32(4 * i, true),
  );
}

/** The number of the session after `last`. */
export function nextSession(last: number): number {
  return last >= 0xffff_ffff ? 1 : last + 1;
}

export class Ledger {
  readonly number: number;
  /** Of the peer; another one knows nothing of this session. 64 bits. */
  readonly peerIncarnation: bigint;
  /** Whether it may go over several paths at once (see bond.ts). */
  readonly canBond: boolean;
  /** Number of the last choice of the path that carries it; the dialer chooses. */
  turn = 0;
  /** The connection that the last frame came over. */
  taker: object | undefined;
  #canResume: boolean;
  // Of the connections made for this session, by path; the accepter takes each number once.
  readonly #attempts = new Map<number, number>();
  readonly #lanes: readonly LaneState[];
  #owedBytes = 0;

  constructor(
    number: number,
    options: { peerIncarnation?: bigint; canResume?: boolean; canBond?: boolean } = {},
  ) {
    this.number = number;
    this.canBond = options.canBond ?? false;
    this.peerIncarnation = options.peerIncarnation ?? 0n;
    this.#canResume = options.canResume ?? false;
    this.#lanes = Array.from({ length: LANES }, () => ({
      sent: 0,
      acknowledged: 0,
      taken: 0,
      kept: [],
      keptBytes: 0,
      refusals: 0,
      silences: 0,
    }));
  }

  /** Whether the session may go on over another connection. */
  get canResume(): boolean {
    return (
      this.#canResume &&
      this.#lanes.every(({ refusals, silences }) => Math.max(refusals, silences) < SETBACKS_MAX)
    );
  }

  /** What came in `lane` of a new connection makes no sense, and ends it. */
  noteRefusal(lane: Lane): void {
    this.#of(lane).refusals++;
  }

  /** The connection ends because nothing comes over it, or because the peer says so. */
  noteSilence(): void {
    for (const state of this.#lanes) if (state.kept.length > 0) state.silences++;
  }

  /** The number of the last connection that was made for the session over a path; 0 for none. */
  attemptOn(path: number): number {
    return this.#attempts.get(path) ?? 0;
  }

  noteAttempt(path: number, attempt: number): void {
    this.#attempts.set(path, Math.max(attempt, this.attemptOn(path)));
  }

  /** How far this side has come in each lane: what the peer is told. */
  get taken(): number[] {
    return this.#lanes.map(({ taken }) => taken);
  }

  /** The number of the next frame to go out in `lane`. */
  next(lane: Lane): number {
    const sent = this.upcoming(lane);
    this.skip(lane, 1);
    return sent;
  }

  /** The same, for who does not know yet whether there is one; `skip` then tells. */
  upcoming(lane: Lane): number {
    return this.#of(lane).sent;
  }

  /** `count` frames have got numbers. */
  skip(lane: Lane, count: number): void {
    const state = this.#of(lane);
    state.sent = (state.sent + count) >>> 0;
  }

  /** The number of the next frame to come in `lane`. */
  expected(lane: Lane): number {
    return this.#of(lane).taken;
  }

  /** The next `count` frames, `bytes` bytes in all, came in `lane`. */
  takeRun(lane: Lane, count: number, bytes: number): void {
    const state = this.#of(lane);
    state.taken = (state.taken + count) >>> 0;
    state.refusals = 0;
    this.#owedBytes += bytes;
  }

  /**
   * A frame of `bytes` bytes came in `lane`. How far it is ahead of the one that is due; it is
   * taken when that is 0. Above 2^31 it came before.
   */
  take(lane: Lane, sequence: number, bytes: number): number {
    const state = this.#of(lane);
    const ahead = (sequence - state.taken) >>> 0;
    if (ahead === 0) this.takeRun(lane, 1, bytes);
    return ahead;
  }

  /** Whether the peer should be told how far its frames were taken: now, or at the next tick. */
  owesWord(when: 'now' | 'at the tick'): boolean {
    return this.#owedBytes >= (when === 'now' ? TELL_BYTES : 1);
  }

  /** The peer is told. */
  noteTold(): void {
    this.#owedBytes = 0;
  }

  /** Whether no more is to be sent in `lane` until the peer has acknowledged some of it. */
  isFull(lane: Lane): boolean {
    return this.#of(lane).keptBytes >= KEPT_BYTES_MAX;
  }

  /**
   * `bytes` are the frames built in `lane` since the last call. `release` is called once, when they
   * may be changed; the function returned is for the transport that is done with them.
   */
  keep(lane: Lane, bytes: Uint8Array, release: () => void): () => void {
    if (!this.#canResume) return release;
    const state = this.#of(lane);
    const kept = { bytes, end: state.sent, release, readers: 1, acknowledged: false };
    state.kept.push(kept);
    state.keptBytes += bytes.length;
    return () => {
      unread(kept);
    };
  }

  /**
   * The peer has taken what comes before these numbers, one for each lane. False when that cannot
   * be; what an older word says again is nothing new.
   */
  acknowledge(ends: readonly number[]): boolean {
    if (ends.length !== LANES) return false;
    const isPossible = this.#lanes.every(({ acknowledged, sent }, lane) => {
      const come = (numberAt(ends, lane) - acknowledged) >>> 0;
      return come <= (sent - acknowledged) >>> 0 || come > 0x7fff_ffff;
    });
    if (!isPossible) return false;
    this.#lanes.forEach((state, lane) => {
      this.#acknowledgeIn(state, numberAt(ends, lane));
    });
    return true;
  }

  #acknowledgeIn(state: LaneState, end: number): void {
    const come = (end - state.acknowledged) >>> 0;
    if (come === 0 || come > 0x7fff_ffff) return;
    state.acknowledged = end;
    state.silences = 0;
    const first = state.kept.findIndex((kept) => isBefore(end, kept.end));
    for (const kept of state.kept.splice(0, first < 0 ? state.kept.length : first)) {
      state.keptBytes -= kept.bytes.length;
      forget(kept);
    }
  }

  /**
   * The session goes on over another connection, where the peer has come to these numbers. False
   * when such a number cannot be. Where it goes over several paths, a later word of the peer may
   * have overtaken this one.
   */
  resume(ends: readonly number[]): boolean {
    const isBehind = this.#lanes.some(({ acknowledged }, lane) =>
      isBefore(numberAt(ends, lane), acknowledged),
    );
    if ((isBehind && !this.canBond) || !this.acknowledge(ends)) return false;
    if (!this.canBond) this.#owedBytes = 0;
    return true;
  }

  /** Has `write` send again what is kept, by lane and in order; it calls `done` as a transport. */
  replay(write: (bytes: Uint8Array, done: () => void, lane: Lane) => void): void {
    this.#lanes.forEach(({ kept }, lane) => {
      for (const one of kept) {
        one.readers++;
        write(
          one.bytes,
          () => {
            unread(one);
          },
          lane as Lane,
        );
      }
    });
  }

  /** The session is over: nothing is sent again. */
  drop(): void {
    this.#canResume = false;
    for (const state of this.#lanes) {
      for (const kept of state.kept.splice(0)) forget(kept);
      state.keptBytes = 0;
    }
  }

  #of(lane: Lane): LaneState {
    const state = this.#lanes[lane];
    if (state === undefined) throw new RangeError(`there is no lane ${String(lane)}`);
    return state;
  }
}

function numberAt(numbers: readonly number[], lane: number): number {
  return numbers[lane] ?? 0;
}

function isBefore(a: number, b: number): boolean {
  return a !== b && (b - a) >>> 0 <= 0x7fff_ffff;
}

function unread(kept: Kept): void {
  kept.readers--;
  if (kept.readers === 0 && kept.acknowledged) kept.release();
}

function forget(kept: Kept): void {
  kept.acknowledged = true;
  if (kept.readers === 0) kept.release();
}
