/**
 * Files that are made without waiting for the server.
 *
 * Who makes several files in a directory takes its names (`fs-early.ts`): until they are given back
 * nobody else gets at the directory, and there are inode numbers for new files. The directory is
 * then listed once, and a name that is neither in the list nor was added here since is not there.
 * So a file of such a name is made by telling the kernel of it; it goes to the server a moment
 * later, with others (`early-files.ts`). Its time is the server's, as far as it is known here: not
 * later than that, and later than all that the kernel was told before.
 *
 * Whatever else is asked of a file that is on its way waits until it has arrived; so does what is
 * asked of its directory. What adds names in other ways gives them back first (`settle`); so does a
 * moment without new files. A file that could not be made after all fails whatever is asked of it,
 * each close and each fsync, and one fsync of its directory.
 */
import type { Clock } from '../../dvk/clock.ts';
import type { FileAttributes, Timestamp } from '../protocol/fs.ts';
import type { FileId, FileService, Made, NewFile, Place } from '../client/file-service.ts';
import { CLAIM_TRUSTED_MS, CreateFlag } from '../protocol/fs-change.ts';
import { EarlyFiles } from './early-files.ts';
import { NameSet } from './name-set.ts';
import { isBefore } from './nodes.ts';
import { throwIf } from './write-behind.ts';

/** Files made in a row before the names are taken. */
const ROW_MIN = 2;
/** They are given back after so long without a new file. */
const LINGER_MS = 20;
/** Directories that are watched. */
const DIRECTORIES_MAX = 16;
const LIST_BYTES = 131_072;
/** A directory is listed when so many files were made for each of its entries, or it is small. */
const ENTRIES_FOR_A_FILE = 16;
/** Inode numbers that are asked for: first, and later, when so many are left. */
const NUMBERS_FIRST = 64;
const NUMBERS_MORE = 512;
const NUMBERS_LOW = 256;
/** A time that is so far ahead comes from a clock that was wrong. */
const JUMP_MS = 1000;
/** Failures that are remembered. */
const FAILURES_MAX = 1024;
const FORMAT_MASK = 0o170000;
const REGULAR = 0o100000;
const SET_GROUP = 0o2000;

interface Directory {
  readonly id: FileId;
  /** Files that were made since something else was done. */
  row: number;
  /** Names of which a CREATE is under way. */
  readonly making: Set<Uint8Array>;
  readonly idle: (() => void)[];
  /** The server may believe that this client has the names. */
  isTaken: boolean;
  /** While they are asked for, or more inode numbers. */
  taking: Promise<void> | undefined;
  trustedUntilMs: number;
  numbers: FileId[];
  /** What may be there, while it is being listed or is known. */
  names: NameSet | undefined;
  isListing: boolean;
  /** Entries of the last list. */
  listed: number;
  /** As they are after the last new file; undefined: the server is to be asked. */
  attributes: FileAttributes | undefined;
  /** The server's time less the clock's, at least. */
  aheadMs: number;
  /** A file that was told of could not be made, and no fsync has told of it. */
  failure: number | undefined;
  readonly early: EarlyFiles;
  cancelLinger: (() => void) | undefined;
  settling: Promise<void> | undefined;
}

export interface NamesOptions {
  readonly service: FileService;
  readonly clock: Clock;
  readonly errnoOf: (error: unknown) => number;
  /** The latest time of a change that the kernel was told of. */
  readonly latest: () => Timestamp;
  /** Names known of all directories together. */
  readonly namesMax: number;
}

interface Failure {
  /** Of the file: the number may be another one's by now. */
  readonly generation: number;
  readonly errno: number;
}

export class KnownNames {
  readonly #options: NamesOptions;
  readonly #clock: Clock;
  /** The one that was used last is at the end. */
  readonly #directories = new Map<number, Directory>();
  /** Where files are on their way to, by their inode numbers. */
  readonly #underWay = new Map<number, Directory>();
  /** Files that were told of, and do not exist, by their inode numbers. */
  readonly #failures = new Map<number, Failure>();

  constructor(options: NamesOptions) {
    this.#options = options;
    this.#clock = options.clock;
  }

  /** Directories that are watched. */
  get size(): number {
    return this.#directories.size;
  }

  /** Whether the name is surely not there. */
  lacks(parent: FileId, name: Uint8Array): boolean {
    const directory = this.#find(parent);
    return directory !== undefined && this.#isMissing(directory, name);
  }

