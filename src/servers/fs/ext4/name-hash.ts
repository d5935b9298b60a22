/**
 * Hashes of file names, by which the index of a directory is ordered.
 *
 * Three functions, chosen by the index; each reads bytes as signed or as unsigned, since the first
 * kernels used plain `char` and machines differ in that. The lowest bit of a hash is always 0: in
 * the index it marks a collision that continues in the next leaf. See "Hash Tree Directories" in
 * Documentation/filesystems/ext4; half MD4 is MD4 (RFC 1320) with its rounds cut to eight steps,
 * TEA is Wheeler and Needham's cipher (1994).
 */
export const HASH_VERSION = { legacy: 0, halfMd4: 1, tea: 2 } as const;
/** Added to the version of a hash that reads bytes as unsigned. */
export const UNSIGNED_OFFSET = 3;

/**
 * The largest hash marks the end of a directory for readdir, so a name that has it gets the one
 * before.
 */
const END_OF_DIRECTORY = 0xfffffffe;
const DEFAULT_SEED: HashSeed = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];

export type HashSeed = readonly [number, number, number, number];

export interface HashRequest {
  /** `HASH_VERSION`, plus `UNSIGNED_OFFSET`. */
  readonly version: number;
  /** All zero: the default of MD4. */
  readonly seed: HashSeed;
}

/** The hash of a name, or undefined if the version is unknown. */
export function hashName(name: Uint8Array, request: HashRequest): number | undefined {
  const unsigned = request.version >= UNSIGNED_OFFSET;
  const state = startState(request.seed);
  let hash: number;
  switch (request.version - (unsigned ? UNSIGNED_OFFSET : 0)) {
    case HASH_VERSION.legacy:
      hash = legacyHash(name, unsigned);
      break;
    case HASH_VERSION.halfMd4:
      for (let at = 0; at < name.length; at += 32) {
        halfMd4(state, nameWords(name.subarray(at), 8, unsigned));
      }
      hash = state[1] ?? 0;
      break;
    case HASH_VERSION.tea:
      for (let at = 0; at < name.length; at += 16) {
        tea(state, nameWords(name.subarray(at), 4, unsigned));
      }
      hash = state[0] ?? 0;
      break;
    default:
      return undefined;
  }
  const even = (hash & ~1) >>> 0;
  return even === END_OF_DIRECTORY ? END_OF_DIRECTORY - 2 : even;
}

function startState(seed: HashSeed): Int32Array {
  const [a, b, c, d] = (seed[0] | seed[1] | seed[2] | seed[3]) === 0 ? DEFAULT_SEED : seed;
  const state = new Int32Array(4);
  state[0] = a;
  state[1] = b;
  state[2] = c;
  state[3] = d;
  return state;
}

function byteAt(name: Uint8Array, at: number, unsigned: boolean): number {
  const byte = name[at] ?? 0;
  return unsigned || byte < 128 ? byte : byte - 256;
}

function legacyHash(name: Uint8Array, unsigned: boolean): number {
  let older = 0x37abe8f9;
  let newer = 0x12a3fe2d;
  for (let at = 0; at < name.length; at++) {
    const mixed = newer ^ Math.imul(byteAt(name, at, unsigned), 7152373);
    let next = (older + mixed) | 0;
    if (next < 0) next = (next - 0x7fffffff) | 0;
    older = newer;
    newer = next;
  }
  return newer << 1;
}

/**
 * `count` words, four bytes each with the first on top; what the name does not fill repeats its
 * length.
 */
function nameWords(name: Uint8Array, count: number, unsigned: boolean): Int32Array {
  const length = name.length & 255;
  const padding = length | (length << 8) | (length << 16) | (length << 24);
  const words = new Int32Array(count).fill(padding);
  const bytes = Math.min(name.length, count * 4);
  let word = padding;
  for (let at = 0; at < bytes; at++) {
    word = (byteAt(name, at, unsigned) + (word << 8)) | 0;
    if (at % 4 !== 3) continue;
    words[at >> 2] = word;
    word = padding;
  }
  if (bytes < count * 4) words[bytes >> 2] = word;
  return words;
}

interface Md4Round {
  readonly mix: (x: number, y: number, z: number) => number;
  readonly constant: number;
  readonly order: readonly number[];
  readonly shifts: readonly [number, number, number, number];
}

const MD4_ROUNDS: readonly Md4Round[] = [
  {
    mix: (x, y, z) => z ^ (x & (y ^ z)),
    constant: 0,
    order: [0, 1, 2, 3, 4, 5, 6, 7],
    shifts: [3, 7, 11, 19],
  },
  {
    mix: (x, y, z) => (x & y) + ((x ^ y) & z),
    constant: 0x5a827999,
    order: [1, 3, 5, 7, 0, 2, 4, 6],
    shifts: [3, 5, 9, 13],
  },
  {
    mix: (x, y, z) => x ^ y ^ z,
    constant: 0x6ed9eba1,
    order: [3, 7, 2, 6, 1, 5, 0, 4],
    shifts: [3, 9, 11, 15],
  },
];

function halfMd4(state: Int32Array, words: Int32Array): void {
  let a = state[0] ?? 0;
  let b = state[1] ?? 0;
  let c = state[2] ?? 0;
  let d = state[3] ?? 0;
  for (const { mix, constant, order, shifts } of MD4_ROUNDS) {
    for (let step = 0; step < 8; step++) {
      const sum = (a + mix(b, c, d) + (words[order[step] ?? 0] ?? 0) + constant) | 0;
      const shift = shifts[step & 3] ?? 0;
      a = d;
      d = c;
      c = b;
      b = (sum << shift) | (sum >>> (32 - shift));
    }
  }
  addTo(state, a, b);
  state[2] = (state[2] ?? 0) + c;
  state[3] = (state[3] ?? 0) + d;
}

function tea(state: Int32Array, key: Int32Array): void {
  const [a = 0, b = 0, c = 0, d = 0] = key;
  let left = state[0] ?? 0;
  let right = state[1] ?? 0;
  let sum = 0;
  for (let round = 0; round < 16; round++) {
    sum = (sum + 0x9e3779b9) | 0;
    left = (left + (((right << 4) + a) ^ (right + sum) ^ ((right >>> 5) + b))) | 0;
    right = (right + (((left << 4) + c) ^ (left + sum) ^ ((left >>> 5) + d))) | 0;
  }
  addTo(state, left, right);
}

function addTo(state: Int32Array, first: number, second: number): void {
  state[0] = (state[0] ?? 0) + first;
  state[1] = (state[1] ?? 0) + second;
}
