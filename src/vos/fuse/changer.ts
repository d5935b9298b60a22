/**
 * Performs the requests of a FUSE session that change something, and those around them.
 *
 * Opens are counted by the file service, so a file handle is always 0: whatever the kernel asks
 * names the file itself. A lock that somebody waits for is asked for again and again by the service,
 * while other requests go on.
 */
import { constants } from 'node:os';
import type { FileId, FileService, LockRequest } from '../client/file-service.ts';
import { LockKind, LockType } from '../protocol/fs-change.ts';
import type { Answers } from './answers.ts';
import type { Change } from './change.ts';
import type { ChangingRequest } from './wire.ts';
import { Opcode } from './wire.ts';

const { EEXIST, ESTALE } = constants.errno;
const O_EXCL = 0o200;
const WHOLE = { start: 0, end: Number.MAX_SAFE_INTEGER };

type Kind<K extends Change['kind']> = Extract<Change, { kind: K }>;

export class Changer {
  readonly #service: FileService;
  readonly #answers: Answers;
  /** Locks that are waited for, by the request's number. */
  readonly #waits = new Map<number, AbortController>();

  constructor(service: FileService, answers: Answers) {
    this.#service = service;
    this.#answers = answers;
  }

  /** Calls the service, before this returns, and answers when it has settled. */
  async perform(request: ChangingRequest): Promise<void> {
    const { change, file } = request;
    const answers = this.#answers;
    const service = this.#service;
    switch (change.kind) {
      case 'create':
        await this.#create(request, change);
        return;
      case 'make': {
        const place = { parent: file, name: change.name };
        const isDirectory = request.opcode === Opcode.MKDIR;
        const made = isDirectory
          ? await service.makeDirectory(place, change.file)
          : await service.create(place, change.file, false);
        answers.entry(request, made);
        return;
      }
      case 'symlink': {
        const place = { parent: file, name: change.name };
        answers.entry(request, await service.symlink(place, change.target, change.owner));
        return;
      }
      case 'link': {
        const place = { parent: file, name: change.name };
        answers.entry(request, await service.link(change.file, place));
        return;
      }
      case 'remove': {
        const place = { parent: file, name: change.name };
        if (request.opcode === Opcode.RMDIR) await service.removeDirectory(place);
        else await service.unlink(place);
        answers.done(request);
        return;
      }
      case 'rename':
        await service.rename({ parent: file, name: change.name }, change.to, change.flags);
        answers.done(request);
        return;
      case 'write': {
        const { offset, data, flags, owner } = change;
        const { bytes } = await service.write({ file, offset }, data, flags, owner);
        answers.written(request, bytes);
        return;
      }
      case 'attributes':
        answers.attributes(request, await service.setAttributes(file, change.change));
        return;
      case 'allocate': {
        const { offset, bytes, mode, owner } = change;
        await service.allocate({ file, offset }, bytes, mode, owner);
        answers.done(request);
        return;
      }
      case 'seek':
        answers.offset(request, await service.seek({ file, offset: change.offset }, change.whence));
        return;
      case 'setXattr':
        await service.setXattr(file, change.name, change.value, change.flags);
        answers.done(request);
        return;
      case 'removeXattr':
        await service.removeXattr(file, change.name);
        answers.done(request);
        return;
      case 'sync':
        await service.sync(file, change.flags);
        answers.done(request);
        return;
      case 'open': {
        const attributes = await service.open(file);
        if (!answers.opened(request, attributes)) await service.release(file);
        return;
      }
      case 'release':
        await this.#release(file, change);
        answers.done(request);
        return;
      case 'flush':
        // POSIX locks end with the first close of the file by their owner.
        if (answers.nodes.isLocked(file.inode)) {
          await this.#unlock(file, LockKind.POSIX, change.owner);
        }
        answers.done(request);
        return;
      case 'copy': {
        const { offset, to, at, bytes, owner } = change;
        const target = { file: to, offset: at };
        const done = await service.copyRange({ file, offset }, target, bytes, owner);
        answers.written(request, done.bytes);
        return;
      }
      case 'lock':
        await this.#lock(request, change);
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
      const made = await this.#service.create(place, change.file, true);
      if (!this.#answers.entry(request, made, 0)) await this.#service.release(made);
    } catch (error) {
      const exists = error instanceof Error && 'code' in error && error.code === 'EEXIST';
      if (!exists) throw error;
      this.#answers.error(request, (change.flags & O_EXCL) !== 0 ? EEXIST : ESTALE);
    }
  }

  async #release(file: FileId, change: Kind<'release'>): Promise<void> {
    try {
      if (change.owner !== undefined) await this.#unlock(file, LockKind.FLOCK, change.owner);
    } finally {
      await this.#service.release(file);
    }
  }

  async #unlock(file: FileId, kind: number, owner: bigint): Promise<void> {
    await this.#service.lock(file, { kind, type: LockType.UNLOCK, ...WHOLE, owner, pid: 0 });
  }

  async #lock(request: ChangingRequest, { lock, mode }: Kind<'lock'>): Promise<void> {
    const { file, unique } = request;
    if (mode === 'test') {
      this.#answers.lock(request, await this.#service.testLock(file, lock));
      return;
    }
    if (lock.kind === LockKind.POSIX) this.#answers.nodes.lock(file.inode);
    if (mode === 'set') await this.#service.lock(file, lock);
    else await this.#await(file, lock, unique);
    // Whoever was to have it may have been told that it was interrupted.
    const unlocks = lock.type === LockType.UNLOCK;
    if (!this.#answers.done(request) && !unlocks) await this.#unlock(file, lock.kind, lock.owner);
  }

  async #await(file: FileId, lock: LockRequest, unique: number): Promise<void> {
    const wait = new AbortController();
    this.#waits.set(unique, wait);
    try {
      await this.#service.lock(file, lock, wait.signal);
    } finally {
      this.#waits.delete(unique);
    }
  }
}
