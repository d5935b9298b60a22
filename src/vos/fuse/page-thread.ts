/**
 * The thread that makes the kernel drop pages: it gets nodes from `PageThread`, one at a time, and
 * says when the kernel has done it, or has forgotten the file.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { fuseDevice } from '../../dvk/index.ts';
import type { PageThreadStart } from './pages.ts';
import { encodeNotifyInode, NOTIFY_INODE_BYTES } from './replies.ts';
import { NotifyCode, OUT_HEADER_BYTES, setUint64 } from './wire.ts';

const { fd, ended } = workerData as PageThreadStart;
const device = fuseDevice();
const bytes = OUT_HEADER_BYTES + NOTIFY_INODE_BYTES;
const notice = new Uint8Array(bytes);
const view = new DataView(notice.buffer);
const over = new Int32Array(ended);

parentPort?.on('message', (node: number) => {
  view.setUint32(0, bytes, true);
  view.setInt32(4, NotifyCode.INVAL_INODE, true);
  setUint64(view, 8, 0);
  encodeNotifyInode(view, OUT_HEADER_BYTES, node, 0);
  if (Atomics.load(over, 0) === 0) device.fuseWrite(fd, notice, bytes);
  parentPort?.postMessage(node);
});
