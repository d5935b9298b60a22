/** Settings of datagram sockets that Node.js has no call for. */
import { native } from './native.ts';

/**
 * Makes the kernel send whole datagrams only, never fragments, and buffer up to `bufferBytes` (as
 * far as the host lets this user) each way. Returns 0, or -errno when the host refuses.
 */
export function tuneDatagramSocket(fd: number, bufferBytes: number): number {
  return native().tuneDatagramSocket(fd, bufferBytes);
}
