/**
 * The FS protocol: files that a client tells its programs of before it has made them.
 *
 * A client takes the names of a directory (TAKE_NAMES): nobody else gets at the directory until it
 * gives them back (UNCLAIM, see `fs-change.ts`), and it is given inode numbers and a generation for
 * files in it, and the server's time. So it knows all attributes of a file before it is made. It
 * makes several with one call (CREATE_MANY). While it has the names, its own calls about the
 * directory pass, from whichever endpoint it named; in which order they come is its own business.
 *
 * TAKE_NAMES, a request as in `fs.ts`:
 *
 *   byte  8  u32  inode
 *        12  u32  generation
 *        16  i32  client
 *        20  u32  count            how many inode numbers are wanted, at most `NUMBERS_MAX`
 *        24  u32  how many endpoints follow, at most `SPEAKERS_MAX`
 *        28  i32  endpoints that the client speaks with
 *
 * Result: how many inode numbers were given. With 0 the client has not got the names. They were
 * its own already if it had them, and are so for as long again. Errors: ENOTDIR, EROFS, EINVAL.
 * Payload:
 *
 *         8  u64  the server's time
 *        16  u32  generation of the files with these numbers, another one each time
 *        20  u32  how many runs follow, at most `RUNS_MAX`
 *        24  (u32, u32)  the first inode number of a run, and how many there are
 *
 * CREATE_MANY has `count` files in its grant, one behind the other, each aligned to 4 bytes:
 *
 *         0  u32  inode number
 *         4  u32  generation
 *         8  u64  time of the file, and of its directory after it
 *        16  u32  type and permissions; the type is that of a regular file
 *        20  u32  uid
 *        24  u32  gid
 *        28  u8   flags: `CreateFlag`
 *        29  u8   bytes of the name
 *        30  u8[] name
 *
 * They are made in this order; one that is there already, by name, number and generation, counts as
 * made, so that a client may ask a server that was started again. Result: how many were made, up to
 * the first one that could not be; CLAIMED is added if the names are still the client's, and are so
 * for as long again. Payload:
 *
 *         8  u64  the server's time
 *        16  u64  size of the directory
 *        24  u32  its sectors
 *        28  i32  0, or the -errno of the file that could not be made
 */
import type { Timestamp } from './fs.ts';
import { FsCall, NAME_BYTES_MAX, getTime, getUint64, setTime, setUint64 } from './fs.ts';

export const NUMBERS_MAX = 1024;
export const SPEAKERS_MAX = 9;
export const RUNS_MAX = 5;
/** Of one CREATE_MANY. */
export const FILES_MAX = 128;

const FILE_HEAD_BYTES = 30;
/** A file in CREATE_MANY, at most. */
export const FILE_BYTES_MAX: number = fileBytes(NAME_BYTES_MAX);

export interface TakeRequest {
  readonly inode: number;
  readonly generation: number;
  readonly client: number;
  readonly count: number;
  readonly speakers: readonly number[];
}

export interface NumberRun {
  readonly first: number;
  readonly count: number;
}

export interface Taken {
  readonly now: Timestamp;
  readonly generation: number;
  readonly runs: readonly NumberRun[];
}

/** A file that is to be made. */
export interface EarlyFile {
  readonly inode: number;
  readonly generation: number;
  readonly time: Timestamp;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly flags: number;
  readonly name: Uint8Array;
}

/** What CREATE_MANY answers besides its result. */
export interface ManyMade {
  readonly now: Timestamp;
  readonly size: number;
  readonly sectors: number;
  /** 0 or less. */
  readonly errno: number;
}

export function encodeTake(message: DataView, request: TakeRequest): void {
  clear(message);
  message.setInt32(4, FsCall.TAKE_NAMES, true);
  message.setUint32(8, request.inode, true);
  message.setUint32(12, request.generation, true);
  message.setInt32(16, request.client, true);
  message.setUint32(20, request.count, true);
  message.setUint32(24, request.speakers.length, true);
  request.speakers.forEach((endpoint, i) => {
    message.setInt32(28 + 4 * i, endpoint, true);
  });
}

