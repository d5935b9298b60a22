/**
 * Performs the requests of a FUSE session that change something, and those around them.
 *
 * Writes may be answered before they are done (`write-behind.ts`), and names may be known not to be
 * there (`known-names.ts`); whatever else is asked of such a file or directory waits until that is
 * over.
 *
 * Opens are counted by the file service, and whatever the kernel asks names the file itself. A
 * file handle only tells which locks end with an open file. A lock that somebody waits for is asked
 * for again and again by the service, while other requests go on.
 */
import { constants as fileConstants } from 'node:fs';
import { constants } from 'node:os';
import { DvkError } from '../../dvk/errors.ts';
import type { FileId, FileService, LockRequest } from '../client/file-service.ts';
import type { FileAttributes } from '../protocol/fs.ts';
import { CreateFlag, LockKind, LockType } from '../protocol/fs-change.ts';
import type { Answers } from './answers.ts';
import type { Change } from './change.ts';
import type { ChangedDirectories } from './changed-directories.ts';
import type { FlagsCall } from './file-flags.ts';
import type { FreshPages } from './fresh-pages.ts';
import type { KnownNames } from './known-names.ts';
import { isSpecial } from './nodes.ts';
import type { ChangingRequest } from './requests.ts';
import type { SpecialFiles } from './special-files.ts';
import { OpenFlag, Opcode } from './wire.ts';
import { throwIf, type WriteBehind } from './write-behind.ts';

const { EEXIST, EINTR, ESTALE } = constants.errno;
const { O_DIRECT, O_EXCL } = fileConstants;
const WHOLE = { start: 0, end: Number.MAX_SAFE_INTEGER };

type Kind<K extends Change['kind']> = Extract<Change, { kind: K }>;
type Making = Kind<'make' | 'symlink' | 'link'>;
type Acting = Kind<
  'remove' | 'rename' | 'allocate' | 'setXattr' | 'removeXattr' | 'sync' | 'release' | 'flush'
>;

export interface ChangerParts {
  readonly writes: WriteBehind;
  readonly names: KnownNames;
  readonly fresh: FreshPages;
  readonly directories: ChangedDirectories;
  readonly special: SpecialFiles;
}

export class Changer {
  readonly #service: FileService;
  readonly #answers: Answers;
  readonly #writes: WriteBehind;
  readonly #names: KnownNames;
  readonly #fresh: FreshPages;
  readonly #directories: ChangedDirectories;
  readonly #special: SpecialFiles;
  /** Locks that are waited for, by the request's number. */
  readonly #waits = new Map<number, AbortController>();
  /**
   * Who has, or had, POSIX locks through an open file, by its handle. A process says when it closes
   * a file (FLUSH); who is left when the kernel gives the handle up is the open file itself, whose
   * locks (F_OFD_SETLK in fcntl(2)) nobody else ends.
   */
  readonly #lockOwners = new Map<bigint, Set<bigint>>();

  constructor(service: FileService, answers: Answers, parts: ChangerParts) {
    this.#service = service;
    this.#answers = answers;
    this.#writes = parts.writes;
    this.#names = parts.names;
    this.#fresh = parts.fresh;
    this.#directories = parts.directories;
    this.#special = parts.special;
  }

