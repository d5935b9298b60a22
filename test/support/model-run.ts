/** Random calls on a volume and on a model of it, which must agree on each of them. */
import { isFsError } from '../../src/servers/fs/errors.ts';
import type { AllocateMode, RenameMode } from '../../src/servers/fs/ext4/changing.ts';
import type { Inode } from '../../src/servers/fs/ext4/inode.ts';
import type { Volume } from '../../src/servers/fs/ext4/volume.ts';
import { type Failure, type Node, TreeModel } from './tree-model.ts';

const TYPES = { file: 0o100644, directory: 0o040644, symlink: 0o120644, fifo: 0o010644 } as const;
const OWNER = { uid: 7, gid: 8 };

export interface ModelRunOptions {
  readonly seed: number;
  /** Sizes of files go up to here. */
  readonly bytesMax: number;
  /** Whether files have extents. */
  readonly extents: boolean;
  /** While this is so, calls may fail with EIO, and must have changed no names then. */
  readonly isFailing?: () => boolean;
  /** Runs what looks at the volume while nothing fails. */
  readonly healed?: (look: () => void) => void;
}

export class ModelRun {
  readonly model: TreeModel = new TreeModel();
  #volume: Volume;
  readonly #options: ModelRunOptions;
  #state: number;
  /** Inode numbers and generations of the nodes. */
  readonly #inodes = new Map<Node, { number: number; generation: number }>();
  readonly #directories: Node[] = [this.model.root];
  readonly #files: Node[] = [];
  readonly #held: Node[] = [];
  /** Calls that ended with a code, by it. */
  readonly failures = new Map<string, number>();

  constructor(volume: Volume, options: ModelRunOptions) {
    this.#volume = volume;
    this.#options = options;
    this.#state = options.seed >>> 0;
    this.#inodes.set(this.model.root, { number: 2, generation: 0 });
    const root = volume.inode(2, 0);
    // What mke2fs made.
    volume.removeDirectory(root, bytes('lost+found'));
    volume.setAttributes(root, { mode: 0o644, uid: 7 });
  }

  /** The volume was opened again; nothing was held. */
  goOn(volume: Volume): void {
    this.#volume = volume;
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step++) {
      const choice = this.#below(100);
      try {
        this.#step(choice);
      } catch (error) {
        if (this.#excuses(error)) continue;
        const text = `seed ${String(this.#options.seed)}, step ${String(step)}`;
        throw new Error(`${text}, choice ${String(choice)}: ${String(error)}`, { cause: error });
      }
    }
  }

  /** Lets go of all that is held. */
  dropAll(): void {
    for (const file of this.#held.splice(0)) this.#volume.drop(this.#inode(file));
  }

  /** Throws where a file of the volume is not as the model has it. */
  compare(volume: Volume = this.#volume): number {
    return compareTree(volume, this.model.root, true);
  }

  #step(choice: number): void {
    if (choice < 22) this.#create();
    else if (choice < 26) this.#link();
    else if (choice < 34) this.#unlink();
    else if (choice < 38) this.#removeDirectory();
    else if (choice < 48) this.#rename();
    else if (choice < 70) this.#write();
    else if (choice < 78) this.#truncate();
    else if (choice < 84) this.#allocate();
    else if (choice < 90) this.#setXattr();
    else if (choice < 92) this.#removeXattr();
    else if (choice < 95) this.#setAttributes();
    else if (choice < 98) this.#hold();
    else this.#drop();
  }

