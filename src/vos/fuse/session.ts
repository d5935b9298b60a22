/**
 * One FUSE session, without I/O: requests in, replies out through a port, and in between the
 * requests that wait for the file service.
 *
 * `receive` answers by itself what needs no file: INIT, what is unknown (ENOSYS) and what is
 * malformed (EIO; a message whose header cannot be trusted is dropped). The rest it returns as a
 * `ServiceRequest`, whose owner calls one method of `answers` when the service has spoken. A
 * read-only session answers everything that writes with EROFS; one of a file system that is
 * constant has no open files either, and no locks beyond the kernel's own.
 *
 * The request's buffer may be used again when `receive` returns, and the reply's when the port
 * returns.
 */
import { constants } from 'node:os';
import type { FileId } from '../client/file-service.ts';
import { NAME_BYTES_MAX, TRANSFER_BYTES_MAX } from '../protocol/fs.ts';
import type { AnswerOptions, Send } from './answers.ts';
import { Answers, isDots } from './answers.ts';
import { nodeOf } from './nodes.ts';
import type { Negotiated } from './replies.ts';
import * as replies from './replies.ts';
import { type Change, decodeChange, isChange } from './change.ts';
import type { ReadingOpcode, ReadingRequest, ServiceRequest } from './requests.ts';
import {
  BODY_BYTES_MIN,
  getName,
  getUint64,
  IN,
  IN_HEADER_BYTES,
  InitFlag,
  LINK_BYTES_MAX,
  Opcode,
  OpenFlag,
  OUT_HEADER_BYTES,
  PAGE_BYTES,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR_MAX,
  PROTOCOL_MINOR_MIN,
  SILENT_OPCODES,
  WRITING_OPCODES,
} from './wire.ts';

const { EINVAL, EIO, ENAMETOOLONG, ENOSYS, EPROTO, ERANGE, EROFS, ESTALE } = constants.errno;
/** No kernel counts requests beyond 2^53, and numbers are exact up to there. */
const UNIQUE_HIGH_LIMIT = 2 ** 21;
/** The low bits of open(2)'s flags, and O_RDONLY in them. */
const ACCESS_MODE_MASK = 3;
const READ_ONLY = 0;
const NO_NAME: Uint8Array = new Uint8Array(0);

// Without ASYNC_DIO: with it a direct read waits in the kernel where neither a signal nor SIGKILL
// reaches it.
const COMMON_FLAGS: number =
  InitFlag.ASYNC_READ |
  InitFlag.EXPORT_SUPPORT |
  InitFlag.BIG_WRITES |
  // Cached pages go when mtime or size turn out to have changed.
  InitFlag.AUTO_INVAL_DATA |
  InitFlag.DO_READDIRPLUS |
  InitFlag.READDIRPLUS_AUTO |
  InitFlag.PARALLEL_DIROPS |
  // The kernel then asks for access control lists too when it checks permissions.
  InitFlag.POSIX_ACL |
  InitFlag.MAX_PAGES |
  InitFlag.CACHE_SYMLINKS;
const CONSTANT_FLAGS: number =
  COMMON_FLAGS | InitFlag.NO_OPEN_SUPPORT | InitFlag.NO_OPENDIR_SUPPORT;
// Without WRITEBACK_CACHE: what is written here is seen on other nodes at once. Without
// ATOMIC_O_TRUNC: the kernel then sends a SETATTR of its own.
const OPENING_FLAGS: number =
  COMMON_FLAGS |
  InitFlag.POSIX_LOCKS |
  InitFlag.FLOCK_LOCKS |
  // The umask does not hold under a default access list, which only the server knows.
  InitFlag.DONT_MASK |
  InitFlag.HANDLE_KILLPRIV_V2 |
  InitFlag.SETXATTR_EXT;

export interface SessionOptions extends AnswerOptions {
  readonly writeBytesMax: number;
  readonly backgroundMax: number;
  readonly readOnly: boolean;
  /**
   * Nobody changes what is there: the kernel opens files without asking, and keeps their pages.
   * Goes with `readOnly`.
   */
  readonly constant: boolean;
}

