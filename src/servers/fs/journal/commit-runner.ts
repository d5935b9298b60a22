/**
 * Who writes a commit to the device, and how its end is learned.
 */
import type { CommitJob, LogWriter } from './log-writer.ts';

export interface CommitRunner {
  /** Begins; the job that was started before has ended. */
  start(job: CommitJob): void;
  /**
   * Whether the job that was started last has ended; `wait` for that. Throws what it failed with:
   * EIO, ENOSPC.
   */
  ended(wait: boolean): boolean;
  close(): void;
}

/** Writes where it is called. */
export class InlineRunner implements CommitRunner {
  readonly #writer: LogWriter;
  #failure: unknown;

  constructor(writer: LogWriter) {
    this.#writer = writer;
  }

  start(job: CommitJob): void {
    this.#failure = undefined;
    try {
      this.#writer.commit(job);
    } catch (error) {
      this.#failure = error;
    }
  }

  ended(): boolean {
    if (this.#failure !== undefined) throw this.#failure as Error;
    return true;
  }

  close(): void {
    // Nothing is open.
  }
}
