/**
 * The FS protocol, second half: calls that change a volume, and those around them (OPEN, LOCK,
 * FSYNC, SEEK).
 *
 * Each request begins with
 *
 *   byte  8  u32  inode
 *        12  u32  generation          (0: any)
 *        16  u32  sequence            number of the request, 0 for none
 *        20  i32  grant               id of the client's memory, -1 for none; see `fs-window.ts`
 *
 * and goes on as `LAYOUTS` says. Bytes that a call has no field for are zero, else EBADREQUEST.
 * Names stand in the message, one behind the other, if all of them fit there; else they are at the
 * start of the grant. Data (a target, a value, what is written) follows them in the grant.
 *
 * `sequence`: the server keeps the last answer of each client, and a request with the same number
 * and call as the last one gets that answer again and is not acted on. So a client that lost an
 * answer may ask again. The memory ends with the server's process: after a restart a client knows
 * by the server's endpoint that it cannot know, see `FsClient`.
 *
 * `client` is the endpoint on whose behalf a file is held open or a lock is kept; they end when it
 * is bound no more. Owners of new files and those who write are named by uid and gid. The server
 * checks no permissions: the kernel does for a mount (default_permissions), and a process of the
 * container is trusted with the volume.
 *
 * | call        | result on success     | errors of its own                                     |
 * |-------------|-----------------------|-------------------------------------------------------|
 * | CREATE      | 0, attributes         | EEXIST, EINVAL (directory or symlink), ENOSPC         |
 * | MKDIR       | 0, attributes         | EEXIST, EMLINK, ENOSPC                                |
 * | SYMLINK     | 0, attributes         | EEXIST, ENAMETOOLONG, ENOSPC                          |
 * | LINK        | 0, attributes         | EEXIST, EMLINK, EPERM (directory)                     |
 * | UNLINK      | 0, attributes         | ENOENT, EISDIR                                        |
 * | RMDIR       | 0, attributes         | ENOENT, ENOTDIR, ENOTEMPTY                            |
 * | RENAME      | 0, attributes         | ENOENT, EEXIST, ENOTEMPTY, EISDIR, ENOTDIR, EINVAL    |
 * | WRITE       | bytes, attributes     | EISDIR, EINVAL, EFBIG, ENOSPC                         |
 * | SETATTR     | 0, attributes         | EISDIR, EINVAL, EFBIG                                 |
 * | FALLOCATE   | 0, attributes         | EOPNOTSUPP, EINVAL, EFBIG, ENOSPC                     |
 * | SEEK        | 0, u64 offset         | ENXIO, EINVAL                                         |
 * | SETXATTR    | 0                     | EEXIST, ENODATA, ENOSPC, EOPNOTSUPP                   |
 * | REMOVEXATTR | 0                     | ENODATA, EOPNOTSUPP                                   |
 * | FSYNC       | 0                     | EIO                                                   |
 * | OPEN        | 0, attributes         | ENFILE (the client holds too many)                    |
 * | RELEASE     | 0                     |                                                       |
 * | COPY_RANGE  | bytes, attributes     | EISDIR, EINVAL, EFBIG, ENOSPC                         |
 * | LOCK        | 0, attributes or lock | EAGAIN, EDEADLK, ENOLCK (too many), EINPROGRESS       |
 * | REJOINED    | 0                     |                                                       |
 * | UNCLAIM     | 0                     |                                                       |
 * | TMPFILE     | 0, attributes         | EINVAL (no regular file), ENOSPC                      |
 * | INFO        | 0, see `FileInfo`     |                                                       |
 * | SET_FLAGS   | 0                     | EOPNOTSUPP (others than users may set)                |
 * | CREATE_MANY | see `fs-early.ts`     | EINVAL (a malformed list)                             |
 *
 * Attributes are those of the file that was made, changed or locked; LOCK GET tells a lock. UNLINK
 * and RMDIR give those of the directory unless they hold what was removed, and RENAME those of the
 * directory that was changed earlier: by their time a client tells after a restart whether its
 * change is there. All but
 * SEEK, FSYNC, OPEN, RELEASE, LOCK, REJOINED, UNCLAIM and INFO may fail with EROFS; any may end
 * with what ends the reading calls. TMPFILE makes a file without a name, which the client holds and
 * LINK may give a name.
 *
 * After a restart clients take back what they had: first each says what it holds open (OPEN with
 * RECLAIM, whose count is all it has of the file) and which locks it has (LOCK with RECLAIM), then
 * that this was all (REJOINED). Before that each may ask whether names that it had changed are
 * there: OPEN with LOOK and no count tells, with the result 0, when the directory had last been
 * changed as the server began, and results in 1 if that is not known. Until all that the old server
 * knew have done so, or their time is over, no file without a name is freed, and who wants a new
 * lock gets EINPROGRESS and asks again; see `src/servers/fs/survivors.ts`. OPEN with RECLAIM
 * results in 0 when the attributes tell what was committed before the restart, in 1 when they do
 * not. When nothing of the client's is lost, the time of change is a late one, for LOOK too. LOCK
 * with RECLAIM fails with ENOLCK when somebody else may have had the lock meanwhile.
 *
 * A WRITE with a `count` brings several pieces, see `fs-pieces.ts`.
 *
 * A WRITE may claim the contents of its file; the result has CLAIMED added when `client` has the
 * claim from now on. While one client has a claim, calls of others that it is in the way of fail
 * with EALREADY, also those that read, and are to be made again; so do the owner's own ones that do
 * not name the claim, which therefore ends it first (UNCLAIM). A claim that is not renewed for 5 s
 * is over; its owner trusts it for `CLAIM_TRUSTED_MS` from the moment at which it sent the request.
 * The names of a directory are claimed by TAKE_NAMES, see `fs-early.ts`.
 */