export interface SessionPort {
  readonly send: Send;
  /** The kernel and this session agreed. */
  onReady(negotiated: Negotiated): void;
  /** The kernel speaks a protocol that is too old; every use of the mount fails. */
  onRefused(major: number, minor: number): void;
  /** The process that waits for `request` got a signal. */
  onInterrupt(request: ServiceRequest): void;
}

export class Session {
  readonly answers: Answers;
  readonly #port: SessionPort;
  readonly #options: SessionOptions;
  #negotiated: Negotiated | undefined;

  constructor(port: SessionPort, options: SessionOptions) {
    this.#port = port;
    this.#options = options;
    this.answers = new Answers((head, bytes, payload) => port.send(head, bytes, payload), options);
  }

  /** Takes one message of `length` bytes at the start of `view`. */
  receive(view: DataView, length: number): ServiceRequest | undefined {
    this.answers.counters.requests++;
    if (
      length < IN_HEADER_BYTES ||
      length > view.byteLength ||
      view.getUint32(IN.length, true) !== length
    ) {
      this.answers.counters.dropped++;
      return undefined;
    }
    const opcode = view.getUint32(IN.opcode, true);
    const malformed = length - IN_HEADER_BYTES < (BODY_BYTES_MIN.get(opcode) ?? 0);
    if (malformed) this.answers.counters.malformed++;
    if (SILENT_OPCODES.has(opcode)) {
      if (!malformed) this.#onSilent(opcode, view, length);
      return undefined;
    }
    const unique = getUint64(view, IN.unique);
    if (
      malformed ||
      view.getUint32(IN.unique + 4, true) >= UNIQUE_HIGH_LIMIT ||
      (this.#negotiated === undefined) !== (opcode === Opcode.INIT) ||
      this.answers.find(unique) !== undefined
    ) {
      this.answers.refuse(view, EIO);
      return undefined;
    }
    return this.#dispatch(opcode, view, length);
  }

  #dispatch(opcode: number, view: DataView, length: number): ServiceRequest | undefined {
    const body = IN.body;
    switch (opcode) {
      case Opcode.GETATTR:
      case Opcode.STATFS:
        return this.#admit(opcode, view, 0, 0);
      case Opcode.READLINK:
        return this.#admit(opcode, view, 0, LINK_BYTES_MAX);
      case Opcode.LOOKUP:
        return this.#admitNamed(opcode, view, 0, getName(view, body, length));
      case Opcode.READ:
      case Opcode.READDIR:
      case Opcode.READDIRPLUS:
        return this.#admitRead(opcode, view);
      case Opcode.GETXATTR: {
        const name = getName(view, body + 8, length);
        return this.#admitNamed(opcode, view, view.getUint32(body, true), name);
      }
      case Opcode.LISTXATTR:
        return this.#admit(opcode, view, 0, view.getUint32(body, true));
      case Opcode.INIT:
        this.#onInit(view);
        return undefined;
      case Opcode.DESTROY:
        this.answers.accept(getUint64(view, IN.unique), 0);
        return undefined;
      default:
        if (this.#options.readOnly && WRITING_OPCODES.has(opcode)) {
          this.answers.refuse(view, EROFS);
          return undefined;
        }
        if (!this.#options.constant) return this.#dispatchChange(opcode, view, length);
        this.#dispatchConstant(opcode, view);
        return undefined;
    }
  }

  #dispatchConstant(opcode: number, view: DataView): void {
    if (opcode === Opcode.OPEN) {
      const writes = (view.getUint32(IN.body, true) & ACCESS_MODE_MASK) !== READ_ONLY;
      if (writes) this.answers.refuse(view, EROFS);
      else this.#onOpen(view, InitFlag.NO_OPEN_SUPPORT, OpenFlag.KEEP_CACHE);
    } else if (opcode === Opcode.OPENDIR) {
      this.#onOpendir(view);
    } else if (opcode === Opcode.RELEASE || opcode === Opcode.RELEASEDIR) {
      this.answers.accept(getUint64(view, IN.unique), 0);
    } else {
      // FLUSH, FSYNC, ACCESS, LSEEK and their like: the kernel then does the sensible thing by
      // itself.
      this.answers.refuse(view, ENOSYS);
    }
  }

