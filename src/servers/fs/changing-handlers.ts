/**
 * The handlers of the FS calls that change a volume, and of those around them: OPEN, LOCK, FSYNC,
 * SEEK. See `src/vos/protocol/fs-change.ts` for what each promises.
 *
 * What the volume leaves to its caller is done here: who owns a new file, what it inherits from its
 * directory, and which bits a write or a change of owner takes away.
 */
import type { FsChange } from '../../vos/protocol/fs-change.ts';
import {
  AttributeFlag,
  CLAIMED,
  COPY_BYTES_MAX,
  CreateFlag,
  LockCommand,
  LockKind,
  LockType,
  OpenFlag,
  RemoveFlag,
  SeekWhence,
  SyncFlag,
  TARGET_BYTES_MAX,
  VALUE_BYTES_MAX,
  WriteFlag,
  XattrFlag,
  decodeChange,
  encodeInfo,
  encodeLock,
  encodeOffset,
  inlineNames,
  namesFit,
} from '../../vos/protocol/fs-change.ts';
import type { Timestamp } from '../../vos/protocol/fs.ts';
import {
  FsCall,
  NAME_BYTES_MAX,
  TRANSFER_BYTES_MAX,
  encodeAttributes,
} from '../../vos/protocol/fs.ts';
import { ACCESS_LIST } from './acl-rules.ts';
import {
  RENAME_MODES,
  SPECIAL,
  checkFlags,
  copyOf,
  groupIn,
  holdsOf,
  isDots,
  isHeldBeyondNames,
  isName,
  mayAnswerEarly,
  payloadOf,
} from './change-rules.ts';
import { Claims } from './claims.ts';
import { Holds, LastAnswers } from './clients.ts';
import { ERRNO, FsError } from './errors.ts';
import type { AllocateMode, VolumeWriter } from './ext4/changing.ts';
import type { Incoming } from './ext4/incoming.ts';
import type { Inode } from './ext4/inode.ts';
import { MODE } from './ext4/layout.ts';
import type { Volume } from './ext4/volume.ts';
import { Granted, LONG_BYTES_MIN } from './granted.ts';
import type { ClientMemory, FsHandler } from './handlers.ts';
import { LockTable } from './locks.ts';
import {
  attributeChanges,
  followList,
  followMode,
  killPrivileges,
  newFile,
} from './owner-rules.ts';
import { type Survivors, checkLock } from './survivors.ts';

/** What the handlers need besides the volume and the clients' memory. */
export interface ChangingParts {
  /** Undefined: the volume is read-only, and what would change it fails with EROFS. */
  readonly writer: VolumeWriter | undefined;
  /**
   * The reply to the request that is served now waits until every change so far will be there after
   * a crash. When that fails, `failed` is told the -errno that is answered. Throws EIO, ENOSPC.
   */
  commit(failed: (errno: number) => void): void;
  /** Whether the endpoint is bound, here or on another node. */
  isAlive(client: number): boolean;
  now(): Timestamp;
  /** Whether there are clients that hear of changes before these return; see `Claims`. */
  isWatched?(): boolean;
  /** Whose files and locks outlive the server; undefined: nobody's do. */
  readonly survivors?: Survivors;
}

/** One request while it is served. */
interface Exchange {
  readonly change: FsChange;
  readonly client: number;
  readonly message: DataView;
  readonly reply: DataView;
  /** The client's memory could not be read, so nothing was done: it may ask again. */
  unread: boolean;
}

const SLASH = 0x2f;
/** Bits of fallocate(2): KEEP_SIZE 1, PUNCH_HOLE 2, COLLAPSE 8, ZERO 16, INSERT 32. */
const ALLOCATE_MODES: ReadonlyMap<number, AllocateMode> = new Map<number, AllocateMode>([
  [0, 'allocate'],
  [1, 'keepSize'],
  [3, 'punchHole'],
  [8, 'collapseRange'],
  [16, 'zeroRange'],
  [17, 'zeroRangeKeepSize'],
  [32, 'insertRange'],
]);
export class ChangingHandlers {
  readonly #volume: Volume;
  readonly #memory: ClientMemory;
  readonly #parts: ChangingParts;
  readonly #holds: Holds | undefined;
  readonly #locks: LockTable;
  readonly #claims: Claims;
  readonly #answers = new LastAnswers();

