/**
 * The files the kernel holds in its inode cache: node number -> inode and generation, with the
 * kernel's lookup count.
 *
 * A node number is the inode number, except that the root is 1 for the kernel and 2 on disk. Every
 * entry handed to the kernel counts one lookup; FORGET takes lookups back, and at 0 the node leaves
 * the table, which bounds the memory by the kernel's own cache.
 *
 * When an inode number comes back with a new generation while the kernel still has the old file,
 * the new one gets a node number of its own, 2^32 higher, and the old node is retired: it counts
 * lookups, and stands for a file that is gone. With one number for both, who opens the old name
 * would open the new file on an inode that the kernel has just declared bad (EIO).
 */
import { constants } from 'node:fs';
import type { FileId } from '../client/file-service.ts';
import type { FileAttributes, Timestamp } from '../protocol/fs.ts';
import { ROOT_INODE } from '../protocol/fs.ts';
import { RowTable } from './row-table.ts';
import { ROOT_NODE } from './wire.ts';

const { S_IFMT, S_IFREG, S_IFDIR, S_IFLNK } = constants;
const ROOT: FileId = { inode: ROOT_INODE, generation: 0 };

/** Numbers of a new column. */
const ROWS_MIN = 64;
/** Between the node numbers of files that had one inode number after another. */
const NODE_STEP = 2 ** 32;

/** A file that is gone, or as good as: its inode number has another generation now. */
interface RetiredNode {
  readonly generation: number;
  lookups: number;
  readonly forgotten: (() => void) | undefined;
}

/**
 * A node takes some 60 to 100 bytes, none of which the garbage collector looks at, since the kernel
 * may hold a million of them.
 */
