/**
 * What the kernel has of a file's contents when somebody here takes a lock on the file.
 *
 * Who has a lock is to see what was written by whoever had it before, on any node. To tell the
 * kernel that its attributes are old does not do: when several processes ask for them, it takes the
 * first answer and drops the others, so pages may stay that are older than the lock. So the pages
 * themselves are dropped before the lock is answered, if the file has changed since that was done
 * last; whoever comes meanwhile waits for the same drop.
 */
import type { FileAttributes } from '../protocol/fs.ts';
import type { Answers } from './answers.ts';
import type { PageDropper } from './recalls.ts';

/** Files that are remembered; for one that is not, pages are dropped once more. */
const FILES_MAX = 1024;

interface Drop {
  /** Which contents the file had when it began, at least. */
  readonly version: string;
  readonly done: Promise<void> | undefined;
}

export class FreshPages {
  readonly #answers: Answers;
  readonly #pages: PageDropper | undefined;
  /** By inode, the file that was locked last at the end. */
  readonly #drops = new Map<number, Drop>();

  /** Without `pages`, only attributes are called back: leases see to the rest. */
  constructor(answers: Answers, pages: PageDropper | undefined) {
    this.#answers = answers;
    this.#pages = pages;
  }

  /** Resolves when the kernel has nothing of the file's contents from before these attributes. */
  async refresh(file: FileAttributes): Promise<void> {
    const { inode } = file;
    const version = versionOf(file);
    const before = this.#drops.get(inode);
    const isKnown = before !== undefined && before.version === version;
    const drop = isKnown ? before : { version: version ?? '', done: this.#drop(inode) };
    this.#drops.delete(inode);
    this.#drops.set(inode, drop);
    if (this.#drops.size > FILES_MAX) {
      const [oldest] = this.#drops.keys();
      if (oldest !== undefined) this.#drops.delete(oldest);
    }
    await drop.done;
  }

  #drop(inode: number): Promise<void> | undefined {
    if (this.#pages !== undefined) return this.#pages.drop(this.#answers.nodes.newest(inode));
    this.#answers.recall(inode);
    return undefined;
  }
}

/** No two changes of a file have one time; undefined for a volume that keeps only whole seconds. */
function versionOf({ generation, changed }: FileAttributes): string | undefined {
  const { seconds, nanoseconds } = changed;
  if (nanoseconds === 0) return undefined;
  return [generation, seconds, nanoseconds].join(' ');
}
