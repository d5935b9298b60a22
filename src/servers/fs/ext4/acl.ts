/**
 * Access control lists: ext4 stores them shorter than Linux hands them out.
 *
 *   on disk:  u32 version 1, then { u16 tag, u16 permissions }, u32 id for named users and groups
 *   as xattr: u32 version 2, then { u16 tag, u16 permissions, u32 id }, 0xFFFFFFFF for no id
 *
 * See acl(5) for the tags.
 */
import { put16, put32, u16, u32 } from './layout.ts';

const DISK_VERSION = 1;
const XATTR_VERSION = 2;
const NO_ID = 0xffffffff;
const TAG = {
  owner: 0x01,
  user: 0x02,
  ownerGroup: 0x04,
  group: 0x08,
  mask: 0x10,
  other: 0x20,
} as const;

/** The list as Linux returns it, or undefined if the stored one is malformed. */
export function convertAcl(stored: Uint8Array): Uint8Array | undefined {
  if (stored.length < 4 || u32(stored, 0) !== DISK_VERSION) return undefined;
  const words: number[] = [XATTR_VERSION];
  let at = 4;
  while (at + 4 <= stored.length) {
    const tag = u16(stored, at);
    if (!Object.values<number>(TAG).includes(tag)) return undefined;
    const named = tag === TAG.user || tag === TAG.group;
    if (named && at + 8 > stored.length) return undefined;
    words.push(u32(stored, at), named ? u32(stored, at + 4) : NO_ID);
    at += named ? 8 : 4;
  }
  if (at !== stored.length) return undefined;
  const converted = new Uint8Array(words.length * 4);
  const view = new DataView(converted.buffer);
  for (const [index, value] of words.entries()) view.setUint32(index * 4, value, true);
  return converted;
}

/** The list as it is stored, from one as Linux hands it in; undefined if that is malformed. */
export function storedAcl(list: Uint8Array): Uint8Array | undefined {
  const entries = (list.length - 4) / 8;
  if (!Number.isInteger(entries) || entries < 0 || u32(list, 0) !== XATTR_VERSION) return undefined;
  const stored = new Uint8Array(4 + entries * 8);
  put32(stored, 0, DISK_VERSION);
  let end = 4;
  for (let at = 4; at < list.length; at += 8) {
    const tag = u16(list, at);
    if (!Object.values<number>(TAG).includes(tag)) return undefined;
    put16(stored, end, tag);
    put16(stored, end + 2, u16(list, at + 2));
    end += 4;
    if (tag !== TAG.user && tag !== TAG.group) continue;
    put32(stored, end, u32(list, at + 4));
    end += 4;
  }
  return stored.subarray(0, end);
}