import type { Timestamp } from './fs.ts';
import { FsCall, getTime, getUint64, setTime, setUint64 } from './fs.ts';

/** The fields of all requests; a call has those of its layout, the others are 0. */
export interface FsChange {
  call: FsCall;
  inode: number;
  generation: number;
  sequence: number;
  grant: number;
  nameBytes: number;
  /** RENAME. */
  newNameBytes: number;
  flags: number;
  /** CREATE: type and permissions; SETATTR: permissions; FALLOCATE: as in fallocate(2). */
  mode: number;
  uid: number;
  gid: number;
  umask: number;
  device: number;
  client: number;
  /** LINK: the file; RENAME: the new directory; COPY_RANGE: the file that is copied into. */
  other: number;
  otherGeneration: number;
  /** Of target, value or data in the grant; or of the range. */
  bytes: number;
  /** OPEN and RELEASE: how many holds; CREATE_MANY: how many files; WRITE: see `fs-pieces.ts`. */
  count: number;
  offset: number;
  otherOffset: number;
  size: number;
  accessed: Timestamp;
  modified: Timestamp;
  lockCommand: number;
  lockKind: number;
  lockType: number;
  /** Whose lock it is, within the client. */
  owner: bigint;
  pid: number;
  /** SET_FLAGS: which of the flags are to be set or cleared. */
  mask: number;
  /** First and last byte; an end of 2^53 - 1 or more is that of any file. */
  start: number;
  end: number;
}

/** Added to the result of a WRITE or CREATE_MANY whose client has the claim it asked for. */
export const CLAIMED: number = 1 << 24;
export const CLAIM_TRUSTED_MS = 3000;
export const CreateFlag = {
  /** The client holds the new file open. 2 was another one. */
  HOLD: 1,
} as const;
/** OPEN: see above. */
export const OpenFlag = {
  RECLAIM: 1,
  /** Nothing is held: what was the directory's time of change when the server began? */
  LOOK: 2,
} as const;
/**
 * UNLINK and RMDIR: what loses its last name with it, and is neither a regular file nor a symbolic
 * link, is held open for the client, and its attributes are answered; if there is no such, those of
 * the directory.
 */
