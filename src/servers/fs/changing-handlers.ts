/**
 * The handlers of the FS calls that change a volume, and of those around them: OPEN, LOCK, FSYNC,
 * SEEK. See `src/vos/protocol/fs-change.ts` for what each promises.
 *
 * What the volume leaves to its caller is done here: who owns a new file, what it inherits from its
 * directory, and which bits a write or a change of owner takes away.
 */
import {
  AttributeFlag,
  CLAIMED,
  COPY_BYTES_MAX,
  LockCommand,
  LockKind,
  LockType,
  OpenFlag,
  SeekWhence,
  SyncFlag,
  VALUE_BYTES_MAX,
  WriteFlag,
  XattrFlag,
  type FsChange,
  decodeChange,
  encodeInfo,
  encodeLock,
  encodeOffset,
} from '../../vos/protocol/fs-change.ts';
import { decodePieces } from '../../vos/protocol/fs-pieces.ts';
import type { Timestamp } from '../../vos/protocol/fs.ts';
import { FsCall, TRANSFER_BYTES_MAX, encodeAttributes } from '../../vos/protocol/fs.ts';
import { ACCESS_LIST } from './acl-rules.ts';
import { checkFlags, copyOf, holdsOf, isName, mayAnswerEarly, payloadOf } from './change-rules.ts';
import { Claims } from './claims.ts';
import { Holds, LastAnswers } from './clients.ts';
import { EarlyHandlers } from './early-handlers.ts';
import { ERRNO, FsError } from './errors.ts';
import { type Exchange, ExchangeTools } from './exchange.ts';
import type { AllocateMode, VolumeWriter } from './ext4/changing.ts';
import { bytesOf } from './ext4/incoming.ts';
import type { Inode } from './ext4/inode.ts';
import type { Volume } from './ext4/volume.ts';
import type { ClientMemory, FsHandler } from './handlers.ts';
import { LockTable } from './locks.ts';
import { NamingHandlers } from './naming-handlers.ts';
import { attributeChanges, followList, followMode, killPrivileges } from './owner-rules.ts';
import { type Survivors, checkLock } from './survivors.ts';

