/**
 * Serves a FUSE session from a file service: each request becomes one call, each outcome one reply.
 *
 * Any number of calls may be under way; replies go out in the order the service settles them. A
 * call that fails answers with its POSIX code, and with EIO when the code is one of DVK's own; why,
 * the operator is told.
 */
import { constants } from 'node:os';
import type { Clock } from '../../dvk/clock.ts';
import type { FileService } from '../client/file-service.ts';
import type { Trust } from '../client/leases.ts';
import { TRANSFER_BYTES_MAX, type FileAttributes, type Timestamp } from '../protocol/fs.ts';
import { MOUNT_MEMORY, type MountMemory } from '../spec-fs.ts';
import type { Answers, Send, SessionCounters } from './answers.ts';
import { DIRECTORY_BYTES_MAX } from './answers.ts';
import type { Negotiated } from './replies.ts';
import { Session } from './session.ts';
import { CHANGING_KINDS } from './change.ts';
import { ChangedDirectories } from './changed-directories.ts';
import { Changer } from './changer.ts';
import { FreshPages } from './fresh-pages.ts';
import { errnoOf, IoErrors } from './io-errors.ts';
import { KnownNames } from './known-names.ts';
import { Neighbours } from './neighbours.ts';
import { type PageDropper, Recalls } from './recalls.ts';
import type { EndLoan } from './request-buffers.ts';
import type { ChangingRequest, ReadingRequest, ServiceRequest } from './requests.ts';
import { Opcode, opcodeName } from './wire.ts';
import { SpecialFiles } from './special-files.ts';
import { WriteBehind } from './write-behind.ts';

const { EINTR, ENOENT, ESTALE } = constants.errno;
/** Room for one directory entry with the longest name, in the FS protocol and in FUSE's. */
const DIRECTORY_BYTES_MIN = 512;
const DOT = 0x2e;
/** The longest list of xattrs (XATTR_LIST_MAX). */
const LIST_BYTES_MAX = 65_536;
/** What failed, where its program goes on and is told with a later call. */
const EARLY = 'a change that was answered early';
/** Names with this are listed for root alone; see xattr(7). */
const TRUSTED = Buffer.from('trusted.');

export interface GatewayOptions {
  /** How long the kernel may use attributes and names without asking again. */
  readonly attributesMs: number;
  readonly entryMs: number;
  /** The same for names that do not exist. */
  readonly missingMs: number;
  /**
   * A request that reads is answered with EINTR if its process is ending and the service stays
   * silent for this long; one that waits for a lock, after any signal. Other signals (an alarm, a
   * runtime's own) end no call: POSIX has no EINTR for most that read, as stat and unlink. What
   * changes something is waited for, since its program has to know whether it was done.
   */
  readonly interruptGraceMs: number;
  readonly writeBytesMax: number;
  /** Read-ahead requests that the kernel may have under way. */
  readonly backgroundMax: number;
  /** Nothing can be changed: EROFS. */
  readonly readOnly: boolean;
  /** Nobody else changes anything either; see `SessionOptions`. */
  readonly constant: boolean;
  /** What is kept at most; requests are left with the kernel while there are so many writes. */
  readonly memory: MountMemory;
}

export const GATEWAY_DEFAULTS: GatewayOptions = {
  attributesMs: 1000,
  entryMs: 1000,
  missingMs: 0,
  interruptGraceMs: 250,
  writeBytesMax: TRANSFER_BYTES_MAX,
  backgroundMax: 16,
  readOnly: false,
  constant: false,
  memory: MOUNT_MEMORY,
};

export interface GatewayPort {
  readonly send: Send;
  onReady(negotiated: Negotiated): void;
  onRefused(major: number, minor: number): void;
  /** There is room for requests again, after `isFull`. */
  onRoom?(): void;
  /** Whether a thread is ending; asked of one that got a signal. Without it, each one is. */
  isEnding?(pid: number): boolean;
  /** With it, the kernel believes what the service said for as long as this says. */
  readonly trust?: Trust | undefined;
  /** Lends the memory of the request that is received now, so that its data need not be copied. */
  lend?(): EndLoan | undefined;
  /** Takes lines for the operator about what programs see as EIO; few, see `IoErrors`. */
  tell?(line: string): void;
  /** With it, pages of the kernel are dropped when they are recalled, or a lock is taken. */
  readonly pages?: PageDropper | undefined;
}