  #dispatchChange(opcode: number, view: DataView, length: number): ServiceRequest | undefined {
    if (!isChange(opcode)) {
      this.answers.refuse(view, ENOSYS);
      return undefined;
    }
    const change = decodeChange(opcode, view, length, {
      longXattr: ((this.#negotiated?.flags ?? 0) & InitFlag.SETXATTR_EXT) !== 0,
      find: (node) => this.answers.nodes.find(node),
    });
    const file = this.#file(view, false);
    if (typeof change === 'number' || file === undefined || this.#isRefused(change)) {
      const errno = typeof change === 'number' ? change : file === undefined ? ESTALE : EROFS;
      if (errno === EIO) this.answers.counters.malformed++;
      this.answers.refuse(view, errno);
      return undefined;
    }
    const unique = getUint64(view, IN.unique);
    const pid = view.getUint32(IN.pid, true);
    const state = { answered: false, place: 0, interrupted: false };
    const request = { opcode, change, unique, file, pid, ...state };
    this.answers.enlist(request);
    return request;
  }

  /** Calls whose opcode does not tell that they would write. */
  #isRefused(change: Change): boolean {
    return this.#options.readOnly && change.kind === 'flags' && change.call.set !== undefined;
  }

  /** INIT body: 0 u32 major | 4 u32 minor | 8 u32 read-ahead | 12 u32 flags */
  #onInit(view: DataView): void {
    const unique = getUint64(view, IN.unique);
    const major = view.getUint32(IN.body, true);
    const minor = view.getUint32(IN.body + 4, true);
    if (major < PROTOCOL_MAJOR || (major === PROTOCOL_MAJOR && minor < PROTOCOL_MINOR_MIN)) {
      this.answers.refuse(view, EPROTO);
      this.#port.onRefused(major, minor);
      return;
    }
    const negotiated: Negotiated = {
      minor: major > PROTOCOL_MAJOR ? PROTOCOL_MINOR_MAX : Math.min(minor, PROTOCOL_MINOR_MAX),
      flags:
        view.getUint32(IN.body + 12, true) &
        (this.#options.constant ? CONSTANT_FLAGS : OPENING_FLAGS),
      // The kernel takes the least of this, its own and the device's; the gateway raises the
      // device's afterwards.
      readAheadBytesMax: 64 * TRANSFER_BYTES_MAX,
      writeBytesMax: this.#options.writeBytesMax,
      pagesMax: TRANSFER_BYTES_MAX / PAGE_BYTES,
      backgroundMax: this.#options.backgroundMax,
    };
    replies.encodeInitReply(this.answers.view, OUT_HEADER_BYTES, PROTOCOL_MAJOR, negotiated);
    // To a newer major version this reply is a refusal, after which the kernel sends INIT again in
    // ours.
    if (major === PROTOCOL_MAJOR) this.#negotiated = negotiated;
    this.answers.accept(unique, replies.INIT_REPLY_BYTES);
    if (major === PROTOCOL_MAJOR) this.#port.onReady(negotiated);
  }

