/**
 * The kernel's FUSE device: bytes of requests and replies, no protocol.
 *
 * Results are 0 or more, or -errno. The interface is structurally the one that the FUSE gateway
 * asks for, so that the gateway depends on an interface of its own and not on this file.
 */
import { native, type FuseBinding, type PollBinding } from './native.ts';

export type FuseDevice = FuseBinding & Pick<PollBinding, 'pollStart' | 'pollStop'>;

/** The host's FUSE device. */
export function fuseDevice(): FuseDevice {
  return native();
}
