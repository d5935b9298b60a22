/**
 * Commits that replies wait for, while the server goes on.
 *
 * A thread writes a commit and wakes the server when it is done; all who ask meanwhile share the
 * next one. A device that is full, or that did not take contents which still wait in memory, fails
 * those who wait, and the next commit tries again; contents of a file that were left behind fail
 * who asked for that file. When something may be lost all later commits
 * fail: nobody who syncs may believe that all is well.
 */
import type { Wait } from '../../vos/held-replies.ts';
import { type Changes, NO_FILE } from './changes.ts';
import { type FsError, isFsError } from './errors.ts';

type Committed = Pick<Changes, 'begin' | 'commit' | 'poll' | 'committed' | 'lost' | 'unwritten'>;

export class Commits {
  readonly #changes: Committed;
  /** Failures so far, and the last of them. */
  #failures = 0;
  #failure: FsError | undefined;

  constructor(changes: Committed) {
    this.#changes = changes;
  }

  /**
   * Begins to make every change so far last, and returns what a reply that says so waits for.
   * Throws EIO, ENOSPC; for contents only if they are of `file`, of any if it is not told.
   */
  begin(file?: number): Wait {
    this.#check();
    let last = 0;
    this.#noting(() => {
      last = this.#changes.begin();
      // Where no thread writes it has ended already.
      this.#changes.poll();
    });
    this.#checkContents(file);
    const failures = this.#failures;
    return () => {
      // It may have begun only after this call.
      if (this.#changes.committed >= last) return this.#changes.unwritten(file)?.errno ?? 0;
      return this.#failures === failures ? undefined : this.#failure?.errno;
    };
  }

  /** Makes every change so far last before it returns. Throws as `begin`. */
  commit(file?: number): void {
    this.#check();
    this.#noting(() => {
      this.#changes.commit(NO_FILE);
    });
    this.#checkContents(file);
  }

  /** Learns how the commit under way stands. Those who wait are told what it failed with. */
  poll(): void {
    try {
      this.#noting(() => {
        this.#changes.poll();
      });
    } catch (error) {
      if (!isFsError(error)) throw error;
    }
  }

  #check(): void {
    if (this.#changes.lost !== undefined) throw this.#changes.lost;
  }

  #checkContents(file?: number): void {
    const unwritten = this.#changes.unwritten(file);
    if (unwritten !== undefined) throw unwritten;
  }

  #noting(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (isFsError(error)) {
        this.#failures++;
        this.#failure = error;
      }
      throw error;
    }
  }
}