  #onOpendir(view: DataView): void {
    const writes = (view.getUint32(IN.body, true) & ACCESS_MODE_MASK) !== READ_ONLY;
    if (writes) this.answers.refuse(view, EROFS);
    else this.#onOpen(view, InitFlag.NO_OPENDIR_SUPPORT, OpenFlag.KEEP_CACHE | OpenFlag.CACHE_DIR);
  }

  /** OPEN and OPENDIR body: 0 u32 flags of open(2) | 4 u32 */
  #onOpen(view: DataView, support: number, flags: number): void {
    if (((this.#negotiated?.flags ?? 0) & support) !== 0) {
      // ENOSYS to the first open makes the kernel open all files without asking, and keep their
      // pages.
      this.answers.refuse(view, ENOSYS);
    } else {
      replies.encodeOpenReply(this.answers.view, OUT_HEADER_BYTES, flags);
      this.answers.accept(getUint64(view, IN.unique), replies.OPEN_REPLY_BYTES);
    }
  }

  /**
   * FORGET body: 0 u64 lookups
   * BATCH_FORGET body: 0 u32 count | 4 u32 0 | 8 count times (u64 node, u64 lookups)
   */
  #onSilent(opcode: number, view: DataView, length: number): void {
    if (opcode === Opcode.FORGET) {
      this.answers.nodes.forget(getUint64(view, IN.node), getUint64(view, IN.body));
    } else if (opcode === Opcode.BATCH_FORGET) {
      const room = Math.floor((length - IN.body - 8) / 16);
      const count = Math.min(view.getUint32(IN.body, true), room);
      for (let i = 0, at = IN.body + 8; i < count; i++, at += 16) {
        this.answers.nodes.forget(getUint64(view, at), getUint64(view, at + 8));
      }
    } else if (opcode === Opcode.INTERRUPT) {
      this.answers.counters.interrupts++;
      // An unknown target was answered already: the kernel interrupts only what this side has read
      // before.
      const request = this.answers.find(getUint64(view, IN.body));
      if (request === undefined || request.interrupted) return;
      request.interrupted = true;
      this.#port.onInterrupt(request);
    }
  }

  /** READ, READDIR and READDIRPLUS body: 0 u64 handle | 8 u64 offset | 16 u32 size | 20 flags */
  #admitRead(
    opcode: typeof Opcode.READ | typeof Opcode.READDIR | typeof Opcode.READDIRPLUS,
    view: DataView,
  ): ServiceRequest | undefined {
    const offset = getUint64(view, IN.body + 8);
    const bytes = view.getUint32(IN.body + 16, true);
    // A cut READ would look like the end of the file, so what is too long is refused.
    if (offset > Number.MAX_SAFE_INTEGER || bytes > TRANSFER_BYTES_MAX) {
      this.answers.refuse(view, EINVAL);
      return undefined;
    }
    return this.#admit(opcode, view, offset, bytes);
  }

  #admitNamed(
    opcode: typeof Opcode.LOOKUP | typeof Opcode.GETXATTR,
    view: DataView,
    bytes: number,
    name: Uint8Array | undefined,
  ): ServiceRequest | undefined {
    if (name === undefined) {
      this.answers.counters.malformed++;
      this.answers.refuse(view, EIO);
      return undefined;
    }
    if (name.length > NAME_BYTES_MAX) {
      this.answers.refuse(view, opcode === Opcode.LOOKUP ? ENAMETOOLONG : ERANGE);
      return undefined;
    }
    const file = this.#file(view, opcode === Opcode.LOOKUP && isDots(name));
    return this.#enlist({ opcode, offset: 0, bytes, name }, view, file);
  }

  #admit(
    opcode: ReadingOpcode,
    view: DataView,
    offset: number,
    bytes: number,
  ): ServiceRequest | undefined {
    return this.#enlist({ opcode, offset, bytes, name: NO_NAME }, view, this.#file(view, false));
  }

  #enlist(
    what: Pick<ReadingRequest, 'opcode' | 'offset' | 'bytes' | 'name'>,
    view: DataView,
    file: FileId | undefined,
  ): ServiceRequest | undefined {
    if (file === undefined) {
      this.answers.refuse(view, ESTALE);
      return undefined;
    }
    const unique = getUint64(view, IN.unique);
    const { opcode, offset, bytes, name } = what;
    const request: ReadingRequest = {
      opcode,
      change: undefined,
      unique,
      file,
      pid: view.getUint32(IN.pid, true),
      offset,
      bytes,
      name,
      uid: view.getUint32(IN.uid, true),
      answered: false,
      place: 0,
      interrupted: false,
    };
    this.answers.enlist(request);
    return request;
  }

  /**
   * The file a request is about. `exported` is a lookup of "." or "..", by which an NFS server asks
   * for a file that the kernel has forgotten: then the node number is all there is, and the
   * generation comes with the answer.
   */
  #file(view: DataView, exported: boolean): FileId | undefined {
    const node = getUint64(view, IN.node);
    const known = this.answers.nodes.find(node);
    if (known !== undefined || !exported) return known;
    return node < 2 ** 32 && nodeOf(node) === node ? { inode: node, generation: 0 } : undefined;
  }
}