export class Gateway {
  readonly #service: FileService;
  readonly #port: GatewayPort;
  readonly #session: Session;
  readonly #answers: Answers;
  readonly #changer: Changer;
  readonly #neighbours: Neighbours;
  readonly #recalls: Recalls | undefined;
  readonly #writes: WriteBehind;
  readonly #names: KnownNames;
  readonly #directories: ChangedDirectories;
  readonly #ioErrors: IoErrors;
  readonly #special: SpecialFiles;
  readonly #memory: MountMemory;
  /** Data of WRITEs that the service has not yet taken care of. */
  #writeBacklogBytes = 0;

  constructor(service: FileService, port: GatewayPort, clock: Clock, options: GatewayOptions) {
    this.#memory = options.memory;
    const { attributesMs, entryMs, missingMs, writeBytesMax, backgroundMax } = options;
    const { readOnly, constant } = options;
    const { trust } = port;
    this.#service = service;
    this.#port = port;
    this.#session = new Session(
      {
        send: port.send,
        onReady: (negotiated) => {
          this.#recalls?.begin();
          port.onReady(negotiated);
        },
        onRefused: (major, minor) => {
          port.onRefused(major, minor);
        },
        onInterrupt: (request) => {
          if (request.change === undefined || this.#changer.interrupt(request)) {
            this.#letGo(request, clock, options.interruptGraceMs);
          }
        },
      },
      {
        validity: { attributesMs, entryMs },
        missingMs,
        writeBytesMax,
        backgroundMax,
        readOnly,
        constant,
        trust,
      },
    );
    this.#answers = this.#session.answers;
    if (trust !== undefined) this.#recalls = new Recalls(this.#answers, trust, port.pages);
    this.#special = new SpecialFiles(service, this.#answers);
    this.#ioErrors = new IoErrors(clock, this.#answers.counters, (line) => port.tell?.(line));
    const earlyErrnoOf = (error: unknown): number => this.#ioErrors.errnoOf(error, () => EARLY);
    // What came with others has no lease.
    const nearMs = trust === undefined ? Math.min(attributesMs, entryMs) : 0;
    this.#writes = new WriteBehind(service, clock, earlyErrnoOf, () => port.lend?.());
    const latest = (): Timestamp => this.#answers.nodes.latest;
    const { names: namesMax, entries: entriesMax } = options.memory;
    this.#names = new KnownNames({ service, clock, errnoOf: earlyErrnoOf, latest, namesMax });
    // What a mount with leases has is never old, and a lock that waits for pages might wait for a
    // recall that waits for the same at another mount.
    const fresh = new FreshPages(this.#answers, trust === undefined ? port.pages : undefined);
    this.#directories = new ChangedDirectories(clock, nearMs);
    const known = { names: this.#names, directories: this.#directories };
    const parts = { writes: this.#writes, special: this.#special, fresh, ...known };
    this.#changer = new Changer(service, this.#answers, parts);
    this.#neighbours = new Neighbours(service, clock, { validMs: nearMs, entriesMax });
  }

  get counters(): Readonly<SessionCounters> {
    return this.#answers.counters;
  }

  /** Requests that wait for the file service. */
  get outstanding(): number {
    return this.#answers.outstanding;
  }

  /** Files in the kernel's cache. */
  get nodes(): number {
    return this.#answers.nodes.size;
  }

  /** Whether requests should be left with the kernel until `onRoom`. */
  get isFull(): boolean {
    return this.#writeBacklogBytes >= this.#memory.writes;
  }

  /** Takes one message of `length` bytes at the start of `view`. Never throws. */
  receive(view: DataView, length: number): void {
    const request = this.#session.receive(view, length);
    if (request === undefined) return;
    const { change } = request;
    if (request.change !== undefined) this.#recalls?.onChange(request);
    const backlogBytes = change?.kind === 'write' ? change.data.length : 0;
    this.#writeBacklogBytes += backlogBytes;
    if (request.change !== undefined) this.#forget(request);
    const performed =
      request.change === undefined ? this.#perform(request) : this.#changer.perform(request);
    performed
      .then(
        () => {
          // For a service that broke its contract, such as a read that never showed its data. An
          // answer that comes second is ignored.
          if (!request.answered) this.#fail(request, new Error('the service gave no answer'));
        },
        (error: unknown) => {
          this.#fail(request, error);
        },
      )
      .finally(() => {
        // A removal has told what its directory is like after it.
        if (request.change !== undefined) this.#forget(request, request.change.kind === 'remove');
        const before = this.#writeBacklogBytes;
        this.#writeBacklogBytes -= backlogBytes;
        if (before >= this.#memory.writes && !this.isFull) this.#port.onRoom?.();
      });
  }

  #fail(request: ServiceRequest, error: unknown): void {
    const { answered, opcode, file } = request;
    const what = (): string => `${opcodeName(opcode)} of file ${String(file.inode)}`;
    const errno = answered ? errnoOf(error) : this.#ioErrors.errnoOf(error, what);
    // The kernel looks the name up once more, and is not to be told the same again.
    if (errno === ESTALE) this.#neighbours.forget();
    this.#answers.error(request, errno);
  }

  /** A change begins, or is done: what was known before is too old. */
  #forget({ change, file, opcode }: ChangingRequest, isTold = false): void {
    if (!CHANGING_KINDS.has(change.kind)) return;
    if (change.kind === 'remove' && opcode === Opcode.UNLINK) {
      this.#neighbours.removed(file, change.name);
    } else {
      this.#neighbours.forget();
    }
    // Writes change no directory.
    if (change.kind === 'write') return;
    // Of what a directory that goes away was like, too, nothing is true any more.
    if (opcode === Opcode.RMDIR || change.kind === 'rename') this.#directories.clear();
    else if (!isTold) this.#directories.forget(file);
    // `KnownNames` knows about new files itself.
    if (change.kind === 'create') return;
    this.#names.forget(file);
    if (change.kind === 'rename') this.#names.forget(change.to.parent);
  }

  /** The session is over: late answers of the service are ignored. */
  abandon(): void {
    this.#changer.abandon();
    this.#answers.abandon();
  }

  #letGo(request: ServiceRequest, clock: Clock, graceMs: number): void {
    clock.after(graceMs, () => {
      if (request.answered) return;
      const waitsForLock = request.change !== undefined;
      if (waitsForLock || (this.#port.isEnding?.(request.pid) ?? true)) {
        this.#answers.error(request, EINTR);
      } else {
        this.#letGo(request, clock, graceMs);
      }
    });
  }

  /** Resolves when everything that was answered is done. */
  async settle(): Promise<void> {
    await Promise.all([this.#writes.settleAll(), this.#names.settleAll()]);
  }

  async #perform(request: ReadingRequest): Promise<void> {
    const { file, bytes, name } = request;
    const answers = this.#answers;
    const service = this.#service;
    if (request.opcode === Opcode.LOOKUP) return this.#lookup(request);
    if (request.opcode === Opcode.GETATTR) return this.#status(request);
    await this.#names.arrived(file);
    await this.#writes.settle(file);
    switch (request.opcode) {
      case Opcode.READ:
        return service.read(file, request.offset, bytes, (data) => {
          answers.data(request, data);
        });
      case Opcode.READDIR:
      case Opcode.READDIRPLUS: {
        const mark = this.#writes.arrived;
        const found = await service.readDirectory(file, request.offset, directoryRoom(request));
        answers.directory(request, found, ({ inode }) => this.#writes.isAhead(inode, mark));
        return;
      }
      case Opcode.READLINK:
        answers.link(request, await service.readlink(file));
        return;
      case Opcode.STATFS:
        answers.status(request, await service.status());
        return;
      case Opcode.GETXATTR: {
        const { size, value } = await service.getXattr(file, name, valueRoom(bytes));
        answers.value(request, size, value);
        return;
      }
      case Opcode.LISTXATTR: {
        // Who is not root is not shown all names, so the whole list is needed to know its size.
        const room = request.uid === 0 ? bytes : LIST_BYTES_MAX;
        const { size, value } = await service.listXattr(file, valueRoom(room));
        if (request.uid === 0) answers.value(request, size, value);
        else {
          const shown = withoutTrusted(value);
          answers.value(request, shown.length, shown);
        }
        return;
      }
    }
  }

  async #status(request: ReadingRequest): Promise<void> {
    const { file } = request;
    const known = this.#names.attributes(file);
    if (known !== undefined && this.#isCurrent(known)) {
      this.#answers.attributes(request, known);
      return;
    }
    await this.#names.arrived(file);
    const told = this.#directories.find(file);
    if (told !== undefined && this.#isCurrent(told.attributes)) {
      this.#answers.attributes(request, told.attributes, told.ageMs);
      return;
    }
    await this.#writes.settle(file);
    const attributes = await this.#service.getAttributes(file);
    this.#names.learn(attributes);
    this.#answers.attributes(request, attributes);
  }

  async #lookup(request: ReadingRequest): Promise<void> {
    const { file, name } = request;
    const special = this.#special;
    // "." is how an NFS server looks for a file by its number.
    if (name.length === 1 && name[0] === DOT) {
      await this.#names.arrived(file);
      await this.#writes.settle(file);
      return special.entry(request, await this.#service.getAttributes(file));
    }
    if (this.#names.lacks(file, name)) {
      this.#answers.error(request, ENOENT);
      return;
    }
    await this.#names.arrived(file);
    const near = this.#neighbours.find(file, name);
    if (near !== undefined && this.#isCurrent(near.attributes)) {
      return special.entry(request, near.attributes, { ageMs: near.ageMs });
    }
    const mark = this.#writes.arrived;
    const found = await this.#service.lookup(file, name);
    this.#neighbours.asked(file);
    if (!this.#writes.isAhead(found.inode, mark)) return special.entry(request, found);
    await this.#writes.settle(found);
    return special.entry(request, await this.#service.getAttributes(found));
  }

  /** Whether nothing later is known of a file here. */
  #isCurrent(attributes: FileAttributes): boolean {
    const { inode } = attributes;
    return (
      !this.#answers.nodes.knowsNewer(attributes) &&
      !this.#writes.isAhead(inode, this.#writes.arrived)
    );
  }
}

/**
 * How many bytes of entries to ask of the service. Its entries take 72 bytes and the name, FUSE's
 * 24 (READDIR) or 152 (READDIRPLUS); for names of usual length that is twice and half the size.
 * What does not fit is asked again.
 */
function directoryRoom(request: ReadingRequest): number {
  const bytes = Math.min(request.bytes, DIRECTORY_BYTES_MAX);
  const room = request.opcode === Opcode.READDIRPLUS ? Math.floor(bytes / 2) : bytes * 2;
  return Math.max(DIRECTORY_BYTES_MIN, room);
}

function valueRoom(bytes: number): number {
  return Math.min(bytes, TRANSFER_BYTES_MAX);
}

/** The names of a list, each with a NUL behind it, that are not for root alone. */
function withoutTrusted(list: Uint8Array): Uint8Array {
  const shown = new Uint8Array(list.length);
  let bytes = 0;
  for (let at = 0; at < list.length;) {
    const nul = list.indexOf(0, at);
    const end = nul < 0 ? list.length : nul + 1;
    const name = list.subarray(at, end);
    if (!TRUSTED.equals(name.subarray(0, TRUSTED.length))) {
      shown.set(name, bytes);
      bytes += name.length;
    }
    at = end;
  }
  return shown.subarray(0, bytes);
}
