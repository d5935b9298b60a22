/**
 * Makes the kernel forget what is recalled.
 *
 * Attributes and names are called back at once, by notices for which the kernel waits for nobody.
 * With the attributes old, a read(2) asks for them and drops pages that have become old. Pages that
 * programs have mapped are dropped by a thread (`PageDropper`), since the kernel then waits for
 * reads of the file that are under way, which this one has to answer. If a change of the same file
 * is under way here, it may hold those pages until it is answered, and the answer may wait for this
 * very recall: then the pages are dropped later, and the recall does not wait for that.
 */
import type { RecallListener, Trust } from '../client/leases.ts';
import { LeaseKind, type Recall } from '../protocol/fs-lease.ts';
import type { Answers } from './answers.ts';
import { holdsPages } from './change.ts';
import type { ChangingRequest } from './requests.ts';

/** Drops what the kernel has of a file's contents; resolves when that is done. */
export interface PageDropper {
  drop(node: number): Promise<void>;
}

export class Recalls implements RecallListener {
  readonly #answers: Answers;
  readonly #pages: PageDropper | undefined;
  /** Recalls that wait for pages: what ends the wait, by inode. */
  readonly #waits = new Map<number, () => void>();

  constructor(answers: Answers, trust: Trust, pages: PageDropper | undefined) {
    this.#answers = answers;
    this.#pages = pages;
    trust.listen(this);
  }

  /** The kernel has agreed to serve: from now on it takes notices. */
  begin(): void {
    if (this.#answers.recallNames()) this.#answers.trustNames();
  }

  /** A change begins here. */
  onChange({ change, file }: ChangingRequest): void {
    if (holdsPages(change)) this.#waits.get(file.inode)?.();
    if (change.kind === 'copy') this.#waits.get(change.to.inode)?.();
    if (this.#answers.names.isFull) this.#answers.recallNames();
  }

  async recalled(recalls: readonly Recall[]): Promise<void> {
    const waits: Promise<void>[] = [];
    let names = false;
    for (const { inode, kinds, name } of recalls) {
      this.#forget(inode);
      if ((kinds & LeaseKind.NAMES) !== 0) names ||= this.#answers.names.has(inode, name);
      if ((kinds & LeaseKind.DATA) !== 0) waits.push(this.#drop(inode));
    }
    if (names) this.#answers.recallNames();
    await Promise.all(waits);
  }

  lost(): void {
    this.#answers.recallNames();
    for (const inode of this.#answers.nodes.inodes()) {
      this.#answers.recall(inode);
      void this.#pages?.drop(this.#answers.nodes.newest(inode));
    }
  }

  #forget(inode: number): void {
    if (this.#answers.nodes.knows(inode)) this.#answers.recall(inode);
  }

  async #drop(inode: number): Promise<void> {
    const { nodes } = this.#answers;
    if (this.#pages === undefined || !nodes.knows(inode)) return;
    const dropped = this.#pages.drop(nodes.newest(inode));
    if (this.#answers.isChanging(inode)) return;
    const others = this.#waits.get(inode);
    const change = new Promise<void>((resolve) => {
      this.#waits.set(inode, () => {
        others?.();
        resolve();
      });
    });
    await Promise.race([dropped, change]);
    this.#waits.delete(inode);
  }
}
