/**
 * The answering half of a FUSE session: the requests that wait, and one method for each kind of
 * reply.
 *
 * Every request is answered once: an answer that comes second, after an INTERRUPT for example, is
 * ignored. A reply is sent before its method returns, so one buffer serves all of them, and a
 * READ's data goes out from where it lies.
 */
import { constants } from 'node:os';
import type { FileInfo, LockAnswer } from '../protocol/fs-change.ts';
import type { DirectoryEntry, FileAttributes, FileSystemStatus } from '../protocol/fs.ts';
import type { Trust } from '../client/leases.ts';
import { holdsPages } from './change.ts';
import { type FlagsCall, encodeFlags } from './file-flags.ts';
import { NameTable } from './names.ts';
import { isSpecial, NodeTable } from './nodes.ts';
import type { Validity } from './replies.ts';
import * as replies from './replies.ts';
import type { ChangingRequest, ReadingRequest, ServiceRequest } from './requests.ts';
import {
  IN,
  LINK_BYTES_MAX,
  NotifyCode,
  Opcode,
  OpenFlag,
  OUT_HEADER_BYTES,
  ROOT_NODE,
  setUint64,
} from './wire.ts';

const { EINVAL, ENOENT, ERANGE } = constants.errno;
/** "Structure needs cleaning"; Node's table lacks it. */
export const EUCLEAN = 117;
/**
 * The most one directory reply carries; the kernel asks for what the reader's buffer holds, usually
 * 32 KiB.
 */
export const DIRECTORY_BYTES_MAX: number = 128 * 1024;
const DOT = 0x2e;

type IsOld = (attributes: FileAttributes) => boolean;

export interface AnswerOptions {
  readonly validity: Validity;
  /** How long the kernel may believe that a name does not exist; 0: not at all. */
  readonly missingMs: number;
  /** Says instead of `validity` how long each answer may be believed. */
  readonly trust?: Trust | undefined;
}

/**
 * Sends the first `bytes` of `head`, then `payload`, as one reply. Returns 0 or more, or -errno.
 */
export type Send = (head: Uint8Array, bytes: number, payload: Uint8Array | undefined) => number;

/** What happened so far; each only grows. */
export interface SessionCounters {
  requests: number;
  replies: number;
  errors: number;
  /** Calls of the service that came to EIO, also of changes that were answered early. */
  ioErrors: number;
  /** Messages without a header that can be trusted. */
  dropped: number;
  malformed: number;
  interrupts: number;
  /** Replies the kernel did not take: the request was gone, or the session over. */
  unsent: number;
}

export class Answers {
  readonly nodes: NodeTable = new NodeTable();
  /** Names that the kernel may believe, where leases are what it does so by. */
  readonly names: NameTable = new NameTable();
  readonly counters: SessionCounters = {
    requests: 0,
    replies: 0,
    errors: 0,
    ioErrors: 0,
    dropped: 0,
    malformed: 0,
    interrupts: 0,
    unsent: 0,
  };
  /** Where bodies are written, behind the header. */
  readonly view: DataView;
  readonly #reply = new Uint8Array(OUT_HEADER_BYTES + DIRECTORY_BYTES_MAX);
  /** Given out so far; each open file of the kernel has its own. */
  #handles = 0;
  // In no order. A Map that each request is added to and deleted from leaves a chain of old tables
  // behind, see waker.ts.
  readonly #outstanding: ServiceRequest[] = [];
  #trustsNames = false;
  readonly #send: Send;
  readonly #options: AnswerOptions;