  constructor(volume: Volume, memory: ClientMemory, parts: ChangingParts) {
    const { writer } = parts;
    this.#volume = volume;
    this.#memory = memory;
    this.#parts = parts;
    const inode = (number: number, generation: number): Inode => volume.inode(number, generation);
    this.#holds = writer === undefined ? undefined : new Holds(writer, inode);
    const nowMs = (): number => {
      const { seconds, nanoseconds } = parts.now();
      return seconds * 1000 + nanoseconds / 1e6;
    };
    this.#locks = new LockTable((client) => this.#isAlive(client), nowMs);
    this.#claims = new Claims({
      isAlive: (client) => parts.isAlive(client),
      nowMs,
      isWatched: () => parts.isWatched?.() ?? false,
    });
  }

  /** The call table of this half of the protocol. */
  table(): Map<number, FsHandler> {
    const table = new Map<number, FsHandler>();
    const add = (call: FsCall, handle: (call: Exchange) => number): void => {
      table.set(call, this.#serve(handle));
    };
    add(FsCall.CREATE, (call) => this.#onCreate(call));
    add(FsCall.MKDIR, (call) => this.#onMkdir(call));
    add(FsCall.SYMLINK, (call) => this.#onSymlink(call));
    add(FsCall.LINK, (call) => this.#onLink(call));
    add(FsCall.UNLINK, (call) => this.#onUnlink(call));
    add(FsCall.RMDIR, (call) => this.#onRmdir(call));
    add(FsCall.RENAME, (call) => this.#onRename(call));
    add(FsCall.WRITE, (call) => this.#onWrite(call));
    add(FsCall.SETATTR, (call) => this.#onSetattr(call));
    add(FsCall.FALLOCATE, (call) => this.#onFallocate(call));
    add(FsCall.SEEK, (call) => this.#onSeek(call));
    add(FsCall.SETXATTR, (call) => this.#onSetxattr(call));
    add(FsCall.REMOVEXATTR, (call) => this.#onRemovexattr(call));
    add(FsCall.FSYNC, (call) => this.#onFsync(call));
    add(FsCall.OPEN, (call) => this.#onOpen(call));
    add(FsCall.RELEASE, (call) => this.#onRelease(call));
    add(FsCall.COPY_RANGE, (call) => this.#onCopyRange(call));
    add(FsCall.LOCK, (call) => this.#onLock(call));
    add(FsCall.REJOINED, (call) => this.#onRejoined(call));
    add(FsCall.UNCLAIM, (call) => this.#onUnclaim(call));
    add(FsCall.TMPFILE, (call) => this.#onTmpfile(call));
    add(FsCall.INFO, (call) => this.#onInfo(call));
    add(FsCall.SET_FLAGS, (call) => this.#onSetFlags(call));
    return table;
  }

  /** Ends what clients have claimed, if they still answer. Whether nobody has claimed anything. */
  endClaims(): boolean {
    return this.#claims.clear();
  }

  /** The call table `calls`; what somebody's claim is in the way of fails with EALREADY. */
  guarded(calls: ReadonlyMap<number, FsHandler>): Map<number, FsHandler> {
    const guard = (handle: FsHandler): FsHandler => {
      return (request, reply) =>
        this.#claims.isInTheWay(request) ? -ERRNO.EALREADY : handle(request, reply);
    };
    return new Map([...calls].map(([call, handle]) => [call, guard(handle)]));
  }

  /** Lets go what clients that are gone held and had locked. */
  sweep(): void {
    this.#parts.survivors?.sweep();
    const isAlive = (client: number): boolean => this.#parts.isAlive(client);
    for (const client of this.#holds?.sweep(isAlive) ?? []) this.#locks.drop(client);
    this.#claims.sweep();
  }

  /** If not, the client's locks are free for others. */
  #isAlive(client: number): boolean {
    if (this.#parts.isAlive(client)) return true;
    this.#parts.survivors?.forget([client]);
    return false;
  }

  /** As `serve` in `handlers.ts`; besides, no request is acted on twice. */
  #serve(handle: (call: Exchange) => number): FsHandler {
    return (request, reply) => {
      const message = copyOf(request);
      payloadOf(reply).fill(0);
      const change = decodeChange(message);
      if (change === undefined) return -ERRNO.EBADREQUEST;
      const client = message.getInt32(0, true);
      const known = change.sequence !== 0;
      const before = known ? this.#answers.repeat(client, change, reply) : undefined;
      if (before !== undefined) return before;
      const call: Exchange = { change, client, message, reply, unread: false };
      let result: number;
      try {
        result = handle(call);
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        payloadOf(reply).fill(0);
        result = error.errno;
      }
      if (known && !call.unread) this.#answers.remember(client, change, reply, result);
      return result;
    };
  }

  #onCreate(call: Exchange): number {
    const { change } = call;
    if (!SPECIAL.has(change.mode & MODE.type)) throw new FsError('EINVAL', 'no type of file');
    const [name] = this.#names(call, 1);
    if ((change.flags & CreateFlag.HOLD) !== 0) this.#parts.survivors?.list(change.client);
    const writer = this.#begin(change);
    const directory = this.#inode(change);
    const inode = writer.change(() => {
      const made = writer.createFile(directory, name, newFile(this.#volume, directory, change));
      if ((change.flags & CreateFlag.HOLD) !== 0) this.#holds?.add(change.client, made, 1);
      return made;
    });
    this.#attributes(call, inode);
    return this.#claims.take(directory.number, change) ? CLAIMED : 0;
  }

  #onTmpfile(call: Exchange): number {
    const { change } = call;
    const regular = (change.mode & MODE.type) === MODE.regular;
    if (!regular || change.nameBytes > 0) throw new FsError('EINVAL', 'no regular file, or a name');
    this.#parts.survivors?.list(change.client);
    const writer = this.#begin(change);
    const directory = this.#inode(change);
    const inode = writer.change(() => {
      const made = writer.createUnnamed(directory, newFile(this.#volume, directory, change));
      this.#holds?.add(change.client, made, 1);
      return made;
    });
    return this.#attributes(call, inode);
  }

  #onInfo(call: Exchange): number {
    encodeInfo(call.reply, this.#volume.info(this.#inode(call.change)));
    return 0;
  }

  #onSetFlags(call: Exchange): number {
    const { change } = call;
    this.#begin({ uid: 0, gid: 0 }).setFlags(this.#inode(change), change.flags, change.mask);
    return 0;
  }

  #onMkdir(call: Exchange): number {
    const { change } = call;
    const [name] = this.#names(call, 1);
    const writer = this.#begin(change);
    const directory = this.#inode(change);
    const file = newFile(this.#volume, directory, change, MODE.directory);
    return this.#attributes(call, writer.makeDirectory(directory, name, file));
  }

  #onSymlink(call: Exchange): number {
    const { change } = call;
    const [name] = this.#names(call, 1);
    const target = this.#data(call, TARGET_BYTES_MAX, 'ENAMETOOLONG').slice();
    if (target.length === 0) throw new FsError('ENOENT', 'an empty target');
    if (target.includes(0)) throw new FsError('EINVAL', 'a target with a NUL');
    const writer = this.#begin(change);
    const directory = this.#inode(change);
    const link = { uid: change.uid, gid: groupIn(directory, change.gid), target };
    return this.#attributes(call, writer.makeSymlink(directory, name, link));
  }

  #onLink(call: Exchange): number {
    const { change } = call;
    const [name] = this.#names(call, 1);
    const writer = this.#begin(change);
    const inode = this.#other(change);
    writer.link(inode, this.#inode(change), name);
    return this.#attributes(call, inode);
  }

  #onUnlink(call: Exchange): number {
    return this.#remove(call, (writer, directory, name) => writer.unlink(directory, name));
  }

  #onRmdir(call: Exchange): number {
    return this.#remove(call, (writer, directory, name) => writer.removeDirectory(directory, name));
  }

  #remove(
    call: Exchange,
    remove: (writer: VolumeWriter, directory: Inode, name: Uint8Array) => Inode,
  ): number {
    const { change } = call;
    checkFlags(change.flags, RemoveFlag);
    const [name] = this.#names(call, 1);
    if (change.flags !== 0) this.#parts.survivors?.list(change.client);
    const writer = this.#begin(change);
    const directory = this.#inode(change);
    const last = change.flags === 0 ? undefined : this.#volume.lookup(directory, name);
    const room = this.#holds?.hasRoom(change.client) === true;
    if (last === undefined || !room || !isHeldBeyondNames(last)) {
      remove(writer, directory, name);
      return 0;
    }
    this.#holds.add(change.client, last, 1);
    try {
      return this.#attributes(call, remove(writer, directory, name));
    } catch (error) {
      this.#holds.remove(change.client, last.number, 1);
      throw error;
    }
  }

  #onRename(call: Exchange): number {
    const { change } = call;
    const mode = RENAME_MODES.get(change.flags);
    if (mode === undefined) throw new FsError('EINVAL', 'unknown flags');
    const [from, to] = this.#names(call, 2);
    if (isDots(from) || isDots(to)) throw new FsError('EINVAL', 'a rename of a dot');
    const writer = this.#begin(change);
    const directory = this.#inode(change);
    const same = change.other === change.inode;
    const target = same ? directory : this.#other(change);
    writer.rename({ directory, name: from }, { directory: target, name: to }, mode);
    return 0;
  }

  #onWrite(call: Exchange): number {
    const { change } = call;
    checkFlags(change.flags, WriteFlag);
    const append = (change.flags & WriteFlag.APPEND) !== 0;
    const data = this.#contents(call, append);
    const writer = this.#begin(change);
    const inode = this.#inode(change);
    if (append && change.offset !== 0) throw new FsError('EBADREQUEST', 'an offset to append at');
    if ((change.flags & WriteFlag.KILL_PRIVILEGES) !== 0)
      killPrivileges(this.#volume, writer, inode);
    const written = writer.write(inode, append ? inode.size : change.offset, data);
    if ((change.flags & WriteFlag.SYNC) !== 0) this.#commit(call);
    this.#attributes(call, inode);
    const early = mayAnswerEarly(inode, this.#volume);
    const claimed = early && this.#claims.take(inode.number, change);
    return claimed ? written + CLAIMED : written;
  }

  #onSetattr(call: Exchange): number {
    const { change } = call;
    checkFlags(change.flags, AttributeFlag);
    const writer = this.#begin({ uid: 0, gid: 0 });
    const inode = this.#inode(change);
    const changes = attributeChanges(inode, change, this.#parts.now());
    writer.change(() => {
      if ((change.flags & AttributeFlag.KILL_PRIVILEGES) !== 0) {
        killPrivileges(this.#volume, writer, inode);
      }
      writer.setAttributes(inode, changes);
      if (changes.mode !== undefined) followMode(this.#volume, writer, inode, changes.mode);
    });
    return this.#attributes(call, inode);
  }

  #onFallocate(call: Exchange): number {
    const { change } = call;
    const mode = ALLOCATE_MODES.get(change.mode);
    if (mode === undefined) throw new FsError('EOPNOTSUPP', 'a mode of fallocate');
    if (change.size === 0) throw new FsError('EINVAL', 'an empty range');
    const writer = this.#begin(change);
    const inode = this.#inode(change);
    if (change.uid !== 0) killPrivileges(this.#volume, writer, inode);
    writer.allocate(inode, mode, { offset: change.offset, bytes: change.size });
    return this.#attributes(call, inode);
  }

  #onSeek(call: Exchange): number {
    const { change } = call;
    const { DATA, HOLE } = SeekWhence;
    const { flags } = change;
    if (flags !== DATA && flags !== HOLE) throw new FsError('EINVAL', 'no such whence');
    const writer = this.#begin({ uid: 0, gid: 0 });
    const what = flags === DATA ? 'data' : 'hole';
    encodeOffset(call.reply, writer.seek(this.#inode(change), change.offset, what));
    return 0;
  }

  #onSetxattr(call: Exchange): number {
    const { change } = call;
    checkFlags(change.flags, XattrFlag);
    const [name] = this.#names(call, 1);
    const value = this.#data(call, VALUE_BYTES_MAX, 'E2BIG').slice();
    const create = (change.flags & XattrFlag.CREATE) !== 0;
    const replace = (change.flags & XattrFlag.REPLACE) !== 0;
    const writer = this.#begin({ uid: 0, gid: 0 });
    const inode = this.#inode(change);
    writer.change(() => {
      writer.setXattr(inode, name, value, { create, replace });
      if (isName(name, ACCESS_LIST)) followList(writer, inode, change, value);
    });
    return 0;
  }

  #onRemovexattr(call: Exchange): number {
    const [name] = this.#names(call, 1);
    const writer = this.#begin({ uid: 0, gid: 0 });
    writer.removeXattr(this.#inode(call.change), name);
    return 0;
  }

  #onFsync(call: Exchange): number {
    checkFlags(call.change.flags, SyncFlag);
    this.#inode(call.change);
    if (this.#parts.writer !== undefined) this.#commit(call);
    return 0;
  }

  #onOpen(call: Exchange): number {
    const { client, count } = holdsOf(call.change);
    const { flags } = call.change;
    checkFlags(flags, OpenFlag);
    const inode = this.#inode(call.change);
    const { survivors } = this.#parts;
    survivors?.list(client);
    if ((flags & OpenFlag.RECLAIM) === 0) {
      this.#holds?.add(client, inode, count);
      return this.#attributes(call, inode);
    }
    survivors?.mayReclaim(client);
    this.#holds?.reclaim(client, inode, count);
    this.#attributes(call, inode);
    return survivors === undefined ? 1 : 0;
  }

  #onRelease(call: Exchange): number {
    const { client, count } = holdsOf(call.change);
    const { inode, flags } = call.change;
    if (flags !== 0) throw new FsError('EINVAL', 'unknown flags');
    if (this.#holds?.remove(client, inode, count) ?? true) this.#locks.drop(client, inode);
    return 0;
  }

  #onRejoined(call: Exchange): number {
    this.#parts.survivors?.rejoined(call.change.client);
    return 0;
  }

  #onCopyRange(call: Exchange): number {
    const { change } = call;
    const from = this.#inode(change);
    const writer = this.#begin(change);
    const same = change.other === change.inode;
    const to = same ? from : this.#other(change);
    const wanted = Math.min(change.bytes, COPY_BYTES_MAX);
    let { offset, otherOffset: at } = change;
    const bytes = this.#volume.readableBytes(from, offset, wanted);
    if (same && offset < at + bytes && at < offset + bytes) {
      throw new FsError('EINVAL', 'the ranges overlap');
    }
    if (change.uid !== 0) killPrivileges(this.#volume, writer, to);
    let done = 0;
    while (done < bytes) {
      const part = this.#memory.stage(Math.min(bytes - done, TRANSFER_BYTES_MAX));
      const got = this.#volume.read(from, offset, part);
      const written = writer.write(to, at, part.subarray(0, got));
      done += written;
      offset += written;
      at += written;
      if (written < part.length) break;
    }
    if (done > 0) this.#volume.accessed(from);
    this.#attributes(call, to);
    return done;
  }

  #onLock(call: Exchange): number {
    const { lockCommand, lockKind, lockType, client, owner, pid, start, end } = call.change;
    const known =
      lockCommand <= LockCommand.RECLAIM &&
      lockKind <= LockKind.FLOCK &&
      lockType <= LockType.UNLOCK &&
      start <= end;
    if (!known) throw new FsError('EINVAL', 'no such lock');
    const inode = this.#inode(call.change);
    const target = { inode: inode.number, kind: lockKind };
    const range = { type: lockType, start, end };
    const who = { client, owner, pid };
    checkLock(this.#parts.survivors, call.change);
    if (lockCommand === LockCommand.GET) {
      encodeLock(call.reply, this.#locks.conflict(target, who, range));
      return 0;
    }
    this.#locks.set(target, who, range, lockCommand === LockCommand.WAIT);
    return this.#attributes(call, inode);
  }

  #commit({ client, change }: Exchange): void {
    this.#parts.commit((errno) => {
      this.#answers.amend(client, change, errno);
    });
  }

  #onUnclaim(call: Exchange): number {
    this.#claims.end(call.change.inode, call.change.client);
    return 0;
  }

  /** For a change: throws EROFS, and says whose the next calls are. */
  #begin(owner: { uid: number; gid: number }): VolumeWriter {
    const { writer } = this.#parts;
    if (writer === undefined) throw new FsError('EROFS', 'the volume is read-only');
    writer.actAs({ uid: owner.uid, gid: owner.gid });
    return writer;
  }

  #inode(change: FsChange): Inode {
    return this.#volume.inode(change.inode, change.generation);
  }

  #other(change: FsChange): Inode {
    return this.#volume.inode(change.other, change.otherGeneration);
  }

  #attributes(call: Exchange, inode: Inode): number {
    encodeAttributes(call.reply, this.#volume.attributes(inode));
    return 0;
  }

  /** The names of a request, checked. */
  #names(call: Exchange, count: 1): [Uint8Array];
  #names(call: Exchange, count: 2): [Uint8Array, Uint8Array];
  #names(call: Exchange, count: number): Uint8Array[] {
    const { change } = call;
    const { nameBytes, newNameBytes } = change;
    const bytes = nameBytes + newNameBytes;
    let all: Uint8Array;
    if (namesFit(change.call, bytes)) {
      all = inlineNames(call.message, change);
    } else {
      all = new Uint8Array(bytes);
      this.#copyIn(call, 0, all);
    }
    const names = [all.slice(0, nameBytes), all.slice(nameBytes)].slice(0, count);
    for (const name of names) {
      if (name.length > NAME_BYTES_MAX) throw new FsError('ENAMETOOLONG', 'a name');
      if (name.length === 0 || name.includes(0) || name.includes(SLASH)) {
        throw new FsError('EINVAL', 'an empty name, or one with a NUL or a slash');
      }
    }
    return names;
  }

  /** What a WRITE brings. Long contents are left where they are; an append is not done in parts. */
  #contents(call: Exchange, append: boolean): Uint8Array | Incoming {
    const { bytes, grant } = call.change;
    const isLong = grant >= 0 && bytes >= LONG_BYTES_MIN && bytes <= TRANSFER_BYTES_MAX;
    if (append || !isLong) return this.#data(call, TRANSFER_BYTES_MAX, 'EINVAL');
    const copyIn = (at: number, target: Uint8Array): void => {
      this.#copyIn(call, at, target);
    };
    return new Granted({ copyIn, stage: (length) => this.#memory.stage(length) }, bytes);
  }

  /** The data of a request, behind its names; valid until the staging buffer is used again. */
  #data(
    call: Exchange,
    bytesMax: number,
    tooLong: 'EINVAL' | 'ENAMETOOLONG' | 'E2BIG',
  ): Uint8Array {
    const { change } = call;
    if (change.bytes > bytesMax) throw new FsError(tooLong, `${String(change.bytes)} bytes`);
    const names = change.nameBytes + change.newNameBytes;
    const data = this.#memory.stage(change.bytes).subarray(0, change.bytes);
    if (data.length > 0) this.#copyIn(call, namesFit(change.call, names) ? 0 : names, data);
    return data;
  }

  #copyIn(call: Exchange, at: number, target: Uint8Array): void {
    const { grant } = call.change;
    call.unread = true;
    if (grant < 0) throw new FsError('EFAULT', 'the request names no memory');
    this.#memory.copyIn(call.client, grant, at, target);
    call.unread = false;
  }
}