export const RemoveFlag = { HOLD: 1 } as const;
/** As in renameat2(2). */
export const RenameFlag = { NO_REPLACE: 1, EXCHANGE: 2 } as const;
export const WriteFlag = {
  /** At the end of the file, wherever that is now; the offset is not looked at. */
  APPEND: 1,
  /** Set-id bits and capabilities go. */
  KILL_PRIVILEGES: 2,
  /** The answer comes when the data, and what is needed to read it, will be there after a crash. */
  SYNC: 4,
  /** Nobody else is to get at the file until UNCLAIM. */
  CLAIM: 8,
} as const;
/** Which fields of SETATTR count. */
export const AttributeFlag = {
  MODE: 1,
  UID: 2,
  GID: 4,
  SIZE: 8,
  ACCESSED: 16,
  MODIFIED: 32,
  /** The time is the server's now. */
  ACCESSED_NOW: 64,
  MODIFIED_NOW: 128,
  KILL_PRIVILEGES: 256,
} as const;
/** As in lseek(2). */
export const SeekWhence = { DATA: 3, HOLE: 4 } as const;
/** Those of setxattr(2), and one more: a new access list takes the set-group-id bit away. */
export const XattrFlag = { CREATE: 1, REPLACE: 2, KILL_SET_GROUP: 4 } as const;
export const SyncFlag = { DATA_ONLY: 1, VOLUME: 2 } as const;
/**
 * GET tells which lock is in the way. SET takes or gives up a lock, or fails with EAGAIN. WAIT is
 * SET by somebody who will ask again until it succeeds: it fails with EDEADLK when all would wait
 * for each other. RECLAIM is SET of a lock that the client had of the server before this one.
 */
export const LockCommand = { GET: 0, SET: 1, WAIT: 2, RECLAIM: 3 } as const;
export const LockKind = { POSIX: 0, FLOCK: 1 } as const;
/** As F_RDLCK and its like in fcntl(2). */
export const LockType = { READ: 0, WRITE: 1, UNLOCK: 2 } as const;

/** The most one COPY_RANGE moves, so that others are served in between. */
export const COPY_BYTES_MAX: number = 8 << 20;
/** The longest target of a symbolic link. */
export const TARGET_BYTES_MAX = 4095;
/** The longest value of an xattr (XATTR_SIZE_MAX). */
export const VALUE_BYTES_MAX = 65_536;

const SIZES = { u8: 1, u16: 2, u32: 4, i32: 4, u64: 8, time: 8, key: 8 } as const;
type Kind = keyof typeof SIZES;
type FieldName = Exclude<keyof FsChange, 'call'>;
type Field = readonly [name: FieldName, at: number, kind: Kind];

interface Layout {
  readonly fields: readonly Field[];
  /** Where names in the message begin, to its end; 64: the call has none. */
  readonly namesAt: number;
  /** By word of the message: its bits that belong to no field. */
  readonly unused: Uint32Array;
}

const MESSAGE_BYTES = 64;
const PAYLOAD_AT = 8;
const HEAD: readonly Field[] = [
  ['inode', 8, 'u32'],
  ['generation', 12, 'u32'],
  ['sequence', 16, 'u32'],
  ['grant', 20, 'i32'],
];

function layout(fields: readonly Field[], namesAt: number = MESSAGE_BYTES): Layout {
  const all = [...HEAD, ...fields];
  const bytes = new Uint8Array(MESSAGE_BYTES).fill(0xff);
  for (const [, at, kind] of all) bytes.fill(0, at, at + SIZES[kind]);
  const view = new DataView(bytes.buffer);
  const unused = new Uint32Array(MESSAGE_BYTES / 4);
  unused.forEach((_, word) => (unused[word] = view.getUint32(word * 4, true)));
  return { fields: all, namesAt, unused };
}

