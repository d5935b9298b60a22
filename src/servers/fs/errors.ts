/**
 * Errors of the FS server: a POSIX code, the number Linux gives it, and a sentence saying what
 * failed and where.
 *
 * An `FsError` is an operating error: a damaged image, a missing name, a client's bad grant. It
 * becomes `-errno` in a reply. Anything else that is thrown is a fault of the program and ends the
 * process.
 */

/**
 * Linux numbers, written out since `os.constants.errno` lacks EUCLEAN and EBADREQUEST is MINIX's.
 */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EAGAIN: 11,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOTEMPTY: 39,
  ENODATA: 61,
  EUSERS: 87,
  EOPNOTSUPP: 95,
  EALREADY: 114,
  EINPROGRESS: 115,
  ESTALE: 116,
  EUCLEAN: 117,
  EDQUOT: 122,
  EKEYEXPIRED: 127,
  EBADREQUEST: 212,
} as const;
export type FsErrorCode = keyof typeof ERRNO;

export class FsError extends Error {
  readonly code: FsErrorCode;
  readonly sentence: string;

  constructor(code: FsErrorCode, sentence: string, options?: ErrorOptions) {
    super(`${code}: ${sentence}`, options);
    this.name = 'FsError';
    this.code = code;
    this.sentence = sentence;
  }

  /** Negative, as a reply carries it. */
  get errno(): number {
    return -ERRNO[this.code];
  }
}

/** True for an `FsError`, with this code if one is given. */
export function isFsError(error: unknown, code?: FsErrorCode): error is FsError {
  return error instanceof FsError && (code === undefined || error.code === code);
}

/** True for the errors of who asks for more room than there is, or than the quota leaves. */
export function isFull(error: unknown): error is FsError {
  return isFsError(error, 'ENOSPC') || isFsError(error, 'EDQUOT');
}

/** An EUCLEAN error from a template: damaged`inode ${number}: the size is negative`. */
export function damaged(parts: TemplateStringsArray, ...values: (string | number)[]): FsError {
  return new FsError('EUCLEAN', String.raw({ raw: parts }, ...values));
}

/** A number as the format's documents write it. */
export function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}
