/**
 * The FS server's call table: a handler for each call of the FS protocol, over a volume and the
 * clients' memory.
 *
 * A handler takes the request and the reply, two messages of 64 bytes (they may be the same one),
 * and returns the result: a value of zero or more, or a negative errno. It fills the reply's
 * payload, never its first 8 bytes. Bulk data reaches a client by one copy: from the cache if it
 * lies together there, else from the staging buffer, into which the device reads. See
 * `src/vos/protocol/fs.ts` for what each call promises.
 */
import {
  FsCall,
  type FsRequest,
  NAME_BYTES_MAX,
  TRANSFER_BYTES_MAX,
  type FileAttributes,
  decodeRequest,
  directoryEntryBytes,
  encodeAttributes,
  encodeDirectoryEntry,
  encodeStatus,
  inlineName,
} from '../../vos/protocol/fs.ts';
import { COUNTERS_BYTES, encodeCounters, type FsCounters } from '../../vos/protocol/fs-counters.ts';
import { encodeQuota } from '../../vos/protocol/fs-quota.ts';
import { ERRNO, FsError, isFsError } from './errors.ts';
import { DIRECT_READ_BYTES_MIN } from './ext4/contents.ts';
import type { ListedEntry } from './ext4/directory.ts';
import type { Inode } from './ext4/inode.ts';
import type { Volume } from './ext4/volume.ts';

/**
 * The memory that clients granted. Each method throws FsError EFAULT for a grant that does not
 * allow the copy.
 */
export interface ClientMemory {
  copyOut(client: number, grant: number, at: number, data: Uint8Array): void;
  copyIn(client: number, grant: number, at: number, target: Uint8Array): void;
  /**
   * The staging buffer, reused by the next call, of at least `bytes` (at most
   * `TRANSFER_BYTES_MAX`).
   */
  stage(bytes: number): Uint8Array;
  /** The window of an endpoint, if it has one: `WINDOW_GRANT` means it. */
  window?(client: number): Uint8Array | undefined;
}

export type FsHandler = (request: DataView, reply: DataView) => number;

const PAYLOAD_AT = 8;
const MESSAGE_BYTES = 64;
const SLASH = 0x2f;

/** One request while it is served. */
interface Exchange {
  readonly request: FsRequest;
  readonly client: number;
  readonly message: DataView;
  readonly reply: DataView;
}

/** `counters`: what the server has counted; left out, COUNTERS is unknown. */
export function createHandlers(
  volume: Volume,
  memory: ClientMemory,
  counters?: () => FsCounters,
): ReadonlyMap<number, FsHandler> {
  const handlers = new Handlers(volume, memory);
  return new Map<number, FsHandler>([
    [FsCall.LOOKUP, serve((call) => handlers.onLookup(call))],
    [FsCall.GETATTR, serve((call) => handlers.onGetattr(call))],
    [FsCall.READLINK, serve((call) => handlers.onReadlink(call))],
    [FsCall.READ, serve((call) => handlers.onRead(call))],
    [FsCall.READDIR, serve((call) => handlers.onReaddir(call))],
    [FsCall.STATFS, serve((call) => handlers.onStatfs(call))],
    [FsCall.GETXATTR, serve((call) => handlers.onGetxattr(call))],
    [FsCall.LISTXATTR, serve((call) => handlers.onListxattr(call))],
    [FsCall.QUOTA, serve((call) => handlers.onQuota(call))],
    ...(counters === undefined
      ? []
      : [[FsCall.COUNTERS, serve((call) => handlers.onCounters(call, counters()))] as const]),
  ]);
}

/**
 * Turns a function that may throw FsError into a handler. Other errors are faults of the server and
 * pass through.
 */
