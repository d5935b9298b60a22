/**
 * Files that were made here and told to the kernel, and are on their way to the server.
 *
 * Of one directory they go in the order in which they were made, several with one call. Whoever
 * needs one of them, or the directory, waits until it has arrived (`arrived`), and hurries it.
 */
import { constants } from 'node:os';
import type { Clock } from '../../dvk/clock.ts';
import type { FileId, FileService, Made } from '../client/file-service.ts';
import { CreateFlag } from '../protocol/fs-change.ts';
import { FILES_MAX, type EarlyFile } from '../protocol/fs-early.ts';

const { EIO } = constants.errno;
/** On their way at a time, of one directory; who makes more waits. */
const UNDER_WAY_MAX = 256;
/** Files are gathered for so long, if nobody waits. */
const GATHER_MS = 2;
/** With so many they go at once. */
const GATHER_FILES = 64;

/** A file, and what becomes of it. */
interface Early {
  readonly file: EarlyFile;
  /** The kernel has it open. */
  isOpen: boolean;
  isSent: boolean;
  /** Resolves with 0, or with the errno of its failure. */
  readonly done: Promise<number>;
  readonly settle: (errno: number) => void;
}

export interface EarlyParts {
  readonly service: FileService;
  readonly clock: Clock;
  readonly errnoOf: (error: unknown) => number;
  /** What a call of several files came to, and when it was sent; undefined: it failed. */
  readonly onMade: (made: Made | undefined, sentMs: number) => void;
  /** A file has arrived, with 0, or could not be made. */
  readonly onArrived: (file: FileId, errno: number) => void;
}

/** Those of one directory. */
export class EarlyFiles {
  readonly #directory: FileId;
  readonly #parts: EarlyParts;
  readonly #all = new Map<number, Early>();
  #queue: Early[] = [];
  #isSending = false;
  /** Somebody waits. */
  #isWanted = false;
  #cancelTimer: (() => void) | undefined;
  readonly #whenRoom: (() => void)[] = [];

  constructor(directory: FileId, parts: EarlyParts) {
    this.#directory = directory;
    this.#parts = parts;
  }

  /** Files that have not arrived. */
  get size(): number {
    return this.#all.size;
  }

  has(inode: number): boolean {
    return this.#all.has(inode);
  }

  /** Resolves when one more file may be on its way; undefined when it may. */
  room(): Promise<void> | undefined {
    if (this.#all.size < UNDER_WAY_MAX) return undefined;
    this.#hurry();
    return new Promise((resolve) => this.#whenRoom.push(resolve));
  }

  /** The file goes to the server; it is open here. */
  add(file: EarlyFile): void {
    let settle: Early['settle'] = () => undefined;
    const done = new Promise<number>((resolve) => {
      settle = resolve;
    });
    const early = { file, isOpen: true, isSent: false, done, settle };
    this.#all.set(file.inode, early);
    this.#queue.push(early);
    if (this.#queue.length >= GATHER_FILES) this.#send();
    else this.#sendLater();
  }

  /** Resolves with 0 when the file has arrived, else with an errno; undefined if there is none. */
  arrived(inode: number): Promise<number> | undefined {
    const early = this.#all.get(inode);
    if (early === undefined) return undefined;
    this.#hurry();
    return early.done;
  }

  /** Resolves when all that were added have arrived, or failed; undefined if none is left. */
  allArrived(): Promise<unknown> | undefined {
    if (this.#all.size === 0) return undefined;
    this.#hurry();
    return [...this.#all.values()].at(-1)?.done;
  }

  /**
   * The kernel has closed the file. Resolves with whether the server does not know that it was
   * open.
   */
  async released(inode: number): Promise<boolean> {
    const early = this.#all.get(inode);
    if (early === undefined) return false;
    early.isOpen = false;
    return !early.isSent || (await early.done) !== 0;
  }

  #hurry(): void {
    this.#isWanted = true;
    this.#send();
  }

  #sendLater(): void {
    if (this.#isSending) return;
    this.#cancelTimer ??= this.#parts.clock.after(GATHER_MS, () => {
      this.#cancelTimer = undefined;
      this.#send();
    });
  }

  #send(): void {
    if (this.#isSending || this.#queue.length === 0) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#isSending = true;
    this.#isWanted = this.#queue.length > FILES_MAX && this.#isWanted;
    void this.#sendSome(this.#queue.splice(0, FILES_MAX)).finally(() => {
      this.#isSending = false;
      if (this.#isWanted || this.#queue.length >= GATHER_FILES) this.#send();
      else if (this.#queue.length > 0) this.#sendLater();
      if (this.#all.size < UNDER_WAY_MAX) for (const go of this.#whenRoom.splice(0)) go();
    });
  }

  async #sendSome(some: readonly Early[]): Promise<void> {
    const files = some.map((early) => {
      early.isSent = true;
      return { ...early.file, flags: early.isOpen ? CreateFlag.HOLD : 0 };
    });
    for (let from = 0; from < files.length;) {
      const sentMs = this.#parts.clock.nowMs();
      try {
        const made = await this.#parts.service.createMany(this.#directory, files.slice(from));
        this.#parts.onMade(made, sentMs);
        const end = Math.min(from + made.made, some.length);
        for (const early of some.slice(from, end)) this.#settle(early, 0);
        const failed = some[end];
        if (failed !== undefined) this.#settle(failed, made.errno === 0 ? EIO : made.errno);
        from = end + 1;
      } catch (error) {
        this.#parts.onMade(undefined, sentMs);
        for (const early of some.slice(from)) this.#settle(early, this.#parts.errnoOf(error));
        return;
      }
    }
  }

  #settle(early: Early, errno: number): void {
    this.#all.delete(early.file.inode);
    this.#parts.onArrived(early.file, errno);
    early.settle(errno);
  }
}
