/**
 * Names and attributes that came with others: who looks at some files of a directory will look at
 * more of them.
 *
 * After a few lookups in a directory all of it is listed, attributes included, by few calls; later
 * lookups are answered from that, for as long as attributes may be believed and counted from the
 * moment at which the list was asked for. Only names that are there are known in this way: one that
 * is not in the list may be new, and is asked for. Whatever changes something through this gateway
 * makes all of it forgotten, and for as long nothing is listed. Only a file that is removed takes
 * no more along than its name, unless it may have others: a whole tree is removed file by file.
 *
 * A list costs the server less than a lookup for each 16 of its entries, so a directory is listed
 * again only after a 16th of its entries were asked for one by one.
 */
import { constants } from 'node:fs';
import type { Clock } from '../../dvk/clock.ts';
import type { FileId, FileService } from '../client/file-service.ts';
import type { FileAttributes } from '../protocol/fs.ts';
import { isDots } from './answers.ts';

/** Lookups after which a directory is listed. */
const LOOKUPS_MIN = 4;
const ENTRIES_FOR_A_LOOKUP = 16;
/** Of one call: about 700 entries, so that the server is soon there for others. */
const LIST_BYTES = 65_536;
/** Directories that are watched, or known; or from which something was removed. */
const DIRECTORIES_MAX = 64;

export interface Neighbour {
  readonly attributes: FileAttributes;
  readonly ageMs: number;
}

export interface NeighbourLimits {
  /** How long attributes may be believed; 0 makes this do nothing. */
  readonly validMs: number;
  /** Entries known at a time; a larger directory is listed up to there. */
  readonly entriesMax: number;
}

interface Known {
  readonly attributes: FileAttributes;
  readonly atMs: number;
}

interface Directory {
  readonly generation: number;
  /** Lookups that the service was asked for, since `sinceMs` or since the last list. */
  asked: number;
  sinceMs: number;
  /** Entries of the last list. */
  listed: number;
  isListing: boolean;
  /** While it is listed: names that were removed meanwhile, '' for one of another directory. */
  readonly removed: Set<string>;
  readonly entries: Map<string, Known>;
}

export class Neighbours {
  readonly #service: FileService;
  readonly #clock: Clock;
  readonly #validMs: number;
  readonly #entriesMax: number;
  /** The one that was asked for last is at the end. */
  readonly #directories = new Map<number, Directory>();
  #latest: Directory | undefined;
  #entries = 0;
  /** Whether a file is known that may have another name. */
  #hasLinked = false;
  /** When something was last removed from a directory, which is older in lists of before. */
  readonly #removedAtMs = new Map<number, number>();
  /** Of what is known: a list that was begun before the last change tells nothing. */
  #epoch = 0;
  #changedAtMs = -Infinity;

  constructor(service: FileService, clock: Clock, { validMs, entriesMax }: NeighbourLimits) {
    this.#service = service;
    this.#clock = clock;
    this.#validMs = validMs;
    this.#entriesMax = entriesMax;
  }

  /** Entries that are kept. */
  get size(): number {
    return this.#entries;
  }

