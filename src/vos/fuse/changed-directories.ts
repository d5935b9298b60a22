/**
 * Attributes of directories from which something was removed a moment ago, as the answer told them.
 *
 * The kernel asks for a directory's attributes before each removal from it, since the one before
 * has changed them. For as long as attributes may be believed the answer is known here.
 */
import type { Clock } from '../../dvk/clock.ts';
import type { FileId } from '../client/file-service.ts';
import type { FileAttributes } from '../protocol/fs.ts';

/** Directories that are remembered. */
const DIRECTORIES_MAX = 64;

interface Told {
  readonly attributes: FileAttributes;
  readonly askedMs: number;
}

export interface Known {
  readonly attributes: FileAttributes;
  readonly ageMs: number;
}

export class ChangedDirectories {
  readonly #clock: Clock;
  readonly #validMs: number;
  /** The one that was changed last is at the end. */
  readonly #told = new Map<number, Told>();

  /** `validMs`: how long attributes may be believed; 0 makes this do nothing. */
  constructor(clock: Clock, validMs: number) {
    this.#clock = clock;
    this.#validMs = validMs;
  }

  get size(): number {
    return this.#told.size;
  }

  /** For `tell`, before the service is asked. */
  nowMs(): number {
    return this.#clock.nowMs();
  }

  /** What a removal that was asked for at `askedMs` told of its directory. */
  tell(attributes: FileAttributes, askedMs: number): void {
    if (this.#validMs <= 0) return;
    this.#told.delete(attributes.inode);
    this.#told.set(attributes.inode, { attributes, askedMs });
    if (this.#told.size <= DIRECTORIES_MAX) return;
    const [oldest] = this.#told.keys();
    if (oldest !== undefined) this.#told.delete(oldest);
  }

  find({ inode, generation }: FileId): Known | undefined {
    const told = this.#told.get(inode);
    if (told === undefined) return undefined;
    const { attributes, askedMs } = told;
    const ageMs = this.#clock.nowMs() - askedMs;
    const isSame = generation === 0 || generation === attributes.generation;
    if (isSame && ageMs < this.#validMs) return { attributes, ageMs };
    this.#told.delete(inode);
    return undefined;
  }

  /** It changes, or has changed. */
  forget({ inode }: FileId): void {
    this.#told.delete(inode);
  }

  clear(): void {
    this.#told.clear();
  }
}
