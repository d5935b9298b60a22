/**
 * What the superblock of a volume says of its own state, written to its place at once.
 */
import type { WritableDevice } from './device.ts';
import { CRC_START, type Crc32c } from './ext4/checksum.ts';
import { INCOMPAT, RO_COMPAT, u32 } from './ext4/layout.ts';
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES } from './ext4/superblock.ts';

const STATE_AT = 0x3a;
const STATE_CLEAN = 1;
const INCOMPAT_AT = 0x60;

/** Whether the journal may hold what is not in its place. Returns when that will last. */
export function markRecover(device: WritableDevice, recover: boolean, crc: Crc32c): void {
  update(device, crc, (view) => {
    const others = view.getUint32(INCOMPAT_AT, true) & ~INCOMPAT.recover;
    view.setUint32(INCOMPAT_AT, recover ? others | INCOMPAT.recover : others, true);
  });
}

/**
 * Of a volume without a journal: whether e2fsck may believe in it. Returns whether it was so, when
 * the new state will last.
 */
export function markClean(device: WritableDevice, clean: boolean, crc: Crc32c): boolean {
  let was = false;
  update(device, crc, (view) => {
    const state = view.getUint16(STATE_AT, true);
    was = (state & STATE_CLEAN) !== 0;
    view.setUint16(STATE_AT, clean ? state | STATE_CLEAN : state & ~STATE_CLEAN, true);
  });
  return was;
}

function update(device: WritableDevice, crc: Crc32c, change: (view: DataView) => void): void {
  const raw = new Uint8Array(SUPERBLOCK_BYTES);
  device.read(raw, SUPERBLOCK_AT, raw.length);
  const view = new DataView(raw.buffer);
  change(view);
  if (u32(raw, 0x64) & RO_COMPAT.metadataCsum) {
    view.setUint32(0x3fc, crc(raw.subarray(0, 0x3fc), CRC_START), true);
  }
  device.write(raw, SUPERBLOCK_AT);
  device.flush();
}
