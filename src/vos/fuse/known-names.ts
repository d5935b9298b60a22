/**
 * Which names are surely not in a directory, so that a file is made with one call.
 *
 * The kernel looks a name up before it makes a file of it. Who makes several files in a directory
 * claims its names: while the server grants that, nobody else adds one. The directory is then
 * listed once, and a name that is neither in the list nor was added here since is not there.
 * Whatever else adds names here ends the claim first (`settle`); so does a moment without new
 * files.
 *
 * After each new file the kernel asks for the directory's attributes, which it has changed. They
 * are asked for together with the new file; if they are from before it, which their time tells,
 * they are of no use.
 */
import type { Clock } from '../../dvk/clock.ts';
import type { FileAttributes } from '../protocol/fs.ts';
import type { Created, FileId, FileService, NewFile, Place } from '../client/file-service.ts';
import { CLAIM_TRUSTED_MS, CreateFlag } from '../protocol/fs-change.ts';
import type { Neighbour } from './neighbours.ts';
import { isBefore } from './nodes.ts';

/** Files made in a row before the names are claimed. */
const ROW_MIN = 2;
/** A claim is given back after so long without a new file. */
const LINGER_MS = 20;
/** Names known of one directory; larger ones are not listed. */
const NAMES_MAX = 8192;
/** Of all directories together, this many may be known. */
const DIRECTORIES_MAX = 16;
const LIST_BYTES = 131_072;
/** A directory is listed again when so many files were made for each of its entries. */
const ENTRIES_FOR_A_FILE = 16;

/** Attributes of a directory since its last new file. */
interface Fresh {
  readonly atMs: number;
  readonly attributes: Promise<FileAttributes | undefined>;
}

interface Directory {
  readonly id: FileId;
  /** Files that were made since something else was done. */
  row: number;
  /** Names that are being made. */
  readonly making: Set<string>;
  isClaimed: boolean;
  trustedUntilMs: number;
  /** All names that may be there. */
  names: Set<string> | undefined;
  /** Whether `names` is still being filled. */
  isListing: boolean;
  /** Entries of the last list. */
  listed: number;
  cancelLinger: (() => void) | undefined;
  readonly idle: (() => void)[];
  fresh: Fresh | undefined;
  settling: Promise<void> | undefined;
}

export class KnownNames {
  readonly #service: FileService;
  readonly #clock: Clock;
  readonly #validMs: number;
  /** The one that was used last is at the end. */
  readonly #directories = new Map<number, Directory>();

  /** `validMs`: how long attributes may be believed. */
  constructor(service: FileService, clock: Clock, validMs: number) {
    this.#service = service;
    this.#clock = clock;
    this.#validMs = validMs;
  }

  /** Directories that are watched. */
  get size(): number {
    return this.#directories.size;
  }

  /** Whether the name is surely not there. */
  lacks(parent: FileId, name: Uint8Array): boolean {
    const directory = this.#directories.get(parent.inode);
    if (directory?.names === undefined || directory.isListing) return false;
    if (directory.id.generation !== parent.generation) return false;
    const isTrusted = this.#clock.nowMs() < directory.trustedUntilMs;
    return isTrusted && directory.settling === undefined && !directory.names.has(keyOf(name));
  }

  /** Makes a file and holds it open. */
  async create(place: Place, file: NewFile): Promise<Created> {
    const directory = await this.#settled(place.parent);
    if (directory === undefined) return this.#service.create(place, file, CreateFlag.HOLD);
    const key = keyOf(place.name);
    directory.cancelLinger?.();
    directory.cancelLinger = undefined;
    directory.making.add(key);
    directory.names?.add(key);
    directory.isClaimed ||= directory.row >= ROW_MIN && directory.making.size === 1;
    directory.row++;
    const claims = directory.isClaimed;
    const sentMs = this.#clock.nowMs();
    try {
      const flags = CreateFlag.HOLD | (claims ? CreateFlag.CLAIM : 0);
      const making = this.#service.create(place, file, flags);
      directory.fresh = claims
        ? { atMs: sentMs, attributes: this.#lookAfter(making, directory.id) }
        : undefined;
      const made = await making;
      if (claims) this.#claimed(directory, made.claimed === true, sentMs);
      return made;
    } finally {
      directory.making.delete(key);
      if (directory.making.size === 0) this.#rest(directory);
    }
  }

  /** Attributes of the directory that are no older than its last new file. */
  async attributes({ inode, generation }: FileId): Promise<Neighbour | undefined> {
    const directory = this.#directories.get(inode);
    const fresh = directory?.fresh;
    if (fresh === undefined || directory?.id.generation !== generation) return undefined;
    const attributes = await fresh.attributes;
    const ageMs = this.#clock.nowMs() - fresh.atMs;
    if (attributes === undefined || directory.fresh !== fresh) return undefined;
    return ageMs < this.#validMs ? { attributes, ageMs } : undefined;
  }

  /** Attributes of directories may be others now. */
  forget(): void {
    for (const directory of this.#directories.values()) directory.fresh = undefined;
  }

  /** Resolves when nothing of the directory is claimed; undefined when that is so. */
  settle(parent: FileId): Promise<void> | undefined {
    const directory = this.#directories.get(parent.inode);
    if (directory === undefined) return undefined;
    directory.row = 0;
    if (!directory.isClaimed) return undefined;
    return (directory.settling ??= this.#settle(directory).finally(() => {
      directory.settling = undefined;
    }));
  }