const MAKE = layout(
  [
    ['nameBytes', 24, 'u8'],
    ['flags', 25, 'u8'],
    ['mode', 26, 'u16'],
    ['uid', 28, 'u32'],
    ['gid', 32, 'u32'],
    ['umask', 36, 'u16'],
    ['device', 40, 'u32'],
    ['client', 44, 'i32'],
  ],
  48,
);
const NAMED = layout([['nameBytes', 24, 'u8']], 36);
const REMOVED = layout(
  [
    ['nameBytes', 24, 'u8'],
    ['flags', 25, 'u8'],
    ['client', 28, 'i32'],
  ],
  36,
);
const HELD = layout([
  ['count', 24, 'u32'],
  ['client', 28, 'i32'],
  ['flags', 32, 'u32'],
]);

const LAYOUTS: ReadonlyMap<number, Layout> = new Map<number, Layout>([
  [FsCall.CREATE, MAKE],
  [FsCall.MKDIR, MAKE],
  [
    FsCall.SYMLINK,
    layout(
      [
        ['nameBytes', 24, 'u8'],
        ['bytes', 26, 'u16'],
        ['uid', 28, 'u32'],
        ['gid', 32, 'u32'],
      ],
      36,
    ),
  ],
  [
    FsCall.LINK,
    layout(
      [
        ['nameBytes', 24, 'u8'],
        ['other', 28, 'u32'],
        ['otherGeneration', 32, 'u32'],
      ],
      36,
    ),
  ],
  [FsCall.UNLINK, REMOVED],
  [FsCall.RMDIR, REMOVED],
  [
    FsCall.RENAME,
    layout(
      [
        ['nameBytes', 24, 'u8'],
        ['newNameBytes', 25, 'u8'],
        ['flags', 26, 'u16'],
        ['other', 28, 'u32'],
        ['otherGeneration', 32, 'u32'],
      ],
      36,
    ),
  ],
  [
    FsCall.WRITE,
    layout([
      ['bytes', 24, 'u32'],
      ['flags', 28, 'u32'],
      ['uid', 32, 'u32'],
      ['gid', 36, 'u32'],
      ['offset', 40, 'u64'],
      ['client', 48, 'i32'],
      ['count', 52, 'u32'],
    ]),
  ],
  [
    FsCall.SETATTR,
    layout([
      ['flags', 24, 'u16'],
      ['mode', 26, 'u16'],
      ['uid', 28, 'u32'],
      ['gid', 32, 'u32'],
      ['size', 40, 'u64'],
      ['accessed', 48, 'time'],
      ['modified', 56, 'time'],
    ]),
  ],
  [
    FsCall.FALLOCATE,
    layout([
      ['mode', 24, 'u32'],
      ['uid', 28, 'u32'],
      ['gid', 32, 'u32'],
      ['offset', 40, 'u64'],
      ['size', 48, 'u64'],
    ]),
  ],
  [
    FsCall.SEEK,
    layout([
      ['flags', 24, 'u32'],
      ['offset', 40, 'u64'],
    ]),
  ],
  [
    FsCall.SETXATTR,
    layout(
      [
        ['nameBytes', 24, 'u8'],
        ['flags', 26, 'u16'],
        ['bytes', 28, 'u32'],
      ],
      36,
    ),
  ],
  [FsCall.REMOVEXATTR, NAMED],
  [FsCall.FSYNC, layout([['flags', 24, 'u32']])],
  [FsCall.UNCLAIM, layout([['client', 24, 'i32']])],
  [FsCall.OPEN, HELD],
  [FsCall.RELEASE, HELD],
  [
    FsCall.COPY_RANGE,
    layout([
      ['bytes', 24, 'u32'],
      ['other', 28, 'u32'],
      ['otherGeneration', 32, 'u32'],
      ['uid', 36, 'u32'],
      ['offset', 40, 'u64'],
      ['otherOffset', 48, 'u64'],
    ]),
  ],
  [FsCall.TMPFILE, MAKE],
  [
    FsCall.CREATE_MANY,
    layout([
      ['bytes', 24, 'u32'],
      ['client', 28, 'i32'],
      ['count', 32, 'u32'],
    ]),
  ],
  [FsCall.INFO, layout([])],
  [
    FsCall.SET_FLAGS,
    layout([
      ['flags', 24, 'u32'],
      ['mask', 28, 'u32'],
    ]),
  ],
  [
    FsCall.LOCK,
    layout([
      ['lockCommand', 24, 'u8'],
      ['lockKind', 25, 'u8'],
      ['lockType', 26, 'u16'],
      ['client', 28, 'i32'],
      ['pid', 32, 'u32'],
      ['owner', 40, 'key'],
      ['start', 48, 'u64'],
      ['end', 56, 'u64'],
    ]),
  ],
  [FsCall.REJOINED, layout([['client', 28, 'i32']])],
]);

