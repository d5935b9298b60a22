/**
 * Access control lists and mode bits: how one follows from the other, see acl(5).
 *
 * Lists are as Linux hands them out: u32 version 2, then { u16 tag, u16 permissions, u32 id }. The
 * mode's group bits are those of the mask, if the list has one. A list of owner, group and others
 * alone says no more than the mode, and is not stored.
 */
const HEADER_BYTES = 4;
const ENTRY_BYTES = 8;
const TAG = { owner: 1, user: 2, ownerGroup: 4, group: 8, mask: 16, other: 32 } as const;
const PERMISSIONS = 0o777;

export const ACCESS_LIST: Uint8Array = Buffer.from('system.posix_acl_access');
export const DEFAULT_LIST: Uint8Array = Buffer.from('system.posix_acl_default');

export interface ModeAndList {
  readonly mode: number;
  /** Undefined: the mode says it all. */
  readonly list: Uint8Array | undefined;
}

/** Mode and list of a new file, from the default list of its directory. */
export function inherited(defaults: Uint8Array, mode: number): ModeAndList {
  const list = defaults.slice();
  for (const entry of entriesOf(list)) {
    const shift = shiftOf(entry, list);
    if (shift !== undefined) entry.permissions &= mode >> shift;
  }
  return { mode: (mode & ~PERMISSIONS) | modeOf(list), list: isMode(list) ? undefined : list };
}

/** The list of a file after chmod. */
export function changed(list: Uint8Array, mode: number): Uint8Array {
  const result = list.slice();
  for (const entry of entriesOf(result)) {
    const shift = shiftOf(entry, result);
    if (shift !== undefined) entry.permissions = (mode >> shift) & 7;
  }
  return result;
}

/** Mode and list of a file that gets this list. */
export function assigned(list: Uint8Array, mode: number): ModeAndList {
  return { mode: (mode & ~PERMISSIONS) | modeOf(list), list: isMode(list) ? undefined : list };
}

class Entry {
  readonly #view: DataView;
  readonly #at: number;

  constructor(list: Uint8Array, at: number) {
    this.#view = new DataView(list.buffer, list.byteOffset, list.byteLength);
    this.#at = at;
  }

  get tag(): number {
    return this.#view.getUint16(this.#at, true);
  }

  get permissions(): number {
    return this.#view.getUint16(this.#at + 2, true);
  }

  set permissions(value: number) {
    this.#view.setUint16(this.#at + 2, value, true);
  }
}

function entriesOf(list: Uint8Array): Entry[] {
  const entries: Entry[] = [];
  for (let at = HEADER_BYTES; at + ENTRY_BYTES <= list.length; at += ENTRY_BYTES) {
    entries.push(new Entry(list, at));
  }
  return entries;
}

/** Where the mode has this entry's permissions; undefined where it has not. */
function shiftOf(entry: Entry, list: Uint8Array): number | undefined {
  if (entry.tag === TAG.owner) return 6;
  if (entry.tag === TAG.other) return 0;
  const group = entriesOf(list).some(({ tag }) => tag === TAG.mask) ? TAG.mask : TAG.ownerGroup;
  return entry.tag === group ? 3 : undefined;
}

function modeOf(list: Uint8Array): number {
  let mode = 0;
  for (const entry of entriesOf(list)) {
    const shift = shiftOf(entry, list);
    if (shift !== undefined) mode |= (entry.permissions & 7) << shift;
  }
  return mode;
}

function isMode(list: Uint8Array): boolean {
  const plain: readonly number[] = [TAG.owner, TAG.ownerGroup, TAG.other];
  return entriesOf(list).every(({ tag }) => plain.includes(tag));
}
