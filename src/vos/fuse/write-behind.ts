/**
 * Tells programs that something is written while it is on its way to the server.
 *
 * Who writes a file several times in a row claims its contents. While the server grants that,
 * nobody else gets at the file, and a write is answered at once if not too much is under way.
 * Whatever else is asked of the file here waits until all of it has arrived, and ends the claim
 * (`settle`); so does a moment without writes. Hence what write(2) has returned for is seen by
 * whoever opens the file, on any node. When too much is under way, a write is answered as soon as
 * enough of that has arrived: so there is always something for the link and the server to do.
 *
 * A write that fails after it was answered is told to the next write, to each close of the file
 * until it was synced, and to one fsync of each open file; from then on nothing is answered early
 * until the file was closed.
 *
 * Writes that follow one another in the file go side by side. What is written elsewhere meanwhile
 * is gathered, and goes as pieces of one call when nothing else is under way, so the order of what
 * overlaps is kept. Writes that are no part of a row are made one after the other.
 */
import { constants } from 'node:os';
import type { Clock } from '../../dvk/clock.ts';
import type { FileId, FileService, Written } from '../client/file-service.ts';
import { CLAIM_TRUSTED_MS, WriteFlag } from '../protocol/fs-change.ts';
import { type Piece, piecesFit } from '../protocol/fs-pieces.ts';
import { TRANSFER_BYTES_MAX } from '../protocol/fs.ts';
import type { EndLoan } from './request-buffers.ts';
import { WriteBatch, type WriteRequest } from './write-batch.ts';

const { ENOSPC } = constants.errno;
/** Writes in a row before the contents are claimed. */
const ROW_MIN = 2;
/**
 * Answered, and not yet arrived, of one file: as many long writes as leave half of the client's
 * channels to others.
 */
const EARLY_BYTES_MAX = 4 * TRANSFER_BYTES_MAX;
/** With so many under way, short writes are gathered, to go as one. */
const UNDER_WAY_MIN = 2;
const SHORT_BYTES = TRANSFER_BYTES_MAX / 8;
/** Shorter data is copied: that costs less than lending it. */
const LENT_BYTES_MIN = 64 * 1024;
/** A claim is given back after so long without writes. */
const LINGER_MS = 5;

/** Its data may be a copy, which is in no request. */
interface OwnWrite extends WriteRequest {
  readonly isOwn?: boolean;
  /** What its data are in the file; its own offset counts for nothing. */
  readonly pieces?: readonly Piece[];
}

export interface Begun {
  /** The write may be answered now, as done. */
  readonly early: boolean;
  /** Of one that may be so later: resolves at that time, unless it has arrived before. */
  readonly soon?: Promise<void>;
  /** Bytes that were written; of one that could be answered before, it never rejects. */
  readonly done: Promise<number>;
}

/** A write that is under way, and is answered when enough of what came before it has arrived. */
interface Late {
  readonly length: number;
  isAnswered: boolean;
  answer: () => void;
}

/** The writes to one file. */
interface Stream {
  readonly file: FileId;
  /** Where the last write ended, and how many there were in a row. */
  next: number;
  row: number;
  /** What is under way or gathered may overlap: it goes one call after the other. */
  isScattered: boolean;
  underWay: number;
  /** Answered and not yet arrived. */
  bytes: number;
  /** Those that wait for their answer, in their order. */
  readonly late: Late[];
  gathered: WriteBatch | undefined;
  /** The server may believe that this client has a claim. */
  isClaimed: boolean;
  /** Until when writes may be answered early. */
  trustedUntilMs: number;
  cancelLinger: (() => void) | undefined;
  /** Called when nothing is under way. */
  readonly drained: (() => void)[];
  settling: Promise<void> | undefined;
  /** Writes that wait for their turn, one after the other. */
  turn: Promise<unknown>;
  waiting: number;
  failure: Failure | undefined;
}

interface Failure {
  readonly errno: number;
  isToldToWriter: boolean;
  /** Handles whose fsync was told. */
  readonly told: Set<bigint>;
}

export class WriteBehind {
  readonly #service: FileService;
  readonly #clock: Clock;
  readonly #errnoOf: (error: unknown) => number;
  readonly #lend: () => EndLoan | undefined;
  readonly #streams = new Map<number, Stream>();
  /** Open files here, by inode; a stream lives as long as its file is open. */
  readonly #opens = new Map<number, number>();
  #writes = 0;
  #spare: Uint8Array | undefined;