  find(parent: FileId, name: Uint8Array): Neighbour | undefined {
    const directory = this.#directories.get(parent.inode);
    const known = directory?.entries.get(keyOf(name));
    if (known === undefined || directory?.generation !== parent.generation) return undefined;
    const { inode } = known.attributes;
    if (known.atMs <= (this.#removedAtMs.get(inode) ?? -Infinity)) return undefined;
    const ageMs = this.#clock.nowMs() - known.atMs;
    return ageMs < this.#validMs ? { attributes: known.attributes, ageMs } : undefined;
  }

  /** The service was asked for a name of the directory, and it was there. */
  asked(parent: FileId): void {
    if (this.#validMs <= 0) return;
    const nowMs = this.#clock.nowMs();
    const directory = this.#watch(parent, nowMs);
    if (nowMs - directory.sinceMs >= this.#validMs) {
      directory.asked = 0;
      directory.sinceMs = nowMs;
    }
    directory.asked++;
    // A list would be forgotten with the next change, and who changes much looks at little else.
    if (nowMs - this.#changedAtMs < this.#validMs) return;
    const enough = Math.max(LOOKUPS_MIN, directory.listed / ENTRIES_FOR_A_LOOKUP);
    if (directory.asked < enough || directory.isListing) return;
    void this.#list(parent, directory);
  }

  /** Something changes, or has changed. */
  forget(): void {
    this.#epoch++;
    this.#changedAtMs = this.#clock.nowMs();
    this.#removedAtMs.clear();
    this.#hasLinked = false;
    if (this.#entries === 0) return;
    for (const { entries } of this.#directories.values()) entries.clear();
    this.#entries = 0;
  }

  /** A file, not a directory, is to be removed, or was. To be called both times. */
  removed(parent: FileId, name: Uint8Array): void {
    const key = keyOf(name);
    const directory = this.#directories.get(parent.inode);
    const links = directory?.entries.get(key)?.attributes.links;
    if (links !== 1 && this.#hasLinked) {
      this.forget();
      return;
    }
    if (this.#removedAtMs.size >= DIRECTORIES_MAX) this.forget();
    this.#removedAtMs.set(parent.inode, this.#clock.nowMs());
    if (directory?.entries.delete(key) === true) this.#entries--;
    for (const listed of this.#directories.values()) {
      if (listed.isListing) listed.removed.add(listed === directory ? key : '');
    }
  }

  #watch({ inode, generation }: FileId, nowMs: number): Directory {
    const known = this.#directories.get(inode);
    const isSame = known?.generation === generation;
    if (isSame && known === this.#latest) return known;
    if (known !== undefined && !isSame) this.#clear(known);
    const directory: Directory = isSame ? known : newDirectory(generation, nowMs);
    this.#directories.delete(inode);
    this.#directories.set(inode, directory);
    this.#latest = directory;
    if (this.#directories.size > DIRECTORIES_MAX) this.#dropOldest();
    return directory;
  }

  #dropOldest(): void {
    for (const [inode, directory] of this.#directories) {
      this.#clear(directory);
      this.#directories.delete(inode);
      return;
    }
  }

  #clear({ entries }: Directory): void {
    this.#entries -= entries.size;
    entries.clear();
  }

  /** An error ends the list: who looks a name up will be told it. */
  async #list(parent: FileId, directory: Directory): Promise<void> {
    directory.isListing = true;
    directory.removed.clear();
    this.#clear(directory);
    const epoch = this.#epoch;
    let listed = 0;
    try {
      for (let cookie = 0; ;) {
        const atMs = this.#clock.nowMs();
        const found = await this.#service.readDirectory(parent, cookie, LIST_BYTES);
        const isWatched = this.#directories.get(parent.inode) === directory;
        if (epoch !== this.#epoch || !isWatched) return;
        listed += found.length;
        for (const { name, attributes, nextCookie } of found) {
          cookie = nextCookie;
          const key = keyOf(name);
          if (isDots(name) || attributes.mode === 0 || directory.removed.has(key)) continue;
          if (isLinked(attributes)) {
            // One of its names may be what was removed.
            if (directory.removed.size > 0) continue;
            this.#hasLinked = true;
          }
          if (!this.#makeRoom(directory)) return;
          directory.entries.set(key, { attributes, atMs });
          this.#entries++;
        }
        if (found.length === 0) return;
      }
    } catch {
      return;
    } finally {
      directory.isListing = false;
      directory.asked = 0;
      directory.listed = Math.max(listed, directory.listed);
    }
  }

  /** Whether there is room for one more entry, if need be in place of another directory's. */
  #makeRoom(wanted: Directory): boolean {
    if (this.#entries < this.#entriesMax) return true;
    for (const directory of this.#directories.values()) {
      if (directory === wanted || directory.entries.size === 0) continue;
      this.#clear(directory);
      return true;
    }
    return false;
  }
}

function newDirectory(generation: number, sinceMs: number): Directory {
  const known = { removed: new Set<string>(), entries: new Map<string, Known>() };
  return { generation, asked: 0, sinceMs, listed: 0, isListing: false, ...known };
}

/** Whether a file may have other names. Directories have none. */
function isLinked({ links, mode }: FileAttributes): boolean {
  return links > 1 && (mode & constants.S_IFMT) !== constants.S_IFDIR;
}

function keyOf(name: Uint8Array): string {
  return Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1');
}
