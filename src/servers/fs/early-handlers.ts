/**
 * Files that clients tell of before they have made them: the handlers of TAKE_NAMES and
 * CREATE_MANY. See `src/vos/protocol/fs-early.ts` for what they promise.
 *
 * Inode numbers that were given are free on the device, and no other file gets them; they go back
 * when the claim on the names is over. A client that comes too late finds them in use, or makes its
 * file all the same.
 */
import { CLAIMED, CreateFlag, type FsChange } from '../../vos/protocol/fs-change.ts';
import type { EarlyFile } from '../../vos/protocol/fs-early.ts';
import {
  FILES_MAX,
  FILE_BYTES_MAX,
  RUNS_MAX,
  decodeEarlyFiles,
  decodeTake,
  encodeManyMade,
  encodeTaken,
} from '../../vos/protocol/fs-early.ts';
import type { Timestamp } from '../../vos/protocol/fs.ts';
import { DEFAULT_LIST } from './acl-rules.ts';
import { copyOf, isPlainName, payloadOf } from './change-rules.ts';
import type { Claims } from './claims.ts';
import type { Holds } from './clients.ts';
import { ERRNO, FsError, isFsError } from './errors.ts';
import type { Exchange, ExchangeTools } from './exchange.ts';
import type { VolumeWriter } from './ext4/changing.ts';
import { type Inode, fileType } from './ext4/inode.ts';
import { INODE_FLAG, MODE } from './ext4/layout.ts';
import type { Volume } from './ext4/volume.ts';
import { newFile } from './owner-rules.ts';
import type { Survivors } from './survivors.ts';

/** Given to all clients together. */
const GIVEN_MAX = 65_536;
/** Names are given where that many times as many inodes are free. */
const INODES_FREE_FACTOR = 4;
/** And where so much room is for the directory to grow. */
const ROOM_BYTES = 8 << 20;
/** Who makes a file in such a directory waits until it lasts, or may not make any. */
const HINDERING =
  INODE_FLAG.sync | INODE_FLAG.directorySync | INODE_FLAG.immutable | INODE_FLAG.append;

export interface EarlyParts {
  readonly volume: Volume;
  readonly tools: ExchangeTools;
  readonly claims: Claims;
  readonly holds: Holds | undefined;
  readonly survivors: Survivors | undefined;
  readonly writer: VolumeWriter | undefined;
  now(): Timestamp;
  /** See `ChangingParts`. */
  follow(time: Timestamp): Timestamp;
}

export class EarlyHandlers {
  readonly #parts: EarlyParts;
  /** Numbers that the client of a directory's names was given, by directory. */
  readonly #given = new Map<number, Set<number>>();
  #numbers = 0;

  constructor(parts: EarlyParts) {
    this.#parts = parts;
  }

  /** The claim on the names of a directory is over, if there was one. */
  ended(directory: number): void {
    const given = this.#given.get(directory);
    if (given === undefined) return;
    this.#given.delete(directory);
    this.#numbers -= given.size;
    this.#parts.writer?.releaseInodes(given);
  }