export class NodeTable {
  /** By inode: its newest generation. */
  readonly #rows = new RowTable();
  readonly #retired = new Map<number, RetiredNode>();
  #nodes = new Float64Array(ROWS_MIN);
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
    return this.#rows.size + this.#retired.size;
  }

  /** The latest change of any file that the kernel was told of. */
  get latest(): Timestamp {
    return this.#latest;
  }

  find(node: number): FileId | undefined {
    if (node === ROOT_NODE) return ROOT;
    const inode = inodeOf(node);
    const retired = this.#retired.get(node);
    if (retired !== undefined) return { inode, generation: retired.generation };
    const row = this.#rowOf(node);
    return row < 0 ? undefined : { inode, generation: this.#generations[row] ?? 0 };
  }

  /** The node number of a file in an entry for the kernel; 0 for what no file may have. */
  nodeFor(inode: number, generation: number): number {
    if (inode <= ROOT_INODE) return nodeOf(inode);
    const row = this.#rows.find(inode);
    const newest = row < 0 ? 0 : (this.#nodes[row] ?? 0);
    if (row >= 0 && this.#generations[row] === generation) return newest;
    for (let node = inode; ; node += NODE_STEP) {
      const retired = this.#retired.get(node);
      if (retired === undefined ? node !== newest : retired.generation === generation) return node;
    }
  }

  /** The node number of an inode's newest generation, also when the kernel does not know it. */
  newest(inode: number): number {
    const row = this.#rows.find(inode);
    return row < 0 ? nodeOf(inode) : (this.#nodes[row] ?? 0);
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
    return this.#retired.get(node)?.lookups ?? this.#lookups[this.#rowOf(node)] ?? 0;
  }

  /** Counts one entry that the kernel took, with the node that `nodeFor` says. */
  remember(inode: number, generation: number, told?: FileAttributes): void {
    if (inode === ROOT_INODE) return;
    const node = this.nodeFor(inode, generation);
    let row = this.#rows.find(inode);
    if (row < 0) row = this.#add(inode);
    else if (this.#nodes[row] !== node) this.#retire(inode, row);
    if (this.#nodes[row] !== node) this.#begin(row, node, generation);
    this.#lookups[row] = (this.#lookups[row] ?? 0) + 1;
    this.#tell(row, told);
    if (told !== undefined) this.#noteTime(told);
  }

  /** The kernel was told these attributes of a file. */
  tell(attributes: FileAttributes): void {
    const row = this.#rowOfFile(attributes);
    if (row >= 0) this.#tell(row, attributes);
    this.#noteTime(attributes);
  }

  /** Whether what the kernel has of the file's contents is what they are now. */
  isCurrent(attributes: FileAttributes): boolean {
    const { size, modified, changed } = attributes;
    const row = this.#rowOfFile(attributes);
    return (
      this.#sizes[row] === size &&
      this.#modified[row] === modified.seconds &&
      this.#modifiedNs[row] === modified.nanoseconds &&
      this.#changed[row] === changed.seconds &&
      this.#changedNs[row] === changed.nanoseconds
    );
  }

  /** Whether the kernel was told of a later change of the file. */
  knowsNewer(attributes: FileAttributes): boolean {
    const { changed } = attributes;
    const row = this.#rowOfFile(attributes);
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
  whenForgotten({ inode, generation }: FileId, forgotten: () => void): void {
    if (this.#rowOfFile({ inode, generation }) < 0) forgotten();
    else this.#forgotten.set(inode, forgotten);
  }

  /** Whether somebody is called back when the kernel has forgotten the file. */
  isHeld(file: FileId): boolean {
    return this.#rowOfFile(file) >= 0 && this.#forgotten.has(file.inode);
  }

  /** Takes `lookups` back; more than there are, which only a hostile peer sends, count as all. */
  forget(node: number, lookups: number): void {
    const retired = this.#retired.get(node);
    if (retired !== undefined) {
      retired.lookups -= lookups;
      if (retired.lookups > 0) return;
      this.#retired.delete(node);
      retired.forgotten?.();
      return;
    }
    const row = this.#rowOf(node);
    if (row < 0) return;
    const left = (this.#lookups[row] ?? 0) - lookups;
    this.#lookups[row] = left;
    if (left > 0) return;
    const inode = inodeOf(node);
    this.#rows.remove(inode);
    this.#locked.delete(inode);
    this.#takeForgotten(inode)?.();
  }

  clear(): void {
    this.#rows.clear();
    this.#retired.clear();
    this.#locked.clear();
    this.#forgotten.clear();
  }

  /** The row of a node that is not retired, or -1. */
  #rowOf(node: number): number {
    const row = this.#rows.find(inodeOf(node));
    return row >= 0 && this.#nodes[row] === node ? row : -1;
  }

  /** The row of a file whose generation is the newest, or -1. */
  #rowOfFile({ inode, generation }: FileId): number {
    const row = this.#rows.find(inode);
    return row >= 0 && this.#generations[row] === generation ? row : -1;
  }

  #retire(inode: number, row: number): void {
    this.#retired.set(this.#nodes[row] ?? 0, {
      generation: this.#generations[row] ?? 0,
      lookups: this.#lookups[row] ?? 0,
      forgotten: this.#takeForgotten(inode),
    });
    this.#locked.delete(inode);
  }

  /** A row is that of a node from now on, which may have been retired too early. */
  #begin(row: number, node: number, generation: number): void {
    const retired = this.#retired.get(node);
    this.#retired.delete(node);
    this.#nodes[row] = node;
    this.#generations[row] = generation;
    this.#lookups[row] = retired?.lookups ?? 0;
    if (retired?.forgotten !== undefined) this.#forgotten.set(inodeOf(node), retired.forgotten);
  }

  #takeForgotten(inode: number): (() => void) | undefined {
    const forgotten = this.#forgotten.get(inode);
    this.#forgotten.delete(inode);
    return forgotten;
  }

  #add(inode: number): number {
    const row = this.#rows.add(inode);
    if (row >= this.#lookups.length) this.#grow();
    this.#nodes[row] = 0;
    return row;
  }

  #grow(): void {
    this.#nodes = grown(this.#nodes);
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

function inodeOf(node: number): number {
  return node >>> 0;
}

/**
 * The usual node number of an inode, or 0 for an inode number that no file may have (1 would be
 * taken for the root).
 */
export function nodeOf(inode: number): number {
  if (inode === ROOT_INODE) return ROOT_NODE;
  return inode > ROOT_INODE ? inode : 0;
}

/** Whether the kernel opens files of the type without an OPEN: FIFOs, sockets, device nodes. */
export function isSpecial(mode: number): boolean {
  const type = mode & S_IFMT;
  return type !== 0 && type !== S_IFREG && type !== S_IFDIR && type !== S_IFLNK;
}
