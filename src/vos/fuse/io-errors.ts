/**
 * What programs are told of an error of the file service, and what the operator is told of EIO.
 *
 * A program can be told no more than a number: the codes of DVK's own are beyond what POSIX knows,
 * so they are EIO, and the reason of an error is text. Each failure is counted; of those with one
 * code a line is told at once, and then one in TELL_MS, with how many there were in between.
 */
import { constants } from 'node:os';
import type { Clock } from '../../dvk/clock.ts';
import { EUCLEAN, type SessionCounters } from './answers.ts';

const { EIO } = constants.errno;
/** "Host is down"; Node's table lacks it. */
const EHOSTDOWN = 112;
/** Between two lines about the same code. */
export const TELL_MS = 10_000;
/** Codes that are told apart; all others count as one. */
export const CODES_MAX = 16;
const REASON_CHARS_MAX = 200;
const OTHERS = 'others';

interface Told {
  atMs: number;
  /** Since then. */
  untold: number;
}

export class IoErrors {
  readonly #clock: Clock;
  readonly #counters: Pick<SessionCounters, 'ioErrors'>;
  readonly #tell: (line: string) => void;
  readonly #told = new Map<string, Told>();

  /** `tell` gets lines without their end, and must not throw. */
  constructor(
    clock: Clock,
    counters: Pick<SessionCounters, 'ioErrors'>,
    tell: (line: string) => void,
  ) {
    this.#clock = clock;
    this.#counters = counters;
    this.#tell = tell;
  }

  /** As `errnoOf`, and notes EIO; `what` failed, as "READ of file 12". */
  errnoOf(error: unknown, what: () => string): number {
    const errno = errnoOf(error);
    if (errno === EIO) this.#note(error, what);
    return errno;
  }

  #note(error: unknown, what: () => string): void {
    this.#counters.ioErrors++;
    const told = this.#toldOf(codeOf(causeOf(error) ?? error));
    const nowMs = this.#clock.nowMs();
    if (nowMs < told.atMs + TELL_MS) {
      told.untold++;
      return;
    }
    const more = told.untold > 0 ? ` (and ${String(told.untold)} more since the last line)` : '';
    told.atMs = nowMs;
    told.untold = 0;
    this.#tell(`EIO for ${what()}: ${reasonOf(error)}${more}`);
  }

  #toldOf(code: string): Told {
    const isNew = !this.#told.has(code);
    const key = isNew && this.#told.size >= CODES_MAX ? OTHERS : code;
    const told = this.#told.get(key) ?? { atMs: -Infinity, untold: 0 };
    this.#told.set(key, told);
    return told;
  }
}

/** What made a client give a call up, as EDSTDIED, where it is not the error itself. */
function causeOf(error: unknown): Error | undefined {
  return error instanceof Error && error.cause instanceof Error ? error.cause : undefined;
}

function codeOf(error: unknown): string {
  const hasCode = typeof error === 'object' && error !== null && 'code' in error;
  return hasCode && typeof error.code === 'string' ? error.code : OTHERS;
}

/** On one line. */
function reasonOf(error: unknown): string {
  const cause = causeOf(error);
  const parts = cause === undefined ? [error] : [error, cause];
  const text = parts.map((one) => (one instanceof Error ? one.message : String(one))).join('; ');
  return text.replaceAll(/\s+/g, ' ').slice(0, REASON_CHARS_MAX);
}

const ERRNO: ReadonlyMap<string, number> = new Map<string, number>([
  ...Object.entries(constants.errno),
  ['EUCLEAN', EUCLEAN],
  ['EHOSTDOWN', EHOSTDOWN],
  // ENOTCONN is the kernel's own word for a mount whose gateway died, and whoever sees it detaches
  // the mount.
  ['ENOTCONN', EHOSTDOWN],
  // ENOSYS would make the kernel stop asking for ever.
  ['ENOSYS', EIO],
]);

/** The positive errno of what a file service rejected with. */
export function errnoOf(error: unknown): number {
  if (typeof error !== 'object' || error === null || !('code' in error)) return EIO;
  return (typeof error.code === 'string' ? ERRNO.get(error.code) : undefined) ?? EIO;
}
