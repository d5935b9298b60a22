/**
 * Opens volumes for tests, and compares them with the tree of a mounted file system, file by file.
 */
import { type BigIntStats, lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { BlockCache } from '../../src/servers/fs/cache.ts';
import { type BlockDevice, openImage } from '../../src/servers/fs/device.ts';
import { Volume, type VolumeOptions } from '../../src/servers/fs/ext4/volume.ts';
import type { FileAttributes, Timestamp } from '../../src/vos/protocol/fs.ts';
import { FsClient, ROOT } from './fs-client.ts';
import { run } from './images.ts';

/** A client of the volume on `device`, with a cache of 2 MiB. */
export function openVolume(device: BlockDevice, options?: VolumeOptions): FsClient {
  const cache = new BlockCache(device, new Uint8Array(2 << 20));
  return new FsClient(Volume.open(device, cache, options));
}

/** As `openVolume`, for an image file. */
export function withVolume<Result>(
  image: string,
  use: (client: FsClient) => Result,
  options?: VolumeOptions,
): Result {
  const device = openImage(image);
  try {
    return use(openVolume(device, options));
  } finally {
    device.close();
  }
}

export interface CompareOptions {
  /** Whether the tree is that of the same volume, with its inode numbers, sectors and times. */
  same: boolean;
}

export interface Comparison {
  files: number;
  /** One line for each thing that is not the same: path, what, mine, theirs. */
  differences: string[];
}

/** Compares every file of the volume with the tree at `root`. */
export function compareTrees(client: FsClient, root: string, options: CompareOptions): Comparison {
  const comparer = new Comparer(client, root, options);
  comparer.visit(Buffer.from(root), client.getattr(ROOT));
  return comparer.result;
}

class Comparer {
  readonly result: Comparison = { files: 0, differences: [] };
  readonly #client: FsClient;
  readonly #options: CompareOptions;
  readonly #xattrs: Map<string, Record<string, string>>;

  constructor(client: FsClient, root: string, options: CompareOptions) {
    this.#client = client;
    this.#options = options;
    this.#xattrs = readXattrs(root);
  }

  visit(path: Buffer, file: FileAttributes): void {
    this.result.files++;
    this.#same(path, 'attributes', describeMine(file, this.#options), this.#theirs(path));
    this.#same(path, 'xattrs', xattrsOf(this.#client, file), this.#xattrs.get(text(path)) ?? {});
    switch (file.mode & 0xf000) {
      case 0x8000:
        this.#sameContents(path, file);
        break;
      case 0xa000: {
        const target = text(readlinkSync(path, 'buffer'));
        this.#same(path, 'target', text(this.#client.readlink(file)), target);
        break;
      }
      case 0x4000:
        this.#visitDirectory(path, file);
    }
  }

  #visitDirectory(path: Buffer, directory: FileAttributes): void {
    // Small replies, so that lists of many parts are put together right.
    const listed = this.#client.readdirAll(directory, 4096);
    const names = listed.map(({ name }) => text(name));
    this.#same(path, 'dots', names.slice(0, 2), ['.', '..']);
    const mine = names.slice(2).filter((name) => name !== LOST);
    const theirs = readdirSync(path, { encoding: 'buffer' }).map(text);
    this.#same(path, 'names', mine.toSorted(), theirs.filter((name) => name !== LOST).toSorted());
    for (const { name, attributes, type } of listed.slice(2)) {
      const below = Buffer.concat([path, Buffer.from('/'), name]);
      const found = this.#client.lookup(directory, name);
      this.#same(below, 'looked up', found, attributes);
      if (!(type === 4 && text(name) === LOST)) this.visit(below, found);
    }
  }

  #sameContents(path: Buffer, file: FileAttributes): void {
    const mine = this.#client.readAll(file);
    const at = firstDifference(mine, readFileSync(path));
    if (at >= 0) this.result.differences.push(`${text(path)}: contents differ at byte ${at}`);
  }

  #theirs(path: Buffer): Record<string, unknown> {
    return describeTheirs(lstatSync(path, { bigint: true }), this.#options);
  }

  #same(path: Buffer, what: string, mine: unknown, theirs: unknown): void {
    if (isDeepStrictEqual(mine, theirs)) return;
    this.result.differences.push(
      `${text(path)}: ${what}: ${JSON.stringify(mine)}, theirs ${JSON.stringify(theirs)}`,
    );
  }
}

const LOST = 'lost+found';

function describeMine(file: FileAttributes, options: CompareOptions): Record<string, unknown> {
  const { mode, uid, gid, size, links, inode, sectors } = file;
  const directory = (mode & 0xf000) === 0x4000;
  const time = ({ seconds, nanoseconds }: Timestamp): string =>
    String(BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds));
  return {
    ...{ mode, uid, gid },
    // mke2fs copies 32 bits of seconds, and directories get sizes and times of their own.
    ...(directory && !options.same ? {} : { size, links, seconds: file.modified.seconds | 0 }),
    ...(options.same ? { inode, sectors } : {}),
    ...(options.same ? { times: [file.accessed, file.modified, file.changed].map(time) } : {}),
  };
}

function describeTheirs(file: BigIntStats, options: CompareOptions): Record<string, unknown> {
  const device = file.isCharacterDevice() || file.isBlockDevice();
  const seconds = Math.floor(Number(file.mtimeNs) / 1e9) | 0;
  const size = Number(device ? file.rdev : file.size);
  return {
    ...{ mode: Number(file.mode), uid: Number(file.uid), gid: Number(file.gid) },
    ...(file.isDirectory() && !options.same ? {} : { size, links: Number(file.nlink), seconds }),
    ...(options.same ? { inode: Number(file.ino), sectors: Number(file.blocks) } : {}),
    ...(options.same ? { times: [file.atimeNs, file.mtimeNs, file.ctimeNs].map(String) } : {}),
  };
}

function xattrsOf(client: FsClient, file: FileAttributes): Record<string, string> {
  const values: Record<string, string> = {};
  for (const name of client.listxattr(file)) {
    const value = client.getxattr(file, Buffer.from(name, 'latin1'));
    values[name] = Buffer.from(value ?? []).toString('hex');
  }
  return values;
}

/** All xattrs below `root`, by path, as getfattr lists them. */
function readXattrs(root: string): Map<string, Record<string, string>> {
  const listing = run('getfattr', '-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '--', root);
  const files = new Map<string, Record<string, string>>();
  let values: Record<string, string> = {};
  for (const line of listing.toString('latin1').split('\n')) {
    if (line.startsWith('# file: ')) {
      values = {};
      files.set(`/${unescape(line.slice(8)).replace(/^\//, '')}`, values);
      continue;
    }
    const [name, value] = line.split('=0x');
    if (name !== undefined && name !== '') values[unescape(name.replace(/=$/, ''))] = value ?? '';
  }
  return files;
}

/** getfattr writes bytes that are not printable as octal numbers. */
function unescape(name: string): string {
  return name.replace(/\\(\d{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

/** Bytes as Latin-1 characters: names need not be UTF-8. */
export function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

/** -1 if there is none. */
function firstDifference(mine: Uint8Array, theirs: Uint8Array): number {
  if (Buffer.compare(mine, theirs) === 0) return -1;
  const at = mine.findIndex((byte, index) => byte !== theirs[index]);
  return at < 0 ? mine.length : at;
}
