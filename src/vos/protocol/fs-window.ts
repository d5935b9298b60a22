/**
 * The FS protocol: memory of the server through which contents come.
 *
 * Where a client's memory is on another node, a server that copied contents from there would wait
 * for the link and serve nobody meanwhile. So a client of another node asks each server once, for
 * each of its endpoints, for a window: memory of the server's that this endpoint alone may write,
 * by vcopy. Before a WRITE it copies the contents there, from byte 0 on, and the request has
 * `WINDOW_GRANT` in place of a grant.
 *
 * WINDOW has no fields. Its answer, with result 0:
 *
 *   byte  8  i32  grant of the server's
 *        12  u32  bytes of the window, `TRANSFER_BYTES_MAX`
 *
 * Who asks again, since a copy failed and may yet come late, has another grant, and the one before
 * is of no use. Error: EUSERS (there are as many as there may be). A WRITE from a window that its
 * endpoint does not have fails with EFAULT. A window ends with the endpoint.
 */
import { FsCall, TRANSFER_BYTES_MAX } from './fs.ts';

/** In place of the grant in a WRITE: the window of the endpoint that asks. */
export const WINDOW_GRANT = -2;
/** Windows of a server, in bytes. A process has 32 grants. */
export const WINDOWS_BYTES_RANGE = [0, 32 * TRANSFER_BYTES_MAX] as const;

export function encodeWindowRequest(message: DataView): void {
  message.setInt32(4, FsCall.WINDOW, true);
  for (let at = 8; at < 64; at += 4) message.setUint32(at, 0, true);
}

export function encodeWindow(message: DataView, grant: number): void {
  message.setInt32(8, grant, true);
  message.setUint32(12, TRANSFER_BYTES_MAX, true);
}

/** The grant of the answer; undefined for one that does not let a whole WRITE through. */
export function decodeWindow(message: DataView): number | undefined {
  const grant = message.getInt32(8, true);
  return grant < 0 || message.getUint32(12, true) < TRANSFER_BYTES_MAX ? undefined : grant;
}
