/**
 * Moving processes of a node to others: START, COMMIT and ROLLBACK of M3-IPC. See
 * native/core/migrate.h for what happens, and what is promised.
 *
 * On the other node a backup of the process stands by, and takes its place. The process is told:
 * one receive fails with EDVSMIGRATING. It hands its state to the backup in any way, gives back its
 * grants and arena memory, and receives again; that call waits, until the process has moved back or
 * does not move. Callers on all nodes wait, and are answered at the new place.
 */
import { constants } from 'node:os';

import { LinkState, MigrationState } from './abi/abi.gen.ts';
import { systemClock, type Clock } from './clock.ts';
import type { Endpoint, NodeId } from './endpoint.ts';
import { check, DvkError, fail } from './errors.ts';
import { native, type Binding } from './native.ts';

/** How far a process is on its way, as this node knows. */
export interface Migration {
  /**
   * `started`: its callers wait until it may go, or is rolled back. `given`: it goes to `node`,
   * whose answer is awaited. `held`: its own node has told this one to keep messages back.
   */
  state: 'none' | 'started' | 'given' | 'held';
  /** Tells the moves from this node apart. */
  serial: number;
  /** Where it goes, or is. */
  node: NodeId;
  /**
   * Why the last move did not come about: ETIMEDOUT, ECANCELED (rolled back), ESRCH (no backup
   * lives there), EDSTDIED (the process died), EDVSNODCNODE. Undefined when it did, or there was
   * none.
   */
  error: DvkError | undefined;
}

export interface MigrateOptions {
  /** Until the process may go at the latest; it is rolled back then. */
  timeoutMs?: number;
  clock?: Clock;
}

const TIMEOUT_MS = 5000;
const POLL_MS = 2;
/** The answer of a node whose link is up comes within this. */
const ANSWER_MS = 1000;
const { EAGAIN, ENOTCONN } = constants.errno;
const LATER = new Set(['EAGAIN', 'EDVSPROCSTS']);
const STATES: Readonly<Record<number, Migration['state']>> = {
  [MigrationState.NONE]: 'none',
  [MigrationState.STARTED]: 'started',
  [MigrationState.GIVING]: 'given',
  [MigrationState.GIVEN]: 'given',
  [MigrationState.HELD]: 'held',
};

export class Migrations {
  readonly #native: Binding = native();
  readonly #segment: number;

  /** For `Segment` alone: `segment` is a handle of the addon. */
  constructor(segment: number) {
    this.#segment = segment;
  }

  /**
   * Begins to move a process of this node in a fixed slot. When nothing is committed within the
   * time, it is rolled back. ERANGE, EDEADSRCDST, EDVSRMTPROC, EDVSBADPROC (no fixed slot),
   * EDVSPROCSTS (bound with `noMigrate`, as a replica, or for a program that has not taken it),
   * EDVSMIGRATING (it moves already), EDVSDCNOTRUN.
   */
  start(endpoint: Endpoint, timeoutMs = TIMEOUT_MS): void {
    const result = this.#native.migrateStart(this.#segment, endpoint, timeoutMs);
    check(result, 'migrate.start', { endpoint });
  }

  /**
   * Lets the process go. False while it has not stopped, or a node has not answered. EDVSPROCSTS
   * while it owes replies, has grants, arena memory or messages of `senda` under way, or when no
   * move was started; EDVSMIGRATING: committed already; ETIMEDOUT: rolled back; and EDVSBADNODEID,
   * EDVSLCLPROC, EDVSNODCNODE, EDVSNOPROXY, ENOTCONN of the node.
   */
  commit(endpoint: Endpoint, node: NodeId): boolean {
    const result = this.#native.migrateCommit(this.#segment, endpoint, node);
    if (result === -EAGAIN) return false;
    check(result, 'migrate.commit', { endpoint, node });
    return true;
  }

  /**
   * Lets the process and its callers go on where they are. EDVSPROCSTS: no move was started;
   * EDVSMIGRATING: it is committed, and only the other node can refuse it.
   */
  rollback(endpoint: Endpoint): void {
    const result = this.#native.migrateRollback(this.#segment, endpoint);
    check(result, 'migrate.rollback', { endpoint });
  }

  /** What is known here of the move of a process in a fixed slot. EDEADSRCDST, EDVSBADPROC. */
  of(endpoint: Endpoint): Migration {
    const raw = this.#native.migration(this.#segment, endpoint);
    if (typeof raw === 'number') fail(raw, 'migration', { endpoint });
    return {
      state: STATES[raw.state] ?? 'none',
      serial: raw.serial,
      node: raw.node as NodeId,
      error: raw.result < 0 ? new DvkError(raw.result, 'migrate', { endpoint }) : undefined,
    };
  }

  /**
   * All of it: start, commit as soon as that may be, and the wait for the outcome; or rollback.
   * Rejects with the errors above, ETIMEDOUT or EDVSPROCSTS when the process did not stop in time,
   * or those of `Migration`; in all these cases the process goes on where it was. ENOTCONN may
   * also tell that the link was lost when the move was committed, or no answer came in time: then
   * the other node has the process, or gives it back when the link is up again.
   */
  async migrate(endpoint: Endpoint, node: NodeId, options: MigrateOptions = {}): Promise<void> {
    const { timeoutMs = TIMEOUT_MS, clock = systemClock } = options;
    const pause = (): Promise<void> =>
      new Promise((resolve) => {
        clock.after(POLL_MS, resolve);
      });
    this.start(endpoint, timeoutMs);
    const { serial } = this.of(endpoint);
    try {
      while (!this.#mayCommit(endpoint, node, serial)) await pause();
    } catch (error) {
      this.#rollBack(endpoint, serial);
      throw error;
    }
    let now = this.of(endpoint);
    const endMs = clock.nowMs() + Math.max(timeoutMs, ANSWER_MS);
    for (; now.state === 'given' && now.serial === serial; now = this.of(endpoint)) {
      const lost = !this.#isLinked(node) || clock.nowMs() >= endMs;
      if (lost) fail(-ENOTCONN, 'migrate', { endpoint, node });
      await pause();
    }
    if (now.error !== undefined) throw now.error;
  }

  // Whether the move is committed now. Throws what the process still has when its time is over.
  #mayCommit(endpoint: Endpoint, node: NodeId, serial: number): boolean {
    try {
      return this.commit(endpoint, node);
    } catch (error) {
      if (!(error instanceof DvkError) || !LATER.has(error.code)) throw error;
      const now = this.of(endpoint);
      if (now.state === 'started' && now.serial === serial) return false;
      throw now.error ?? error;
    }
  }

  #rollBack(endpoint: Endpoint, serial: number): void {
    const raw = this.#native.migration(this.#segment, endpoint);
    if (typeof raw === 'number' || raw.serial !== serial) return;
    if (raw.state === MigrationState.STARTED) {
      this.#native.migrateRollback(this.#segment, endpoint);
    }
  }

  #isLinked(node: NodeId): boolean {
    const link = this.#native.segmentLink(this.#segment, node);
    return typeof link !== 'number' && link.state === LinkState.UP;
  }
}
