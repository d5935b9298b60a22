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
import { RowTable } from './row-table.ts';
import { ROOT_NODE } from './wire.ts';

const ROOT: FileId = { inode: ROOT_INODE, generation: 0 };

/** Numbers of a new column. */
const ROWS_MIN = 64;

/**
 * A node takes some 60 to 100 bytes, none of which the garbage collector looks at, since the kernel
 * may hold a million of them.
 */
export class NodeTable {
  readonly #rows = new RowTable();
  #generations = new Uint32Array(ROWS_MIN);
  #lookups = new Float64Array(ROWS_MIN);
  /** What the kernel knows of a file's size and times; a size of -1 if it knows nothing. */
  #sizes = new Float64Array(ROWS_MIN);
  #modified = new Float64Array(ROWS_MIN);
  #modifiedNs = new Uint32Array(ROWS_MIN);
  #changed = new Float64Array(ROWS_MIN);
  #changedNs = new Uint32Array(ROWS_MIN);
  /** Those on which somebody here has, or had, POSIX locks. */
  readonly #locked = new Set<number>();
  /** Called when the kernel has forgotten a file. */
  readonly #forgotten = new Map<number, () => void>();
  #latest: Timestamp = { seconds: 0, nanoseconds: 0 };

  /** Nodes besides the root. */
  get size(): number {
    return this.#rows.size;
  }

  /** The latest change of any file that the kernel was told of. */
  get latest(): Timestamp {
    return this.#latest;
  }

  find(node: number): FileId | undefined {
    if (node === ROOT_NODE) return ROOT;
    const row = this.#rows.find(node);
    return row < 0 ? undefined : { inode: node, generation: this.#generations[row] ?? 0 };
  }

  /** Whether the kernel may have something of the file. */
  knows(inode: number): boolean {
    return inode === ROOT_INODE || this.#rows.find(inode) >= 0;
  }

  /** All of them, the root first. */
  inodes(): number[] {
    return [ROOT_INODE, ...this.#rows.keys()];
  }

  lookups(node: number): number {
    return this.#lookups[this.#rows.find(node)] ?? 0;
  }

  /** Counts one entry that the kernel took. */
  remember(inode: number, generation: number, told?: FileAttributes): void {
    if (inode === ROOT_INODE) return;
    let row = this.#rows.find(inode);
    if (row < 0) row = this.#add(inode);
    this.#generations[row] = generation;
    this.#lookups[row] = (this.#lookups[row] ?? 0) + 1;
    this.#tell(row, told);
    if (told !== undefined) this.#noteTime(told);
  }

  /** The kernel was told these attributes of a file. */
  tell(attributes: FileAttributes): void {
    const row = this.#rows.find(attributes.inode);
    if (row >= 0) this.#tell(row, attributes);
    this.#noteTime(attributes);
  }

  /** Whether what the kernel has of the file's contents is what they are now. */
  isCurrent({ inode, size, modified, changed }: FileAttributes): boolean {
    const row = this.#rows.find(inode);
    return (
      this.#sizes[row] === size &&
      this.#modified[row] === modified.seconds &&
      this.#modifiedNs[row] === modified.nanoseconds &&
      this.#changed[row] === changed.seconds &&
      this.#changedNs[row] === changed.nanoseconds
    );
  }

  /** Whether the kernel was told of a later change of the file. */
  knowsNewer({ inode, changed }: FileAttributes): boolean {
    const row = this.#rows.find(inode);
    const [seconds = 0, nanoseconds = 0] = [this.#changed[row], this.#changedNs[row]];
    return (this.#sizes[row] ?? -1) >= 0 && isBefore(changed, { seconds, nanoseconds });
  }

  isLocked(inode: number): boolean {
    return inode === ROOT_INODE || this.#locked.has(inode);
  }

  lock(inode: number): void {
    if (this.#rows.find(inode) >= 0) this.#locked.add(inode);
  }

  /** Calls back when the kernel has forgotten the file; at once when it does not know it. */
  whenForgotten(inode: number, forgotten: () => void): void {
    if (this.#rows.find(inode) < 0) forgotten();
    else this.#forgotten.set(inode, forgotten);
  }

  /** Takes `lookups` back; more than there are, which only a hostile peer sends, count as all. */
  forget(node: number, lookups: number): void {
    const row = this.#rows.find(node);
    if (row < 0) return;
    const left = (this.#lookups[row] ?? 0) - lookups;
    this.#lookups[row] = left;
    if (left > 0) return;
    this.#rows.remove(node);
    this.#locked.delete(node);
    const forgotten = this.#forgotten.get(node);
    this.#forgotten.delete(node);
    forgotten?.();
  }

  clear(): void {
    this.#rows.clear();
    this.#locked.clear();
    this.#forgotten.clear();
  }

  #add(inode: number): number {
    const row = this.#rows.add(inode);
    if (row >= this.#lookups.length) this.#grow();
    this.#lookups[row] = 0;
    return row;
  }

  #grow(): void {
    this.#generations = grown(this.#generations);
    this.#lookups = grown(this.#lookups);
    this.#sizes = grown(this.#sizes);
    this.#modified = grown(this.#modified);
    this.#modifiedNs = grown(this.#modifiedNs);
    this.#changed = grown(this.#changed);
    this.#changedNs = grown(this.#changedNs);
  }

  #tell(row: number, attributes: FileAttributes | undefined): void {
    this.#sizes[row] = attributes?.size ?? -1;
    if (attributes === undefined) return;
    const { modified, changed } = attributes;
    this.#modified[row] = modified.seconds;
    this.#modifiedNs[row] = modified.nanoseconds;
    this.#changed[row] = changed.seconds;
    this.#changedNs[row] = changed.nanoseconds;
  }

  #noteTime({ changed }: FileAttributes): void {
    if (isBefore(this.#latest, changed)) this.#latest = changed;
  }
}

function grown<Column extends Uint32Array | Float64Array>(column: Column): Column {
  const next = new (column.constructor as new (length: number) => Column)(2 * column.length);
  next.set(column);
  return next;
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
