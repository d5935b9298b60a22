/**
 * A client of the FS protocol that calls the handlers directly, with memory of its own in place of
 * grants.
 *
 * Results below zero are thrown as `FsCallError`, so that a test reads like one of the system calls
 * behind them.
 */
import {
  type DirectoryEntry,
  type FileAttributes,
  type FileSystemStatus,
  FsCall,
  INLINE_NAME_BYTES_MAX,
  ROOT_INODE,
  TRANSFER_BYTES_MAX,
  decodeAttributes,
  decodeDirectoryEntries,
  decodeStatus,
  encodeRequest,
} from '../../src/vos/protocol/fs.ts';
import { ERRNO, FsError } from '../../src/servers/fs/errors.ts';
import {
  type ClientMemory,
  type FsHandler,
  createHandlers,
} from '../../src/servers/fs/handlers.ts';
import type { Volume } from '../../src/servers/fs/ext4/volume.ts';

export const CLIENT = 7;
const GRANT = 3;

export class FsCallError extends Error {
  readonly code: string;

  constructor(result: number) {
    const entry = Object.entries(ERRNO).find(([, number]) => number === -result);
    super(`the call returned ${String(result)}`);
    this.code = entry?.[0] ?? String(result);
  }
}

/** What a file is known by: numbers that outlive the server. */
export interface FileHandle {
  readonly inode: number;
  readonly generation: number;
}

export const ROOT: FileHandle = { inode: ROOT_INODE, generation: 0 };

interface CallArguments {
  offset?: number;
  grantBytes?: number;
  name?: Uint8Array | undefined;
}

export class FsClient implements ClientMemory {
  /** What the client granted. */
  readonly memory: Uint8Array = new Uint8Array(TRANSFER_BYTES_MAX + 4096);
  readonly request: DataView = new DataView(new ArrayBuffer(64));
  readonly reply: DataView = new DataView(new ArrayBuffer(64));
  copies = 0;
  readonly #staging = new Uint8Array(TRANSFER_BYTES_MAX);
  #handlers: ReadonlyMap<number, FsHandler>;

  constructor(volume: Volume) {
    this.#handlers = createHandlers(volume, this);
  }

  /** Goes on with another volume, as if the server had been restarted on it. */
  reopen(volume: Volume): void {
    this.#handlers = createHandlers(volume, this);
  }

  copyOut(client: number, grant: number, at: number, data: Uint8Array): void {
    this.#checkGrant(client, grant, at + data.length);
    this.copies++;
    this.memory.set(data, at);
  }

  copyIn(client: number, grant: number, at: number, target: Uint8Array): void {
    this.#checkGrant(client, grant, at + target.length);
    target.set(this.memory.subarray(at, at + target.length));
  }

  stage(bytes: number): Uint8Array {
    return this.#staging.subarray(0, bytes);
  }

  /** Sends a request and returns the result as it is. */
  call(call: FsCall, file: FileHandle, args: CallArguments = {}): number {
    const { name, offset = 0, grantBytes = 0 } = args;
    if (name !== undefined && name.length > INLINE_NAME_BYTES_MAX) this.memory.set(name);
    const nameBytes = name?.length ?? 0;
    const grant = grantBytes > 0 || nameBytes > INLINE_NAME_BYTES_MAX ? GRANT : -1;
    const { inode, generation } = file;
    encodeRequest(
      this.request,
      { call, inode, generation, offset, grant, grantBytes, nameBytes },
      name,
    );
    return this.send();
  }

  /** Sends the request as it stands in `request`. */
  send(): number {
    this.request.setInt32(0, CLIENT, true);
    const handler = this.#handlers.get(this.request.getInt32(4, true));
    if (handler === undefined) throw new Error('no handler');
    return handler(this.request, this.reply);
  }

  lookup(directory: FileHandle, name: string | Uint8Array): FileAttributes {
    const bytes = typeof name === 'string' ? Buffer.from(name) : name;
    this.#succeed(FsCall.LOOKUP, directory, { name: bytes });
    return decodeAttributes(this.reply);
  }

  /** Follows names from the root on. */
  find(path: string): FileAttributes {
    let file = this.getattr(ROOT);
    for (const name of path.split('/').filter((part) => part !== '')) {
      file = this.lookup(file, name);
    }
    return file;
  }

  getattr(file: FileHandle): FileAttributes {
    this.#succeed(FsCall.GETATTR, file, {});
    return decodeAttributes(this.reply);
  }

  readlink(file: FileHandle): Uint8Array {
    return this.#data(this.#succeed(FsCall.READLINK, file, { grantBytes: 4096 }));
  }

  read(file: FileHandle, offset: number, bytes: number): Uint8Array {
    return this.#data(this.#succeed(FsCall.READ, file, { offset, grantBytes: bytes }));
  }

  readAll(file: FileHandle, step: number = TRANSFER_BYTES_MAX): Uint8Array {
    const parts: Uint8Array[] = [];
    let offset = 0;
    for (;;) {
      const part = this.read(file, offset, step);
      if (part.length === 0) return Buffer.concat(parts);
      parts.push(part);
      offset += part.length;
    }
  }

  /** One READDIR. */
  readdir(directory: FileHandle, cookie: number, bytes: number): DirectoryEntry[] {
    const used = this.#succeed(FsCall.READDIR, directory, { offset: cookie, grantBytes: bytes });
    return decodeDirectoryEntries(new DataView(this.memory.buffer, 0, used));
  }

  readdirAll(directory: FileHandle, bytes: number = TRANSFER_BYTES_MAX): DirectoryEntry[] {
    const entries: DirectoryEntry[] = [];
    for (;;) {
      const part = this.readdir(directory, entries.at(-1)?.nextCookie ?? 0, bytes);
      if (part.length === 0) return entries;
      entries.push(...part);
    }
  }

  statfs(): FileSystemStatus {
    this.#succeed(FsCall.STATFS, ROOT, {});
    return decodeStatus(this.reply);
  }

  /** Undefined where there is none. */
  getxattr(file: FileHandle, name: string | Uint8Array): Uint8Array | undefined {
    const bytes = typeof name === 'string' ? Buffer.from(name) : name;
    const result = this.call(FsCall.GETXATTR, file, { name: bytes, grantBytes: 65536 });
    if (result === -ERRNO.ENODATA) return undefined;
    if (result < 0) throw new FsCallError(result);
    return this.#data(result);
  }

  listxattr(file: FileHandle): string[] {
    const list = this.#data(this.#succeed(FsCall.LISTXATTR, file, { grantBytes: 65536 }));
    return Buffer.from(list).toString('latin1').split('\0').slice(0, -1);
  }

  #succeed(call: FsCall, file: FileHandle, args: CallArguments): number {
    const result = this.call(call, file, args);
    if (result < 0) throw new FsCallError(result);
    return result;
  }

  #data(bytes: number): Uint8Array {
    return this.memory.slice(0, bytes);
  }

  #checkGrant(client: number, grant: number, end: number): void {
    const fine = client === CLIENT && grant === GRANT && end <= this.memory.length;
    if (!fine) throw new FsError('EFAULT', 'the grant does not allow the copy');
  }
}
