/**
 * Numbers of the ext4 format that several files need, and readers for its little-endian fields.
 *
 * The names follow the kernel's Documentation/filesystems/ext4. A reader given an offset outside
 * its bytes returns zero instead of throwing; every offset that comes from the image is checked
 * before, so this is the second net.
 */

export function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
}

export function i32(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] ?? 0) |
    ((bytes[at + 1] ?? 0) << 8) |
    ((bytes[at + 2] ?? 0) << 16) |
    ((bytes[at + 3] ?? 0) << 24)
  );
}

export function u32(bytes: Uint8Array, at: number): number {
  return i32(bytes, at) >>> 0;
}

export function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

/** `value` modulo 2^32, so that the low half of a wider number is put by it too. */
export function put32(bytes: Uint8Array, at: number, value: number): void {
  const word = (value % 2 ** 32) | 0;
  bytes[at] = word;
  bytes[at + 1] = word >>> 8;
  bytes[at + 2] = word >>> 16;
  bytes[at + 3] = word >>> 24;
}

/** The high half of a number that is kept in two fields. */
export function highHalf(value: number): number {
  return Math.floor(value / 2 ** 32);
}

/** A number kept in two fields: 32 low bits, and high bits that the caller already read. */
export function join(high: number, low: number): number {
  return high * 2 ** 32 + low;
}

export const COMPAT = {
  hasJournal: 0x4,
  extAttr: 0x8,
  dirIndex: 0x20,
  sparseSuper2: 0x200,
  orphanFile: 0x1000,
} as const;

export const INCOMPAT = {
  filetype: 0x2,
  recover: 0x4,
  metaBg: 0x10,
  extents: 0x40,
  bit64: 0x80,
  mmp: 0x100,
  flexBg: 0x200,
  eaInode: 0x400,
  csumSeed: 0x2000,
  largedir: 0x4000,
  inlineData: 0x8000,
  encrypt: 0x10000,
} as const;

export const RO_COMPAT = {
  sparseSuper: 0x1,
  largeFile: 0x2,
  btreeDir: 0x4,
  hugeFile: 0x8,
  gdtCsum: 0x10,
  dirNlink: 0x20,
  extraIsize: 0x40,
  quota: 0x100,
  bigalloc: 0x200,
  metadataCsum: 0x400,
  readOnly: 0x1000,
  project: 0x2000,
  sharedBlocks: 0x4000,
  verity: 0x8000,
  orphanPresent: 0x10000,
} as const;

export const INODE_FLAG = {
  sync: 0x8,
  immutable: 0x10,
  append: 0x20,
  noDump: 0x40,
  noAccessTimes: 0x80,
  encrypt: 0x800,
  index: 0x1000,
  directorySync: 0x10000,
  hugeFile: 0x40000,
  topDirectory: 0x20000,
  extents: 0x80000,
  verity: 0x100000,
  eaInode: 0x200000,
  inlineData: 0x10000000,
} as const;

/** The type bits of a mode, as in stat(2). */
export const MODE = {
  type: 0xf000,
  fifo: 0x1000,
  character: 0x2000,
  directory: 0x4000,
  block: 0x6000,
  regular: 0x8000,
  symlink: 0xa000,
  socket: 0xc000,
} as const;

/**
 * The tag of a verified block is its kind plus eight times the number of the inode that owns it, so
 * that a block which was verified for one owner is verified again when another one claims it.
 */
export const BLOCK_KIND = {
  extents: 1,
  firstOfDirectory: 2,
  directory: 3,
  xattr: 4,
  /** Owned by a group. */
  blockBitmap: 5,
  inodeBitmap: 6,
} as const;

export function blockTag(kind: number, owner: number): number {
  return owner * 8 + kind;
}
