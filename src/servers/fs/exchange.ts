/**
 * One request of the changing half of the FS protocol while it is served, and what its handlers
 * need: the inodes, names and data that it is about.
 */
import type { FsChange } from '../../vos/protocol/fs-change.ts';
import { inlineNames, namesFit } from '../../vos/protocol/fs-change.ts';
import { WINDOW_GRANT } from '../../vos/protocol/fs-window.ts';
import { NAME_BYTES_MAX, TRANSFER_BYTES_MAX, encodeAttributes } from '../../vos/protocol/fs.ts';
import { isPlainName } from './change-rules.ts';
import { FsError } from './errors.ts';
import type { VolumeWriter } from './ext4/changing.ts';
import type { Incoming } from './ext4/incoming.ts';
import type { Inode } from './ext4/inode.ts';
import type { Volume } from './ext4/volume.ts';
import { Granted, LONG_BYTES_MIN } from './granted.ts';
import type { ClientMemory } from './handlers.ts';
import type { RecoveredTimes } from './recovered.ts';

/** One request while it is served. */
export interface Exchange {
  readonly change: FsChange;
  readonly client: number;
  readonly message: DataView;
  readonly reply: DataView;
  /** The client's memory could not be read, so nothing was done: it may ask again. */
  unread: boolean;
}

export interface ExchangeParts {
  readonly volume: Volume;
  readonly memory: ClientMemory;
  readonly writer: VolumeWriter | undefined;
  readonly recovered: RecoveredTimes | undefined;
}

export class ExchangeTools {
  readonly #volume: Volume;
  readonly #memory: ClientMemory;
  readonly #writer: VolumeWriter | undefined;
  readonly #recovered: RecoveredTimes | undefined;

  /** Without a writer every change fails with EROFS. */
  constructor({ volume, memory, writer, recovered }: ExchangeParts) {
    this.#volume = volume;
    this.#memory = memory;
    this.#writer = writer;
    this.#recovered = recovered;
  }

  /** For a change: throws EROFS, and says whose the next calls are. */
  begin(owner: { uid: number; gid: number }): VolumeWriter {
    const writer = this.#writer;
    if (writer === undefined) throw new FsError('EROFS', 'the volume is read-only');
    writer.actAs({ uid: owner.uid, gid: owner.gid });
    return writer;
  }

  /** The directory whose names a request changes. */
  directory(change: FsChange): Inode {
    const directory = this.inode(change);
    this.#recovered?.note(directory);
    return directory;
  }

  inode(change: FsChange): Inode {
    return this.#volume.inode(change.inode, change.generation);
  }

  /** The other directory whose names it changes. */
  otherDirectory(change: FsChange): Inode {
    const directory = this.other(change);
    this.#recovered?.note(directory);
    return directory;
  }

  other(change: FsChange): Inode {
    return this.#volume.inode(change.other, change.otherGeneration);
  }

  attributes(call: Exchange, inode: Inode): number {
    encodeAttributes(call.reply, this.#volume.attributes(inode));
    return 0;
  }

  /** The names of a request, checked. */
  names(call: Exchange, count: 1): [Uint8Array];
  names(call: Exchange, count: 2): [Uint8Array, Uint8Array];
  names(call: Exchange, count: number): Uint8Array[] {
    const { change } = call;
    const { nameBytes, newNameBytes } = change;
    const bytes = nameBytes + newNameBytes;
    let all: Uint8Array;
    if (namesFit(change.call, bytes)) {
      all = inlineNames(call.message, change);
    } else {
      all = new Uint8Array(bytes);
      this.#copyIn(call, 0, all);
    }
    const names = [all.slice(0, nameBytes), all.slice(nameBytes)].slice(0, count);
    for (const name of names) {
      if (name.length > NAME_BYTES_MAX) throw new FsError('ENAMETOOLONG', 'a name');
      if (!isPlainName(name)) {
        throw new FsError('EINVAL', 'an empty name, or one with a NUL or a slash');
      }
    }
    return names;
  }

  /** The data of a request, behind its names; valid until the staging buffer is used again. */
  data(call: Exchange, bytesMax: number, tooLong: 'EINVAL' | 'ENAMETOOLONG' | 'E2BIG'): Uint8Array {
    const { change } = call;
    if (change.bytes > bytesMax) throw new FsError(tooLong, `${String(change.bytes)} bytes`);
    const names = change.nameBytes + change.newNameBytes;
    const data = this.#memory.stage(change.bytes).subarray(0, change.bytes);
    if (data.length > 0) this.#copyIn(call, namesFit(change.call, names) ? 0 : names, data);
    return data;
  }

  /** What a WRITE brings. Long contents are left where they are; an append is not done in parts. */
  contents(call: Exchange, append: boolean): Uint8Array | Incoming {
    const { bytes, grant } = call.change;
    if (grant === WINDOW_GRANT && bytes <= TRANSFER_BYTES_MAX) {
      const window = this.#memory.window?.(call.client);
      call.unread = window === undefined;
      if (window === undefined) throw new FsError('EFAULT', 'the client has no window');
      return window.subarray(0, bytes);
    }
    const isLong = grant >= 0 && bytes >= LONG_BYTES_MIN && bytes <= TRANSFER_BYTES_MAX;
    if (append || !isLong) return this.data(call, TRANSFER_BYTES_MAX, 'EINVAL');
    const copyIn = (at: number, target: Uint8Array): void => {
      this.#copyIn(call, at, target);
    };
    return new Granted({ copyIn, stage: (length) => this.#memory.stage(length) }, bytes);
  }

  #copyIn(call: Exchange, at: number, target: Uint8Array): void {
    const { grant } = call.change;
    call.unread = true;
    if (grant < 0) throw new FsError('EFAULT', 'the request names no memory');
    this.#memory.copyIn(call.client, grant, at, target);
    call.unread = false;
  }
}
