/**
 * Whether what goes out over a connection is packed by LZ4 first, and the packing. Time and
 * bandwidth come from the owner; no I/O.
 *
 * Frames that go out together are a block. To pack one takes time, and the link is done with it
 * earlier: that pays where
 *
 *   time to pack a byte < (1 - ratio) / bandwidth
 *
 * All three are measured, for each lane of each link: what packing took and how short it made
 * things, lately, and what the network carried while there was enough to send. A lane that does not
 * pack tries the first 16 KiB of a block now and then, so data that does not get shorter, and a
 * fast network, cost next to nothing. Where the bandwidth is not known nothing waits for the
 * network, and nothing is packed.
 *
 * What a block gets shorter by tells something of what is in it to whoever sees it pass, also when
 * it is sealed then. Who can have his own data packed together with another's learns about those, a
 * guess at a time. So on sealed links, unless a setting says otherwise, a block is packed only when
 * it has the data of one copy and nothing else; see docs/security.md.
 */
import { FRAME_BYTES_MAX, FRAME_HEAD_BYTES, FrameLayout, sealPacked, viewOf } from './frame.ts';
import type { Checksum } from './frame.ts';
import type { SlabPool } from './outbox.ts';
import type { ProxySettings } from './settings.ts';
import { Lane, type Bandwidth } from './transport.ts';

/** What a block may unpack to, in each lane. */
export const BLOCK_BYTES_MAX: Readonly<Record<Lane, number>> = {
  [Lane.URGENT]: 65_536,
  [Lane.BULK]: FRAME_BYTES_MAX + 65_536,
};
// Shorter ones are sent as they are: a few commands.
const BLOCK_BYTES_MIN = 1024;
// A block is sent packed when it gets shorter by so much.
const GAIN_MIN = 1 / 16;
const SAMPLE_BYTES = 16_384;
const SAMPLE_MS = 250;
const BANDWIDTH_MS = 20;
// The peer unpacks, in about as long; and what is measured is not exact. Another factor to begin
// than to stop, so that it does not go to and fro.
const BEGIN_FACTOR = 2;
const STOP_FACTOR = 1.5;
// Weight of what is measured last.
const WEIGHT = 1 / 4;
// One time counts for no more than so many times those before it: somebody else had the CPU.
const OUTLIER = 2;

export interface CompressionOptions {
  settings: Pick<ProxySettings, 'compress' | 'compressSealed'>;
  isSealed: boolean;
  /** Packs `source` into `target`; 0 when it does not fit. */
  pack: (source: Uint8Array, target: Uint8Array) => number;
  checksum: Checksum;
  pool: SlabPool;
  /** A clock that tells microseconds apart. */
  nowMs: () => number;
  /** What the connection carries; undefined as long as nobody knows. */
  bandwidth: () => Bandwidth | undefined;
}

export interface CompressionCounters {
  /** Blocks that went out packed, and what they were before and after. */
  packedBlocks: number;
  packedBytesBefore: number;
  packedBytesAfter: number;
  /** Blocks of a length to be packed that went out as they were. */
  plainBlocks: number;
}

/** What the bulky lane knows; null before it has been measured. */
export interface CompressionState {
  isPacking: boolean;
  /** Of the length before that is left. */
  ratio: number | null;
  nsPerByte: number | null;
  bandwidthBytesPerSecond: number | null;
}

/** Bytes to write in place of others, and what to call when they are written. */
export interface PackedBlock {
  bytes: Uint8Array;
  done: () => void;
}

function mixed(before: number | undefined, now: number): number {
  return before === undefined ? now : before + WEIGHT * (now - before);
}

/** What is known of the data of one lane, and what follows from it. */
class Judge {
  isPacking = false;
  ratio: number | undefined;
  nsPerByte: number | undefined;
  #sampledMs = -Infinity;

  /** Whether packing pays on a network of that many bytes a second. */
  decide(bytesPerSecond: number | undefined): boolean {
    const { ratio, nsPerByte } = this;
    if (ratio === undefined || nsPerByte === undefined || bytesPerSecond === undefined) {
      this.isPacking = false;
    } else {
      const savedNs = ((1 - ratio) * 1e9) / bytesPerSecond;
      const factor = this.isPacking ? STOP_FACTOR : BEGIN_FACTOR;
      this.isPacking = ratio <= 1 - GAIN_MIN && savedNs > factor * nsPerByte;
    }
    return this.isPacking;
  }

  /** Whether a sample is due; it is taken then. */
  mustSample(nowMs: number): boolean {
    if (nowMs - this.#sampledMs < SAMPLE_MS) return false;
    this.#sampledMs = nowMs;
    return true;
  }

  /** `packed` bytes, or 0 when they were too many, are what `bytes` became in `ms`. */
  note(bytes: number, packed: number, ms: number): void {
    this.ratio = mixed(this.ratio, packed === 0 ? 1 : packed / bytes);
    const { nsPerByte: before = Infinity } = this;
    this.nsPerByte = mixed(this.nsPerByte, Math.min((1e6 * ms) / bytes, OUTLIER * before));
  }
}

type Slab = ReturnType<SlabPool['take']>;

/** Where packed blocks lie until they are written. */
class Shelf {
  readonly #pool: SlabPool;
  #slab: Slab | undefined;

  constructor(pool: SlabPool) {
    this.#pool = pool;
  }

  /** Room for a block of so many bytes. */
  room(bytes: number): Uint8Array {
    let slab = this.#slab;
    if (slab !== undefined && slab.used + bytes > slab.bytes.length) {
      this.close();
      slab = undefined;
    }
    slab ??= this.#pool.take();
    this.#slab = slab;
    return slab.bytes.subarray(slab.used, slab.used + bytes);
  }

