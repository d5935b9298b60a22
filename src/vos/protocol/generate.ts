/**
 * Writes the FS protocol as C has it, native/include/dvk_fs_protocol.gen.h, from the definitions in
 * this folder.
 *
 * Layouts are asked of the decoders themselves: a byte of a message is set, and what changes in the
 * decoded request or answer is the field that the byte belongs to. So there is no second table that
 * could say something else.
 *
 * `node dist/src/vos/protocol/generate.js [--check]`: with --check nothing is written, and a
 * difference ends with exit code 1.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import * as change from './fs-change.ts';
import { decodeQuota, QuotaFlag } from './fs-quota.ts';
import * as fs from './fs.ts';

const MESSAGE_BYTES = 64;
const PAYLOAD_AT = 8;
const ATTRIBUTES_BYTES = 56;

type Decoded = Readonly<Record<string, unknown>>;
/** Undefined for bytes that mean nothing. */
type Decode = (view: DataView) => Decoded | undefined;

interface Field {
  readonly name: string;
  readonly at: number;
  readonly bytes: number;
  readonly signed: boolean;
}

/** A name in the notation of C. */
const snake = (name: string): string => name.replaceAll(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

/** The fields that `decode` finds in bytes `[from, base.length)` of a copy of `base`. */
function fieldsOf(decode: Decode, base: Uint8Array, from: number): Field[] {
  const before = decode(viewOf(base.slice())) ?? {};
  const places = new Map<string, number[]>();
  for (let at = from; at < base.length; at++) {
    const bytes = base.slice();
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    const after = decode(viewOf(bytes)) ?? {};
    for (const name of Object.keys(after)) {
      if (text(after[name]) !== text(before[name])) {
        places.set(name, [...(places.get(name) ?? []), at]);
      }
    }
  }
  return [...places].map(([name, all]) => {
    const [at = 0] = all;
    const bytes = base.slice();
    bytes.fill(0xff, at, at + all.length);
    const value = decode(viewOf(bytes))?.[name];
    const signed = typeof value === 'number' && value < 0;
    return { name: snake(name), at, bytes: all.length, signed };
  });
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function text(value: unknown): string {
  return typeof value === 'bigint' ? String(value) : JSON.stringify({ value });
}

interface Struct {
  readonly name: string;
  readonly bytes: number;
  readonly fields: readonly Field[];
  /** Where names begin, which fill the rest; `bytes` for none. */
  readonly namesAt: number;
}

/** A struct with the gaps filled, and what the compiler is to check. */
function structLines({ name, bytes, fields, namesAt }: Struct): string[] {
  const body: string[] = [];
  const checks = [`static_assert(sizeof(${name}) == ${bytes}, "${name}");`];
  let at = 0;
  let gaps = 0;
  const pad = (to: number): void => {
    if (to > at) body.push(`  uint8_t reserved${gaps++}[${to - at}];`);
    at = to;
  };
  const message = bytes === MESSAGE_BYTES;
  if (message) {
    body.push('  int32_t source;', '  int32_t type;');
    at = PAYLOAD_AT;
  }
  for (const field of fields.toSorted((a, b) => a.at - b.at)) {
    pad(field.at);
    const type = `${field.signed ? '' : 'u'}int${field.bytes * 8}_t`;
    body.push(`  ${type} ${field.name};`);
    checks.push(`static_assert(offsetof(${name}, ${field.name}) == ${field.at}, "${field.name}");`);
    at += field.bytes;
  }
  pad(namesAt);
  if (namesAt < bytes) body.push(`  uint8_t names[${bytes - namesAt}];`);
  return [`typedef struct ${name} {`, ...body, `} ${name};`, ...checks, ''];
}

/** The one struct of all calls that read. */
function readingRequest(): Struct {
  const decode: Decode = (view) => ({ ...fs.decodeRequest(view) });
  const fields = fieldsOf(decode, new Uint8Array(MESSAGE_BYTES), PAYLOAD_AT);
  const namesAt = MESSAGE_BYTES - fs.INLINE_NAME_BYTES_MAX;
  return { name: 'dvk_fs_reading_request', bytes: MESSAGE_BYTES, fields, namesAt };
}

/** The struct of a call that changes something, undefined for one that no decoder knows. */
function requestOf(name: string, call: fs.FsCall): Struct | undefined {
  const base = new Uint8Array(MESSAGE_BYTES);
  viewOf(base).setInt32(4, call, true);
  const title = `dvk_fs_${name.toLowerCase()}_request`;
  const decode: Decode = (view) => {
    const request = change.decodeChange(view);
    return request && { ...request };
  };
  try {
    const fields = fieldsOf(decode, base, PAYLOAD_AT);
    let room = 0;
    while (room < MESSAGE_BYTES && change.namesFit(call, room + 1)) room++;
    return { name: title, bytes: MESSAGE_BYTES, fields, namesAt: MESSAGE_BYTES - room };
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

function answerOf(name: string, decode: Decode): Struct {
  const fields = fieldsOf(decode, new Uint8Array(MESSAGE_BYTES), PAYLOAD_AT);
  return { name, bytes: MESSAGE_BYTES, fields, namesAt: MESSAGE_BYTES };
}

/** The head of an entry of READDIR, with the attributes inside it. */
function entryStruct(): Struct {
  const bytes = fs.directoryEntryBytes(1);
  const base = new Uint8Array(bytes);
  const attributes = fs.decodeAttributes(viewOf(new Uint8Array(ATTRIBUTES_BYTES)), 0);
  const one = { nextCookie: 0, type: 0, name: new Uint8Array([97]), attributes };
  fs.encodeDirectoryEntry(viewOf(base), 0, one);
  const decode: Decode = (view) => {
    const [entry] = fs.decodeDirectoryEntries(view);
    return entry && { nextCookie: entry.nextCookie, type: entry.type, isEntry: true };
  };
  const lengths: Decode = (view) => ({ isEntry: decode(view) !== undefined });
  const [bare, broken] = [fieldsOf(decode, base, 0), breaksOf(lengths, base)];
  const head = fs.DIRECTORY_ENTRY_HEADER_BYTES;
  const fields = [...bare, ...broken].filter(({ at }) => at < head - ATTRIBUTES_BYTES);
  return { name: 'dvk_fs_entry_head', bytes: head - ATTRIBUTES_BYTES, fields, namesAt: head };
}

/** The two lengths of an entry: bytes that make it none. */
function breaksOf(decode: Decode, base: Uint8Array): Field[] {
  const [{ at } = { at: 0 }] = fieldsOf(decode, base, 0);
  const name = { name: 'name_bytes', at, bytes: 1, signed: false };
  const rest = base.slice();
  const places: number[] = [];
  for (let byte = at + 1; byte < rest.length; byte++) {
    const bytes = rest.slice();
    bytes[byte] = (bytes[byte] ?? 0) ^ 1;
    if (decode(viewOf(bytes))?.['isEntry'] === false) places.push(byte);
  }
  const [first = 0] = places;
  return [name, { name: 'entry_bytes', at: first, bytes: places.length, signed: false }];
}

function enumLines(
  doc: string,
  prefix: string,
  values: Readonly<Record<string, number>>,
): string[] {
  return [
    `/* ${doc} */`,
    'enum {',
    ...Object.entries(values).map(([name, value]) => `  DVK_FS_${prefix}${name} = ${value},`),
    '};',
    '',
  ];
}

/** INFO, of a file whose time of birth is known. */
function infoAnswer(): Struct {
  const base = new Uint8Array(MESSAGE_BYTES);
  const unknown = { seconds: 0, nanoseconds: 0 };
  change.encodeInfo(viewOf(base), { flags: 0, born: unknown });
  const decode: Decode = (view) => {
    const { flags, born } = change.decodeInfo(view);
    return { flags, hasBorn: born !== undefined, born: born ?? unknown };
  };
  const fields = fieldsOf(decode, base, PAYLOAD_AT);
  return { name: 'dvk_fs_info_answer', bytes: MESSAGE_BYTES, fields, namesAt: MESSAGE_BYTES };
}

/** QUOTA, where both limits are set; `limits` says which. */
function quotaAnswer(): Struct {
  const base = new Uint8Array(MESSAGE_BYTES);
  base[PAYLOAD_AT] = QuotaFlag.BYTES | QuotaFlag.INODES;
  const decode: Decode = (view) => {
    const { limits, bytesUsed, inodesUsed } = decodeQuota(view);
    const { bytes, inodes } = limits;
    const set = `${String(bytes === undefined)} ${String(inodes === undefined)}`;
    return { limits: set, bytes: bytes ?? 0, bytesUsed, inodes: inodes ?? 0, inodesUsed };
  };
  const fields = fieldsOf(decode, base, PAYLOAD_AT);
  return { name: 'dvk_fs_quota_answer', bytes: MESSAGE_BYTES, fields, namesAt: MESSAGE_BYTES };
}

function header(): string {
  const attributes: Decode = (view) => ({ ...fs.decodeAttributes(view, 0) });
  const requests = Object.entries(fs.FsCall).flatMap(([name, call]) => requestOf(name, call) ?? []);
  const status: Decode = (view) => ({ ...fs.decodeStatus(view) });
  const lock: Decode = (view) => ({ ...change.decodeLock(view) });
  const offset: Decode = (view) => ({ offset: change.decodeOffset(view) });
  return [
    '/*',
    ' * The FS protocol: the messages between a file system server and its clients. Generated by',
    ' * src/vos/protocol/generate.ts from fs.ts and fs-change.ts, which say what each call means;',
    ' * edit those. Numbers are little-endian; times are packed as in ext4.',
    ' */',
    '#ifndef DVK_FS_PROTOCOL_GEN_H',
    '#define DVK_FS_PROTOCOL_GEN_H',
    '',
    '#include <assert.h>',
    '#include <stddef.h>',
    '#include <stdint.h>',
    '',
    ...enumLines('Requests: the type of a message.', 'CALL_', fs.FsCall),
    ...enumLines('Flags of CREATE.', 'CREATE_', change.CreateFlag),
    ...enumLines('Flags of OPEN.', 'OPEN_', change.OpenFlag),
    ...enumLines('Flags of RENAME.', 'RENAME_', change.RenameFlag),
    ...enumLines('Flags of WRITE.', 'WRITE_', change.WriteFlag),
    ...enumLines('Flags of SETATTR.', 'ATTRIBUTE_', change.AttributeFlag),
    ...enumLines('Flags of SEEK.', 'SEEK_', change.SeekWhence),
    ...enumLines('Flags of SETXATTR.', 'XATTR_', change.XattrFlag),
    ...enumLines('Flags of FSYNC.', 'SYNC_', change.SyncFlag),
    ...enumLines('Commands of LOCK.', 'LOCK_', change.LockCommand),
    ...enumLines('Kinds of locks.', 'LOCK_KIND_', change.LockKind),
    ...enumLines('Types of locks.', 'LOCK_TYPE_', change.LockType),
    ...enumLines('Limits that a quota has.', 'QUOTA_', QuotaFlag),
    ...enumLines('Limits.', '', {
      ROOT_INODE: fs.ROOT_INODE,
      NAME_BYTES_MAX: fs.NAME_BYTES_MAX,
      TRANSFER_BYTES_MAX: fs.TRANSFER_BYTES_MAX,
      COPY_BYTES_MAX: change.COPY_BYTES_MAX,
      TARGET_BYTES_MAX: change.TARGET_BYTES_MAX,
      VALUE_BYTES_MAX: change.VALUE_BYTES_MAX,
    }),
    '/* LOOKUP to LISTXATTR. */',
    ...structLines(readingRequest()),
    ...requests.flatMap(structLines),
    '/* Attributes: the payload of an answer, or inside an entry of READDIR. */',
    ...structLines({
      name: 'dvk_fs_attributes',
      bytes: ATTRIBUTES_BYTES,
      fields: fieldsOf(attributes, new Uint8Array(ATTRIBUTES_BYTES), 0),
      namesAt: ATTRIBUTES_BYTES,
    }),
    '/* Before the attributes and the name of an entry of READDIR, each aligned to 8 bytes. */',
    ...structLines({ ...entryStruct(), namesAt: entryStruct().bytes }),
    ...structLines(answerOf('dvk_fs_statfs_answer', status)),
    ...structLines(answerOf('dvk_fs_lock_answer', lock)),
    ...structLines(answerOf('dvk_fs_seek_answer', offset)),
    ...structLines(infoAnswer()),
    ...structLines(quotaAnswer()),
    '#endif',
    '',
  ].join('\n');
}

// This file runs from dist/src/vos/protocol; the sources are four folders up.
const path = 'native/include/dvk_fs_protocol.gen.h';
const file = join(fileURLToPath(new URL('../../../../', import.meta.url)), path);
const wanted = header();
if (!process.argv.includes('--check')) {
  writeFileSync(file, wanted);
} else if (!existsSync(file) || readFileSync(file, 'utf8') !== wanted) {
  process.stderr.write(`${path} differs from the protocol: run npm run build and commit it\n`);
  process.exitCode = 1;
}
