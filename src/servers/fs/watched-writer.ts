/**
 * A volume's writer that tells what each change touches.
 *
 * What a change that failed, or was undone, touched is told too: whoever believes something of it
 * asks once more than needed.
 */
import { LeaseKind, type Recall } from '../../vos/protocol/fs-lease.ts';
import type {
  AllocateMode,
  AttributeChanges,
  ByteRange,
  InodeRun,
  NewFile,
  Owner,
  Place,
  RenameMode,
  VolumeWriter,
  XattrMode,
} from './ext4/changing.ts';
import type { Incoming } from './ext4/incoming.ts';
import type { Inode } from './ext4/inode.ts';

const { ATTRIBUTES, DATA, NAMES } = LeaseKind;

export interface WatchedVolume extends VolumeWriter {
  lookup(directory: Inode, name: Uint8Array): Inode | undefined;
}

export class WatchedWriter implements VolumeWriter {
  readonly #volume: WatchedVolume;
  readonly #touched: (recall: Recall) => void;

  constructor(volume: WatchedVolume, touched: (recall: Recall) => void) {
    this.#volume = volume;
    this.#touched = touched;
  }

  change<T>(run: () => T): T {
    return this.#volume.change(run);
  }

  actAs(owner: Owner): void {
    this.#volume.actAs(owner);
  }

  // A name that was not there is known to nobody.

  createFile(directory: Inode, name: Uint8Array, file: NewFile): Inode {
    this.#touch(directory, ATTRIBUTES);
    return this.#volume.createFile(directory, name, file);
  }

  reserveInodes(directory: Inode, count: number, runsMax: number): InodeRun[] {
    return this.#volume.reserveInodes(directory, count, runsMax);
  }

  releaseInodes(numbers: Iterable<number>): void {
    this.#volume.releaseInodes(numbers);
  }

  newGeneration(): number {
    return this.#volume.newGeneration();
  }

  createUnnamed(directory: Inode, file: NewFile): Inode {
    return this.#volume.createUnnamed(directory, file);
  }

  makeDirectory(directory: Inode, name: Uint8Array, file: NewFile): Inode {
    this.#touch(directory, ATTRIBUTES);
    return this.#volume.makeDirectory(directory, name, file);
  }

  makeSymlink(directory: Inode, name: Uint8Array, link: Owner & { target: Uint8Array }): Inode {
    this.#touch(directory, ATTRIBUTES);
    return this.#volume.makeSymlink(directory, name, link);
  }

  link(inode: Inode, directory: Inode, name: Uint8Array): void {
    this.#touch(inode, ATTRIBUTES);
    this.#touch(directory, ATTRIBUTES);
    this.#volume.link(inode, directory, name);
  }

  unlink(directory: Inode, name: Uint8Array): Inode {
    this.#touch(directory, ATTRIBUTES | NAMES, name);
    const removed = this.#volume.unlink(directory, name);
    this.#touch(removed, ATTRIBUTES);
    return removed;
  }

  removeDirectory(directory: Inode, name: Uint8Array): Inode {
    this.#touch(directory, ATTRIBUTES | NAMES, name);
    const removed = this.#volume.removeDirectory(directory, name);
    this.#touch(removed, ATTRIBUTES);
    return removed;
  }

  rename(from: Place, to: Place, mode?: RenameMode): Inode | undefined {
    const moved = this.#volume.lookup(from.directory, from.name);
    if (moved !== undefined) this.#touch(moved, ATTRIBUTES);
    this.#touch(from.directory, ATTRIBUTES | NAMES, from.name);
    this.#touch(to.directory, ATTRIBUTES | NAMES, to.name);
    const replaced = this.#volume.rename(from, to, mode);
    if (replaced !== undefined) this.#touch(replaced, ATTRIBUTES);
    return replaced;
  }

  write(inode: Inode, offset: number, data: Uint8Array | Incoming): number {
    this.#touch(inode, ATTRIBUTES | DATA);
    return this.#volume.write(inode, offset, data);
  }

  truncate(inode: Inode, size: number): void {
    this.#touch(inode, ATTRIBUTES | DATA);
    this.#volume.truncate(inode, size);
  }

  allocate(inode: Inode, mode: AllocateMode, range: ByteRange): void {
    this.#touch(inode, ATTRIBUTES | DATA);
    this.#volume.allocate(inode, mode, range);
  }

  setAttributes(inode: Inode, changes: AttributeChanges): void {
    this.#touch(inode, changes.size === undefined ? ATTRIBUTES : ATTRIBUTES | DATA);
    this.#volume.setAttributes(inode, changes);
  }

  setFlags(inode: Inode, flags: number, mask: number): void {
    this.#touch(inode, ATTRIBUTES);
    this.#volume.setFlags(inode, flags, mask);
  }

  /** A time that is no reason to ask again: kernels do not tell of reads that they serve. */
  accessed(inode: Inode): void {
    this.#volume.accessed(inode);
  }

  setXattr(inode: Inode, name: Uint8Array, value: Uint8Array, mode?: XattrMode): void {
    this.#touch(inode, ATTRIBUTES);
    this.#volume.setXattr(inode, name, value, mode);
  }

  removeXattr(inode: Inode, name: Uint8Array): void {
    this.#touch(inode, ATTRIBUTES);
    this.#volume.removeXattr(inode, name);
  }

  hold(inode: Inode): void {
    this.#volume.hold(inode);
  }

  drop(inode: Inode): void {
    this.#volume.drop(inode);
  }

  #touch({ number }: Inode, kinds: number, name?: Uint8Array): void {
    this.#touched({ inode: number, kinds, ...(name === undefined ? {} : { name }) });
  }
}