  /** Makes a file and holds it open. */
  async create(place: Place, file: NewFile): Promise<FileAttributes> {
    const directory = await this.#settled(place.parent);
    if (directory === undefined) {
      return this.#options.service.create(place, file, CreateFlag.HOLD);
    }
    directory.cancelLinger?.();
    directory.cancelLinger = undefined;
    directory.row++;
    return (
      (await this.#createEarly(directory, place.name, file)) ?? this.#create(directory, place, file)
    );
  }

  /** Attributes of the directory as they are after its last new file, if they are known. */
  attributes(file: FileId): FileAttributes | undefined {
    const directory = this.#find(file);
    return directory !== undefined && this.#isTrusted(directory) ? directory.attributes : undefined;
  }

  /** The server said this of a file, when nothing was on its way. */
  learn(attributes: FileAttributes): void {
    const directory = this.#find(attributes);
    if (directory?.isTaken !== true || directory.making.size > 0 || directory.early.size > 0)
      return;
    const known = directory.attributes ?? attributes;
    if (!isBefore(attributes.changed, known.changed)) directory.attributes = attributes;
  }

  /** Something else changes in the directory. */
  forget({ inode }: FileId): void {
    const directory = this.#directories.get(inode);
    if (directory !== undefined) directory.attributes = undefined;
  }

  /** The name went from the directory. */
  removed(parent: FileId, name: Uint8Array): void {
    this.#find(parent)?.names?.remove(name);
  }

  /**
   * Resolves when the file is at the server, and what was made in it; undefined when that is so.
   * Rejects when it could not be made.
   */
  arrived(file: FileId): Promise<void> | undefined {
    const { inode } = file;
    if (this.#underWay.size === 0 && this.#failures.size === 0) return undefined;
    const early = this.#underWay.get(inode)?.early.arrived(inode);
    const below = this.#directories.get(inode)?.early.allArrived();
    const failed = this.failure(file) !== undefined;
    if (early === undefined && below === undefined && !failed) return undefined;
    return (async (): Promise<void> => {
      await below;
      await early;
      throwIf(this.failure(file));
    })();
  }

  /** The errno of a file that was told of and could not be made. */
  failure({ inode, generation }: FileId): number | undefined {
    const failure = this.#failures.get(inode);
    return failure?.generation === generation ? failure.errno : undefined;
  }

  /** The same of a file in the directory, once, for an fsync of it. */
  failureAtSync({ inode }: FileId): number | undefined {
    const directory = this.#directories.get(inode);
    const failure = directory?.failure;
    if (directory !== undefined) directory.failure = undefined;
    return failure;
  }

  /** The kernel has closed a file. Whether the server does not know that it was open. */
  async released(file: FileId): Promise<boolean> {
    const { inode } = file;
    const isUnknown = await this.#underWay.get(inode)?.early.released(inode);
    const failed = this.failure(file) !== undefined && this.#failures.delete(inode);
    return failed || isUnknown === true;
  }

  /** Resolves when the names of the directory are not this client's; undefined when that is so. */
  settle(parent: FileId): Promise<void> | undefined {
    const directory = this.#directories.get(parent.inode);
    if (directory === undefined) return undefined;
    directory.row = 0;
    if (!directory.isTaken) return undefined;
    return (directory.settling ??= this.#settle(directory).finally(() => {
      directory.settling = undefined;
    }));
  }

  async settleAll(): Promise<void> {
    await Promise.all([...this.#directories.values()].map(async ({ id }) => this.settle(id)));
  }

  #find({ inode, generation }: FileId): Directory | undefined {
    const directory = this.#directories.get(inode);
    return directory?.id.generation === generation ? directory : undefined;
  }

  #isTrusted({ trustedUntilMs, settling }: Directory): boolean {
    return settling === undefined && this.#clock.nowMs() < trustedUntilMs;
  }