  /** `lend`: see `RequestBuffers`. */
  constructor(
    service: FileService,
    clock: Clock,
    errnoOf: (error: unknown) => number,
    lend: () => EndLoan | undefined = () => undefined,
  ) {
    this.#service = service;
    this.#clock = clock;
    this.#errnoOf = errnoOf;
    this.#lend = lend;
  }

  /** Grows with each write that was answered early and has arrived. */
  get arrived(): number {
    return this.#writes;
  }

  /** Files with writes that are remembered. */
  get size(): number {
    return this.#streams.size;
  }

  /** Whether attributes of the file that were asked for at `mark` (`arrived`) may be too old. */
  isAhead(inode: number, mark: number): boolean {
    const stream = this.#streams.get(inode);
    return stream !== undefined && (stream.bytes > 0 || this.#writes !== mark);
  }

  /** Writes; the data is used no more when this returns, but for memory that was lent. */
  begin(file: FileId, write: WriteRequest): Begun {
    if (!this.#opens.has(file.inode)) return { early: false, done: this.#pass(file, write) };
    const stream = this.#streamOf(file);
    const failure = this.#failureForWriter(stream);
    if (failure !== undefined) return { early: false, done: Promise.reject(failure) };
    const { offset, data } = write;
    const isAppend = (write.flags & WriteFlag.APPEND) !== 0;
    const follows = !isAppend && offset === stream.next;
    const isInRow = follows || (!isAppend && this.#service.writePieces !== undefined);
    stream.row = isInRow ? stream.row + 1 : 0;
    stream.next = offset + data.length;
    if (!follows && stream.underWay > 0) stream.isScattered = true;
    const isFree = stream.waiting === 0 && stream.settling === undefined;
    const mayClaim = stream.row >= ROW_MIN && stream.failure === undefined && isFree;
    const goesOn = stream.isClaimed ? this.#isTrusted(stream) : stream.underWay === 0;
    if (mayClaim && goesOn && keepsOrder(stream, write)) return this.#claiming(stream, write);
    if (isFree && !stream.isClaimed && stream.underWay === 0) {
      return { early: false, done: this.#send(stream, write) };
    }
    const own = { ...write, data: data.slice(), isOwn: true };
    return { early: false, done: this.#inTurn(stream, own) };
  }

  /** Resolves when all writes have arrived and nothing is claimed; undefined when that is so. */
  settle(file: FileId): Promise<void> | undefined {
    const stream = this.#streams.get(file.inode);
    if (stream === undefined) return undefined;
    stream.row = -1;
    if (!stream.isClaimed && stream.underWay === 0) return undefined;
    return (stream.settling ??= this.#settle(stream).finally(() => {
      stream.settling = undefined;
    }));
  }

  opened({ inode }: FileId): void {
    this.#opens.set(inode, (this.#opens.get(inode) ?? 0) + 1);
  }

  released({ inode }: FileId): void {
    const left = (this.#opens.get(inode) ?? 0) - 1;
    if (left > 0) {
      this.#opens.set(inode, left);
      return;
    }
    this.#opens.delete(inode);
    this.#drop(inode);
  }

  /** The errno of a write that failed after it was answered, for a close of the open file. */
  failureAtClose({ inode }: FileId, handle: bigint): number | undefined {
    const failure = this.#streams.get(inode)?.failure;
    return failure === undefined || failure.told.has(handle) ? undefined : failure.errno;
  }

  /** The same for an fsync, which is told once. */
  failureAtSync(file: FileId, handle: bigint): number | undefined {
    const errno = this.failureAtClose(file, handle);
    if (errno !== undefined) this.#streams.get(file.inode)?.failure?.told.add(handle);
    return errno;
  }

  /** Resolves when nothing is under way any more. */
  async settleAll(): Promise<void> {
    await Promise.all([...this.#streams.values()].map(async ({ file }) => this.settle(file)));
  }

  #streamOf(file: FileId): Stream {
    const known = this.#streams.get(file.inode);
    if (known?.file.generation === file.generation) return known;
    const stream: Stream = {
      file,
      ...{ next: -1, row: -1, isScattered: false, underWay: 0, bytes: 0, gathered: undefined },
      late: [],
      ...{ isClaimed: false, trustedUntilMs: 0, cancelLinger: undefined, drained: [] },
      ...{ settling: undefined, turn: Promise.resolve(), waiting: 0, failure: undefined },
    };
    this.#streams.set(file.inode, stream);
    return stream;
  }

  #isTrusted({ trustedUntilMs }: Stream): boolean {
    return this.#clock.nowMs() < trustedUntilMs;
  }

  #failureForWriter(stream: Stream): Error | undefined {
    const { failure } = stream;
    if (failure === undefined || failure.isToldToWriter) return undefined;
    failure.isToldToWriter = true;
    return failureOf(failure.errno);
  }

  /** A write of a row: it asks for the claim, or renews it. */
  #claiming(stream: Stream, write: WriteRequest): Begun {
    const { length } = write.data;
    const { isClaimed } = stream;
    stream.isClaimed = true;
    if (!isClaimed) {
      this.#sendGathered(stream);
      return { early: false, done: this.#sendClaiming(stream, write) };
    }
    if (stream.bytes + length > EARLY_BYTES_MAX) return this.#beginLate(stream, write);
    stream.bytes += length;
    const done = this.#sendOrGather(stream, write).finally(() => {
      this.#noteArrived(stream, length);
    });
    return { early: true, done };
  }

  /** There is no room for it yet among those that are answered early. */
  #beginLate(stream: Stream, write: WriteRequest): Begun {
    const late: Late = { length: write.data.length, isAnswered: false, answer: () => undefined };
    const soon = new Promise<void>((resolve) => {
      late.answer = resolve;
    });
    stream.late.push(late);
    this.#sendGathered(stream);
    return { early: false, soon, done: this.#sendLate(stream, write, late) };
  }

  async #sendLate(stream: Stream, write: WriteRequest, late: Late): Promise<number> {
    const { length } = late;
    try {
      const bytes = await this.#sendClaiming(stream, write);
      if (late.isAnswered && bytes < length) this.#fail(stream, ENOSPC);
      return bytes;
    } catch (error) {
      if (!late.isAnswered) throw error;
      this.#fail(stream, this.#errnoOf(error));
      return 0;
    } finally {
      if (late.isAnswered) this.#noteArrived(stream, length);
      else stream.late.splice(stream.late.indexOf(late), 1);
    }
  }

