/** Commands and frames as tests of the proxies need them. */
import { CommandLayout } from '../../src/dvk/abi/abi.gen.ts';
import { crc32c } from '../../src/dvk/crc32c.ts';
import { lz4Pack } from '../../src/dvk/lz4.ts';
import { FRAME_HEAD_BYTES, FrameLayout, framePlace, sealFrame } from '../../src/proxies/frame.ts';
import { sealPacked, viewOf, type Frame } from '../../src/proxies/frame.ts';

/** Fields of a command by their names in CommandLayout; 32-bit ones only. */
export type CommandFields = Partial<Record<Exclude<keyof typeof CommandLayout, 'BYTES'>, number>>;

const WIDE = new Set(['copySourceAt', 'copyDestinationAt', 'copyBytes']);

export function command(fields: CommandFields): Uint8Array {
  const bytes = new Uint8Array(CommandLayout.BYTES);
  const view = new DataView(bytes.buffer);
  for (const [name, value] of Object.entries(fields) as [keyof CommandFields, number][]) {
    if (WIDE.has(name)) view.setBigUint64(CommandLayout[name], BigInt(value), true);
    else view.setUint32(CommandLayout[name], value, true);
  }
  return bytes;
}

/** A command as text, for comparisons that say what differs. */
export function describeCommand(bytes: Uint8Array): Record<string, number> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    kind: view.getUint32(CommandLayout.kind, true),
    source: view.getInt32(CommandLayout.source, true),
    destination: view.getInt32(CommandLayout.destination, true),
    sourceNode: view.getUint32(CommandLayout.sourceNode, true),
    destinationNode: view.getUint32(CommandLayout.destinationNode, true),
    result: view.getInt32(CommandLayout.result, true),
    callId: view.getUint32(CommandLayout.callId, true),
    payloadBytes: view.getUint32(CommandLayout.payloadBytes, true),
  };
}

interface Stamp {
  session?: number;
  sequence?: number;
}

/** The bytes of a frame. `payloadBytes` of the command is set to the payload's length. */
export function frameBytes(
  fields: CommandFields,
  payload: Uint8Array = new Uint8Array(0),
  stamp: Stamp = {},
): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEAD_BYTES + payload.length);
  const place = framePlace(bytes, viewOf(bytes), 0);
  place.command.set(command({ ...fields, payloadBytes: payload.length }));
  place.payload.set(payload);
  sealFrame(place, stamp.session ?? 0, stamp.sequence ?? 0, crc32c);
  return bytes;
}

/**
 * A packed block of `frames`; or of `block`, or with a lie about what comes out. Its checksums are
 * right.
 */
export function packedBytes(
  frames: Uint8Array,
  { block, unpackedBytes = frames.length }: { block?: Uint8Array; unpackedBytes?: number } = {},
): Uint8Array {
  const most = Math.max(frames.length + frames.length / 255 + 16, block?.length ?? 0);
  const room = new Uint8Array(FrameLayout.BYTES + most);
  const behind = room.subarray(FrameLayout.BYTES);
  if (block) behind.set(block);
  const count = block?.length ?? lz4Pack(frames, behind);
  const bytes = room.subarray(0, FrameLayout.BYTES + count);
  sealPacked(bytes, unpackedBytes, crc32c);
  return bytes;
}

/** A frame as a decoder gives it out. */
export function frame(bytes: Uint8Array, payload: Uint8Array, stamp: Stamp = {}): Frame {
  const view = viewOf(bytes);
  return {
    session: stamp.session ?? 0,
    sequence: stamp.sequence ?? 0,
    kind: view.getUint32(CommandLayout.kind, true),
    dcId: view.getUint32(CommandLayout.dcId, true),
    sourceNode: view.getUint32(CommandLayout.sourceNode, true),
    destinationNode: view.getUint32(CommandLayout.destinationNode, true),
    callId: view.getUint32(CommandLayout.callId, true),
    command: bytes,
    payload,
  };
}