/** Undefined when there is too much of something; any bytes are safe. */
export function decodeTake(message: DataView): TakeRequest | undefined {
  const count = message.getUint32(20, true);
  const length = message.getUint32(24, true);
  if (count === 0 || count > NUMBERS_MAX || length > SPEAKERS_MAX) return undefined;
  return {
    inode: message.getUint32(8, true),
    generation: message.getUint32(12, true),
    client: message.getInt32(16, true),
    count,
    speakers: Array.from({ length }, (_, i) => message.getInt32(28 + 4 * i, true)),
  };
}

export function encodeTaken(message: DataView, { now, generation, runs }: Taken): void {
  clear(message);
  setTime(message, 8, now);
  message.setUint32(16, generation, true);
  message.setUint32(20, runs.length, true);
  runs.forEach(({ first, count }, i) => {
    message.setUint32(24 + 8 * i, first, true);
    message.setUint32(28 + 8 * i, count, true);
  });
}

/** Any bytes are safe. */
export function decodeTaken(message: DataView): Taken {
  const length = Math.min(message.getUint32(20, true), RUNS_MAX);
  return {
    now: getTime(message, 8),
    generation: message.getUint32(16, true),
    runs: Array.from({ length }, (_, i) => ({
      first: message.getUint32(24 + 8 * i, true),
      count: Math.min(message.getUint32(28 + 8 * i, true), NUMBERS_MAX),
    })),
  };
}

export function encodeManyMade(message: DataView, made: ManyMade): void {
  clear(message);
  setTime(message, 8, made.now);
  setUint64(message, 16, made.size);
  message.setUint32(24, made.sectors, true);
  message.setInt32(28, made.errno, true);
}

export function decodeManyMade(message: DataView): ManyMade {
  return {
    now: getTime(message, 8),
    size: getUint64(message, 16),
    sectors: message.getUint32(24, true),
    errno: message.getInt32(28, true),
  };
}

/** The files as they lie in the grant. */
export function encodeEarlyFiles(files: readonly EarlyFile[]): Uint8Array {
  const total = files.reduce((sum, { name }) => sum + fileBytes(name.length), 0);
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const file of files) {
    view.setUint32(at, file.inode, true);
    view.setUint32(at + 4, file.generation, true);
    setTime(view, at + 8, file.time);
    view.setUint32(at + 16, file.mode, true);
    view.setUint32(at + 20, file.uid, true);
    view.setUint32(at + 24, file.gid, true);
    view.setUint8(at + 28, file.flags);
    view.setUint8(at + 29, file.name.length);
    bytes.set(file.name, at + FILE_HEAD_BYTES);
    at += fileBytes(file.name.length);
  }
  return bytes;
}

/** Undefined when these are not `count` files; any bytes are safe. The names are copies. */
export function decodeEarlyFiles(bytes: Uint8Array, count: number): EarlyFile[] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const files: EarlyFile[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + FILE_HEAD_BYTES > bytes.length) return undefined;
    const end = at + fileBytes(view.getUint8(at + 29));
    if (end > bytes.length) return undefined;
    const nameAt = at + FILE_HEAD_BYTES;
    files.push({
      inode: view.getUint32(at, true),
      generation: view.getUint32(at + 4, true),
      time: getTime(view, at + 8),
      mode: view.getUint32(at + 16, true),
      uid: view.getUint32(at + 20, true),
      gid: view.getUint32(at + 24, true),
      flags: view.getUint8(at + 28),
      name: bytes.slice(nameAt, nameAt + view.getUint8(at + 29)),
    });
    at = end;
  }
  return at === bytes.length ? files : undefined;
}

function fileBytes(nameBytes: number): number {
  return (FILE_HEAD_BYTES + nameBytes + 3) & ~3;
}

function clear(message: DataView): void {
  new Uint8Array(message.buffer, message.byteOffset + 8, 56).fill(0);
}