  /** The first `bytes` bytes of the last room are a block. */
  take(bytes: number): PackedBlock | undefined {
    const slab = this.#slab;
    if (slab === undefined) return undefined;
    const block = slab.bytes.subarray(slab.used, slab.used + bytes);
    slab.used += bytes;
    slab.writes++;
    return {
      bytes: block,
      done: () => {
        slab.writes--;
        if (slab.writes === 0) this.#settle(slab);
      },
    };
  }

  close(): void {
    const slab = this.#slab;
    this.#slab = undefined;
    if (slab?.writes === 0) this.#pool.giveBack(slab);
  }

  #settle(slab: Slab): void {
    if (this.#slab === slab) this.#slab = undefined;
    this.#pool.giveBack(slab);
  }
}

export class Compression {
  readonly #options: CompressionOptions;
  readonly #judges: Readonly<Record<Lane, Judge>> = {
    [Lane.URGENT]: new Judge(),
    [Lane.BULK]: new Judge(),
  };
  readonly #shelf: Shelf;
  #bytesPerSecond: number | undefined;
  #askedMs = -Infinity;
  readonly counters: CompressionCounters = newCompressionCounters();

  constructor(options: CompressionOptions) {
    this.#options = options;
    this.#shelf = new Shelf(options.pool);
  }

  get state(): CompressionState {
    const { isPacking, ratio, nsPerByte } = this.#judges[Lane.BULK];
    return {
      isPacking,
      ratio: ratio ?? null,
      nsPerByte: nsPerByte ?? null,
      bandwidthBytesPerSecond: this.#bytesPerSecond ?? null,
    };
  }

  /** What to write in `lane` in place of `bytes`, whole frames; undefined: these themselves. */
  pack(bytes: Uint8Array, lane: Lane): PackedBlock | undefined {
    if (this.#options.settings.compress === 'off') return undefined;
    if (bytes.length < BLOCK_BYTES_MIN || bytes.length > BLOCK_BYTES_MAX[lane]) return undefined;
    if (!this.#mayPack(bytes)) return undefined;
    const block = this.#pays(bytes, lane) ? this.#packAll(bytes, lane) : undefined;
    if (block === undefined) this.counters.plainBlocks++;
    return block;
  }

  /** The connection is over. */
  close(): void {
    this.#shelf.close();
  }

  #mayPack(bytes: Uint8Array): boolean {
    const { isSealed, settings } = this.#options;
    if (!isSealed || settings.compressSealed === 'all') return true;
    return settings.compressSealed === 'copies' && isOneCopy(bytes);
  }

  #pays(bytes: Uint8Array, lane: Lane): boolean {
    if (this.#options.settings.compress === 'on') return true;
    const nowMs = this.#options.nowMs();
    this.#measureBandwidth(nowMs);
    if (this.#bytesPerSecond === undefined) return false;
    const judge = this.#judges[lane];
    if (judge.decide(this.#bytesPerSecond)) return true;
    if (!judge.mustSample(nowMs)) return false;
    const sample = bytes.subarray(0, SAMPLE_BYTES);
    this.#measure(sample, this.#shelf.room(roomFor(sample)), judge);
    return judge.decide(this.#bytesPerSecond);
  }

  #packAll(bytes: Uint8Array, lane: Lane): PackedBlock | undefined {
    const room = this.#shelf.room(FrameLayout.BYTES + roomFor(bytes));
    const packed = this.#measure(bytes, room.subarray(FrameLayout.BYTES), this.#judges[lane]);
    if (packed === 0) return undefined;
    const total = FrameLayout.BYTES + packed;
    sealPacked(room.subarray(0, total), bytes.length, this.#options.checksum);
    this.counters.packedBlocks++;
    this.counters.packedBytesBefore += bytes.length;
    this.counters.packedBytesAfter += total;
    return this.#shelf.take(total);
  }

  #measure(bytes: Uint8Array, room: Uint8Array, judge: Judge): number {
    const { pack, nowMs } = this.#options;
    const startMs = nowMs();
    const packed = pack(bytes, room);
    judge.note(bytes.length, packed, nowMs() - startMs);
    return packed;
  }

  #measureBandwidth(nowMs: number): void {
    if (nowMs - this.#askedMs < BANDWIDTH_MS) return;
    this.#askedMs = nowMs;
    const told = this.#options.bandwidth();
    if (told === undefined || told.bytesPerSecond <= 0) return;
    const before = this.#bytesPerSecond;
    // What was measured while there was little to send says only that it is not less.
    if (!told.isLimited) this.#bytesPerSecond = mixed(before, told.bytesPerSecond);
    else if (before !== undefined) this.#bytesPerSecond = Math.max(before, told.bytesPerSecond);
  }
}

export function newCompressionCounters(): CompressionCounters {
  return { packedBlocks: 0, packedBytesBefore: 0, packedBytesAfter: 0, plainBlocks: 0 };
}

function roomFor(bytes: Uint8Array): number {
  return Math.floor(bytes.length * (1 - GAIN_MIN)) - FrameLayout.BYTES;
}

// One frame, and it has data.
function isOneCopy(bytes: Uint8Array): boolean {
  const payloadBytes = viewOf(bytes).getUint32(FrameLayout.payloadBytes, true);
  return payloadBytes > 0 && FRAME_HEAD_BYTES + payloadBytes === bytes.length;
}