  #isMissing(directory: Directory, name: Uint8Array): boolean {
    const { names, isListing } = directory;
    return names !== undefined && !isListing && !names.mayHave(name) && this.#isTrusted(directory);
  }

  /** Undefined when the server has to be asked. */
  async #createEarly(
    directory: Directory,
    name: Uint8Array,
    file: NewFile,
  ): Promise<FileAttributes | undefined> {
    for (;;) {
      const isRegular = (file.mode & FORMAT_MASK) === REGULAR;
      if (!isRegular || !this.#isMissing(directory, name)) return undefined;
      const wait = directory.early.room() ?? this.#attributesOf(directory);
      if (wait === undefined) break;
      await wait;
    }
    const { attributes, names } = directory;
    if (directory.numbers.length < NUMBERS_LOW) this.#take(directory, NUMBERS_MORE);
    if (attributes === undefined || names === undefined) return undefined;
    const time = this.#timeFor(directory, attributes.changed);
    const id = time && directory.numbers.pop();
    if (time === undefined || id === undefined) return undefined;
    const { uid } = file;
    const gid = (attributes.mode & SET_GROUP) !== 0 ? attributes.gid : file.gid;
    const mode = file.mode & ~file.umask;
    names.add(name);
    if (!this.#hasRoom()) directory.names = undefined;
    directory.attributes = { ...attributes, modified: time, changed: time };
    this.#failures.delete(id.inode);
    this.#underWay.set(id.inode, directory);
    const { inode, generation } = id;
    directory.early.add({ inode, generation, time, mode, uid, gid, flags: 0, name });
    this.#linger(directory);
    const times = { accessed: time, modified: time, changed: time };
    return { inode, generation, mode, links: 1, uid, gid, size: 0, sectors: 0, ...times };
  }

  /** Learns the attributes of the directory; undefined when they are known. */
  #attributesOf(directory: Directory): Promise<void> | undefined {
    if (directory.attributes !== undefined) return undefined;
    return (async (): Promise<void> => {
      await directory.early.allArrived();
      directory.attributes ??= await this.#options.service.getAttributes(directory.id);
    })();
  }

  async #create(directory: Directory, place: Place, file: NewFile): Promise<FileAttributes> {
    // Before what is on its way has arrived, its times would be too late.
    await directory.early.allArrived();
    directory.attributes = undefined;
    directory.names?.add(place.name);
    directory.making.add(place.name);
    if (directory.row > ROW_MIN) this.#take(directory, NUMBERS_FIRST);
    try {
      return await this.#options.service.create(place, file, CreateFlag.HOLD);
    } finally {
      directory.making.delete(place.name);
      if (directory.making.size === 0) {
        for (const resolve of directory.idle.splice(0)) resolve();
        if (directory.isTaken) this.#linger(directory);
      }
    }
  }

  /** Takes the names, or asks for more inode numbers. */
  #take(directory: Directory, count: number): void {
    if (directory.taking !== undefined || directory.settling !== undefined) return;
    // What is made from now on may come after the list.
    if (!directory.isTaken) directory.names = undefined;
    directory.isTaken = true;
    directory.taking = this.#askFor(directory, count).finally(() => {
      directory.taking = undefined;
    });
  }

  async #askFor(directory: Directory, count: number): Promise<void> {
    const sentMs = this.#clock.nowMs();
    try {
      const taken = await this.#options.service.takeNames(directory.id, count);
      if (taken !== undefined) {
        this.#sample(directory, taken.now);
        // Those of before may have been somebody else's for a while, too.
        const isLapsed = this.#clock.nowMs() >= directory.trustedUntilMs;
        const left = isLapsed ? [] : directory.numbers;
        directory.numbers = [...taken.numbers.toReversed(), ...left];
      }
      this.#granted(directory, taken !== undefined, sentMs);
    } catch {
      this.#granted(directory, false, sentMs);
    }
  }

  #granted(directory: Directory, isGranted: boolean, sentMs: number): void {
    if (!isGranted) {
      directory.trustedUntilMs = 0;
      void this.settle(directory.id);
      return;
    }
    // Else the names may have been somebody else's for a while before they were taken again.
    if (this.#clock.nowMs() >= directory.trustedUntilMs) {
      directory.names = undefined;
      directory.attributes = undefined;
    }
    directory.trustedUntilMs = Math.max(directory.trustedUntilMs, sentMs + CLAIM_TRUSTED_MS);
    if (directory.settling !== undefined || directory.names !== undefined) return;
    const enough = directory.row * ENTRIES_FOR_A_FILE >= directory.listed;
    if (enough) void this.#list(directory);
  }

  /** An error, or a directory that is too large, leaves its names unknown. */
  async #list(directory: Directory): Promise<void> {
    const names = new NameSet();
    for (const name of directory.making) names.add(name);
    directory.names = names;
    directory.isListing = true;
    directory.row = 0;
    let isWhole = false;
    let listed = 0;
    try {
      for (let cookie = 0; this.#hasRoom();) {
        const found = await this.#options.service.readDirectory(directory.id, cookie, LIST_BYTES);
        if (directory.names !== names) return;
        listed += found.length;
        for (const { name, nextCookie } of found) {
          cookie = nextCookie;
          names.add(name);
        }
        isWhole = found.length === 0;
        if (isWhole) return;
      }
    } catch {
      return;
    } finally {
      directory.listed = Math.max(directory.listed, listed);
      if (directory.names === names) {
        directory.isListing = false;
        if (!isWhole) directory.names = undefined;
      }
    }
  }

  #hasRoom(): boolean {
    let names = 0;
    for (const directory of this.#directories.values()) names += directory.names?.size ?? 0;
    return names < this.#options.namesMax;
  }

  /**
   * The server's time, and later than anything that was told. Undefined when the directory was
   * changed in what is the future by now.
   */
  #timeFor({ aheadMs }: Directory, changed: Timestamp): Timestamp | undefined {
    const nowMs = Math.floor(this.#clock.nowMs() + aheadMs);
    const now = timestampOf(nowMs);
    const soon = timestampOf(nowMs + JUMP_MS);
    const latest = this.#options.latest();
    const told = isBefore(soon, latest) ? now : latest;
    const after = following(isBefore(told, changed) ? changed : told);
    if (isBefore(soon, after)) return undefined;
    return isBefore(now, after) ? after : now;
  }

  #sample(directory: Directory, { seconds, nanoseconds }: Timestamp): void {
    const aheadMs = seconds * 1000 + nanoseconds / 1e6 - this.#clock.nowMs();
    directory.aheadMs = Math.max(directory.aheadMs, aheadMs);
  }

  #onMade(directory: Directory, made: Made | undefined, sentMs: number): void {
    if (made !== undefined) {
      this.#sample(directory, made.now);
      const { attributes } = directory;
      const { size, sectors } = made;
      if (attributes !== undefined) directory.attributes = { ...attributes, size, sectors };
    }
    this.#granted(directory, made?.claimed === true, sentMs);
  }

  #onFailed(directory: Directory, { inode, generation }: FileId, errno: number): void {
    directory.failure = errno;
    this.#failures.set(inode, { generation, errno });
    const [oldest] = this.#failures.keys();
    if (this.#failures.size > FAILURES_MAX && oldest !== undefined) this.#failures.delete(oldest);
  }

  /** Names that are being given back are waited for. */
  async #settled(id: FileId): Promise<Directory | undefined> {
    for (;;) {
      const directory = this.#watch(id);
      if (directory?.settling === undefined) return directory;
      await directory.settling;
    }
  }

  /** Undefined when too many others are being worked in. */
  #watch(id: FileId): Directory | undefined {
    const known = this.#directories.get(id.inode);
    const isSame = known?.id.generation === id.generation;
    if (known !== undefined && !isSame && isBusy(known)) return undefined;
    const directory = isSame ? known : this.#newDirectory(id);
    if (!isSame && this.#directories.size >= DIRECTORIES_MAX && !this.#dropOne()) return undefined;
    this.#directories.delete(id.inode);
    this.#directories.set(id.inode, directory);
    return directory;
  }

  #newDirectory(id: FileId): Directory {
    const { service, clock, errnoOf } = this.#options;
    const early = new EarlyFiles(id, {
      ...{ service, clock, errnoOf },
      onMade: (made, sentMs) => {
        this.#onMade(directory, made, sentMs);
      },
      onArrived: (file, errno) => {
        this.#underWay.delete(file.inode);
        if (errno !== 0) this.#onFailed(directory, file, errno);
      },
    });
    const directory: Directory = {
      ...{
        id,
        early,
        row: 0,
        making: new Set(),
        idle: [],
        isTaken: false,
        taking: undefined,
        numbers: [],
      },
      ...{ trustedUntilMs: 0, names: undefined, isListing: false, listed: 0, aheadMs: -Infinity },
      ...{ attributes: undefined, failure: undefined, cancelLinger: undefined },
      settling: undefined,
    };
    return directory;
  }

  /** Makes room; whether there is any. */
  #dropOne(): boolean {
    for (const [inode, directory] of this.#directories) {
      if (isBusy(directory)) continue;
      this.#directories.delete(inode);
      return true;
    }
    return false;
  }

  /** Nothing may be made any more. */
  #linger(directory: Directory): void {
    directory.cancelLinger?.();
    if (directory.settling !== undefined) return;
    directory.cancelLinger = this.#clock.after(LINGER_MS, () => {
      void this.settle(directory.id);
    });
  }

  async #settle(directory: Directory): Promise<void> {
    directory.cancelLinger?.();
    directory.cancelLinger = undefined;
    directory.names = undefined;
    // It would be answered for names that are given back.
    await directory.taking;
    await directory.early.allArrived();
    if (directory.making.size > 0) {
      await new Promise<void>((resolve) => {
        directory.idle.push(resolve);
      });
    }
    // Who cannot be told finds out by itself that the claim is not renewed.
    await this.#options.service.unclaim(directory.id).catch(() => undefined);
    directory.isTaken = false;
    directory.trustedUntilMs = 0;
    directory.aheadMs = -Infinity;
    directory.numbers = [];
    directory.names = undefined;
    directory.attributes = undefined;
  }
}

function isBusy({ isTaken, making, settling, early }: Directory): boolean {
  return isTaken || making.size > 0 || settling !== undefined || early.size > 0;
}

function timestampOf(ms: number): Timestamp {
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanoseconds: (ms - seconds * 1000) * 1e6 };
}

function following({ seconds, nanoseconds }: Timestamp): Timestamp {
  if (nanoseconds < 999_999_999) return { seconds, nanoseconds: nanoseconds + 1 };
  return { seconds: seconds + 1, nanoseconds: 0 };
}
