/** One call of the FS protocol, and what its answer is read as. */
import { CLAIMED, type FsChange, encodeChange, namesFit } from '../protocol/fs-change.ts';
import type { Taken } from '../protocol/fs-early.ts';
import {
  type FileAttributes,
  FsCall,
  INLINE_NAME_BYTES_MAX,
  decodeAttributes,
  encodeRequest,
} from '../protocol/fs.ts';
import type { Endpoint } from '../../dvk/index.ts';
import type { Call, Channel } from './channels.ts';
import type { FileId, Place, TakenNames, Written } from './file-service.ts';

export interface ChangingCall {
  readonly request: Partial<FsChange> & { readonly call: FsCall };
  readonly names?: readonly Uint8Array[];
  /** Its parts lie one behind the other. */
  readonly data?: Uint8Array | readonly Uint8Array[];
  /** What is read in place of `data` in the channel's buffer. */
  readonly memory?: Uint8Array;
  readonly repeatable?: boolean;
  readonly onlyFor?: Endpoint | undefined;
}

export function encoded(change: ChangingCall): Call {
  const { request, names = [], data, memory, repeatable = false, onlyFor } = change;
  const bytes = names.reduce((sum, { length }) => sum + length, 0);
  // A WRITE has no names in front of its data.
  const isWrite = request.call === FsCall.WRITE;
  const given = data instanceof Uint8Array ? [data] : (data ?? []);
  const parts = [...(namesFit(request.call, bytes) ? [] : names), ...given];
  return {
    encode: (message, { grant, sequence }) => {
      encodeChange(message, { ...request, grant, sequence }, names);
    },
    needsMemory: parts.some(({ length }) => length > 0),
    parts,
    ...(memory === undefined ? {} : { memory }),
    ...(isWrite ? { contentBytes: request.bytes ?? 0 } : {}),
    repeatable,
    onlyFor,
  };
}

/** A call that reads; `bytes` of the channel's buffer may be filled by the server. */
export interface ReadingCall {
  readonly call: FsCall;
  readonly file: FileId;
  readonly offset?: number;
  readonly bytes?: number;
  readonly name?: Uint8Array;
  /** What is filled in place of the channel's buffer. */
  readonly memory?: Uint8Array;
}

export function reading({ name, file, bytes, offset, memory, call }: ReadingCall): Call {
  const long = name !== undefined && name.length > INLINE_NAME_BYTES_MAX;
  return {
    encode: (message, { grant }) => {
      const sizes = { grantBytes: bytes ?? 0, nameBytes: name?.length ?? 0 };
      const request = { call, ...fileOf(file), offset: offset ?? 0, grant, ...sizes };
      encodeRequest(message, request, name);
    },
    needsMemory: long || bytes !== undefined,
    ...(long ? { parts: [name] } : {}),
    ...(memory === undefined ? {} : { memory }),
    repeatable: true,
  };
}

export function fileOf({ inode, generation }: FileId): { inode: number; generation: number } {
  return { inode, generation };
}

export function inDirectory({ parent }: Place): { inode: number; generation: number } {
  return fileOf(parent);
}

export function asOther({ inode, generation }: FileId): { other: number; otherGeneration: number } {
  return { other: inode, otherGeneration: generation };
}

export function attributesOf(channel: Channel): FileAttributes {
  return decodeAttributes(channel.process.message.view);
}

export function numbersOf({ now, generation, runs }: Taken): TakenNames {
  const numbers: FileId[] = [];
  for (const { first, count } of runs) {
    for (let i = 0; i < count; i++) numbers.push({ inode: first + i, generation });
  }
  return { now, numbers };
}

export function writtenOf(channel: Channel, result: number): Written {
  const bytes = result & ~CLAIMED;
  return { bytes, attributes: attributesOf(channel), claimed: (result & CLAIMED) !== 0 };
}

export function nothing(): void {
  // The result says it all.
}