  /** So much that was answered has arrived: others may be. */
  #noteArrived(stream: Stream, bytes: number): void {
    stream.bytes -= bytes;
    this.#writes++;
    const mayAnswer = stream.failure === undefined && stream.settling === undefined;
    while (mayAnswer && this.#isTrusted(stream)) {
      const [first] = stream.late;
      if (first === undefined || stream.bytes + first.length > EARLY_BYTES_MAX) return;
      stream.late.shift();
      stream.bytes += first.length;
      first.isAnswered = true;
      first.answer();
    }
  }

  /** Never rejects. */
  async #sendOrGather(stream: Stream, write: WriteRequest): Promise<number> {
    const { isScattered } = stream;
    if (stream.gathered?.fits(write) === false) this.#sendGathered(stream);
    const isLong = !isScattered && write.data.length > SHORT_BYTES;
    if (isLong || stream.underWay < (isScattered ? 1 : UNDER_WAY_MIN)) {
      this.#sendGathered(stream);
      return this.#sendEarly(stream, write);
    }
    const batch = (stream.gathered ??= new WriteBatch(write, this.#takeMemory()));
    batch.add(write);
    return batch.done;
  }

  #takeMemory(): Uint8Array {
    const memory = this.#spare ?? new Uint8Array(TRANSFER_BYTES_MAX);
    this.#spare = undefined;
    return memory;
  }

  #sendGathered(stream: Stream): void {
    const { gathered, isScattered, underWay } = stream;
    if (gathered === undefined || (isScattered && underWay > 0)) return;
    stream.gathered = undefined;
    const { first, data, pieces } = gathered;
    const write = { ...first, data, isOwn: true, ...(pieces.length > 1 && { pieces }) };
    gathered.settle(this.#sendEarly(stream, write));
    this.#spare = gathered.memory;
  }

  async #sendEarly(stream: Stream, write: OwnWrite): Promise<number> {
    const { length } = write.data;
    try {
      const bytes = await this.#sendClaiming(stream, write);
      if (bytes < length) this.#fail(stream, ENOSPC);
      return bytes;
    } catch (error) {
      this.#fail(stream, this.#errnoOf(error));
      return 0;
    }
  }

  async #sendClaiming(stream: Stream, write: OwnWrite): Promise<number> {
    return this.#send(stream, { ...write, flags: write.flags | WriteFlag.CLAIM });
  }

  async #pass(file: FileId, write: OwnWrite): Promise<number> {
    return (await this.#call(file, write)).bytes;
  }

  async #call(file: FileId, write: OwnWrite): Promise<Written> {
    const { offset, data, flags, owner, isOwn, pieces } = write;
    const service = this.#service;
    if (pieces !== undefined && service.writePieces !== undefined) {
      return service.writePieces(file, pieces, flags, owner);
    }
    const lends = isOwn !== true && data.length >= LENT_BYTES_MIN;
    const endLoan = lends && service.writeFrom !== undefined ? this.#lend() : undefined;
    if (endLoan === undefined || service.writeFrom === undefined) {
      return service.write({ file, offset }, data, flags, owner);
    }
    try {
      return await service.writeFrom({ file, offset }, data, flags, owner);
    } finally {
      endLoan();
    }
  }

  #fail(stream: Stream, errno: number): void {
    stream.failure ??= { errno, isToldToWriter: false, told: new Set() };
  }

  async #send(stream: Stream, write: OwnWrite): Promise<number> {
    stream.cancelLinger?.();
    stream.cancelLinger = undefined;
    stream.underWay++;
    const sentMs = this.#clock.nowMs();
    try {
      const written = await this.#call(stream.file, write);
      if ((write.flags & WriteFlag.CLAIM) !== 0) {
        stream.trustedUntilMs = written.claimed === true ? sentMs + CLAIM_TRUSTED_MS : 0;
      }
      return written.bytes;
    } finally {
      stream.underWay--;
      this.#sendGathered(stream);
      if (stream.underWay === 0) this.#rest(stream);
    }
  }

  /** Nothing is under way. */
  #rest(stream: Stream): void {
    stream.isScattered = false;
    for (const resolve of stream.drained.splice(0)) resolve();
    if (!stream.isClaimed || stream.settling !== undefined) return;
    stream.cancelLinger = this.#clock.after(this.#isTrusted(stream) ? LINGER_MS : 0, () => {
      void this.settle(stream.file);
    });
  }

  async #settle(stream: Stream): Promise<void> {
    stream.cancelLinger?.();
    stream.cancelLinger = undefined;
    if (stream.underWay > 0) {
      await new Promise<void>((resolve) => {
        stream.drained.push(resolve);
      });
    }
    if (!stream.isClaimed) return;
    // Who cannot be told finds out by itself that the claim is not renewed.
    await this.#service.unclaim(stream.file).catch(() => undefined);
    stream.isClaimed = false;
    stream.trustedUntilMs = 0;
    if (!this.#opens.has(stream.file.inode)) this.#drop(stream.file.inode);
  }

  /** After all that is under way, and without a claim. */
  async #inTurn(stream: Stream, write: OwnWrite): Promise<number> {
    stream.waiting++;
    const turn = stream.turn.then(async () => {
      try {
        await this.settle(stream.file);
        return await this.#send(stream, write);
      } finally {
        stream.waiting--;
      }
    });
    stream.turn = turn.catch(() => undefined);
    return turn;
  }

  #drop(inode: number): void {
    const stream = this.#streams.get(inode);
    const isIdle = stream?.underWay === 0 && stream.waiting === 0 && !stream.isClaimed;
    if (isIdle) this.#streams.delete(inode);
  }
}

/** Whether the write, of a row, would overtake nothing that it may overlap. */
function keepsOrder(stream: Stream, write: WriteRequest): boolean {
  if (!stream.isScattered || stream.underWay === 0) return true;
  const isEarly = stream.bytes + write.data.length <= EARLY_BYTES_MAX;
  const fits = stream.gathered?.fits(write) ?? piecesFit(1, write.data.length);
  return isEarly && fits;
}

/** Fails with what an earlier write came to, if it failed. */
export function throwIf(errno: number | undefined): void {
  if (errno !== undefined) throw failureOf(errno);
}

function failureOf(errno: number): Error & { code: string } {
  const code = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? 'EIO';
  return Object.assign(new Error(`an earlier write failed: ${code}`), { code });
}