const NO_TIME: Timestamp = { seconds: 0, nanoseconds: 0 };
/** A request with every field, so that all of them have one shape. */
class Request implements FsChange {
  call: FsCall;
  inode = 0;
  generation = 0;
  sequence = 0;
  grant = -1;
  nameBytes = 0;
  newNameBytes = 0;
  flags = 0;
  mode = 0;
  uid = 0;
  gid = 0;
  umask = 0;
  device = 0;
  client = 0;
  other = 0;
  otherGeneration = 0;
  bytes = 0;
  count = 0;
  offset = 0;
  otherOffset = 0;
  size = 0;
  accessed: Timestamp = NO_TIME;
  modified: Timestamp = NO_TIME;
  lockCommand = 0;
  lockKind = 0;
  lockType = 0;
  owner = 0n;
  pid = 0;
  mask = 0;
  start = 0;
  end = 0;

  constructor(call: FsCall) {
    this.call = call;
  }
}

const NOTHING = new Request(FsCall.WRITE);

/** Whether names of so many bytes together travel in the message of `call`. */
export function namesFit(call: FsCall, bytes: number): boolean {
  const namesAt = LAYOUTS.get(call)?.namesAt ?? MESSAGE_BYTES;
  return bytes <= MESSAGE_BYTES - namesAt;
}

/**
 * Writes a request into `message` (64 bytes); what is not given is zero. `names` are put there if
 * they fit; else the caller has put them into the grant.
 */
export function encodeChange(
  message: DataView,
  change: Partial<FsChange> & { readonly call: FsCall },
  names: readonly Uint8Array[] = [],
): void {
  const { call } = change;
  new Uint8Array(message.buffer, message.byteOffset + PAYLOAD_AT, MESSAGE_BYTES - PAYLOAD_AT).fill(
    0,
  );
  message.setInt32(4, call, true);
  const [nameBytes, newNameBytes] = [names[0]?.length ?? 0, names[1]?.length ?? 0];
  const { fields, namesAt } = layoutOf(call);
  for (const [name, at, kind] of fields) {
    let value = change[name] ?? NOTHING[name];
    if (name === 'nameBytes') value = nameBytes;
    else if (name === 'newNameBytes') value = newNameBytes;
    put(message, at, kind, value);
  }
  if (!namesFit(call, nameBytes + newNameBytes)) return;
  let at = message.byteOffset + namesAt;
  for (const name of names) {
    new Uint8Array(message.buffer, at, name.length).set(name);
    at += name.length;
  }
}

/**
 * Reads a request; any bytes are safe, and the caller checks the meaning of each field. Undefined
 * when a byte is set that the call has no use for.
 */
