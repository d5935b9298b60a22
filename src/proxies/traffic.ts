/**
 * What went between this node and one peer for one container: commands, their data, and errors by
 * kind, and what was dropped, by reason.
 *
 * Counting is on the way of every command, so it is a few additions to an array of doubles: exact
 * up to 2^53, which is 9 PB of data. Counters only grow; they begin anew with the proxy, and when
 * the node joins the container again.
 */
import { CommandKind, CommandLayout } from '../dvk/abi/abi.gen.ts';
import { FRAME_HEAD_BYTES, uint32In } from './frame.ts';

/** Why a command that came was not acted on. */
export const DROP_REASONS = [
  /** For a container that is not shared, or not yet; it may have crossed the news of that. */
  'container',
  /** In the name of another node, or a copy that nobody asked for. */
  'forged',
  /** The core could make no sense of it. */
  'malformed',
  /** The core has no use for it any more, as for an answer to a call that was given up. */
  'refused',
  /** A probe for cycles of waits that is no probe, or one too many. */
  'probe',
] as const;
export type DropReason = (typeof DROP_REASONS)[number];
export type Drops = Record<DropReason, number>;

export function newDrops(): Drops {
  return { container: 0, forged: 0, malformed: 0, refused: 0, probe: 0 };
}

export interface KindTraffic {
  /** As in CommandKind; an answer of the kind has `_ACK` for its ending. */
  kind: string;
  commands: number;
  /** Bytes of data that the commands carried. */
  dataBytes: number;
  /** Of the commands, the ones that told an error. */
  errors: number;
}

export interface ContainerTraffic {
  dcId: number;
  state: 'up' | 'down';
  /** Commands that wait in the core for this proxy, and how many there may be. */
  queued: number;
  queueLimit: number;
  /** Kinds that never were seen are left out. */
  sent: KindTraffic[];
  received: KindTraffic[];
  drops: Drops;
}

// Kinds below this, then their answers; what is none of them is counted together.
const KINDS = 32;
const OTHER = 2 * KINDS;
const FIELDS = 3;

const NAMES = new Map(
  Object.entries(CommandKind)
    .filter(([, number]) => number < KINDS)
    .flatMap(([name, number]): [number, string][] => [
      [number, name],
      [KINDS + number, `${name.replace(/_(MSG|RQST|DATA)$/, '')}_ACK`],
    ]),
);

// The first is answered with data; COPYIN_ACK is the answer to COPYIN_DATA.
NAMES.set(KINDS + CommandKind.COPYOUT_RQST, 'COPYOUT_DATA');
NAMES.set(KINDS + CommandKind.COPYIN_RQST, 'COPYIN_RQST_ACK');

function placeOf(kind: number): number {
  const plain = kind & ~CommandKind.ACK;
  if (plain >= KINDS || plain < 0) return OTHER;
  return plain === kind ? plain : KINDS + plain;
}

/** One direction. */
class Tally {
  readonly #counts = new Float64Array(FIELDS * (OTHER + 1));

  note(kind: number, dataBytes: number, isError: boolean): void {
    const at = FIELDS * placeOf(kind);
    const counts = this.#counts;
    counts[at] = (counts[at] ?? 0) + 1;
    counts[at + 1] = (counts[at + 1] ?? 0) + dataBytes;
    if (isError) counts[at + 2] = (counts[at + 2] ?? 0) + 1;
  }

  noteFrames({ bytes, at, count }: CountedFrames): void {
    for (let i = 0, command = at; i < count; i++, command += FRAME_HEAD_BYTES) {
      const kind = uint32In(bytes, command + CommandLayout.kind);
      this.note(kind, 0, isError(kind, bytes, command));
    }
  }

  list(): KindTraffic[] {
    const kinds = Array.from({ length: OTHER + 1 }, (_, place): KindTraffic => {
      const [commands = 0, dataBytes = 0, errors = 0] = this.#counts.subarray(FIELDS * place);
      return { kind: NAMES.get(place) ?? 'OTHER', commands, dataBytes, errors };
    });
    return kinds.filter(({ commands }) => commands > 0);
  }
}

// An answer whose result is negative: the highest bit of the field is set.
function isError(kind: number, bytes: Uint8Array, at = 0): boolean {
  return (kind & CommandKind.ACK) !== 0 && (bytes[at + CommandLayout.result + 3] ?? 0) >= 0x80;
}

/** Frames of commands without data, one behind the other. */
export interface CountedFrames {
  readonly bytes: Uint8Array;
  /** Of the first one's command. */
  readonly at: number;
  readonly count: number;
}

export class Traffic {
  readonly #sent = new Tally();
  readonly #received = new Tally();
  readonly drops: Drops = newDrops();

  noteSent(command: Uint8Array): void {
    const kind = uint32In(command, CommandLayout.kind);
    const dataBytes = uint32In(command, CommandLayout.payloadBytes);
    this.#sent.note(kind, dataBytes, isError(kind, command));
  }

  noteSentFrames(frames: CountedFrames): void {
    this.#sent.noteFrames(frames);
  }

  noteReceivedFrames(frames: CountedFrames): void {
    this.#received.noteFrames(frames);
  }

  noteReceived(kind: number, command: Uint8Array, dataBytes: number): void {
    this.#received.note(kind, dataBytes, isError(kind, command));
  }

  get sent(): KindTraffic[] {
    return this.#sent.list();
  }

  get received(): KindTraffic[] {
    return this.#received.list();
  }
}
