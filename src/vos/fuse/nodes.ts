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

interface Node {
  file: FileId;
  lookups: number;
  /** What the kernel knows of the file. */
  told: FileAttributes | undefined;
  /** Somebody here has, or had, POSIX locks on it. */
  locked: boolean;
  /** Called when the kernel has forgotten it. */
  forgotten?: () => void;
}

const ROOT: FileId = { inode: ROOT_INODE, generation: 0 };

export class NodeTable {
  readonly #nodes = new Map<number, Node>();

  /** Nodes besides the root. */
  get size(): number {
    return this.#nodes.size;
  }

  find(node: number): FileId | undefined {
    if (node === ROOT_NODE) return ROOT;
    return this.#nodes.get(node)?.file;
  }

  lookups(node: number): number {
    return this.#nodes.get(node)?.lookups ?? 0;
  }

  /** Counts one entry that the kernel took. */
  remember(inode: number, generation: number, told?: FileAttributes): void {
    if (inode === ROOT_INODE) return;
    const node = this.#nodes.get(inode);
    if (node === undefined) {
      const file = { inode, generation };
      this.#nodes.set(inode, { file, lookups: 1, told, locked: false });
      return;
    }
    node.lookups++;
    node.told = told;
    if (node.file.generation !== generation) node.file = { inode, generation };
  }

  /** The kernel was told these attributes of a file. */
  tell(attributes: FileAttributes): void {
    const node = this.#nodes.get(attributes.inode);
    if (node !== undefined) node.told = attributes;
  }

  /** Whether what the kernel has of the file's contents is what they are now. */
  isCurrent({ inode, size, modified, changed }: FileAttributes): boolean {
    const told = this.#nodes.get(inode)?.told;
    return (
      told?.size === size &&
      isSameTime(told.modified, modified) &&
      isSameTime(told.changed, changed)
    );
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

function isSameTime(a: Timestamp, b: Timestamp): boolean {
  return a.seconds === b.seconds && a.nanoseconds === b.nanoseconds;
}

/**
 * The node number of an inode, or 0 for an inode number that no file may have (1 would be taken for
 * the root).
 */
export function nodeOf(inode: number): number {
  if (inode === ROOT_INODE) return ROOT_NODE;
  return inode > ROOT_INODE ? inode : 0;
}