/** What the handlers need besides the volume and the clients' memory. */
export interface ChangingParts {
  /** Undefined: the volume is read-only, and what would change it fails with EROFS. */
  readonly writer: VolumeWriter | undefined;
  /**
   * The reply to the request that is served now waits until every change so far will be there after
   * a crash, with the contents of `file`, of all if it is left out. When that fails, `failed` is
   * told the -errno that is answered. Throws EIO, ENOSPC.
   */
  commit(failed: (errno: number) => void, file?: number): void;
  /** Whether the endpoint is bound, here or on another node. */
  isAlive(client: number): boolean;
  now(): Timestamp;
  /** For claims and waits: time that has passed, whatever is done to the host's clock. */
  nowMs(): number;
  /**
   * The time that a client gave to a change, if it is not ahead of `now`; later ones are above it.
   * Else, or left out, now.
   */
  follow?(time: Timestamp): Timestamp;
  /** Whether there are clients that hear of changes before these return; see `Claims`. */
  isWatched?(): boolean;
  /** Whose files and locks outlive the server; undefined: nobody's do. */
  readonly survivors?: Survivors;
}

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
  readonly #tools: ExchangeTools;
  readonly #naming: NamingHandlers;
  readonly #early: EarlyHandlers;
  readonly #answers = new LastAnswers();

  constructor(volume: Volume, memory: ClientMemory, parts: ChangingParts) {
    const { writer } = parts;
    this.#volume = volume;
    this.#memory = memory;
    this.#parts = parts;
    const inode = (number: number, generation: number): Inode => volume.inode(number, generation);
    this.#holds = writer === undefined ? undefined : new Holds(writer, inode);
    const nowMs = (): number => parts.nowMs();
    this.#locks = new LockTable((client) => this.#isAlive(client), nowMs);
    this.#claims = new Claims({
      isAlive: (client) => parts.isAlive(client),
      nowMs,
      isWatched: () => parts.isWatched?.() ?? false,
      ended: (directory) => {
        this.#early.ended(directory);
      },
    });
    const recovered = parts.survivors?.recovered;
    this.#tools = new ExchangeTools({ volume, memory, writer, recovered });
    const { survivors } = parts;
    const mine = { tools: this.#tools, holds: this.#holds, claims: this.#claims };
    const shared = { volume, survivors, ...mine };
    this.#naming = new NamingHandlers(shared);
    this.#early = new EarlyHandlers({
      ...shared,
      writer,
      now: () => parts.now(),
      follow: (time) => parts.follow?.(time) ?? parts.now(),
    });
  }

  /** The call table of this half of the protocol. */
  table(): Map<number, FsHandler> {
    const table = new Map<number, FsHandler>();
    const add = (call: FsCall, handle: (call: Exchange) => number): void => {
      table.set(call, this.#serve(handle));
    };
    add(FsCall.CREATE, (call) => this.#naming.onCreate(call));
    add(FsCall.MKDIR, (call) => this.#naming.onMkdir(call));
    add(FsCall.SYMLINK, (call) => this.#naming.onSymlink(call));
    add(FsCall.LINK, (call) => this.#naming.onLink(call));
    add(FsCall.UNLINK, (call) => this.#naming.onUnlink(call));
    add(FsCall.RMDIR, (call) => this.#naming.onRmdir(call));
    add(FsCall.RENAME, (call) => this.#naming.onRename(call));
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
    add(FsCall.TMPFILE, (call) => this.#naming.onTmpfile(call));
    add(FsCall.INFO, (call) => this.#onInfo(call));
    add(FsCall.SET_FLAGS, (call) => this.#onSetFlags(call));
    add(FsCall.CREATE_MANY, (call) => this.#early.onCreateMany(call));
    table.set(FsCall.TAKE_NAMES, (request, reply) => this.#early.onTakeNames(request, reply));
    return table;
  }

  /** Files and directories that are claimed, or were a moment ago. */
  get claims(): number {
    return this.#claims.size;
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

  /** Whether a client has something open, or locked. */
  has(client: number): boolean {
    return this.#holds?.has(client) === true || this.#locks.has(client);
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

  #onInfo(call: Exchange): number {
    encodeInfo(call.reply, this.#volume.info(this.#tools.inode(call.change)));
    return 0;
  }

  #onSetFlags(call: Exchange): number {
    const { change } = call;
    this.#tools
      .begin({ uid: 0, gid: 0 })
      .setFlags(this.#tools.inode(change), change.flags, change.mask);
    return 0;
  }

  #onWrite(call: Exchange): number {
    const { change } = call;
    checkFlags(change.flags, WriteFlag);
    const append = (change.flags & WriteFlag.APPEND) !== 0;
    // What comes in pieces may not be fetched in parts.
    const data = this.#tools.contents(call, append || change.count > 0);
    const writer = this.#tools.begin(change);
    const inode = this.#tools.inode(change);
    if (append && change.offset !== 0) throw new FsError('EBADREQUEST', 'an offset to append at');
    if ((change.flags & WriteFlag.KILL_PRIVILEGES) !== 0)
      killPrivileges(this.#volume, writer, inode);
    const written =
      change.count > 0
        ? this.#writePieces(writer, inode, bytesOf(data), change)
        : writer.write(inode, append ? inode.size : change.offset, data);
    if ((change.flags & WriteFlag.SYNC) !== 0) this.#commit(call, inode.number);
    this.#tools.attributes(call, inode);
    const early = mayAnswerEarly(inode, this.#volume);
    const claimed = early && this.#claims.take(inode.number, change);
    return claimed ? written + CLAIMED : written;
  }

  #writePieces(writer: VolumeWriter, inode: Inode, data: Uint8Array, change: FsChange): number {
    const pieces = decodePieces(data, change.count);
    const hasPlace = change.offset !== 0 || (change.flags & WriteFlag.APPEND) !== 0;
    if (pieces === undefined || hasPlace) throw new FsError('EINVAL', 'a list of pieces');
    let written = 0;
    for (const piece of pieces) {
      const bytes = writer.write(inode, piece.offset, piece.data);
      written += bytes;
      if (bytes < piece.data.length) break;
    }
    return written;
  }

  #onSetattr(call: Exchange): number {
    const { change } = call;
    checkFlags(change.flags, AttributeFlag);
    const writer = this.#tools.begin({ uid: 0, gid: 0 });
    const inode = this.#tools.inode(change);
    const changes = attributeChanges(inode, change, this.#parts.now());
    writer.change(() => {
      if ((change.flags & AttributeFlag.KILL_PRIVILEGES) !== 0) {
        killPrivileges(this.#volume, writer, inode);
      }
      writer.setAttributes(inode, changes);
      if (changes.mode !== undefined) followMode(this.#volume, writer, inode, changes.mode);
    });
    return this.#tools.attributes(call, inode);
  }

  #onFallocate(call: Exchange): number {
    const { change } = call;
    const mode = ALLOCATE_MODES.get(change.mode);
    if (mode === undefined) throw new FsError('EOPNOTSUPP', 'a mode of fallocate');
    if (change.size === 0) throw new FsError('EINVAL', 'an empty range');
    const writer = this.#tools.begin(change);
    const inode = this.#tools.inode(change);
    if (change.uid !== 0) killPrivileges(this.#volume, writer, inode);
    writer.allocate(inode, mode, { offset: change.offset, bytes: change.size });
    return this.#tools.attributes(call, inode);
  }

  #onSeek(call: Exchange): number {
    const { change } = call;
    const { DATA, HOLE } = SeekWhence;
    const { flags } = change;
    if (flags !== DATA && flags !== HOLE) throw new FsError('EINVAL', 'no such whence');
    const what = flags === DATA ? 'data' : 'hole';
    encodeOffset(call.reply, this.#volume.seek(this.#tools.inode(change), change.offset, what));
    return 0;
  }

  #onSetxattr(call: Exchange): number {
    const { change } = call;
    checkFlags(change.flags, XattrFlag);
    const [name] = this.#tools.names(call, 1);
    const value = this.#tools.data(call, VALUE_BYTES_MAX, 'E2BIG').slice();
    const create = (change.flags & XattrFlag.CREATE) !== 0;
    const replace = (change.flags & XattrFlag.REPLACE) !== 0;
    const writer = this.#tools.begin({ uid: 0, gid: 0 });
    const inode = this.#tools.inode(change);
    writer.change(() => {
      writer.setXattr(inode, name, value, { create, replace });
      if (isName(name, ACCESS_LIST)) followList(writer, inode, change, value);
    });
    return 0;
  }

  #onRemovexattr(call: Exchange): number {
    const [name] = this.#tools.names(call, 1);
    const writer = this.#tools.begin({ uid: 0, gid: 0 });
    writer.removeXattr(this.#tools.inode(call.change), name);
    return 0;
  }

  #onFsync(call: Exchange): number {
    const { flags } = call.change;
    checkFlags(flags, SyncFlag);
    const inode = this.#tools.inode(call.change);
    const file = (flags & SyncFlag.VOLUME) !== 0 ? undefined : inode.number;
    if (this.#parts.writer !== undefined) this.#commit(call, file);
    return 0;
  }

  #onOpen(call: Exchange): number {
    const { flags } = call.change;
    checkFlags(flags, OpenFlag);
    if ((flags & OpenFlag.LOOK) !== 0) return this.#onLook(call);
    const { client, count } = holdsOf(call.change);
    const inode = this.#tools.inode(call.change);
    const { survivors } = this.#parts;
    survivors?.list(client);
    if ((flags & OpenFlag.RECLAIM) === 0) {
      this.#holds?.add(client, inode, count);
      return this.#tools.attributes(call, inode);
    }
    survivors?.mayReclaim(client);
    this.#holds?.reclaim(client, inode, count);
    const changed = survivors?.wholeAt(client) ?? inode.changed;
    encodeAttributes(call.reply, { ...this.#volume.attributes(inode), changed });
    return survivors === undefined ? 1 : 0;
  }

  #onLook(call: Exchange): number {
    const { change } = call;
    if (change.flags !== OpenFlag.LOOK || change.count !== 0) {
      throw new FsError('EINVAL', 'a look that holds');
    }
    const inode = this.#tools.inode(change);
    const { survivors } = this.#parts;
    const changed = survivors?.wholeAt(change.client) ?? survivors?.recovered.of(inode);
    if (changed === undefined) return 1;
    encodeAttributes(call.reply, { ...this.#volume.attributes(inode), changed });
    return 0;
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
    const from = this.#tools.inode(change);
    const writer = this.#tools.begin(change);
    const same = change.other === change.inode;
    const to = same ? from : this.#tools.other(change);
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
    this.#tools.attributes(call, to);
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
    const inode = this.#tools.inode(call.change);
    const target = { inode: inode.number, kind: lockKind };
    const range = { type: lockType, start, end };
    const who = { client, owner, pid };
    checkLock(this.#parts.survivors, call.change);
    if (lockCommand === LockCommand.GET) {
      encodeLock(call.reply, this.#locks.conflict(target, who, range));
      return 0;
    }
    this.#locks.set(target, who, range, lockCommand === LockCommand.WAIT);
    return this.#tools.attributes(call, inode);
  }

  #commit({ client, change }: Exchange, file: number | undefined): void {
    this.#parts.commit((errno) => {
      this.#answers.amend(client, change, errno);
    }, file);
  }

  #onUnclaim(call: Exchange): number {
    this.#claims.end(call.change.inode, call.change.client);
    return 0;
  }
}
