/**
 * The files the kernel holds in its inode cache: node number -> inode and generation, with the
 * kernel's lookup count.
 *
 * A node number is the inode number, except that the root is 1 for the kernel and 2 on disk. Every
 * entry handed to the kernel counts one lookup; FORGET takes lookups back, and at 0 the node leaves
 * the table, which bounds the memory by the kernel's own cache. When an inode number comes back
 * with a new generation, the kernel itself retires its old inode (it compares the generations), so
 * one node carries the newest generation and the sum of both counts.
 */
import type { FileId } from '../client/file-service.ts';
import type { FileAttributes, Timestamp } from '../protocol/fs.ts';
import { ROOT_INODE } from '../protocol/fs.ts';
import { ROOT_NODE } from './wire.ts';

/**
 * A node takes little memory, since the kernel may hold a million of them: of the times of a file
 * their digits are kept.
 */
class Node implements FileId {
  readonly inode: number;
  readonly generation: number;
  lookups: number;
  /** Somebody here has, or had, POSIX locks on it. */
  /** Called when the kernel has forgotten it. */
  forgotten: (() => void) | undefined;
  locked = false;
  /** What the kernel knows of the file's size and times; a size of -1 if it knows nothing. */
  #size = -1;
  #modified = 0;
  #modifiedNs = 0;
  #changed = 0;
  #changedNs = 0;

  constructor(inode: number, generation: number, lookups: number) {
    this.inode = inode;
    this.generation = generation;
    this.lookups = lookups;
  }

  tell(attributes: FileAttributes | undefined): void {
    this.#size = attributes?.size ?? -1;
    if (attributes === undefined) return;
    const { modified, changed } = attributes;
    this.#modified = modified.seconds;
    this.#modifiedNs = modified.nanoseconds;
    this.#changed = changed.seconds;
    this.#changedNs = changed.nanoseconds;
  }

  /** Whether the kernel was told of a change after `changed`. */
  isNewer(changed: Timestamp): boolean {
    const told = { seconds: this.#changed, nanoseconds: this.#changedNs };
    return this.#size >= 0 && isBefore(changed, told);
  }

  isCurrent({ size, modified, changed }: FileAttributes): boolean {
    return (
      this.#size === size &&
      this.#modified === modified.seconds &&
      this.#modifiedNs === modified.nanoseconds &&
      this.#changed === changed.seconds &&
      this.#changedNs === changed.nanoseconds
    );
  }
}

const ROOT: FileId = { inode: ROOT_INODE, generation: 0 };

export class NodeTable {
  readonly #nodes = new Map<number, Node>();
  #latest: Timestamp = { seconds: 0, nanoseconds: 0 };

  /** Nodes besides the root. */
  get size(): number {
    return this.#nodes.size;
  }

  /** The latest change of any file that the kernel was told of. */
  get latest(): Timestamp {
    return this.#latest;
  }

  find(node: number): FileId | undefined {
    if (node === ROOT_NODE) return ROOT;
    return this.#nodes.get(node);
  }

  /** Whether the kernel may have something of the file. */
  knows(inode: number): boolean {
    return inode === ROOT_INODE || this.#nodes.has(inode);
  }

  /** All of them, the root first. */
  inodes(): number[] {
    return [ROOT_INODE, ...this.#nodes.keys()];
  }

  lookups(node: number): number {
    return this.#nodes.get(node)?.lookups ?? 0;
  }

  /** Counts one entry that the kernel took. */
  remember(inode: number, generation: number, told?: FileAttributes): void {
    if (inode === ROOT_INODE) return;
    let node = this.#nodes.get(inode);
    if (node?.generation !== generation) {
      // Requests that are under way name the former one.
      const former = node;
      node = new Node(inode, generation, former?.lookups ?? 0);
      node.locked = former?.locked ?? false;
      node.forgotten = former?.forgotten;
      this.#nodes.set(inode, node);
    }
    node.lookups++;
    node.tell(told);
    if (told !== undefined) this.#noteTime(told);
  }

  /** The kernel was told these attributes of a file. */
  tell(attributes: FileAttributes): void {
    this.#nodes.get(attributes.inode)?.tell(attributes);
    this.#noteTime(attributes);
  }

  #noteTime({ changed }: FileAttributes): void {
    if (isBefore(this.#latest, changed)) this.#latest = changed;
  }

  /** Whether what the kernel has of the file's contents is what they are now. */
  isCurrent(attributes: FileAttributes): boolean {
    return this.#nodes.get(attributes.inode)?.isCurrent(attributes) === true;
  }

  /** Whether the kernel was told of a later change of the file. */
  knowsNewer({ inode, changed }: FileAttributes): boolean {
    return this.#nodes.get(inode)?.isNewer(changed) === true;
  }

  isLocked(inode: number): boolean {
    return this.#nodes.get(inode)?.locked ?? inode === ROOT_INODE;
  }

  lock(inode: number): void {
    const node = this.#nodes.get(inode);
    if (node !== undefined) node.locked = true;
  }

  /** Calls back when the kernel has forgotten the file; at once when it does not know it. */
  whenForgotten(inode: number, forgotten: () => void): void {
    const node = this.#nodes.get(inode);
    if (node === undefined) forgotten();
    else node.forgotten = forgotten;
  }

  /** Takes `lookups` back; more than there are, which only a hostile peer sends, count as all. */
  forget(node: number, lookups: number): void {
    const known = this.#nodes.get(node);
    if (known === undefined) return;
    known.lookups -= lookups;
    if (known.lookups > 0) return;
    this.#nodes.delete(node);
    known.forgotten?.();
  }

  clear(): void {
    this.#nodes.clear();
  }
}

export function isBefore(a: Timestamp, b: Timestamp): boolean {
  return a.seconds < b.seconds || (a.seconds === b.seconds && a.nanoseconds < b.nanoseconds);
}

/**
 * The node number of an inode, or 0 for an inode number that no file may have (1 would be taken for
 * the root).
 */
export function nodeOf(inode: number): number {
  if (inode === ROOT_INODE) return ROOT_NODE;
  return inode > ROOT_INODE ? inode : 0;
}
