/**
 * The handlers of the FS calls that make, link, rename and remove files. See
 * `src/vos/protocol/fs-change.ts` for what each promises.
 *
 * What the volume leaves to its caller is done here: who owns a new file, and what it inherits from
 * its directory.
 */
import {
  CreateFlag,
  RemoveFlag,
  RenameFlag,
  TARGET_BYTES_MAX,
} from '../../vos/protocol/fs-change.ts';
import { FsCall, isEarlier } from '../../vos/protocol/fs.ts';
import { checkFlags, groupIn, isDots, isHeldBeyondNames } from './change-rules.ts';
import type { Claims } from './claims.ts';
import type { Holds } from './clients.ts';
import { FsError } from './errors.ts';
import type { Exchange, ExchangeTools } from './exchange.ts';
import type { RenameMode, VolumeWriter } from './ext4/changing.ts';
import type { Inode } from './ext4/inode.ts';
import { MODE } from './ext4/layout.ts';
import type { Volume } from './ext4/volume.ts';
import { newFile } from './owner-rules.ts';
import type { Survivors } from './survivors.ts';

/** Types of files that CREATE makes. */
const SPECIAL: ReadonlySet<number> = new Set<number>([
  MODE.regular,
  MODE.fifo,
  MODE.socket,
  MODE.character,
  MODE.block,
]);
const RENAME_MODES: ReadonlyMap<number, RenameMode> = new Map<number, RenameMode>([
  [0, 'replace'],
  [RenameFlag.NO_REPLACE, 'noReplace'],
  [RenameFlag.EXCHANGE, 'exchange'],
]);

export interface NamingParts {
  readonly volume: Volume;
  readonly tools: ExchangeTools;
  /** Undefined where nothing can be changed. */
  readonly holds: Holds | undefined;
  readonly survivors: Survivors | undefined;
  readonly claims: Claims;
}

export class NamingHandlers {
  readonly #volume: Volume;
  readonly #tools: ExchangeTools;
  readonly #holds: Holds | undefined;
  readonly #survivors: Survivors | undefined;
  readonly #claims: Claims;

  constructor({ volume, tools, holds, survivors, claims }: NamingParts) {
    this.#volume = volume;
    this.#tools = tools;
    this.#holds = holds;
    this.#survivors = survivors;
    this.#claims = claims;
  }

  onCreate(call: Exchange): number {
    const { change } = call;
    if (!SPECIAL.has(change.mode & MODE.type)) throw new FsError('EINVAL', 'no type of file');
    const [name] = this.#tools.names(call, 1);
    if ((change.flags & CreateFlag.HOLD) !== 0) this.#survivors?.list(change.client);
    const writer = this.#tools.begin(change);
    const directory = this.#tools.directory(change);
    const inode = writer.change(() => {
      const made = writer.createFile(directory, name, newFile(this.#volume, directory, change));
      if ((change.flags & CreateFlag.HOLD) !== 0) this.#holds?.add(change.client, made, 1);
      return made;
    });
    this.#tools.attributes(call, inode);
    return 0;
  }

  onTmpfile(call: Exchange): number {
    const { change } = call;
    const regular = (change.mode & MODE.type) === MODE.regular;
    if (!regular || change.nameBytes > 0) throw new FsError('EINVAL', 'no regular file, or a name');
    this.#survivors?.list(change.client);
    const writer = this.#tools.begin(change);
    const directory = this.#tools.directory(change);
    const inode = writer.change(() => {
      const made = writer.createUnnamed(directory, newFile(this.#volume, directory, change));
      this.#holds?.add(change.client, made, 1);
      return made;
    });
    return this.#tools.attributes(call, inode);
  }

  onMkdir(call: Exchange): number {
    const { change } = call;
    const [name] = this.#tools.names(call, 1);
    const writer = this.#tools.begin(change);
    const directory = this.#tools.directory(change);
    const file = newFile(this.#volume, directory, change, MODE.directory);
    return this.#tools.attributes(call, writer.makeDirectory(directory, name, file));
  }

  onSymlink(call: Exchange): number {
    const { change } = call;
    const [name] = this.#tools.names(call, 1);
    const target = this.#tools.data(call, TARGET_BYTES_MAX, 'ENAMETOOLONG').slice();
    if (target.length === 0) throw new FsError('ENOENT', 'an empty target');
    if (target.includes(0)) throw new FsError('EINVAL', 'a target with a NUL');
    const writer = this.#tools.begin(change);
    const directory = this.#tools.directory(change);
    const link = { uid: change.uid, gid: groupIn(directory, change.gid), target };
    return this.#tools.attributes(call, writer.makeSymlink(directory, name, link));
  }

  onLink(call: Exchange): number {
    const { change } = call;
    const [name] = this.#tools.names(call, 1);
    const writer = this.#tools.begin(change);
    const inode = this.#tools.other(change);
    writer.link(inode, this.#tools.directory(change), name);
    return this.#tools.attributes(call, inode);
  }

  onUnlink(call: Exchange): number {
    return this.#remove(call, (writer, directory, name) => writer.unlink(directory, name));
  }

  onRmdir(call: Exchange): number {
    return this.#remove(call, (writer, directory, name) => writer.removeDirectory(directory, name));
  }

  #remove(
    call: Exchange,
    remove: (writer: VolumeWriter, directory: Inode, name: Uint8Array) => Inode,
  ): number {
    const { change } = call;
    checkFlags(change.flags, RemoveFlag);
    const [name] = this.#tools.names(call, 1);
    if (change.flags !== 0) this.#survivors?.list(change.client);
    const writer = this.#tools.begin(change);
    const directory = this.#tools.directory(change);
    const last = change.flags === 0 ? undefined : this.#volume.lookup(directory, name);
    if (change.call === FsCall.RMDIR) this.#checkUnclaimed(directory, name);
    const room = this.#holds?.hasRoom(change.client) === true;
    if (last === undefined || !room || !isHeldBeyondNames(last)) {
      remove(writer, directory, name);
      return this.#tools.attributes(call, directory);
    }
    this.#holds.add(change.client, last, 1);
    try {
      return this.#tools.attributes(call, remove(writer, directory, name));
    } catch (error) {
      this.#holds.remove(change.client, last.number, 1);
      throw error;
    }
  }

  onRename(call: Exchange): number {
    const { change } = call;
    const mode = RENAME_MODES.get(change.flags);
    if (mode === undefined) throw new FsError('EINVAL', 'unknown flags');
    const [from, to] = this.#tools.names(call, 2);
    if (isDots(from) || isDots(to)) throw new FsError('EINVAL', 'a rename of a dot');
    const writer = this.#tools.begin(change);
    const directory = this.#tools.directory(change);
    const same = change.other === change.inode;
    const target = same ? directory : this.#tools.otherDirectory(change);
    this.#checkUnclaimed(target, to);
    writer.rename({ directory, name: from }, { directory: target, name: to }, mode);
    const isFirst = isEarlier(directory.changed, target.changed);
    return this.#tools.attributes(call, isFirst ? directory : target);
  }

  /** A directory with a claim on its names is not removed. Throws EALREADY. */
  #checkUnclaimed(directory: Inode, name: Uint8Array): void {
    if (this.#claims.size === 0) return;
    const inode = this.#volume.lookup(directory, name);
    if (inode === undefined || !this.#claims.keeps(inode.number)) return;
    throw new FsError('EALREADY', 'files are on their way into the directory');
  }
}