  constructor(send: Send, options: AnswerOptions) {
    this.#send = send;
    this.#options = options;
    this.view = new DataView(this.#reply.buffer);
  }

  /** Requests that wait for the file service. */
  get outstanding(): number {
    return this.#outstanding.length;
  }

  /** Whether a change of the file's contents is under way here. */
  isChanging(inode: number): boolean {
    for (const { change, file } of this.#outstanding) {
      if (change === undefined || !holdsPages(change)) continue;
      if ((change.kind === 'copy' ? change.to : file).inode === inode) return true;
    }
    return false;
  }

  find(unique: number): ServiceRequest | undefined {
    return this.#outstanding.find((request) => request.unique === unique);
  }

  enlist(request: ServiceRequest): void {
    const { trust } = this.#options;
    if (trust !== undefined) request.mark = trust.mark();
    request.place = this.#outstanding.push(request) - 1;
  }

  /** Nobody waits any more: what is still answered is ignored. */
  abandon(): void {
    for (const request of this.#outstanding.splice(0)) request.answered = true;
    this.nodes.clear();
  }

  /**
   * LOOKUP, and what makes a file. The kernel's lookup count rises only if it took the reply, which
   * is what this returns. CREATE is an open besides, with these `openFlags`. Attributes that were
   * asked for `ageMs` ago are valid for so much less.
   */
  entry(
    request: ServiceRequest,
    attributes: FileAttributes,
    { openFlags, ageMs = 0 }: { readonly openFlags?: number; readonly ageMs?: number } = {},
  ): boolean {
    const { inode } = attributes;
    const node = this.nodes.nodeFor(inode, attributes.generation);
    const dots = request.change === undefined && isDots(request.name);
    if (node === 0 || (node === ROOT_NODE && !dots)) {
      this.error(request, EUCLEAN);
      return false;
    }
    const generation = node === ROOT_NODE ? 0 : attributes.generation;
    const entry = { names: { node, generation }, attributes };
    const left = replies.laterOf(this.#validity(request, inode), ageMs);
    replies.encodeEntry(this.view, OUT_HEADER_BYTES, entry, left);
    if (request.change === undefined) this.#noteName(request, request.name, left);
    else if ('name' in request.change) this.#noteName(request, request.change.name, left);
    let bytes = replies.ENTRY_BYTES;
    if (openFlags !== undefined) {
      replies.encodeOpenReply(this.view, OUT_HEADER_BYTES + bytes, openFlags, ++this.#handles);
      bytes += replies.OPEN_REPLY_BYTES;
    }
    if (!this.#finish(request, bytes)) return false;
    this.nodes.remember(inode, generation, attributes);
    return true;
  }

  /** GETATTR and SETATTR. */
  attributes(request: ServiceRequest, attributes: FileAttributes, ageMs = 0): void {
    const left = replies.laterOf(this.#validity(request, attributes.inode), ageMs);
    replies.encodeAttributesReply(this.view, OUT_HEADER_BYTES, attributes, left);
    if (this.#finish(request, replies.ATTRIBUTES_REPLY_BYTES)) this.nodes.tell(attributes);
  }

  /**
   * OPEN. If the file is not what the kernel was told last, its attributes are called back first,
   * and the kernel drops the pages it has. Whether the kernel took the reply.
   */
  opened(request: ChangingRequest, attributes: FileAttributes, openFlags: number): boolean {
    const current = this.nodes.isCurrent(attributes);
    if (!current && !request.answered) this.recall(attributes.inode);
    const flags = openFlags | (current ? OpenFlag.KEEP_CACHE : 0);
    replies.encodeOpenReply(this.view, OUT_HEADER_BYTES, flags, ++this.#handles);
    if (!this.#finish(request, replies.OPEN_REPLY_BYTES)) return false;
    this.nodes.tell(attributes);
    return true;
  }

  /** STATX: attributes, and when the file was made. */
  extendedStatus(request: ChangingRequest, attributes: FileAttributes, { born }: FileInfo): void {
    const { validity } = this.#options;
    replies.encodeStatxReply(this.view, OUT_HEADER_BYTES, { attributes, born }, validity);
    if (this.#finish(request, replies.STATX_REPLY_BYTES)) this.nodes.tell(attributes);
  }

  /** IOCTL: flags, or nothing when they were set. */
  flags(request: ChangingRequest, { set, extended }: FlagsCall, flags: number): void {
    const at = OUT_HEADER_BYTES + replies.IOCTL_REPLY_BYTES;
    new Uint8Array(this.view.buffer).fill(0, OUT_HEADER_BYTES, at);
    const bytes = set === undefined ? encodeFlags(this.view, at, flags, extended) : 0;
    this.#finish(request, replies.IOCTL_REPLY_BYTES + bytes);
  }

  /** What has no body in its reply. */
  done(request: ChangingRequest): boolean {
    return this.#finish(request, 0);
  }

  /** WRITE and COPY_FILE_RANGE. */
  written(request: ChangingRequest, bytes: number): void {
    replies.encodeSizeReply(this.view, OUT_HEADER_BYTES, bytes);
    this.#finish(request, replies.SIZE_REPLY_BYTES);
  }

  /** LSEEK. */
  offset(request: ChangingRequest, offset: number): void {
    replies.encodeOffsetReply(this.view, OUT_HEADER_BYTES, offset);
    this.#finish(request, replies.OFFSET_REPLY_BYTES);
  }

  /** GETLK. */
  lock(request: ChangingRequest, lock: LockAnswer): void {
    replies.encodeLockReply(this.view, OUT_HEADER_BYTES, lock);
    this.#finish(request, replies.LOCK_REPLY_BYTES);
  }

  /**
   * READ: what exceeds the request is left out; the payload is sent from where it lies before this
   * returns.
   */
  data(request: ReadingRequest, data: Uint8Array): void {
    this.#finish(request, 0, data.length > request.bytes ? data.subarray(0, request.bytes) : data);
  }

  /** READLINK. */
  link(request: ReadingRequest, target: Uint8Array): void {
    if (target.length === 0 || target.length > LINK_BYTES_MAX) this.error(request, EUCLEAN);
    else this.#finish(request, 0, target);
  }

  /** GETXATTR and LISTXATTR: the size when no room was offered, else the value. */
  value(request: ReadingRequest, size: number, value: Uint8Array): void {
    if (request.bytes === 0) {
      replies.encodeSizeReply(this.view, OUT_HEADER_BYTES, size);
      this.#finish(request, replies.SIZE_REPLY_BYTES);
    } else if (value.length > request.bytes) {
      this.error(request, ERANGE);
    } else {
      this.#finish(request, 0, value);
    }
  }

  /** STATFS. */
  status(request: ReadingRequest, status: FileSystemStatus): void {
    replies.encodeStatusReply(this.view, OUT_HEADER_BYTES, status);
    this.#finish(request, replies.STATUS_REPLY_BYTES);
  }

  /**
   * READDIR and READDIRPLUS: as many entries as fit. The kernel asks again from the last one's
   * cookie. Attributes that `isOld` are left out.
   */
  directory(
    request: ReadingRequest,
    entries: readonly DirectoryEntry[],
    isOld: IsOld = () => false,
  ): void {
    const plus = request.opcode === Opcode.READDIRPLUS;
    const end = OUT_HEADER_BYTES + Math.min(request.bytes, DIRECTORY_BYTES_MAX);
    let at = OUT_HEADER_BYTES;
    let taken = 0;
    for (const entry of entries) {
      const bytes = replies.direntBytes(entry.name.length) + (plus ? replies.ENTRY_BYTES : 0);
      if (at + bytes > end) break;
      if (plus) {
        this.#encodeEntryOf(request, entry, at, isOld);
        at += replies.ENTRY_BYTES;
      }
      replies.encodeDirent(this.view, this.#reply, at, entry);
      at += replies.direntBytes(entry.name.length);
      taken++;
    }
    if (taken === 0 && entries.length > 0) {
      this.error(request, EINVAL);
      return;
    }
    if (!this.#finish(request, at - OUT_HEADER_BYTES) || !plus) return;
    for (let i = 0; i < taken; i++) {
      const entry = entries[i];
      if (entry === undefined || this.#listedNode(entry, isOld) === 0) continue;
      const { inode, generation } = entry.attributes;
      this.nodes.remember(inode, generation, entry.attributes);
    }
  }

  /** Any request; `errno` is positive. */
  error(request: ServiceRequest, errno: number): void {
    if (request.answered) return;
    if (errno === ENOENT && request.opcode === Opcode.LOOKUP && this.#options.missingMs > 0) {
      const names = { node: 0, generation: 0 };
      const validity = { entryMs: this.#options.missingMs, attributesMs: 0 };
      const missing = { names, attributes: undefined };
      replies.encodeEntry(this.view, OUT_HEADER_BYTES, missing, validity);
      this.#finish(request, replies.ENTRY_BYTES);
      return;
    }
    this.#take(request);
    this.#sendError(request.unique, errno);
  }

  /** The kernel asks for the attributes anew. It may have forgotten the file meanwhile. */
  recall(inode: number): void {
    replies.encodeNotifyInode(this.view, OUT_HEADER_BYTES, this.nodes.newest(inode));
    this.#notify(NotifyCode.INVAL_INODE, replies.NOTIFY_INODE_BYTES);
  }

  /** The kernel looks all names up anew. False when it is too old to be told that. */
  recallNames(): boolean {
    this.names.clear();
    return this.#notify(NotifyCode.INC_EPOCH, 0);
  }

  /** From now on the kernel may keep names. */
  trustNames(): void {
    this.#trustsNames = true;
  }

  #notify(code: number, bytes: number): boolean {
    this.view.setUint32(0, OUT_HEADER_BYTES + bytes, true);
    this.view.setInt32(4, code, true);
    setUint64(this.view, 8, 0);
    return this.#send(this.#reply, OUT_HEADER_BYTES + bytes, undefined) >= 0;
  }

  /** How long an answer about the file, and the name that was asked for it, are believed. */
  #validity(request: ServiceRequest, inode: number): Validity {
    const { trust, validity } = this.#options;
    if (trust === undefined || request.mark === undefined) return validity;
    const attributesMs = trust.validMs(request.mark, inode);
    const entryMs = this.#trustsNames ? trust.validMs(request.mark, request.file.inode) : 0;
    return { attributesMs, entryMs };
  }

  #noteName({ file }: ServiceRequest, name: Uint8Array, { entryMs }: Validity): void {
    if (this.#options.trust !== undefined && entryMs > 0) this.names.add(file.inode, name);
  }

  #encodeEntryOf(request: ServiceRequest, entry: DirectoryEntry, at: number, isOld: IsOld): void {
    const node = this.#listedNode(entry, isOld);
    const names = { node, generation: node === 0 ? 0 : entry.attributes.generation };
    const attributes = node === 0 ? undefined : entry.attributes;
    const validity = this.#validity(request, entry.attributes.inode);
    replies.encodeEntry(this.view, at, { names, attributes }, validity);
    if (node !== 0) this.#noteName(request, entry.name, validity);
  }

  /**
   * The node an entry of READDIRPLUS stands for: 0 for ".", "..", what could not be read, what is
   * old, and what the kernel must look up to have (`special-files.ts`).
   */
  #listedNode({ attributes, name }: DirectoryEntry, isOld: IsOld): number {
    if (isDots(name) || isSpecial(attributes.mode) || attributes.mode === 0 || isOld(attributes))
      return 0;
    const node = this.nodes.nodeFor(attributes.inode, attributes.generation);
    return node === ROOT_NODE ? 0 : node;
  }

  // The last one takes its place.
  #take(request: ServiceRequest): void {
    request.answered = true;
    const last = this.#outstanding.pop();
    if (last === undefined || last === request) return;
    this.#outstanding[request.place] = last;
    last.place = request.place;
  }

  /**
   * Sends the reply whose body is in place. False when it was answered before or the kernel did not
   * take it.
   */
  #finish(request: ServiceRequest, bodyBytes: number, payload?: Uint8Array): boolean {
    if (request.answered) return false;
    this.#take(request);
    return this.accept(request.unique, bodyBytes, payload);
  }

  /** Sends a reply whose body is in place, behind the header in `view`. */
  accept(unique: number, bodyBytes: number, payload?: Uint8Array): boolean {
    const bytes = OUT_HEADER_BYTES + bodyBytes;
    this.view.setUint32(0, bytes + (payload?.length ?? 0), true);
    this.view.setInt32(4, 0, true);
    setUint64(this.view, 8, unique);
    return this.#transmit(bytes, payload);
  }

  #sendError(unique: number, errno: number): void {
    this.counters.errors++;
    this.view.setUint32(0, OUT_HEADER_BYTES, true);
    this.view.setInt32(4, -errno, true);
    setUint64(this.view, 8, unique);
    this.#transmit(OUT_HEADER_BYTES, undefined);
  }

  /**
   * Answers at once with an error. The unique is copied as it stands: a hostile one may be beyond
   * 2^53.
   */
  refuse(view: DataView, errno: number): void {
    this.counters.errors++;
    this.view.setUint32(0, OUT_HEADER_BYTES, true);
    this.view.setInt32(4, -errno, true);
    this.view.setUint32(8, view.getUint32(IN.unique, true), true);
    this.view.setUint32(12, view.getUint32(IN.unique + 4, true), true);
    this.#transmit(OUT_HEADER_BYTES, undefined);
  }

  #transmit(bytes: number, payload: Uint8Array | undefined): boolean {
    const result = this.#send(this.#reply, bytes, payload);
    if (result < 0) {
      this.counters.unsent++;
      return false;
    }
    this.counters.replies++;
    return true;
  }
}

export function isDots(name: Uint8Array): boolean {
  return (name.length === 1 || (name.length === 2 && name[1] === DOT)) && name[0] === DOT;
}