function serve(handle: (call: Exchange) => number): FsHandler {
  return (request, reply) => {
    const message = request === reply ? copyOf(request) : request;
    for (let at = PAYLOAD_AT; at < MESSAGE_BYTES; at += 4) reply.setUint32(at, 0, true);
    try {
      const client = message.getInt32(0, true);
      return handle({ request: decodeRequest(message), client, message, reply });
    } catch (error) {
      if (error instanceof FsError) return error.errno;
      throw error;
    }
  };
}

function copyOf(message: DataView): DataView {
  const bytes = new Uint8Array(message.buffer, message.byteOffset, MESSAGE_BYTES).slice();
  return new DataView(bytes.buffer);
}

class Handlers {
  readonly #volume: Volume;
  readonly #memory: ClientMemory;

  constructor(volume: Volume, memory: ClientMemory) {
    this.#volume = volume;
    this.#memory = memory;
  }

  onLookup(call: Exchange): number {
    checkUnused(call.request, { offset: true, name: false });
    const name = this.#name(call);
    if (name.includes(SLASH)) throw new FsError('EINVAL', 'a name with a slash');
    const found = this.#volume.lookup(this.#inode(call), name);
    if (found === undefined) return -ERRNO.ENOENT;
    encodeAttributes(call.reply, this.#volume.attributes(found));
    return 0;
  }

  onGetattr(call: Exchange): number {
    checkUnused(call.request, { offset: true, name: true });
    encodeAttributes(call.reply, this.#volume.attributes(this.#inode(call)));
    return 0;
  }

  onReadlink(call: Exchange): number {
    checkUnused(call.request, { offset: true, name: true });
    const inode = this.#inode(call);
    const bytes = this.#copyWhole(call, this.#volume.readLink(inode));
    this.#volume.accessed(inode);
    return bytes;
  }

  onRead(call: Exchange): number {
    checkUnused(call.request, { offset: false, name: true });
    const { offset, grantBytes } = call.request;
    const inode = this.#inode(call);
    const wanted = Math.min(grantBytes, TRANSFER_BYTES_MAX);
    const bytes = this.#volume.readableBytes(inode, offset, wanted);
    if (bytes === 0) return 0;
    let data: Uint8Array | undefined;
    if (bytes < DIRECT_READ_BYTES_MIN) data = this.#volume.peek(inode, offset, bytes);
    if (data === undefined) {
      data = this.#memory.stage(bytes).subarray(0, bytes);
      this.#volume.read(inode, offset, data);
    }
    this.#copyOut(call, data);
    this.#volume.accessed(inode);
    return bytes;
  }

  /** An error in the middle ends the list; it is told when the client goes on from there. */
  onReaddir(call: Exchange): number {
    checkUnused(call.request, { offset: false, name: true });
    const directory = this.#inode(call);
    const room = Math.min(call.request.grantBytes, TRANSFER_BYTES_MAX);
    const stage = this.#memory.stage(room).subarray(0, room);
    const view = new DataView(stage.buffer, stage.byteOffset, room);
    let used = 0;
    try {
      this.#volume.list(directory, call.request.offset, (entry) => {
        const fits = used + directoryEntryBytes(entry.name.length) <= room;
        if (!fits && used === 0) throw new FsError('EINVAL', `${String(room)} bytes hold no entry`);
        if (fits) used += this.#putEntry(directory, view, { at: used, entry });
        return fits;
      });
    } catch (error) {
      if (used === 0 || !isFsError(error)) throw error;
    }
    if (used > 0) this.#copyOut(call, stage.subarray(0, used));
    this.#volume.accessed(directory);
    return used;
  }