  #create(): void {
    const directory = this.#directory();
    const name = this.#name();
    const type = this.#pick(['file', 'file', 'file', 'directory', 'symlink', 'fifo'] as const);
    const target = type === 'symlink' ? 't'.repeat(1 + this.#below(150)) : '';
    const made = this.#both(
      () => this.model.create(directory, name, type, target),
      () => {
        const parent = this.#inode(directory);
        const file = { ...OWNER, mode: TYPES[type] };
        if (type === 'symlink') {
          const link = { ...OWNER, target: bytes(target) };
          return this.#volume.makeSymlink(parent, bytes(name), link);
        }
        if (type === 'directory') return this.#volume.makeDirectory(parent, bytes(name), file);
        return this.#volume.createFile(parent, bytes(name), file);
      },
    );
    const node = directory.entries.get(name);
    if (made === undefined || node === undefined) return;
    if (type === 'symlink') node.mode = 0o777;
    this.#inodes.set(node, { number: made.number, generation: made.generation });
    if (type === 'directory') this.#directories.push(node);
    else this.#files.push(node);
  }

  #link(): void {
    const file = this.#pick([...this.#files.slice(-50), this.model.root]);
    if (!this.#isAlive(file)) return;
    const directory = this.#directory();
    const name = this.#name();
    this.#both(
      () => this.model.link(file, directory, name),
      () => {
        this.#volume.link(this.#inode(file), this.#inode(directory), bytes(name));
      },
    );
  }

  #unlink(): void {
    const directory = this.#directory();
    const name = this.#someName(directory);
    this.#both(
      () => this.model.unlink(directory, name),
      () => this.#volume.unlink(this.#inode(directory), bytes(name)),
    );
  }

  #removeDirectory(): void {
    const directory = this.#directory();
    const name = this.#someName(directory);
    this.#both(
      () => this.model.removeDirectory(directory, name),
      () => this.#volume.removeDirectory(this.#inode(directory), bytes(name)),
    );
  }

  #rename(): void {
    const from = this.#directory();
    const to = this.#below(2) === 0 ? from : this.#directory();
    const fromName = this.#someName(from);
    const toName = this.#below(2) === 0 ? this.#name() : this.#someName(to);
    const mode = this.#pick<RenameMode>(['replace', 'replace', 'noReplace', 'exchange']);
    this.#both(
      () => this.model.rename({ in: from, name: fromName }, { in: to, name: toName }, mode),
      () =>
        this.#volume.rename(
          { directory: this.#inode(from), name: bytes(fromName) },
          { directory: this.#inode(to), name: bytes(toName) },
          mode,
        ),
    );
  }

  #write(): void {
    const file = this.#regular();
    if (file === undefined) return;
    const appends = this.#below(2) === 0;
    const offset = appends ? file.content.length : this.#size();
    const data = new Uint8Array(1 + this.#below(this.#below(4) === 0 ? 70_000 : 3000));
    data.fill(1 + this.#below(255));
    try {
      const done = this.#volume.write(this.#inode(file), offset, data);
      this.model.write(file, offset, data.subarray(0, done));
    } catch (error) {
      if (!this.#excuses(error)) this.#full(error);
      else this.#relearn(file, offset, offset + data.length, data[0] ?? 0);
    }
  }

  #truncate(): void {
    const file = this.#regular();
    if (file === undefined) return;
    const size = this.#below(3) === 0 ? 0 : this.#size();
    try {
      this.#volume.truncate(this.#inode(file), size);
      this.model.truncate(file, size);
    } catch (error) {
      if (!this.#excuses(error)) throw error;
      this.#relearn(file, size, Math.max(size, file.content.length), 0);
    }
  }

  #allocate(): void {
    const file = this.#regular();
    if (file === undefined) return;
    const modes: AllocateMode[] = ['punchHole'];
    if (this.#options.extents) {
      modes.push('allocate', 'keepSize', 'zeroRange', 'zeroRangeKeepSize');
    }
    const mode = this.#pick(modes);
    const range = { offset: this.#size(), bytes: 1 + this.#size() };
    const end = range.offset + range.bytes;
    try {
      this.#volume.allocate(this.#inode(file), mode, range);
    } catch (error) {
      if (this.#excuses(error)) {
        this.#relearn(file, range.offset, end, 0);
        return;
      }
      this.#full(error);
      this.#zeroedByVolume(file, mode, range.offset, end);
      return;
    }
    const grows = mode === 'allocate' || mode === 'zeroRange';
    if (grows && end > file.content.length) this.model.truncate(file, end);
    if (mode !== 'allocate' && mode !== 'keepSize') this.model.zero(file, range.offset, end);
  }

  /** When space ends within a call, a part of the range is zeros; which, the volume knows. */
  #zeroedByVolume(file: Node, mode: AllocateMode, offset: number, end: number): void {
    if (mode === 'allocate' || mode === 'keepSize') return;
    const now = new Uint8Array(file.content.length);
    this.#volume.read(this.#inode(file), 0, now);
    for (let at = offset; at < Math.min(end, now.length); at++) {
      if (now[at] === 0) file.content[at] = 0;
    }
  }

  #setXattr(): void {
    const file = this.#pick([...this.#files, ...this.#directories]);
    // Linux keeps no xattrs of users for others.
    const keeps = file.type === 'file' || file.type === 'directory';
    if (!keeps || !this.#isAlive(file)) return;
    const name = `user.${'n'.repeat(1 + this.#below(6))}`;
    const value = String.fromCharCode(97 + this.#below(26)).repeat(this.#below(90));
    try {
      this.#volume.setXattr(this.#inode(file), bytes(name), bytes(value));
      file.xattrs.set(name, value);
    } catch (error) {
      this.#full(error);
    }
  }

  #removeXattr(): void {
    const file = this.#pick([...this.#files, ...this.#directories]);
    const [name] = file.xattrs.keys();
    if (name === undefined || !this.#isAlive(file)) return;
    this.#volume.removeXattr(this.#inode(file), bytes(name));
    file.xattrs.delete(name);
  }

  #setAttributes(): void {
    const file = this.#pick([...this.#files, ...this.#directories]);
    if (!this.#isAlive(file)) return;
    const wanted = { mode: this.#below(0o10000), uid: this.#below(100_000) };
    this.#volume.setAttributes(this.#inode(file), wanted);
    Object.assign(file, wanted);
  }

  #hold(): void {
    const file = this.#pick([...this.#files, ...this.#directories]);
    if (!this.#isAlive(file) || this.#held.length > 20) return;
    this.#volume.hold(this.#inode(file));
    this.#held.push(file);
  }

  #drop(): void {
    const file = this.#held.shift();
    if (file !== undefined) this.#volume.drop(this.#inode(file));
  }

  /** Does the same to both; a volume that is full excuses what fails, and the model waits. */
  #both<Result>(model: () => Failure, volume: () => Result): Result | undefined {
    const before = this.#volume.status();
    let result: Result;
    try {
      result = volume();
    } catch (error) {
      if (!isFsError(error)) throw error;
      this.failures.set(error.code, (this.failures.get(error.code) ?? 0) + 1);
      const after = this.#volume.status();
      // For want of space, contents that waited have got their blocks, and so have their maps.
      const full = error.code === 'ENOSPC' || this.#excuses(error);
      const same = full
        ? before.inodesFree === after.inodesFree
        : JSON.stringify(before) === JSON.stringify(after);
      if (!same) throw new Error('counts changed', { cause: error });
      if (full) return undefined;
      const expected = model();
      if (expected !== error.code)
        throw new Error(`${error.message}, not ${String(expected)}`, { cause: error });
      return undefined;
    }
    const expected = model();
    if (expected !== undefined) throw new Error(`done, but the model says ${expected}`);
    return result;
  }

  #full(error: unknown): void {
    if (!isFsError(error, 'ENOSPC')) throw error;
    this.failures.set('ENOSPC', (this.failures.get('ENOSPC') ?? 0) + 1);
  }

  #excuses(error: unknown): boolean {
    return isFsError(error, 'EIO') && this.#options.isFailing?.() === true;
  }

  /**
   * A call that changes contents from `start` to `end` into `byte`s has done part of it. Which, the
   * volume knows; of the rest nothing has changed.
   */
  #relearn(file: Node, start: number, end: number, byte: number): void {
    this.#options.healed?.(() => {
      const inode = this.#inode(file);
      const now = new Uint8Array(inode.size);
      this.#volume.read(inode, 0, now);
      const before = file.content;
      for (const [at, found] of now.entries()) {
        const old = before[at] ?? 0;
        if (found === old || (at >= start && at < end && found === byte)) continue;
        throw new Error(`byte ${String(at)} is ${String(found)}, which was ${String(old)}`);
      }
      const least = Math.min(start, before.length);
      if (now.length < least || now.length > Math.max(end, before.length)) {
        throw new Error(`${String(now.length)} bytes of ${String(before.length)}`);
      }
      file.content = now;
    });
  }

  #inode(file: Node): Inode {
    const id = this.#inodes.get(file);
    if (id === undefined) throw new Error('a node without an inode');
    return this.#volume.inode(id.number, id.generation);
  }

  #isAlive(file: Node): boolean {
    return file.links > 0 || this.#held.includes(file);
  }

  #directory(): Node {
    for (;;) {
      const directory = this.#pick(this.#directories);
      if (this.#isAlive(directory)) return directory;
      this.#directories.splice(this.#directories.indexOf(directory), 1);
    }
  }

  #regular(): Node | undefined {
    if (this.#files.length === 0) return undefined;
    const file = this.#pick(this.#files);
    if (!this.#isAlive(file)) this.#files.splice(this.#files.indexOf(file), 1);
    return this.#isAlive(file) && file.type === 'file' ? file : undefined;
  }

  #name(): string {
    const kinds = [3, 3, 12, 60, 200];
    const number = String(this.#below(this.#below(3) === 0 ? 12 : 4000));
    return number.padStart(this.#pick(kinds), 'name ');
  }

  /** One that is there, as a rule. */
  #someName(directory: Node): string {
    const names = [...directory.entries.keys()];
    return names.length === 0 || this.#below(8) === 0 ? this.#name() : this.#pick(names);
  }

  #size(): number {
    return this.#below(this.#below(3) === 0 ? this.#options.bytesMax : 5000);
  }

  #pick<Item>(items: readonly Item[]): Item {
    return items[this.#below(items.length)]!;
  }

  #below(end: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * end);
  }
}

