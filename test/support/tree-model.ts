/**
 * A file system in memory, as simple as one can be: what the calls of a volume should do.
 *
 * Calls that POSIX lets fail return the code; the others return undefined. Files are named by
 * objects, so a file that has no name any more is there as long as somebody has it.
 */
export interface Node {
  readonly type: 'file' | 'directory' | 'symlink' | 'fifo';
  mode: number;
  uid: number;
  links: number;
  content: Uint8Array;
  readonly entries: Map<string, Node>;
  readonly xattrs: Map<string, string>;
  parent: Node | undefined;
}

/** A name in a directory. */
export interface ModelPlace {
  readonly in: Node;
  readonly name: string;
}

export type Failure = string | undefined;

export class TreeModel {
  readonly root: Node = node('directory');

  constructor() {
    this.root.parent = this.root;
  }

  create(directory: Node, name: string, type: Node['type'], content = ''): Failure {
    const refused = this.#mayHave(directory, name);
    if (refused !== undefined) return refused;
    const made = node(type, content);
    if (type === 'directory') {
      made.parent = directory;
      directory.links++;
    }
    directory.entries.set(name, made);
    return undefined;
  }

  link(file: Node, directory: Node, name: string): Failure {
    if (file.type === 'directory') return 'EPERM';
    const refused = this.#mayHave(directory, name);
    if (refused !== undefined) return refused;
    if (file.links === 0) return 'ENOENT';
    file.links++;
    directory.entries.set(name, file);
    return undefined;
  }

  unlink(directory: Node, name: string): Failure {
    if (directory.type !== 'directory') return 'ENOTDIR';
    const file = directory.entries.get(name);
    if (file === undefined) return 'ENOENT';
    if (file.type === 'directory') return 'EISDIR';
    file.links--;
    directory.entries.delete(name);
    return undefined;
  }

  removeDirectory(directory: Node, name: string): Failure {
    if (directory.type !== 'directory') return 'ENOTDIR';
    const file = directory.entries.get(name);
    if (file === undefined) return 'ENOENT';
    if (file.type !== 'directory') return 'ENOTDIR';
    if (file.entries.size > 0) return 'ENOTEMPTY';
    this.#removed(directory, name, file);
    return undefined;
  }

  rename(source: ModelPlace, place: ModelPlace, mode = 'replace'): Failure {
    const { in: from, name: fromName } = source;
    const { in: to, name: toName } = place;
    if (from.type !== 'directory') return 'ENOTDIR';
    const moved = from.entries.get(fromName);
    if (moved === undefined) return 'ENOENT';
    const target = to.type === 'directory' ? to.entries.get(toName) : undefined;
    if (mode === 'noReplace' && target !== undefined) return 'EEXIST';
    if (to.type !== 'directory') return 'ENOTDIR';
    if (mode === 'exchange' && target === undefined) return 'ENOENT';
    if (target === moved) return undefined;
    if (to.links === 0) return 'ENOENT';
    if (isBelow(to, moved)) return 'EINVAL';
    if (mode === 'exchange' && target !== undefined) {
      if (isBelow(from, target)) return 'EINVAL';
      this.#take(from, fromName, moved);
      this.#take(to, toName, target);
      this.#put(to, toName, moved);
      this.#put(from, fromName, target);
      return undefined;
    }
    if (target !== undefined) {
      if (moved.type === 'directory' && target.type !== 'directory') return 'ENOTDIR';
      if (moved.type === 'directory' && target.entries.size > 0) return 'ENOTEMPTY';
      if (moved.type !== 'directory' && target.type === 'directory') return 'EISDIR';
      if (target.type === 'directory') this.#removed(to, toName, target);
      else this.unlink(to, toName);
    }
    this.#take(from, fromName, moved);
    this.#put(to, toName, moved);
    return undefined;
  }

  write(file: Node, offset: number, data: Uint8Array): void {
    if (offset + data.length > file.content.length) resize(file, offset + data.length);
    file.content.set(data, offset);
  }

  truncate(file: Node, size: number): void {
    resize(file, size);
  }

  zero(file: Node, offset: number, end: number): void {
    file.content.fill(0, offset, Math.min(end, file.content.length));
  }

  #mayHave(directory: Node, name: string): Failure {
    if (directory.type !== 'directory') return 'ENOTDIR';
    if (directory.links === 0) return 'ENOENT';
    return directory.entries.has(name) ? 'EEXIST' : undefined;
  }

  #removed(directory: Node, name: string, file: Node): void {
    directory.entries.delete(name);
    directory.links--;
    file.links = 0;
  }

  #take(directory: Node, name: string, file: Node): void {
    directory.entries.delete(name);
    if (file.type === 'directory') directory.links--;
  }

  #put(directory: Node, name: string, file: Node): void {
    directory.entries.set(name, file);
    if (file.type !== 'directory') return;
    directory.links++;
    file.parent = directory;
  }
}

function node(type: Node['type'], content = ''): Node {
  return {
    ...{ type, mode: 0o644, uid: 7, links: type === 'directory' ? 2 : 1, parent: undefined },
    ...{ content: new Uint8Array(Buffer.from(content)), entries: new Map(), xattrs: new Map() },
  };
}

function resize(file: Node, size: number): void {
  const content = new Uint8Array(size);
  content.set(file.content.subarray(0, size));
  file.content = content;
}

/** Whether a directory is `above` or lies below it. */
function isBelow(directory: Node, above: Node): boolean {
  if (above.type !== 'directory') return false;
  for (let at: Node | undefined = directory; at !== undefined; at = at.parent) {
    if (at === above) return true;
    if (at.parent === at) return false;
  }
  return false;
}