  async settleAll(): Promise<void> {
    await Promise.all([...this.#directories.values()].map(async ({ id }) => this.settle(id)));
  }

  /** A claim that is being ended is waited for. */
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
    const directory: Directory = isSame
      ? known
      : {
          id,
          ...{ row: 0, making: new Set(), isClaimed: false, trustedUntilMs: 0, names: undefined },
          ...{ isListing: false, listed: 0, cancelLinger: undefined, idle: [], fresh: undefined },
          settling: undefined,
        };
    if (!isSame && this.#directories.size >= DIRECTORIES_MAX && !this.#dropOne()) return undefined;
    this.#directories.delete(id.inode);
    this.#directories.set(id.inode, directory);
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

  async #lookAfter(making: Promise<Created>, id: FileId): Promise<FileAttributes | undefined> {
    try {
      const [made, attributes] = await Promise.all([making, this.#service.getAttributes(id)]);
      return isBefore(made.changed, attributes.changed) ? attributes : undefined;
    } catch {
      return undefined;
    }
  }

  #claimed(directory: Directory, granted: boolean, sentMs: number): void {
    if (!granted) {
      directory.trustedUntilMs = 0;
      directory.names = undefined;
      void this.settle(directory.id);
      return;
    }
    // Else the claim may have been over for a while before it was renewed.
    if (this.#clock.nowMs() >= directory.trustedUntilMs) directory.names = undefined;
    directory.trustedUntilMs = Math.max(directory.trustedUntilMs, sentMs + CLAIM_TRUSTED_MS);
    if (directory.settling !== undefined) return;
    const enough = directory.row * ENTRIES_FOR_A_FILE >= directory.listed;
    if (directory.names === undefined && enough) void this.#list(directory);
    else if ((directory.names?.size ?? 0) > NAMES_MAX) directory.names = undefined;
  }

  /** An error, or a directory that is too large, leaves its names unknown. */
  async #list(directory: Directory): Promise<void> {
    const names = new Set(directory.making);
    directory.names = names;
    directory.isListing = true;
    directory.row = 0;
    let isWhole = false;
    try {
      for (let cookie = 0; names.size <= NAMES_MAX;) {
        const found = await this.#service.readDirectory(directory.id, cookie, LIST_BYTES);
        if (directory.names !== names) return;
        for (const { name, nextCookie } of found) {
          cookie = nextCookie;
          names.add(keyOf(name));
        }
        isWhole = found.length === 0;
        if (isWhole) return;
      }
    } catch {
      return;
    } finally {
      directory.listed = Math.max(directory.listed, names.size);
      if (directory.names === names) {
        directory.isListing = false;
        if (!isWhole) directory.names = undefined;
      }
    }
  }

  /** Nothing is being made. */
  #rest(directory: Directory): void {
    for (const resolve of directory.idle.splice(0)) resolve();
    if (!directory.isClaimed || directory.settling !== undefined) return;
    const isTrusted = this.#clock.nowMs() < directory.trustedUntilMs;
    directory.cancelLinger = this.#clock.after(isTrusted ? LINGER_MS : 0, () => {
      void this.settle(directory.id);
    });
  }

  async #settle(directory: Directory): Promise<void> {
    directory.cancelLinger?.();
    directory.cancelLinger = undefined;
    directory.names = undefined;
    if (directory.making.size > 0) {
      await new Promise<void>((resolve) => {
        directory.idle.push(resolve);
      });
    }
    // Who cannot be told finds out by itself that the claim is not renewed.
    await this.#service.unclaim(directory.id).catch(() => undefined);
    directory.isClaimed = false;
    directory.trustedUntilMs = 0;
    directory.names = undefined;
  }
}

function isBusy({ isClaimed, making, settling }: Directory): boolean {
  return isClaimed || making.size > 0 || settling !== undefined;
}

function keyOf(name: Uint8Array): string {
  return Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1');
}