  onStatfs(call: Exchange): number {
    checkUnused(call.request, { offset: true, name: true });
    this.#inode(call);
    encodeStatus(call.reply, this.#volume.status());
    return 0;
  }

  onQuota(call: Exchange): number {
    checkUnused(call.request, { offset: true, name: true });
    encodeQuota(call.reply, this.#volume.quota());
    return 0;
  }

  onCounters(call: Exchange, counters: FsCounters): number {
    checkUnused(call.request, { offset: true, name: true });
    const data = this.#memory.stage(COUNTERS_BYTES);
    const bytes = encodeCounters(data.subarray(0, call.request.grantBytes), counters);
    if (bytes > 0) this.#copyOut(call, data.subarray(0, bytes));
    return bytes;
  }

  onGetxattr(call: Exchange): number {
    checkUnused(call.request, { offset: true, name: false });
    const name = this.#name(call);
    const value = this.#volume.getXattr(this.#inode(call), name);
    if (value === undefined) return -ERRNO.ENODATA;
    return call.request.grantBytes === 0 ? value.length : this.#copyWhole(call, value);
  }

  onListxattr(call: Exchange): number {
    checkUnused(call.request, { offset: true, name: true });
    const list = this.#volume.listXattr(this.#inode(call));
    return call.request.grantBytes === 0 ? list.length : this.#copyWhole(call, list);
  }

  #inode(call: Exchange): Inode {
    return this.#volume.inode(call.request.inode, call.request.generation);
  }

  #name(call: Exchange): Uint8Array {
    const { nameBytes } = call.request;
    if (nameBytes > NAME_BYTES_MAX) {
      throw new FsError('ENAMETOOLONG', `a name of ${String(nameBytes)} bytes`);
    }
    let name = inlineName(call.message, nameBytes);
    if (name === undefined) {
      name = new Uint8Array(nameBytes);
      this.#memory.copyIn(call.client, grantOf(call.request), 0, name);
    }
    if (name.length === 0 || name.includes(0)) {
      throw new FsError('EINVAL', 'an empty name, or one with a NUL');
    }
    return name;
  }

  #putEntry(
    directory: Inode,
    view: DataView,
    { at, entry }: { at: number; entry: ListedEntry },
  ): number {
    const attributes = this.#entryAttributes(directory, entry.inode);
    const type = attributes.mode === 0 ? entry.type : attributes.mode >> 12;
    const { name, nextCookie } = entry;
    return encodeDirectoryEntry(view, at, { nextCookie, type, name, attributes });
  }

  #entryAttributes(directory: Inode, number: number): FileAttributes {
    try {
      return this.#volume.attributes(this.#volume.entryInode(number, directory));
    } catch (error) {
      if (isFsError(error)) return { ...UNREADABLE, inode: number };
      throw error;
    }
  }

  #copyWhole(call: Exchange, data: Uint8Array): number {
    if (data.length > call.request.grantBytes) {
      throw new FsError('ERANGE', `${String(data.length)} bytes do not fit the grant`);
    }
    if (data.length > 0) {
      const staged = this.#memory.stage(data.length).subarray(0, data.length);
      staged.set(data);
      this.#copyOut(call, staged);
    }
    return data.length;
  }

  #copyOut(call: Exchange, data: Uint8Array): void {
    this.#memory.copyOut(call.client, grantOf(call.request), 0, data);
  }
}

const EPOCH = { seconds: 0, nanoseconds: 0 };
/** What READDIR tells of a file whose inode cannot be read, beside its number. */
const UNREADABLE: FileAttributes = {
  inode: 0,
  generation: 0,
  mode: 0,
  links: 0,
  uid: 0,
  gid: 0,
  size: 0,
  sectors: 0,
  accessed: EPOCH,
  modified: EPOCH,
  changed: EPOCH,
};

function grantOf(request: FsRequest): number {
  if (request.grant < 0) throw new FsError('EFAULT', 'the request names no memory');
  return request.grant;
}

/**
 * Fields that a call does not use must be zero, so that a later version may give them a meaning.
 */
function checkUnused(request: FsRequest, unused: { offset: boolean; name: boolean }): void {
  const { call, offset, nameBytes } = request;
  if (!(unused.offset && offset !== 0) && !(unused.name && nameBytes !== 0)) return;
  throw new FsError('EBADREQUEST', `a field is set that call ${String(call)} has no use for`);
}
