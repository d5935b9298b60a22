/**
 * The time of the last change that directories had when the server began, by which clients tell
 * whether names that they had changed outlived the server before: changes by others since then
 * must not be taken for these.
 */
import { type Timestamp, isEarlier } from '../../vos/protocol/fs.ts';
import type { Inode } from './ext4/inode.ts';

/** Directories that were changed since, of which more is known than that. */
const NOTES_MAX = 65_536;

export class RecoveredTimes {
  readonly #begun: Timestamp;
  readonly #notes = new Map<number, Timestamp>();

  /** All changes before the server began are earlier than `begun`, and all since are not. */
  constructor(begun: Timestamp, root: Inode) {
    this.#begun = begun;
    // The server changes it by itself.
    this.#notes.set(root.number, root.changed);
  }

  /** The names of the directory are about to be changed. */
  note({ number, changed }: Inode): void {
    if (!isEarlier(changed, this.#begun) || this.#notes.size >= NOTES_MAX) return;
    if (!this.#notes.has(number)) this.#notes.set(number, changed);
  }

  /** Undefined: it is not known any more. */
  of({ number, changed }: Inode): Timestamp | undefined {
    return this.#notes.get(number) ?? (isEarlier(changed, this.#begun) ? changed : undefined);
  }
}