/** Throws where the volume is not as `root` has it; `contents` says whether those of files are. */
export function compareTree(volume: Volume, root: Node, contents: boolean): number {
  return compareNode({ volume, contents }, volume.inode(2, 0), root, '');
}

interface Compared {
  volume: Volume;
  contents: boolean;
}

function compareNode(compared: Compared, inode: Inode, node: Node, path: string): number {
  const { volume } = compared;
  const { mode, uid, links, size } = volume.attributes(inode);
  const same = (what: string, mine: unknown, theirs: unknown): void => {
    if (mine !== theirs) throw new Error(`${path}: ${what} ${String(mine)}, not ${String(theirs)}`);
  };
  same('mode', mode & 0o7777, node.mode);
  same('uid', uid, node.uid);
  same('links', links, node.links);
  for (const [name, value] of node.xattrs) {
    const found = Buffer.from(volume.getXattr(inode, bytes(name)) ?? []).toString('latin1');
    same(`xattr ${name}`, found, value);
  }
  const names = Buffer.from(volume.listXattr(inode)).toString('latin1').split('\0').length - 1;
  same('number of xattrs', names, node.xattrs.size);
  if (node.type === 'directory') return compareDirectory(compared, inode, node, path);
  if (node.type === 'fifo') return 1;
  same('size', size, node.content.length);
  if (node.type === 'file' && !compared.contents) return 1;
  const content = new Uint8Array(size);
  if (node.type === 'symlink') content.set(volume.readLink(inode));
  else volume.read(inode, 0, content);
  same('content', Buffer.compare(content, node.content), 0);
  return 1;
}

function compareDirectory(compared: Compared, inode: Inode, node: Node, path: string): number {
  const { volume } = compared;
  const found = new Map<string, number>();
  volume.list(inode, 0, (entry) => {
    found.set(Buffer.from(entry.name).toString('latin1'), entry.inode);
    return true;
  });
  found.delete('.');
  found.delete('..');
  if (found.size !== node.entries.size) {
    throw new Error(`${path}: ${String(found.size)} names, not ${String(node.entries.size)}`);
  }
  let count = 1;
  for (const [name, child] of node.entries) {
    const looked = volume.lookup(inode, bytes(name));
    if (looked === undefined || looked.number !== found.get(name)) {
      throw new Error(`${path}/${name} is missing`);
    }
    count += compareNode(compared, looked, child, `${path}/${name}`);
  }
  return count;
}

function bytes(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}