export function decodeChange(message: DataView): FsChange | undefined {
  const call = message.getInt32(4, true);
  const { fields, namesAt, unused } = layoutOf(call);
  const request = new Request(call);
  const values: Record<FieldName, number | bigint | Timestamp> = request;
  for (const [name, at, kind] of fields) values[name] = get(message, at, kind);
  const names = request.nameBytes + request.newNameBytes;
  const namesEnd = namesFit(call, names) ? namesAt + names : namesAt;
  for (let word = PAYLOAD_AT; word < MESSAGE_BYTES; word += 4) {
    if ((message.getUint32(word, true) & (unused[word / 4] ?? 0)) === 0) continue;
    for (let at = word; at < word + 4; at++) {
      const isName = at >= namesAt && at < namesEnd;
      const isUsed = ((unused[word / 4] ?? 0) & (0xff << (8 * (at - word)))) === 0;
      if (!isName && !isUsed && message.getUint8(at) !== 0) return undefined;
    }
  }
  return request;
}

/** The names inside a request that fit there, the first at byte 0. */
export function inlineNames(message: DataView, request: FsChange): Uint8Array {
  const { namesAt } = layoutOf(request.call);
  const bytes = request.nameBytes + request.newNameBytes;
  return new Uint8Array(message.buffer, message.byteOffset + namesAt, bytes).slice();
}

/** What LOCK GET answers: 8 u32 type | 12 u32 pid | 16 u64 start | 24 u64 end. */
export interface LockAnswer {
  /** `LockType.UNLOCK`: nothing is in the way. */
  lockType: number;
  pid: number;
  start: number;
  end: number;
}

export function encodeLock(message: DataView, lock: LockAnswer): void {
  message.setUint32(8, lock.lockType, true);
  message.setUint32(12, lock.pid, true);
  setUint64(message, 16, lock.start);
  setUint64(message, 24, lock.end);
}

export function decodeLock(message: DataView): LockAnswer {
  return {
    lockType: message.getUint32(8, true),
    pid: message.getUint32(12, true),
    start: getUint64(message, 16),
    end: getUint64(message, 24),
  };
}

/** What INFO answers: 8 u32 flags | 12 u32 1 if the time of birth is known | 16 that time. */
export interface FileInfo {
  /** Those of FS_IOC_GETFLAGS (linux/fs.h). */
  flags: number;
  /** When the file was made, where the volume tells that. */
  born: Timestamp | undefined;
}

export function encodeInfo(message: DataView, { flags, born }: FileInfo): void {
  message.setUint32(8, flags, true);
  message.setUint32(12, born === undefined ? 0 : 1, true);
  setTime(message, 16, born ?? NO_TIME);
}

export function decodeInfo(message: DataView): FileInfo {
  const known = message.getUint32(12, true) === 1;
  return { flags: message.getUint32(8, true), born: known ? getTime(message, 16) : undefined };
}

/** What SEEK answers. */
export function encodeOffset(message: DataView, offset: number): void {
  setUint64(message, PAYLOAD_AT, offset);
}

export function decodeOffset(message: DataView): number {
  return getUint64(message, PAYLOAD_AT);
}

function layoutOf(call: FsCall): Layout {
  const known = LAYOUTS.get(call);
  if (known === undefined) throw new TypeError(`call ${String(call)} has no layout`);
  return known;
}

function put(view: DataView, at: number, kind: Kind, value: number | bigint | Timestamp): void {
  if (typeof value === 'object') setTime(view, at, value);
  else if (typeof value === 'bigint') view.setBigUint64(at, value, true);
  else if (kind === 'u8') view.setUint8(at, value);
  else if (kind === 'u16') view.setUint16(at, value, true);
  else if (kind === 'u64') setUint64(view, at, value);
  else view.setUint32(at, value, true);
}

function get(view: DataView, at: number, kind: Kind): number | bigint | Timestamp {
  switch (kind) {
    case 'u8':
      return view.getUint8(at);
    case 'u16':
      return view.getUint16(at, true);
    case 'u32':
      return view.getUint32(at, true);
    case 'i32':
      return view.getInt32(at, true);
    case 'u64':
      return getUint64(view, at);
    case 'time':
      return getTime(view, at);
    case 'key':
      return view.getBigUint64(at, true);
  }
}
