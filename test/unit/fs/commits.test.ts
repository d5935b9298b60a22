// Commits that replies wait for: who asks while one is written shares the next; a failure that lost
// nothing fails those who wait and nobody after them, any other one all.
import { beforeEach, describe, expect, it } from 'vitest';
import { NO_FILE } from '../../../src/servers/fs/changes.ts';
import { Commits } from '../../../src/servers/fs/commits.ts';
import { ERRNO, FsError } from '../../../src/servers/fs/errors.ts';

/** Transactions of which a test says when one is written, or fails. */
class Changes {
  committed = 0;
  running = 1;
  failure: FsError | undefined;
  lost: FsError | undefined;
  /** By file. */
  readonly behind = new Map<number, FsError>();

  begin(): number {
    this.#tell();
    return this.running;
  }

  unwritten(file?: number): FsError | undefined {
    return file === undefined ? [...this.behind.values()][0] : this.behind.get(file);
  }

  poll(): void {
    this.#tell();
  }

  commit(): void {
    this.#tell();
    this.end();
  }

  /** The commit under way ends, and the next one begins. */
  end(): void {
    this.committed = this.running;
    this.running++;
  }

  #tell(): void {
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
  }
}

describe('commits that replies wait for', () => {
  let changes: Changes;
  let commits: Commits;

  beforeEach(() => {
    changes = new Changes();
    commits = new Commits(changes);
  });

  it('are waited for by all who asked before they began, and not by who asks later', () => {
    const first = commits.begin();
    const second = commits.begin();
    expect([first(), second()]).toEqual([undefined, undefined]);
    changes.end();
    const third = commits.begin();
    expect([first(), second(), third()]).toEqual([0, 0, undefined]);
    changes.end();
    expect(third()).toBe(0);
  });

  it('fail those who wait when the device is full, and find room later', () => {
    const first = commits.begin();
    changes.failure = new FsError('ENOSPC', 'full');
    commits.poll();
    expect(first()).toBe(-ERRNO.ENOSPC);
    const second = commits.begin();
    expect(second()).toBeUndefined();
    changes.end();
    expect(second()).toBe(0);
  });

  it('fail those who wait when contents cannot be written, and try again', () => {
    const first = commits.begin();
    changes.failure = new FsError('EIO', 'a bad sector');
    expect(() => commits.begin()).toThrow('a bad sector');
    expect(first()).toBe(-ERRNO.EIO);
    const second = commits.begin();
    changes.end();
    expect(second()).toBe(0);
  });

  it('fail who asks for a file whose contents were left behind, and nobody else', () => {
    const waiting = commits.begin();
    changes.behind.set(12, new FsError('EIO', 'a bad sector'));
    expect(() => commits.begin(12)).toThrow('a bad sector');
    expect(() => {
      commits.commit();
    }).toThrow('a bad sector');
    const late = commits.begin(14);
    changes.behind.set(14, new FsError('EIO', 'a bad sector'));
    const other = commits.begin(13);
    commits.commit(NO_FILE);
    expect([waiting(), other(), late()]).toEqual([-ERRNO.EIO, 0, -ERRNO.EIO]);
  });

  it('fail for ever when something is lost, but not those that were written', () => {
    const written = commits.begin();
    changes.end();
    const first = commits.begin();
    changes.lost = changes.failure = new FsError('EIO', 'broken');
    commits.poll();
    expect([written(), first()]).toEqual([0, -ERRNO.EIO]);
    expect(() => commits.begin()).toThrow('broken');
    changes.failure = new FsError('ENOSPC', 'full');
    commits.poll();
    expect(() => commits.begin()).toThrow('broken');
    expect(() => {
      commits.commit();
    }).toThrow('broken');
  });

  it('tell who asks what failed meanwhile, and those who wait with it', () => {
    const first = commits.begin();
    changes.failure = new FsError('ENOSPC', 'full');
    expect(() => commits.begin()).toThrow('full');
    expect(first()).toBe(-ERRNO.ENOSPC);
  });
});