  onTakeNames(request: DataView, reply: DataView): number {
    const message = copyOf(request);
    payloadOf(reply).fill(0);
    const take = decodeTake(message);
    if (take === undefined) return -ERRNO.EINVAL;
    try {
      const { writer, volume, claims } = this.#parts;
      if (writer === undefined) throw new FsError('EROFS', 'the volume is read-only');
      const directory = volume.inode(take.inode, take.generation);
      if (!this.#mayTake(directory, take.count)) return 0;
      if (!claims.takeNames(directory.number, take.client, take.speakers)) return 0;
      return this.#give(writer, directory, take.count, reply);
    } catch (error) {
      if (error instanceof FsError) return error.errno;
      throw error;
    }
  }

  onCreateMany(call: Exchange): number {
    const { change } = call;
    if (change.count === 0 || change.count > FILES_MAX) throw new FsError('EINVAL', 'a count');
    const data = this.#parts.tools.data(call, change.count * FILE_BYTES_MAX, 'EINVAL');
    const files = decodeEarlyFiles(data, change.count);
    if (files === undefined) throw new FsError('EINVAL', 'a list of files');
    if (files.some(isHeld)) this.#parts.survivors?.list(change.client);
    const directory = this.#parts.tools.directory(change);
    const { made, errno } = this.#create(directory, files, change);
    const { size, sectors } = this.#parts.volume.attributes(directory);
    encodeManyMade(call.reply, { now: this.#parts.now(), size, sectors, errno });
    const isClaimed = this.#parts.claims.renewNames(directory.number, change.client);
    return isClaimed ? made + CLAIMED : made;
  }

  #mayTake(directory: Inode, count: number): boolean {
    if (fileType(directory) !== MODE.directory) throw new FsError('ENOTDIR', 'no directory');
    const { volume } = this.#parts;
    if (directory.links === 0 || (directory.flags & HINDERING) !== 0) return false;
    if (volume.getXattr(directory, DEFAULT_LIST) !== undefined) return false;
    const { inodesFree, blocksAvailable, blockBytes } = volume.status();
    const total = this.#numbers + count;
    const enough = inodesFree > total * INODES_FREE_FACTOR && total <= GIVEN_MAX;
    return enough && blocksAvailable * blockBytes > ROOM_BYTES;
  }

  #give(writer: VolumeWriter, directory: Inode, count: number, reply: DataView): number {
    const runs = writer.reserveInodes(directory, count, RUNS_MAX);
    const given = this.#given.get(directory.number) ?? new Set();
    this.#given.set(directory.number, given);
    let total = 0;
    for (const run of runs) {
      for (let i = 0; i < run.count; i++) given.add(run.first + i);
      total += run.count;
    }
    this.#numbers += total;
    // A number may have been that of a file which was made under this claim, and is gone.
    encodeTaken(reply, { now: this.#parts.now(), generation: writer.newGeneration(), runs });
    return total;
  }

  /** Makes all, or those before the first that cannot be made. */
  #create(
    directory: Inode,
    files: readonly EarlyFile[],
    { client }: FsChange,
  ): { made: number; errno: number } {
    const { tools, holds } = this.#parts;
    const isMade = (list: readonly EarlyFile[]): void => {
      const writer = tools.begin({ uid: 0, gid: 0 });
      const made = writer.change(() =>
        list.map((file) => ({ file, inode: this.#make(writer, directory, file) })),
      );
      for (const { file, inode } of made) {
        this.#used(directory.number, file.inode);
        if (isHeld(file)) holds?.add(client, inode, 1);
      }
    };
    if (files.every((file) => !isHeld(file)) || holds?.hasRoom(client, files.length) === true) {
      try {
        isMade(files);
        return { made: files.length, errno: 0 };
      } catch (error) {
        if (!isFsError(error)) throw error;
      }
    }
    for (const [made, file] of files.entries()) {
      try {
        if (isHeld(file) && holds?.hasRoom(client) !== true) throw new FsError('ENFILE', 'holds');
        const same = this.#alreadyMade(directory, file);
        if (same === undefined) isMade([file]);
        else if (isHeld(file)) holds?.add(client, same, 1);
      } catch (error) {
        if (!isFsError(error)) throw error;
        return { made, errno: error.errno };
      }
    }
    return { made: files.length, errno: 0 };
  }

  /** The file, if it was made by the server before this one, whose answer was lost. */
  #alreadyMade(directory: Inode, { name, inode, generation }: EarlyFile): Inode | undefined {
    const known = isPlainName(name) ? this.#parts.volume.lookup(directory, name) : undefined;
    return known?.number === inode && known.generation === generation ? known : undefined;
  }

  #make(writer: VolumeWriter, directory: Inode, file: EarlyFile): Inode {
    const { name, mode, uid, gid, inode: number, generation, time } = file;
    if (!isPlainName(name)) throw new FsError('EINVAL', 'an empty name, or one with a NUL or /');
    if ((mode & MODE.type) !== MODE.regular) throw new FsError('EINVAL', 'no regular file');
    writer.actAs({ uid, gid });
    const owned = newFile(this.#parts.volume, directory, { mode, uid, gid, umask: 0, device: 0 });
    const foretold = { number, generation, time: this.#parts.follow(time) };
    return writer.createFile(directory, name, { ...owned, foretold });
  }

  /** The number is a file's. */
  #used(directory: number, number: number): void {
    if (this.#given.get(directory)?.delete(number) === true) this.#numbers--;
    this.#parts.writer?.releaseInodes([number]);
  }
}

function isHeld({ flags }: EarlyFile): boolean {
  return (flags & CreateFlag.HOLD) !== 0;
}
