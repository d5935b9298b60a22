/**
 * Errors of the system: one class, matched by `code` and never by text.
 *
 * Native calls return -errno; this file gives the number its name and its sentence. Names beyond
 * POSIX and their sentences come from the ABI schema; POSIX numbers are the host's.
 */
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';

import { ERRORS } from './abi/schema.ts';
import { formatEndpoint, type Endpoint, type NodeId } from './endpoint.ts';

/** What the failed call was about. */
export interface ErrorDetails {
  endpoint?: Endpoint | undefined;
  node?: NodeId | undefined;
  /** Said after the error's sentence, in brackets. */
  reason?: string | undefined;
  cause?: unknown;
}

const POSIX_SENTENCES: Readonly<Record<string, string>> = {
  EPERM: 'the caller may not do that',
  ENOENT: 'no such file or directory',
  ESRCH: 'no such process',
  EINTR: 'the call was interrupted by a signal',
  EIO: 'input or output failed',
  EBADF: 'no such descriptor, or it is closed',
  EAGAIN: 'nothing is ready now',
  EALREADY: 'it is done already',
  ENOMEM: 'no memory is free',
  EACCES: 'permission denied',
  EFAULT: 'the address is not in the memory of that process',
  EBUSY: 'a call is under way already',
  EEXIST: 'it exists already',
  EINVAL: 'an argument is not valid',
  EMFILE: 'too many descriptors are open',
  ENOSPC: 'no space is left',
  EDQUOT: 'the quota is used up',
  ERANGE: 'a number is out of range',
  ENOTCONN: 'the other node is not connected',
  ETIMEDOUT: 'the time is over',
  ECANCELED: 'the call was called off',
  ENOSYS: 'this host cannot do that',
};

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(ERRORS).map(([name, [number]]) => [number, name]),
);
/** Numbers of Linux that libuv has no names for; the table of Node.js lacks the last too. */
const LINUX_NAMES: ReadonlyMap<number, string> = new Map([
  ...Object.entries(constants.errno).map(([name, number]) => [number, name] as const),
  [117, 'EUCLEAN'],
]);
const NUMBERS: ReadonlyMap<string, number> = new Map([
  ...Object.entries(constants.errno),
  ...Object.entries(ERRORS).map(([name, [number]]) => [name, number] as const),
]);
const SENTENCES: ReadonlyMap<string, string> = new Map([
  ...Object.entries(POSIX_SENTENCES),
  ...Object.entries(ERRORS).map(([name, [, sentence]]) => [name, sentence] as const),
]);

/**
 * The name of an error number (its sign does not matter), as `EDVSGRANT`; `E<number>` when it has
 * none.
 */
export function errorName(errno: number): string {
  const number = Math.abs(errno);
  const known = NAMES.get(number);
  if (known !== undefined) return known;
  try {
    const name = getSystemErrorName(-number);
    if (!name.startsWith('Unknown')) return name;
  } catch {
    // The number is out of range.
  }
  return LINUX_NAMES.get(number) ?? `E${String(number)}`;
}

/** The negative number of an error's name, or undefined for a name that this host does not know. */
export function errorNumber(code: string): number | undefined {
  const number = NUMBERS.get(code);
  return number === undefined ? undefined : -number;
}

function describe(code: string, details: ErrorDetails): string {
  const about: string[] = [];
  if (details.endpoint !== undefined) about.push(`endpoint ${formatEndpoint(details.endpoint)}`);
  if (details.node !== undefined) about.push(`node ${String(details.node)}`);
  if (details.reason !== undefined && details.reason !== '') about.push(details.reason);
  const sentence = SENTENCES.get(code) ?? 'the call failed';
  return `${code}: ${sentence}${about.length > 0 ? ` (${about.join(', ')})` : ''}`;
}

/**
 * An operating error: something that can happen in a correct program, and that the caller handles.
 */
export class DvkError extends Error {
  override readonly name = 'DvkError';
  /** `EDEADSRCDST`, `ETIMEDOUT` and so on. */
  readonly code: string;
  /** Negative, as in Node's system errors. */
  readonly errno: number;
  /** The call that failed, as `sendrec`. */
  readonly syscall: string;
  declare readonly endpoint?: Endpoint;
  declare readonly node?: NodeId;

  constructor(errno: number, syscall: string, details: ErrorDetails = {}) {
    const code = errorName(errno);
    const options = details.cause === undefined ? undefined : { cause: details.cause };
    super(describe(code, details), options);
    this.code = code;
    this.errno = -Math.abs(errno);
    this.syscall = syscall;
    if (details.endpoint !== undefined) this.endpoint = details.endpoint;
    if (details.node !== undefined) this.node = details.node;
  }
}

/** Whether `error` is a DvkError, and of that code when one is given. */
export function isDvkError(error: unknown, code?: string): error is DvkError {
  return error instanceof DvkError && (code === undefined || error.code === code);
}

/** Throws the DvkError of a negative result. */
export function fail(errno: number, syscall: string, details?: ErrorDetails): never {
  throw new DvkError(errno, syscall, details);
}

/** Passes a result of 0 or more on; throws the DvkError of a negative one. */
export function check(result: number, syscall: string, details?: ErrorDetails): number {
  if (result < 0) fail(result, syscall, details);
  return result;
}