  /**
   * Answers when the service has settled, a write maybe before. Data to be written is used no more
   * when this returns.
   */
  async perform(request: ChangingRequest): Promise<void> {
    const { change } = request;
    if (change.kind === 'write') return this.#write(request, change);
    await this.#settle(request);
    switch (change.kind) {
      case 'create':
        return this.#create(request, change);
      case 'make':
      case 'symlink':
      case 'link':
        return this.#make(request, change);
      case 'attributes':
        this.#answers.attributes(
          request,
          await this.#service.setAttributes(request.file, change.change),
        );
        return;
      case 'copy': {
        const bytes = await this.#copy(request.file, change);
        // The same, but with room for more in the answer.
        if (request.opcode === Opcode.COPY_FILE_RANGE_64) this.#answers.offset(request, bytes);
        else this.#answers.written(request, bytes);
        return;
      }
      case 'seek': {
        const at = { file: request.file, offset: change.offset };
        this.#answers.offset(request, await this.#service.seek(at, change.whence));
        return;
      }
      case 'open': {
        const attributes = await this.#service.open(request.file);
        const taken = this.#answers.opened(request, attributes, openFlagsOf(change.flags));
        if (taken) this.#writes.opened(request.file);
        else await this.#service.release(request.file);
        return;
      }
      case 'temporary': {
        const made = await this.#service.createUnnamed(request.file, change.file);
        const taken = this.#answers.entry(request, made, { openFlags: 0 });
        if (!taken) await this.#service.release(made);
        return;
      }
      case 'status': {
        const attributes = await this.#service.getAttributes(request.file);
        const info = await this.#service.info(request.file);
        this.#answers.extendedStatus(request, attributes, info);
        return;
      }
      case 'flags':
        return this.#flags(request, change.call);
      case 'lock':
        return this.#lock(request, change);
      default:
        await this.#act(request, change);
        this.#answers.done(request);
    }
  }

  async #make(request: ChangingRequest, change: Making): Promise<void> {
    const service = this.#service;
    const special = this.#special;
    const place = { parent: request.file, name: change.name };
    switch (change.kind) {
      case 'make': {
        if (request.opcode === Opcode.MKDIR) {
          return special.entry(request, await service.makeDirectory(place, change.file));
        }
        const isHeld = isSpecial(change.file.mode) && special.hasRoom;
        const made = await service.create(place, change.file, isHeld ? CreateFlag.HOLD : 0);
        return special.entry(request, made, { isHeld });
      }
      case 'symlink':
        return special.entry(request, await service.symlink(place, change.target, change.owner));
      case 'link':
        return special.entry(request, await service.link(change.file, place));
    }
  }

  async #write(request: ChangingRequest, change: Kind<'write'>): Promise<void> {
    const { length } = change.data;
    const coming = this.#names.arrived(request.file);
    if (coming !== undefined) {
      // The request's buffer is used again meanwhile.
      change.data = change.data.slice();
      await coming;
    }
    const { early, soon, done } = this.#writes.begin(request.file, change);
    let isAnswered = early;
    if (early) this.#answers.written(request, length);
    void soon?.then(() => {
      isAnswered = true;
      this.#answers.written(request, length);
    });
    const bytes = await done;
    if (!isAnswered) this.#answers.written(request, bytes);
  }

  async #copy(file: FileId, { offset, owner, ...change }: Kind<'copy'>): Promise<number> {
    const to = { file: change.to, offset: change.at };
    return (await this.#service.copyRange({ file, offset }, to, change.bytes, owner)).bytes;
  }

  /** Waits until what is about to be asked for is not in the way of a claim of this client. */
  async #settle({ file, change, opcode }: ChangingRequest): Promise<void> {
    const names = this.#names;
    switch (change.kind) {
      case 'create':
        return;
      case 'remove':
        // A directory is not empty before what was made in it has arrived.
        if (opcode === Opcode.RMDIR) await names.settleAll();
        await names.arrived(file);
        return;
      case 'make':
      case 'symlink':
      case 'link':
        if (change.kind === 'link') await names.arrived(change.file);
        await names.settle(file);
        return;
      case 'rename':
        // Of the directory that it replaces, too.
        await names.settleAll();
        return;
      case 'copy':
        await names.arrived(change.to);
        await names.arrived(file);
        await this.#writes.settle(change.to);
        await this.#writes.settle(file);
        return;
      case 'flush':
      case 'release':
        // Who closes a new file need not wait for it.
        await this.#writes.settle(file);
        return;
      case 'sync':
        await names.arrived(file);
        await this.#writes.settle(file);
        throwIf(names.failureAtSync(file));
        return;
      case 'attributes':
      case 'flags':
      case 'setXattr':
      case 'removeXattr':
        await names.arrived(file);
        await names.settle(file);
        await this.#writes.settle(file);
        return;
      default:
        await names.arrived(file);
        await this.#writes.settle(file);
    }
  }

  /** What has no body in its reply. */
  async #act(request: ChangingRequest, change: Acting): Promise<void> {
    const { file } = request;
    const service = this.#service;
    switch (change.kind) {
      case 'remove': {
        const place = { parent: file, name: change.name };
        const askedMs = this.#directories.nowMs();
        const removed =
          request.opcode === Opcode.RMDIR
            ? await service.removeDirectory(place, true)
            : await service.unlink(place, true);
        this.#names.removed(file, change.name);
        if ('held' in removed) this.#releaseForgotten(removed.held);
        else if (request.opcode === Opcode.UNLINK) {
          this.#directories.tell(removed.directory, askedMs);
        }
        return;
      }
      case 'rename':
        return service.rename({ parent: file, name: change.name }, change.to, change.flags);
      case 'allocate': {
        const { offset, bytes, mode, owner } = change;
        await service.allocate({ file, offset }, bytes, mode, owner);
        return;
      }
      case 'setXattr':
        return service.setXattr(file, change.name, change.value, change.flags);
      case 'removeXattr':
        return service.removeXattr(file, change.name);
      case 'sync':
        await service.sync(file, change.flags);
        throwIf(this.#writes.failureAtSync(file, change.handle));
        return;
      case 'release':
        return this.#release(file, change);
      case 'flush':
        this.#lockOwners.get(change.handle)?.delete(change.owner);
        // POSIX locks end with the first close of the file by their owner.
        if (this.#answers.nodes.isLocked(file.inode)) {
          await this.#unlock(file, LockKind.POSIX, change.owner);
        }
        throwIf(this.#names.failure(file));
        throwIf(this.#writes.failureAtClose(file, change.handle));
        return;
    }
  }

  /** The process that waits got a signal. True if that ends its wait. */
  interrupt(request: ChangingRequest): boolean {
    const wait = this.#waits.get(request.unique);
    wait?.abort();
    return wait !== undefined;
  }

  /** Nobody waits any more. */
  abandon(): void {
    for (const wait of this.#waits.values()) wait.abort();
  }

  /**
   * Makes and opens. Without O_EXCL, a file that somebody else has made meanwhile is to be opened:
   * ESTALE makes the kernel look the name up again, and check what this user may do with it.
   */
  async #create(request: ChangingRequest, change: Kind<'create'>): Promise<void> {
    const place = { parent: request.file, name: change.name };
    try {
      const made = await this.#names.create(place, change.file);
      const openFlags = openFlagsOf(change.flags);
      const taken = this.#answers.entry(request, made, { openFlags });
      if (taken) this.#writes.opened(made);
      else await this.#letGo(made);
    } catch (error) {
      const exists = error instanceof Error && 'code' in error && error.code === 'EEXIST';
      if (!exists) throw error;
      this.#answers.error(request, (change.flags & O_EXCL) !== 0 ? EEXIST : ESTALE);
    }
  }

  async #flags(request: ChangingRequest, call: FlagsCall): Promise<void> {
    const { set } = call;
    if (set !== undefined) await this.#service.setFlags(request.file, set.flags, set.mask);
    const flags = set === undefined ? (await this.#service.info(request.file)).flags : 0;
    this.#answers.flags(request, call, flags);
  }

  async #release(file: FileId, change: Kind<'release'>): Promise<void> {
    try {
      const left = this.#lockOwners.get(change.handle) ?? [];
      this.#lockOwners.delete(change.handle);
      for (const owner of left) await this.#unlock(file, LockKind.POSIX, owner);
      if (change.owner !== undefined) await this.#unlock(file, LockKind.FLOCK, change.owner);
    } finally {
      this.#writes.released(file);
      await this.#letGo(file);
    }
  }

  /** One open file less. */
  async #letGo(file: FileId): Promise<void> {
    if (!(await this.#names.released(file))) await this.#service.release(file);
  }

  /**
   * It stays until the kernel has forgotten it: it may be the directory that a process is in. What
   * is special is held already, as a rule.
   */
  #releaseForgotten({ inode, generation }: FileAttributes): void {
    const { nodes } = this.#answers;
    if (nodes.isHeld({ inode, generation })) {
      this.#service.release({ inode, generation }).catch(() => undefined);
      return;
    }
    nodes.whenForgotten({ inode, generation }, () => {
      // When that fails the server lets go at the end of this client.
      this.#service.release({ inode, generation }).catch(() => undefined);
    });
  }

  async #unlock(file: FileId, kind: number, owner: bigint): Promise<void> {
    await this.#service.lock(file, { kind, type: LockType.UNLOCK, ...WHOLE, owner, pid: 0 });
  }

  async #lock(request: ChangingRequest, { handle, lock, mode }: Kind<'lock'>): Promise<void> {
    const { file } = request;
    if (mode === 'test') {
      this.#answers.lock(request, await this.#service.testLock(file, lock));
      return;
    }
    if (lock.kind === LockKind.POSIX) {
      this.#answers.nodes.lock(file.inode);
      this.#ownsLock(handle, lock);
    }
    const attributes =
      mode === 'set' ? await this.#service.lock(file, lock) : await this.#await(request, lock);
    if (lock.type === LockType.UNLOCK) {
      this.#answers.done(request);
      return;
    }
    await this.#fresh.refresh(attributes);
    // Whoever was to have it may have been told that it was interrupted.
    if (!this.#answers.done(request)) await this.#unlock(file, lock.kind, lock.owner);
  }

  #ownsLock(handle: bigint, lock: LockRequest): void {
    if (lock.type === LockType.UNLOCK) return;
    const owners = this.#lockOwners.get(handle) ?? new Set();
    this.#lockOwners.set(handle, owners.add(lock.owner));
  }

  async #await(request: ChangingRequest, lock: LockRequest): Promise<FileAttributes> {
    const { file, unique } = request;
    // The kernel tells of a signal once, and that may have been before this.
    if (request.interrupted) throw new DvkError(-EINTR, 'fuse');
    const wait = new AbortController();
    this.#waits.set(unique, wait);
    try {
      return await this.#service.lock(file, lock, wait.signal);
    } finally {
      this.#waits.delete(unique);
    }
  }
}

/**
 * With O_DIRECT the kernel asks for whatever is read, also what lies behind the size that it knows,
 * so what other nodes append is seen at once.
 */
function openFlagsOf(flags: number): number {
  return (flags & O_DIRECT) !== 0 ? OpenFlag.DIRECT_IO : 0;
}
